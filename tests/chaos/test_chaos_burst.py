"""Many publishes at once over many connections: each that was acknowledged is delivered on every node."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import chaos_cluster


async def test_a_burst_loses_nothing(say: Callable[[str], None]) -> None:
    await burst(50, 40, say)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(6))
async def test_a_large_burst_loses_nothing(attempt: int, say: Callable[[str], None]) -> None:
    await burst(200, 100, say)


async def burst(connections: int, each: int, say: Callable[[str], None]) -> None:
    # The test reads for three subscribers and writes for all authors on one core: it may fall behind by more than a
    # node keeps for one client. What a node does with clients that are too slow is tested elsewhere.
    async with chaos_cluster(3, settings={"limits.outbox_bytes": 256 << 20}) as cluster:
        for node in cluster.nodes:
            await cluster.load.subscriber(node)
        authors = [await cluster.load.author(cluster.nodes[0]) for _ in range(connections)]
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for author in authors:
                nursery.start_soon(author.publish, each)
        await cluster.complete()
        say(f"{connections * each} publishes at once: everywhere after {trio.current_time() - began:.2f} s")
        await cluster.judge()
        for client in cluster.load.subscribers:
            assert client.subscriber.seen == connections * each
