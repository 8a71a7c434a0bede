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


async def says(node: Node, impairment: str) -> tuple[float, float]:
    """Wait until the node says that it is deaf or mute; return when it was last asked and said that it was well, and
    when it had said that it is not, in seconds from now. What is between them may be the test's own lateness."""
    began = trio.current_time()
    well, ill = 0.0, 0.0

    async def does() -> bool:
        nonlocal well, ill
        asked = trio.current_time() - began
        reply = await health(node)
        if reply.status == 200:
            if ill:
                pytest.fail("it said that it is ill, and then that it is well")
            well = asked
            return False
        ill = ill or trio.current_time() - began
        # That its peers miss it may be known first, and is as good a reason; that it is its own fault must follow.
        return impairment in reply.json["error"]["props"][0]

    await eventually(does, f"it says that it is {impairment}", 2 * SAID_S)
    return well, ill


async def books_balance(cluster: ChaosCluster, victim: Member, impairment: str) -> None:
    """Nobody was left with less than was published, by answers, and all numbers agree. Only what became of what it sent
    is not confirmed to a node that does not hear the other one's heartbeats."""
    others = [member.name for member in cluster.members if member is not victim]
    deaf = [(victim.name, other) for other in others]
    await cluster.complete()
    await cluster.balanced(deaf if impairment == "deaf" else [(other, name) for name, other in deaf])
    assert cluster.load.record.violations() == []


async def come_back(cluster: ChaosCluster, member: Member, folder: Path) -> None:
    """The node is restarted, as somebody or something that reads 503 would do, and everything is judged."""
    await member.stop()
    for file in folder.iterdir():
        file.unlink()
    await member.start()
    await cluster.judge()


@pytest.mark.slow
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
            well, ill = await says(victim.node, impairment)
            say(f"{size} nodes, {impairment}: said after {well:.2f} s to {ill:.2f} s")
            assert well < SAID_S, "who asked after that was told"
            moved = [client for client in (*authors, *readers) if client.node is victim.node]

            def are_moved() -> bool:
                return all("1012" in (client.closed or "") for client in moved)

            await eventually(are_moved, "its clients are sent away")
            assert (await victim.node.get("/_ready")).status == 503
            assert (await victim.node.get("/_healthcheck")).status == 200, "it lives, and is not ready"
            for other in others:
                assert (await health(other.node)).status == 200, "the others are well, and say so"
        assert all(client.closed is None for client in (*authors, *readers) if client not in moved)
        await books_balance(cluster, victim, impairment)
        await come_back(cluster, victim, tmp_path)
