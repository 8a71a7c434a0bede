"""Nodes that are killed, and started again under their name and on their ports, while clients publish and subscribe."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import chaos_cluster
from support.chaos_transport import PLUGIN

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


async def test_who_may_have_missed_the_last_words_of_a_killed_node_is_told_and_nobody_else() -> None:
    async with chaos_cluster(3) as cluster:
        first, second, last = cluster.members
        told = [await cluster.load.subscriber(member.node, "boats") for member in (first, second)]
        untold = [await cluster.load.subscriber(member.node, "cars") for member in (first, second)]
        authors = [await cluster.load.author(last.node, topic) for topic in ("boats", "cars")]
        for author in authors:
            await author.publish(10)
            await author.all_acknowledged()
        await cluster.complete()
        # Two heartbeats later what was said of cars is known to be all.
        async with cluster.publishing(authors[:1], RATE):
            await told[0].until_seen(10 + 2 * RATE)
            await last.kill()
        for client in told:
            loss = await client.until_told_of_loss()
            assert (loss.origin, loss.node) == (last.name, client.node.id)
            assert [(room.room_id, room.count) for room in loss.rooms] == [(client.room_id, None)]
        await cluster.judge()
        assert [client.losses for client in untold] == [[], []]


async def test_what_only_the_killed_node_had_is_announced() -> None:
    """Half of all notifications get lost, and questions for them, too: what is missing dies with its origin."""
    settings = {
        "server.plugins": PLUGIN,
        "cluster.chaos.drop_notify_per_mille": 500,
        "cluster.chaos.repairs": "false",
    }
    async with chaos_cluster(2, settings=settings) as cluster:
        first, last = cluster.members
        reader = await cluster.load.subscriber(first.node)
        author = await cluster.load.author(last.node)
        await author.publish_at(100, total=100)
        await author.all_acknowledged()
        assert reader.subscriber.seen < 100
        await last.kill()
        await reader.until_told_of_loss()
        await cluster.judge()


async def test_kill_and_restart_on_the_same_address_splits_nothing(say: Callable[[str], None]) -> None:
    await kill_and_restart(4, say)


@pytest.mark.slow
async def test_fifty_rounds_of_kill_and_restart_split_nothing(say: Callable[[str], None]) -> None:
    await kill_and_restart(50, say)


async def kill_and_restart(rounds: int, say: Callable[[str], None]) -> None:
    """Kill one node, every fourth time two, and start it again at once or when all know of its end; under load."""
    async with chaos_cluster(3) as cluster:
        members = cluster.members
        authors = await cluster.attach(*cluster.nodes)
        slowest = 0.0
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            for author in authors:
                nursery.start_soon(author.publish_at, RATE, stop)
            for number in range(rounds):
                victims = [members[number % 3], members[(number + 1) % 3]][: 2 if number % 4 == 3 else 1]
                for victim in victims:
                    victim.node.kill()
                for victim in victims:
                    await victim.kill()
                if number % 3 == 2:
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
        sent = sum(author.sent for author in cluster.load.record.authors.values())
        say(f"{rounds} rounds, {sent} publishes, 0 splits, whole at most {slowest:.2f} s after a restart")
