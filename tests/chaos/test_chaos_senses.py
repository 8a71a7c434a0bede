"""Half of a node dies, and nothing else of it: it says so, its clients go elsewhere, nothing is lost in silence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from support.chaos_cluster import ChaosCluster, chaos_cluster
from support.chaos_member import Member
from support.chaos_transport import Chaos
from support.http import Reply
from support.processes import Node
from support.waiting import eventually

SAID_S = 3.0
"""The promise, at default settings."""

RATE = 100
"""Publishes a second on each node."""


@asynccontextmanager
async def impairable(size: int, folder: Path) -> AsyncIterator[ChaosCluster]:
    async with chaos_cluster(size, chaos=Chaos(impairs=str(folder))) as cluster:
        yield cluster


async def health(node: Node) -> Reply:
    return await node.get("/_plugin/cluster/health")


async def says(node: Node) -> tuple[str, float]:
    """Wait until the node says that it is not ready; return why, and how long that took."""
    began = trio.current_time()
    while (reply := await health(node)).status == 200:
        assert trio.current_time() < began + 2 * SAID_S
    return reply.json["error"]["props"][0], trio.current_time() - began


async def come_back(cluster: ChaosCluster, member: Member, folder: Path) -> None:
    """The node is restarted, as somebody or something that reads 503 would do, and everything is judged."""
    await member.stop()
    for file in folder.iterdir():
        file.unlink()
    await member.start()
    await cluster.judge()


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("impairment", ["deaf", "mute"])
async def test_a_node_that_is_deaf_or_mute_says_so_and_its_clients_go_elsewhere(
    size: int, impairment: str, tmp_path: Path, say: Callable[[str], None]
) -> None:
    async with impairable(size, tmp_path) as cluster:
        *others, victim = cluster.members
        authors = await cluster.attach(*cluster.nodes)
        readers = list(cluster.load.subscribers)
        async with cluster.publishing(authors, RATE):
            cluster.impaired.add(victim.node)
            (tmp_path / f"{victim.name} is {impairment}").touch()
            reason, took = await says(victim.node)
            assert impairment in reason
            say(f"{size} nodes, {impairment}: said after {took:.2f} s")
            assert took < SAID_S
            moved = [client for client in (*authors, *readers) if client.node is victim.node]

            def are_moved() -> bool:
                return all("1012" in (client.closed or "") for client in moved)

            await eventually(are_moved, "its clients are sent away")
            assert (await victim.node.get("/_ready")).status == 503
            assert (await victim.node.get("/_healthcheck")).status == 200, "it lives, and is not ready"
            for other in others:
                assert (await health(other.node)).status == 200, "the others are well, and say so"
        assert all(client.closed is None for client in (*authors, *readers) if client not in moved)
        await come_back(cluster, victim, tmp_path)
