"""The shell's part in honesty: what it says of itself, what it does about it, and what it costs to ask."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from cluster.adapters.memory import MemoryTransport
from cluster.core.node import MeshNode
from cluster.ports import Arrivals
from support.ears import Ears
from support.mesh_town import Town, is_ready
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
        await a.mesh.judged_anew()
        assert trio.current_time() - began < 3
        assert "deaf" in str(a.mesh.why_not_ready())
        assert (a.mesh.has_to_move_clients, b.mesh.has_to_move_clients) == (True, False)
        transport.is_deaf = False
        await a.mesh.judged_anew()
        assert (a.mesh.why_not_ready(), a.mesh.has_to_move_clients) == (None, False)


async def test_who_is_alone_or_knows_of_nobody_who_takes_clients_keeps_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    town = Town()
    transport = HalfDeaf(town.network)
    async with town.node("a", transport=transport) as a, town.node("b", minimum_nodes=2) as b:
        await eventually(lambda: is_ready(a, b))
        b.mesh.drain()
        assert "drained" in str(b.mesh.why_not_ready())
        await trio.sleep(1)
        transport.is_deaf = True
        await a.mesh.judged_anew()
        assert "deaf" in str(a.mesh.why_not_ready())
        assert not a.mesh.has_to_move_clients


async def test_to_ask_whether_a_node_is_ready_does_no_work(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town()
    async with town.node("a") as a:
        await eventually(lambda: is_ready(a))
        with monkeypatch.context() as patch:
            patch.delattr(MeshNode, "why_not_ready")
            assert a.mesh.why_not_ready() is None


async def test_a_node_whose_clock_nobody_looks_at_says_so(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town()
    async with town.node("a") as a:
        await eventually(lambda: is_ready(a))
        monkeypatch.setattr(MeshNode, "next_deadline", lambda _self: float("inf"))
        await trio.sleep(3)
        assert a.mesh.why_not_ready() == "its clock has not been looked at for some time"
