"""Nodes that do not reach each other, in networks of their own: every shape, both ways or one way, while clients
publish and subscribe on all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import MACHINE_S, PROMISED_S, WHOLE_S, ChaosCluster
from support.chaos_network import PUB_PORT, ROUTER_PORT, Network, network_cluster, why_not_here
from support.processes import Node
from support.waiting import eventually

WHY_NOT = why_not_here()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

RATE = 50
"""Publishes a second on each node."""

Say = Callable[[str], None]
Cut = Callable[[Network], None]


def isolate_one(network: Network) -> None:
    network.isolate(2)


def cut_one_link(network: Network) -> None:
    network.cut(0, 2)


def scatter(network: Network) -> None:
    for host in range(3):
        network.isolate(host)


def deafen_one_way(network: Network) -> None:
    """Nothing of the first arrives at the last, which the first hears well."""
    network.block(0, 2)


def lose_publications(network: Network) -> None:
    """What the first publishes does not arrive at the last; all else does."""
    network.block(0, 2, PUB_PORT)


def lose_answers(network: Network) -> None:
    network.block(0, 2, ROUTER_PORT)


async def test_a_partition_heals(say: Say) -> None:
    await partition(isolate_one, 2.5, WHOLE_S, say)


@pytest.mark.slow
@pytest.mark.parametrize("length_s", [5, 15])
@pytest.mark.parametrize(
    "cut", [isolate_one, cut_one_link, scatter, deafen_one_way, lose_publications, lose_answers]
)
async def test_a_partition_of_any_shape_heals(cut: Cut, length_s: float, say: Say) -> None:
    await partition(cut, length_s, PROMISED_S + MACHINE_S, say)


async def partition(cut: Cut, length_s: float, whole_s: float, say: Say) -> None:
    async with network_cluster() as (cluster, network):
        authors = await cluster.attach(*cluster.nodes)
        async with cluster.publishing(authors, RATE):
            cut(network)
            await trio.sleep(length_s)
            network.heal()
            began = trio.current_time()
            took = await cluster.whole(whole_s)
            say(f"whole {took:.2f} s after {length_s} s of {cut.__name__}")
        await cluster.complete()
        say(f"complete {trio.current_time() - began:.2f} s after it")
        await cluster.judge()
        assert_nothing_was_lost(cluster)


@pytest.mark.slow
async def test_who_does_not_hear_publications_gets_everything_by_answers(say: Say) -> None:
    async with network_cluster() as (cluster, network):
        authors = await cluster.attach(*cluster.nodes)
        lose_publications(network)
        async with cluster.publishing(authors, RATE):
            await trio.sleep(4)
        await cluster.complete()
        followed = cluster.load.subscribers[2].subscriber.followed[authors[0].author.name]
        sent_at = followed.author.sent_at
        took = [
            arrived - sent_at[number - 1]
            for number, arrived in zip(followed.numbers, followed.arrived_at, strict=True)
        ]
        say(f"publications took at most {max(took):.2f} s by answers")
        assert_nothing_was_lost(cluster)
        network.heal()
        await cluster.judge()


@pytest.mark.slow
async def test_who_subscribes_during_a_partition_is_told_that_something_may_be_missing(say: Say) -> None:
    """The node on the other side cannot know of the room, and publishes for nobody."""
    async with network_cluster() as (cluster, network):
        here, _, there = cluster.nodes
        isolate_one(network)
        await eventually(lambda: does_not_reach(here, there), "the partition is noticed")
        reader = await cluster.load.subscriber(here)
        reader.subscriber.unknown_to.add(there.id)
        author = await cluster.load.author(there)
        await author.publish(10)
        await author.all_acknowledged()
        network.heal()
        loss = await reader.until_told_of_loss()
        assert (loss.origin, loss.rooms[0].count) == (there.id, None)
        await cluster.judge()
        assert reader.subscriber.seen == 0
        await author.publish(10)
        await cluster.judge()
        assert reader.subscriber.seen == 10


async def does_not_reach(node: Node, other: Node) -> bool:
    status = (await node.get("/_plugin/cluster/status")).result
    return other.id in {peer["id"] for peer in status["unreachable"]}


def assert_nothing_was_lost(cluster: ChaosCluster) -> None:
    sent = sum(author.author.sent for author in cluster.load.authors)
    for client in cluster.load.subscribers:
        assert client.subscriber.seen == sent, client.subscriber.name
