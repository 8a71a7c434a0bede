"""What operators do on purpose, under load: restart one node after the other, reset the cluster. Nothing is lost, and
nobody is told that something was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import chaos_cluster

RATE = 200
"""Publishes a second on each node."""

Say = Callable[[str], None]


async def test_nodes_restarted_one_after_the_other_take_nothing_with_them(say: Say) -> None:
    async with chaos_cluster(3) as cluster, trio.open_nursery() as nursery:
        stop = trio.Event()
        for author in await cluster.attach(*cluster.nodes):
            nursery.start_soon(author.publish_at, RATE, stop)
        for member in cluster.members:
            await member.stop()
            await member.start()
            took = await cluster.whole()
            say(f"whole {took:.2f} s after {member.name} was started again")
            for author in await cluster.attach(member.node):
                nursery.start_soon(author.publish_at, RATE, stop)
        stop.set()
        await cluster.judge()
        assert not any(client.losses for client in cluster.load.subscribers)


@pytest.mark.slow
async def test_resets_cost_nothing(say: Say) -> None:
    async with chaos_cluster(3) as cluster:
        authors = await cluster.attach(*cluster.nodes)
        async with cluster.publishing(authors, RATE):
            for number in range(30):
                node = cluster.nodes[number % 3]
                began = trio.current_time()
                assert (await node.post("/_plugin/cluster/reset")).result == "ok"
                say(f"reset {number + 1} took {trio.current_time() - began:.2f} s")
                await cluster.healed()
        await cluster.judge()
        assert not any(client.losses for client in cluster.load.subscribers)
