"""Nodes that are killed, and started again under their name and on their ports, while clients publish and subscribe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import trio

from support.chaos_cluster import MACHINE_S, PROMISED_S, WHOLE_S, ChaosCluster, chaos_cluster
from support.chaos_member import Member

DOWN_S = 2.0
"""The promise: so soon after kill -9 a node is down everywhere, at default settings."""

RATE = 200
"""Publishes a second on each node."""


async def test_a_killed_node_is_down_everywhere_within_two_seconds(say: Callable[[str], None]) -> None:
    async with chaos_cluster(3) as cluster:
        *_, last = cluster.members
        authors = await cluster.attach(*cluster.nodes)
        async with cluster.publishing(authors, RATE):
            took = await killed(cluster, [last])
        say(f"down everywhere after {took:.2f} s")
        await cluster.judge()


async def test_kill_and_restart_on_the_same_address_splits_nothing(say: Callable[[str], None]) -> None:
    await kill_and_restart(3, WHOLE_S, say)


@pytest.mark.slow
async def test_fifty_rounds_of_kill_and_restart_split_nothing(say: Callable[[str], None]) -> None:
    await kill_and_restart(50, PROMISED_S + MACHINE_S, say)


async def killed(cluster: ChaosCluster, victims: Sequence[Member]) -> float:
    """Kill these at the same time, and wait until those that are left have nothing of them any more; return how long
    that took. Fails when it takes longer than promised."""
    began = trio.current_time()
    await kill(victims)
    await cluster.whole()
    took = trio.current_time() - began
    assert took < DOWN_S
    return took


async def kill(victims: Sequence[Member]) -> None:
    async with trio.open_nursery() as killing:
        for victim in victims:
            killing.start_soon(victim.kill)


async def kill_and_restart(rounds: int, whole_s: float, say: Callable[[str], None]) -> None:
    """Kill one node, every third time two, and start it again: in turn at once, and when all know of its end; under
    load. (One that is back at once is not down for anybody: its new life is known by then.)"""
    async with chaos_cluster(3) as cluster:
        members = cluster.members
        authors = await cluster.attach(*cluster.nodes)
        slowest = slowest_down = 0.0
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            for author in authors:
                nursery.start_soon(author.publish_at, RATE, stop)
            for number in range(rounds):
                victims = [members[number % 3], members[(number + 1) % 3]][: 2 if number % 3 == 2 else 1]
                down = ""
                if number % 2 == 1:
                    took = await killed(cluster, victims)
                    slowest_down = max(slowest_down, took)
                    down = f"down everywhere {took:.2f} s after the kill, "
                else:
                    await kill(victims)
                for victim in victims:
                    await victim.start()
                took = await cluster.whole(whole_s)
                slowest = max(slowest, took)
                for author in await cluster.attach(*(victim.node for victim in victims)):
                    nursery.start_soon(author.publish_at, RATE, stop)
                say(f"round {number + 1} of {rounds}: {down}whole {took:.2f} s after the restart")
            stop.set()
        await cluster.judge()
        for client in cluster.load.subscribers:
            told = {announcement.node for announcement in client.subscriber.announcements}
            assert client.subscriber.node not in told
        sent = sum(author.sent for author in cluster.load.record.authors.values())
        say(
            f"{rounds} rounds, {sent} publishes, 0 splits, down everywhere at most {slowest_down:.2f} s after a kill, "
            f"whole at most {slowest:.2f} s after a restart"
        )
