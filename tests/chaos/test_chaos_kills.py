"""Nodes that are killed, and started again under their name and on their ports, while clients publish and subscribe."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import chaos_cluster

DOWN_S = 2.0
"""The promise: so soon after kill -9 a node is down everywhere, at default settings."""

RATE = 200
"""Publishes a second on each node."""


async def test_a_killed_node_is_down_everywhere_within_two_seconds(say: Callable[[str], None]) -> None:
    async with chaos_cluster(3) as cluster:
        *_, last = cluster.members
        authors = await cluster.attach(*cluster.nodes)
        async with cluster.publishing(authors, RATE):
            began = trio.current_time()
            await last.kill()
            await cluster.whole()
            took = trio.current_time() - began
        say(f"down everywhere after {took:.2f} s")
        assert took < DOWN_S
        await cluster.judge()


async def test_kill_and_restart_on_the_same_address_splits_nothing(say: Callable[[str], None]) -> None:
    await kill_and_restart(3, say)


@pytest.mark.slow
async def test_fifty_rounds_of_kill_and_restart_split_nothing(say: Callable[[str], None]) -> None:
    await kill_and_restart(50, say)


async def kill_and_restart(rounds: int, say: Callable[[str], None]) -> None:
    """Kill one node, every third time two, and start it again at once or when all know of its end; under load."""
    async with chaos_cluster(3) as cluster:
        members = cluster.members
        authors = await cluster.attach(*cluster.nodes)
        slowest = 0.0
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            for author in authors:
                nursery.start_soon(author.publish_at, RATE, stop)
            for number in range(rounds):
                victims = [members[number % 3], members[(number + 1) % 3]][: 2 if number % 3 == 2 else 1]
                for victim in victims:
                    victim.node.kill()
                for victim in victims:
                    await victim.kill()
                if number % 4 == 1:
                    await cluster.whole()
                for victim in victims:
                    await victim.start()
                took = await cluster.whole()
                slowest = max(slowest, took)
                for author in await cluster.attach(*(victim.node for victim in victims)):
                    nursery.start_soon(author.publish_at, RATE, stop)
                say(f"round {number + 1} of {rounds}: whole {took:.2f} s after the restart")
            stop.set()
        await cluster.judge()
        for client in cluster.load.subscribers:
            told = {announcement.node for announcement in client.subscriber.announcements}
            assert client.subscriber.node not in told
        sent = sum(author.sent for author in cluster.load.record.authors.values())
        say(f"{rounds} rounds, {sent} publishes, 0 splits, whole at most {slowest:.2f} s after a restart")
