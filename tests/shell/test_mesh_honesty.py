"""The shell's part in honesty: what it says of itself, what it does about it, and what it costs to ask."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from types import FrameType

import pytest
import trio
import trio.testing

from cluster.adapters.memory import MemoryTransport
from cluster.core.node import MeshNode
from cluster.core.standing import Standing
from cluster.ports import Arrivals, Pool, Transport
from plugins.cluster import ClusterPlugin
from plugins.cluster.config import ClusterConfig
from server.core.responses import Response
from server.core.routes import HttpCall
from server.testing import TestNode, open_test_node
from support.ears import Ears
from support.mesh_town import ANY_PORT, Town, is_ready
from support.waiting import eventually


class HalfDeaf(MemoryTransport):
    """Nobody reads its publications while `is_deaf`."""

    is_deaf = False

    async def run(self, arrivals: Arrivals) -> None:
        await super().run(Ears(arrivals, lambda: self.is_deaf))


async def test_who_is_deaf_has_to_move_its_clients_where_somebody_takes_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    town = Town()
    transport = HalfDeaf(town.network)
    async with town.node("a", transport=transport) as a, town.node("b", minimum_nodes=2) as b:
        await eventually(lambda: is_ready(a, b))
        transport.is_deaf = True
        began = trio.current_time()
        await a.mesh.health.changed()
        assert trio.current_time() - began < 3
        assert "deaf" in str(a.mesh.health.why_not_ready())
        assert (a.mesh.health.has_to_move_clients, b.mesh.health.has_to_move_clients) == (True, False)
        transport.is_deaf = False
        await a.mesh.health.changed()
        assert (a.mesh.health.why_not_ready(), a.mesh.health.has_to_move_clients) == (None, False)


async def test_who_is_alone_or_knows_of_nobody_who_takes_clients_keeps_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    town = Town()
    transport = HalfDeaf(town.network)
    async with town.node("a", transport=transport) as a, town.node("b", minimum_nodes=2) as b:
        await eventually(lambda: is_ready(a, b))
        b.mesh.drain()
        assert "drained" in str(b.mesh.health.why_not_ready())
        await trio.sleep(1)
        transport.is_deaf = True
        await a.mesh.health.changed()
        assert "deaf" in str(a.mesh.health.why_not_ready())
        assert not a.mesh.health.has_to_move_clients


async def test_to_ask_whether_a_node_is_ready_does_no_work(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town()
    async with town.node("a") as a:
        await eventually(lambda: is_ready(a))
        with monkeypatch.context() as patch:
            patch.delattr(MeshNode, "reasons")
            assert a.mesh.health.why_not_ready() is None
            assert a.mesh.health.standing is Standing.LIVE


async def test_health_over_http_takes_as_much_work_in_a_cluster_of_six_as_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    counted = []
    for peers in (0, 5):
        town = Town()
        async with AsyncExitStack() as stack:
            others = [await stack.enter_async_context(town.node(f"peer-{n}")) for n in range(peers)]
            settings = ClusterConfig(bindings=ANY_PORT, minimum_nodes=1 + peers)
            plugin = (citizen_of(town), settings)
            node = await stack.enter_async_context(open_test_node(name="node", plugins=[plugin]))
            await eventually(lambda node=node: health(node).status == 200)
            assert (await node.http("GET", "/_plugin/cluster/status"))[0].result["count"] == 1 + peers
            await eventually(lambda others=others: is_ready(*others))
            counted.append(calls_for_health(node))
    assert counted[0] == counted[1] < 150


def citizen_of(town: Town) -> type[ClusterPlugin]:
    """The cluster plugin, whose nodes meet in that town."""

    class Citizen(ClusterPlugin):
        def transport(self) -> Transport:
            return town.network.transport()

        def pool(self) -> Pool:
            return town.pool

    return Citizen


def health(node: TestNode) -> Response:
    app = node.node.app
    call = HttpCall("GET", "/_plugin/cluster/health", "", {}, b"", "test")
    answer = app.http(call, app.open_session("http", "test"))
    assert isinstance(answer, Response), "it is answered inline"
    return answer


def calls_for_health(node: TestNode) -> int:
    """How many functions are called to answer it, Python's and C's."""
    calls = 0

    def count(_frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    health(node)  # what is done at the first time only
    sys.setprofile(count)
    try:
        health(node)
    finally:
        sys.setprofile(None)
    return calls


async def test_a_node_that_is_asked_says_where_it_stands(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    town.pool.failure = "no Redis"
    async with town.node("a", minimum_nodes=2) as a:
        await trio.sleep(1)
        assert a.mesh.health.standing is Standing.JOINING
        assert [reason.why for reason in a.mesh.health.reasons()] == [
            "the pool cannot be read: no Redis",
            "1 of at least 2 nodes are here",
        ]
        town.pool.failure = None
        await eventually(lambda: a.mesh.health.standing is Standing.WAITING)
        a.mesh.drain()
        assert a.mesh.health.standing is Standing.DRAINING


async def test_a_node_whose_clock_nobody_looks_at_says_so(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town()
    async with town.node("a") as a:
        await eventually(lambda: is_ready(a))
        monkeypatch.setattr(MeshNode, "next_deadline", lambda _self: float("inf"))
        await trio.sleep(3)
        assert a.mesh.health.why_not_ready() == "its clock has not been looked at for some time"
        assert a.mesh.health.standing is Standing.STALLED
