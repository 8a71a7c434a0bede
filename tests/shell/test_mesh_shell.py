"""The mesh as a service, on memory adapters under a clock that jumps, and once over real sockets."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from cluster import Bindings, ConfigurationError, Identity, MeshConfig, open_mesh
from cluster.adapters.memory import MemoryPool
from cluster.adapters.zeromq import ZeroMqTransport
from cluster.core.identity import Card, Epoch
from cluster.core.liveness import Health
from cluster.keys import Sealer
from cluster.ports import Pool
from support.mesh_town import Embedder, Town, is_ready
from support.waiting import eventually


async def test_two_nodes_find_each_other_and_talk(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    async with town.node("a", minimum_nodes=2) as a, town.node("b", minimum_nodes=2) as b:
        await eventually(lambda: is_ready(a, b))
        a.mesh.open_room("r", b"description", 1)
        assert await a.mesh.settled() == []
        assert b.rooms == {"a": {"r": 1}}
        a.mesh.count_room("r", 2)
        a.mesh.flush()
        b.mesh.notify("a", ["r"], b"hello")
        b.mesh.flush()
        await eventually(lambda: a.got == [b"hello"])
        assert b.rooms == {"a": {"r": 2}}
        a.mesh.close_room("r")
        a.mesh.flush()
        await eventually(lambda: b.rooms == {"a": {}})


async def test_leaving_tells_the_others_and_empties_the_pool(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    async with town.node("a") as a:
        async with town.node("b") as b:
            b.mesh.open_room("r", b"", 1)
            b.mesh.flush()
            await eventually(lambda: a.rooms == {"b": {"r": 1}})
        await eventually(lambda: a.rooms == {})
        assert [link.id for link in a.mesh.core.links] == []
        assert list(town.pool._cards) == ["a"]


async def test_leaving_does_not_need_the_pool(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    async with town.node("a"):
        town.pool.failure = "gone"
    assert "card left to expire" in town.log.events


async def test_a_pool_that_is_away_is_said_once_and_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    town = Town()
    town.pool.failure = "no Redis"
    async with town.node("a") as a, town.node("b") as b:
        await trio.sleep(5)
        assert a.mesh.health.why_not_ready() == "the pool cannot be read: no Redis"
        assert a.mesh.pool_failed_since is not None
        town.pool.failure = None
        await eventually(lambda: is_ready(a, b) and a.mesh.core.unsettled(a.mesh.core.epoch, 0) == [])
        assert a.mesh.pool_failed_since is None
    assert town.log.events.count("pool unavailable") == 2, "once for each node"
    assert town.log.events.count("pool available again") == 2


async def test_settled_names_who_does_not_answer(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    async with town.node("a", minimum_nodes=2) as a, town.node("b") as b:
        await eventually(lambda: is_ready(a, b))
        address = b.mesh.core.card.pub
        town.network.is_lost = lambda _sender, receiver, _frame: receiver == address
        a.mesh.open_room("r", b"", 1)
        began = trio.current_time()
        assert await a.mesh.settled() == ["b"]
        assert trio.current_time() - began == pytest.approx(0.5, abs=0.01)
        town.network.is_lost = lambda _sender, _receiver, _frame: False
        await eventually(lambda: b.rooms == {"a": {"r": 1}})
        assert await a.mesh.settled() == []


async def test_barriers_lift_in_order_and_survive_cancellation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    town = Town()
    async with town.node("a", minimum_nodes=2) as a, town.node("b") as b:
        await eventually(lambda: is_ready(a, b))
        a.mesh.open_room("x", b"", 1)
        with trio.move_on_after(0) as gave_up:
            await a.mesh.settled()
        assert gave_up.cancelled_caught
        done: list[int] = []

        async def subscribe(number: int) -> None:
            a.mesh.open_room(f"r{number}", b"", 1)
            assert await a.mesh.settled() == []
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(subscribe, number)
        assert len(done) == 50
        assert len(b.rooms["a"]) == 51


async def test_reset_comes_back_when_all_have_done_it(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(town.node(name, minimum_nodes=3)) for name in "abc"]
        await eventually(lambda: is_ready(*nodes))
        a, b, c = nodes
        a.mesh.open_room("r", b"", 1)
        assert await a.mesh.settled() == []
        before = [node.mesh.core.epoch for node in nodes]
        assert await b.mesh.reset() == []
        assert [node.mesh.core.epoch for node in nodes] == [epoch.next_turn() for epoch in before]
        assert b.rooms["a"] == c.rooms["a"] == {"r": 1}


async def test_reset_names_who_has_not(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    async with town.node("a", minimum_nodes=2) as a, town.node("b") as b:
        await eventually(lambda: is_ready(a, b))
        address = b.mesh.core.card.pub
        # b speaks, but hears no questions: it stays up and never takes the reset.
        town.network.is_lost = lambda _sender, receiver, frame: receiver == address and frame[0] > 0x7F
        assert await a.mesh.reset() == ["b"]


async def test_lost_notifications_are_repaired_and_lost_ones_said(
    autojump_clock: trio.testing.MockClock,
) -> None:
    town = Town()
    async with town.node("a", minimum_nodes=2) as a, town.node("b") as b:
        a.mesh.open_room("r", b"", 1)
        await eventually(lambda: is_ready(a, b) and "a" in b.rooms)
        every_third = iter(range(10_000))
        town.network.is_lost = lambda _s, _r, frame: frame.startswith(b"na@") and next(every_third) % 3 == 0
        said = [b"%d" % number for number in range(300)]
        for payload in said:
            b.mesh.notify("a", ["r"], payload)
            b.mesh.flush()
        await eventually(lambda: a.got == said)
        assert a.lost_count == 0


async def test_a_crashed_peer_is_dropped_and_taken_back(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    async with town.node("a") as a, town.node("b") as b:
        b.mesh.open_room("r", b"", 1)
        b.mesh.flush()
        await eventually(lambda: "b" in a.rooms)
        town.network.is_lost = lambda _sender, _receiver, _frame: True
        began = trio.current_time()
        await eventually(lambda: "b" in a.away)
        assert trio.current_time() - began < 2
        town.network.is_lost = lambda _sender, _receiver, _frame: False
        await eventually(lambda: not a.away and a.rooms == {"b": {"r": 1}})


async def test_without_a_secret_only_loopback_is_bound(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    config = MeshConfig(bindings=Bindings(pub="tcp://192.0.2.1:7511", router="tcp://127.0.0.1:*"))
    with pytest.raises(ConfigurationError, match="without a secret"):
        async with open_mesh(
            config,
            Identity(node_id="a", started_at=1),
            transport=town.network.transport(),
            pool=town.pool,
            observer=Embedder(),
            defer=lambda _flush: None,
        ):
            pass


async def test_nodes_with_other_secrets_do_not_meet(autojump_clock: trio.testing.MockClock) -> None:
    town = Town()
    async with town.node("a", secret="a" * 16) as a, town.node("b", secret="b" * 16) as b:
        await trio.sleep(5)
        assert not list(a.mesh.core.links)
        assert not list(b.mesh.core.links)
        assert "bad card" in town.log.events


class SlowPool(MemoryPool):
    """A pool that takes its time, as a Redis that hangs."""

    async def beat(self, node: str, card: bytes, lifetime_ms: int) -> list[bytes]:
        await trio.sleep(2)
        return await super().beat(node, card, lifetime_ms)


async def test_a_slow_pool_slows_nothing_else(autojump_clock: trio.testing.MockClock) -> None:
    slow: Pool = SlowPool()
    town = Town(pool=slow)  # type: ignore[arg-type]  # a pool for all, of any kind
    async with town.node("a") as a, town.node("b") as b:
        await eventually(lambda: is_ready(a, b) and any(link.is_live for link in a.mesh.core.links))
        await trio.sleep(20)
        assert "peer silent" not in town.log.events


async def test_a_card_with_an_impossible_address_ends_nobody() -> None:
    town = Town()
    card = Card(id="x", epoch=Epoch(1, 0), pub="rubbish", router="tcp://127.0.0.1:1")
    await town.pool.beat("x", Sealer(None).seal(card), 60_000)
    async with town.node("a", transport=ZeroMqTransport()) as a:
        async with town.node("b", transport=ZeroMqTransport()) as b:
            await eventually(lambda: all(any(link.is_live for link in n.mesh.core.links) for n in (a, b)))
        core = a.mesh.core
        await eventually(lambda: any(link.id == "x" and link.health is Health.DOWN for link in core.links))
        assert town.log.events.count("peer cannot be connected to") == 2  # by a and by b


async def test_the_same_over_real_sockets() -> None:
    town = Town()
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(town.node(name, transport=ZeroMqTransport(), minimum_nodes=3))
            for name in "abc"
        ]
        await eventually(lambda: is_ready(*nodes))
        a, b, c = nodes
        for number in range(200):
            a.mesh.open_room(f"r{number}", b"", 1)
            assert await a.mesh.settled() == []
            assert f"r{number}" in b.rooms["a"]
            assert f"r{number}" in c.rooms["a"]
        said = [b"%d" % number for number in range(2000)]
        for payload in said:
            b.mesh.notify("a", ["r0"], payload)
        b.mesh.flush()
        await eventually(lambda: a.got == said)
        assert await c.mesh.reset() == []
