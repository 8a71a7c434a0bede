"""A bad line between the nodes: frames are dropped, links are cut again and again, and every message arrives once and
in order. And the proof that this is the mesh's doing: without its repair, the same is found to be broken."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import ChaosCluster, chaos_cluster
from support.chaos_record import Followed, Subscriber
from support.chaos_transport import Chaos

REPAIRED_MS = 250
"""The promise: 99 of 100 messages are there so soon after they were published, or after the link is back that was cut
then."""

FEW_CUTS_MS = 1_000
"""The bound of the short run: of its few cuts, one after which an answer is lost is more than one in a hundred."""

WAYS = 4
"""Connections over which each node's messages are published."""

Say = Callable[[str], None]


async def test_a_bad_line_costs_time_and_nothing_else(say: Say) -> None:
    await bad_line(Chaos(drop_per_mille=10, cut_every_ms=2_000, cut_for_ms=500), 1_500, 500, FEW_CUTS_MS, say)


@pytest.mark.slow
async def test_a_bad_line_costs_time_and_nothing_else_for_100000_messages_of_each(say: Say) -> None:
    await bad_line(
        Chaos(drop_per_mille=10, cut_every_ms=10_000, cut_for_ms=2_000), 100_000, 2_000, REPAIRED_MS, say
    )


async def bad_line(chaos: Chaos, messages: int, rate: int, most_ms: float, say: Say) -> None:
    """`messages` from each of three nodes, `rate` a second; 99 of 100 are there within `most_ms`."""
    settings = {"limits.outbox_bytes": 64 << 20}  # two seconds' worth comes at once when a link is back
    async with chaos_cluster(3, chaos=chaos, settings=settings) as cluster:
        authors = []
        for node in cluster.nodes:
            await cluster.load.subscriber(node)
            authors += [await cluster.load.author(node) for _ in range(WAYS)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell_progress, cluster, 3 * messages, say)
            async with trio.open_nursery() as publishing:
                for author in authors:
                    publishing.start_soon(author.publish_at, rate / WAYS, None, messages // WAYS)
            await cluster.complete()
            nursery.cancel_scope.cancel()
        await cluster.judge()
        for client in cluster.load.subscribers:
            assert client.subscriber.seen == 3 * messages
            assert client.subscriber.announcements == []
        await tell_repairs(cluster, say)
        tell_delays(cluster, chaos, most_ms, say)


async def tell_progress(cluster: ChaosCluster, total: int, say: Say) -> None:
    while True:
        await trio.sleep(5)
        sent = sum(author.author.sent for author in cluster.load.authors)
        seen = min(client.subscriber.seen for client in cluster.load.subscribers)
        say(f"{sent} of {total} published, {seen} seen by every subscriber")


async def tell_repairs(cluster: ChaosCluster, say: Say) -> None:
    repaired = gaps = sent = 0
    for status in (await cluster.statuses()).values():
        for peer in status["pool"]:
            received = peer["link"]["received"]
            sent += received["notifications"]
            repaired += received["repaired"]
            gaps += peer["link"]["gaps"]
    say(f"{sent} notifications crossed, {repaired} of them repaired, in {gaps} gaps")
    assert repaired > 0, "a line that loses nothing proves nothing"


def tell_delays(cluster: ChaosCluster, chaos: Chaos, most_ms: float, say: Say) -> None:
    """How long messages of other nodes took: from when they were published, or when the link was back."""
    shift = time.monotonic() - trio.current_time()
    delays: list[float] = []
    held_up: list[float] = []
    for client in cluster.load.subscribers:
        for followed in client.subscriber.followed.values():
            if followed.author.node != client.subscriber.node:
                take_delays(client.subscriber, followed, chaos, shift, delays, held_up)
    for what, found in (("all", delays), ("those that a cut held up", held_up)):
        found.sort()
        at = {share: 1000 * found[int(len(found) * share / 100)] for share in (50, 99, 99.9)}
        say(
            f"{what}: median {at[50]:.0f} ms, 99 % {at[99]:.0f} ms, 99.9 % {at[99.9]:.0f} ms, "
            f"slowest {1000 * found[-1]:.0f} ms ({len(found)} messages)"
        )
        assert at[99] < most_ms, what


def take_delays(
    subscriber: Subscriber,
    followed: Followed,
    chaos: Chaos,
    shift: float,
    delays: list[float],
    held_up: list[float],
) -> None:
    author = followed.author
    for number, arrived_at in zip(followed.numbers, followed.arrived_at, strict=True):
        published = author.sent_at[number - 1]
        cut = chaos.cut_since(subscriber.node, author.node, published + shift)
        if cut is None:  # perhaps it was cut while the message was on its way
            cut = chaos.next_cut(subscriber.node, author.node, published + shift)
        if cut - shift > arrived_at:
            delays.append(arrived_at - published)
        else:
            delay = arrived_at - (cut - shift + chaos.cut_for_ms / 1000)
            delays.append(delay)
            held_up.append(delay)


async def test_without_repair_the_checker_finds_what_is_missing() -> None:
    async with chaos_cluster(3, chaos=Chaos(drop_per_mille=20, repairs=False)) as cluster:
        authors = await cluster.attach(*cluster.nodes)
        async with trio.open_nursery() as publishing:
            for author in authors:
                publishing.start_soon(author.publish_at, 500, None, 250)
        with pytest.raises(AssertionError, match="was acknowledged, and is missing unannounced"):
            await cluster.judge(timeout_s=1)
