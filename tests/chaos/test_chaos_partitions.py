"""Nodes that do not reach each other, in networks of their own: every shape, both ways or one way, while clients
publish and subscribe on all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from support.chaos_cluster import ChaosCluster
from support.chaos_network import PUB_PORT, ROUTER_PORT, Network, network_cluster, why_not_here

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


@pytest.mark.parametrize("cut", [isolate_one, deafen_one_way])
async def test_a_partition_heals(cut: Cut, say: Say) -> None:
    await partition(cut, 2.5, say)


@pytest.mark.slow
@pytest.mark.parametrize("length_s", [5, 15])
@pytest.mark.parametrize(
    "cut", [isolate_one, cut_one_link, scatter, deafen_one_way, lose_publications, lose_answers]
)
async def test_a_partition_of_any_shape_heals(cut: Cut, length_s: float, say: Say) -> None:
    await partition(cut, length_s, say)


async def partition(cut: Cut, length_s: float, say: Say) -> None:
    async with network_cluster() as (cluster, network):
        authors = await cluster.attach(*cluster.nodes)
        async with cluster.publishing(authors, RATE):
            cut(network)
            await trio.sleep(length_s)
            network.heal()
            began = trio.current_time()
            took = await cluster.whole()
            say(f"whole {took:.2f} s after {length_s} s of {cut.__name__}")
        await cluster.complete()
        say(f"complete {trio.current_time() - began:.2f} s after it")
        await cluster.judge()
        cluster.assert_attached()
        assert_nothing_was_lost(cluster)


def assert_nothing_was_lost(cluster: ChaosCluster) -> None:
    sent = sum(author.author.sent for author in cluster.load.authors)
    for client in cluster.load.subscribers:
        assert client.subscriber.seen == sent, client.subscriber.name
