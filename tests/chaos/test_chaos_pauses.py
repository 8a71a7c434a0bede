"""Nodes that are stopped where they are (SIGSTOP) and go on: a machine that sleeps, a hypervisor that is busy."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
import trio

from support.chaos_cluster import MACHINE_S, PROMISED_S, WHOLE_S, chaos_cluster
from support.processes import Node

RATE = 100
"""Publishes a second on each node."""


async def test_a_paused_node_misses_nothing(say: Callable[[str], None]) -> None:
    await pause(2.5, WHOLE_S, say)


@pytest.mark.slow
@pytest.mark.parametrize("length_s", [7, 30])
async def test_a_node_paused_for_long_misses_nothing(length_s: float, say: Callable[[str], None]) -> None:
    await pause(length_s, PROMISED_S + MACHINE_S, say)


@pytest.mark.slow
async def test_more_than_the_queues_hold_is_repaired_from_the_log(say: Callable[[str], None]) -> None:
    """A paused node is sent more frames than wait for it anywhere: the origin counts those that it could not send."""
    async with chaos_cluster(3, settings={"limits.outbox_bytes": 64 << 20}) as cluster:
        first, _, last = cluster.nodes
        reader = await cluster.load.subscriber(last)
        authors = [await cluster.load.author(first) for _ in range(40)]
        last.pause()
        async with cluster.publishing(authors, 100):  # each tick of each author is a frame
            await trio.sleep(10)
        last.resume()
        await cluster.judge()
        status = (await cluster.statuses())[first.id]
        overloads = status["current"]["overloads"]
        repaired = {peer["id"]: peer["link"]["sent"]["repaired"] for peer in status["pool"]}[last.id]
        sent = sum(author.author.sent for author in authors)
        say(
            f"{sent} published during the pause; the queue was full {overloads} times; {repaired} were repaired"
        )
        assert overloads > 0
        assert repaired > 1000
        assert reader.subscriber.seen == sent
        assert reader.losses == []


@pytest.mark.slow
async def test_pauses_of_every_length_on_every_node_at_once_evict_nobody(say: Callable[[str], None]) -> None:
    random = Random(7)
    async with chaos_cluster(3) as cluster:
        authors = await cluster.attach(*cluster.nodes)
        async with cluster.publishing(authors, RATE), trio.open_nursery() as nursery:
            for node in cluster.nodes:
                nursery.start_soon(pause_again_and_again, node, 20.0, random)
        took = await cluster.healed()
        say(f"whole {took:.2f} s after 20 s of pauses")
        await cluster.judge()
        for client in cluster.load.subscribers:
            assert client.subscriber.seen == sum(author.author.sent for author in authors)


async def pause_again_and_again(node: Node, length_s: float, random: Random) -> None:
    end = trio.current_time() + length_s
    while trio.current_time() < end:
        node.pause()
        await trio.sleep(random.choice((0.05, 0.3, 0.7, 1.5, 2.5)))
        node.resume()
        await trio.sleep(random.choice((0.01, 0.2, 1.0)))


async def pause(length_s: float, whole_s: float, say: Callable[[str], None]) -> None:
    """All that was published meanwhile is delivered afterwards, in order and once, also what clients of the paused node
    sent; nobody is evicted for good, and nobody is told that something is lost."""
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
            took = await cluster.whole(whole_s)
            say(f"whole {took:.2f} s after a pause of {length_s} s")
        await cluster.judge()
        sent = sum(author.author.sent for author in authors)
        assert [client.subscriber.seen for client in cluster.load.subscribers] == 3 * [sent]
        assert not any(client.losses for client in cluster.load.subscribers)
        missed = 2 * RATE * length_s
        assert reader.subscriber.seen - before >= 0.9 * missed, "or the others did not publish meanwhile"
        say(
            f"{sent} published by all, {reader.subscriber.seen - before} seen by the paused node's client after it"
        )
