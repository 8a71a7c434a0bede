"""Losses that cannot be repaired are announced: to exactly those whom they concern, and with their number if that is
known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import chaos_cluster
from support.chaos_transport import Chaos

RATE = 200
"""Publishes a second."""

QUIET_ROOMS = 200

LARGE = 30_000
"""Characters of a message of which a log of 16 MiB holds some 550."""

LARGE_RATE = 600
"""A second: in a cut of 1.5 seconds half as many again as the log holds."""


async def test_who_may_have_missed_the_last_words_of_a_killed_node_is_told_and_nobody_else() -> None:
    """Whoever had subscribed on another node, busy room or quiet; once. Not before it is killed, although it is stopped
    for so long that it counts as down; and nobody who came later."""
    async with chaos_cluster(3) as cluster:
        first, second, last = cluster.members
        there = (first.node, second.node)
        told = [await cluster.load.subscriber(node, topic) for node in there for topic in ("boats", "cars")]
        (author,) = [await cluster.load.author(last.node, "boats")]
        async with cluster.publishing([author], RATE):
            await told[0].until_seen(RATE)
            last.node.pause()
            await cluster.down(last)
            last.node.resume()
            await cluster.whole()
            await told[0].until_seen(2 * RATE)
            assert not any(client.losses for client in told)
            await last.kill()
        for client in told:
            loss = await client.until_told_of_loss()
            assert (loss.origin, loss.node) == (last.name, client.node.id)
            assert [(room.room_id, room.count) for room in loss.rooms] == [(client.room_id, None)]
        late = await cluster.load.subscriber(first.node, "boats")
        await last.start()
        await cluster.judge()
        assert [len(client.losses) for client in told] == [1] * 4
        assert late.losses == []


@pytest.mark.parametrize("lost_per_mille", [pytest.param(0, marks=pytest.mark.slow), 500])
async def test_the_only_word_in_each_of_200_quiet_rooms_is_heard_or_announced(lost_per_mille: int) -> None:
    """One message for each, all acknowledged, and the node that took them is killed at once: before anybody could ask
    for those of which the frame was lost."""
    async with chaos_cluster(3, chaos=Chaos(drop_notify_per_mille=lost_per_mille)) as cluster:
        first, second, last = cluster.members
        authors = []
        for number in range(QUIET_ROOMS):
            await cluster.load.subscriber((first, second)[number % 2].node, f"quiet-{number}")
            authors.append(await cluster.load.author(last.node, f"quiet-{number}"))
        for author in authors:
            await author.publish(1)
        for author in authors:
            await author.all_acknowledged()
        await last.kill()
        await cluster.judge()
        readers = cluster.load.subscribers
        assert all(client.subscriber.seen or client.losses for client in readers)
        assert lost_per_mille or sum(client.subscriber.seen for client in readers) > QUIET_ROOMS * 0.9


async def test_what_only_the_killed_node_had_is_announced() -> None:
    """Half of all notifications get lost, and questions for them, too: what is missing dies with its origin."""
    async with chaos_cluster(2, chaos=Chaos(drop_notify_per_mille=500, repairs=False)) as cluster:
        first, last = cluster.members
        reader = await cluster.load.subscriber(first.node)
        author = await cluster.load.author(last.node)
        await author.publish_at(RATE, total=100)  # half a second: last words, all of them
        await author.all_acknowledged()
        assert reader.subscriber.seen < 100
        await last.kill()
        await reader.until_told_of_loss()
        await cluster.judge()


@pytest.mark.slow
async def test_what_a_log_could_not_keep_is_announced_with_its_number(say: Callable[[str], None]) -> None:
    """Links are cut for so long that the log overflows. Each subscriber is told how many of its own room are lost, and
    gets the rest; who subscribed to something else is told nothing."""
    chaos = Chaos(cut_every_ms=4500, cut_for_ms=1500)
    async with chaos_cluster(3, chaos=chaos, settings={"limits.outbox_bytes": 256 << 20}) as cluster:
        first, *others = cluster.nodes
        for node in others:
            for topic in ("boats", "cars"):
                await cluster.load.subscriber(node, topic)
        idle = [await cluster.load.subscriber(node, "planes") for node in others]
        large = await cluster.load.author(first, "boats", padding=LARGE)
        small = await cluster.load.author(first, "cars")
        async with trio.open_nursery() as publishing:
            publishing.start_soon(large.publish_at, LARGE_RATE, None, 5 * LARGE_RATE)
            publishing.start_soon(small.publish_at, 20, None, 5 * 20)
        await cluster.judge()
        told = [
            (client.subscriber.topic, announcement.count)
            for client in cluster.load.subscribers
            for announcement in client.subscriber.announcements
        ]
        say(f"told of {told}")
        assert sum(count or 0 for topic, count in told if topic == "boats") > 100, "or nothing was cut"
        assert all(count for _, count in told)
        assert [client.losses for client in idle] == [[], []]
