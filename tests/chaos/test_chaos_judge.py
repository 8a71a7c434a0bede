"""The judge of real clusters misses whom the product sent away, and whatever nodes and clients count differently."""

from __future__ import annotations

import pytest

from support.chaos_cluster import ChaosCluster, chaos_cluster
from support.waiting import eventually


async def attached(cluster: ChaosCluster) -> None:
    """Clients of all nodes, of whom everything is well so far."""
    for author in await cluster.attach(*cluster.nodes):
        await author.publish(3)
    await cluster.judge()


async def test_the_judge_misses_clients_of_a_node_to_which_the_test_did_nothing() -> None:
    async with chaos_cluster(2) as cluster:
        await attached(cluster)
        drained = cluster.nodes[0]
        assert (await drained.post("/_plugin/cluster/drain")).status == 200
        clients = [client for client in cluster.load.clients() if client.node is drained]
        await eventually(lambda: all(client.closed for client in clients), "they are sent away")
        with pytest.raises(AssertionError, match="a client of node-1: closed with 1012"):
            await cluster.judge()
        cluster.impaired.add(drained)
        await cluster.complete()


async def test_the_judge_finds_what_a_node_counted_and_its_client_did_not_see() -> None:
    async with chaos_cluster(2) as cluster:
        await attached(cluster)
        reply = await cluster.nodes[0].post("/chaos/cars/_publish", {"for": "nobody"})
        assert reply.status == 200
        with pytest.raises(
            AssertionError, match=r"node-1 counts Told\(.*published=4.* clients Told\(.*published=3"
        ):
            await cluster.judge()
