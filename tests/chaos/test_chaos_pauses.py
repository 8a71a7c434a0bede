"""Nodes that are stopped where they are (SIGSTOP) and go on: a machine that sleeps, a hypervisor that is busy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import chaos_cluster

RATE = 100
"""Publishes a second on each node."""


async def test_a_paused_node_misses_nothing(say: Callable[[str], None]) -> None:
    await pause(2.5, say)


@pytest.mark.slow
@pytest.mark.parametrize("length_s", [7, 30])
async def test_a_node_paused_for_long_misses_nothing(length_s: float, say: Callable[[str], None]) -> None:
    await pause(length_s, say)


async def pause(length_s: float, say: Callable[[str], None]) -> None:
    """All that was published meanwhile is delivered afterwards, in order and once, also what clients of the paused node
    sent; nobody is evicted for good."""
    async with chaos_cluster(3) as cluster:
        *_, last = cluster.members
        authors = await cluster.attach(*cluster.nodes)
        reader = cluster.load.subscribers[-1]
        async with cluster.publishing(authors, RATE):
            await reader.until_seen(RATE)
            last.node.pause()
            await trio.sleep(length_s)
            before = reader.subscriber.seen
            last.node.resume()
            took = await cluster.whole()
            say(f"whole {took:.2f} s after a pause of {length_s} s")
        await cluster.judge()
        missed = 2 * RATE * length_s
        assert reader.subscriber.seen - before >= 0.9 * missed
        assert not any(told.count for told in reader.subscriber.announcements)
        cluster.assert_attached()
