"""A checker that cannot fail proves nothing: each law is broken here on purpose, and found to be."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from cluster.core import effects as fx
from cluster.core.limits import Limits
from cluster.core.messages import Notification
from cluster.testing import Law, LawBroken, NotInTime, SimNode, World

Pair = tuple[World, SimNode, SimNode]


@pytest.fixture
def pair() -> Pair:
    """Two nodes at rest: a has a room, for which b has published twice."""
    world = World(Random(1))
    a, b = world.start("a"), world.start("b")
    world.run(1)
    world.open_room(a, "r")
    world.run(0.1)
    world.publish(b, "r")
    world.publish(b, "r")
    world.run(1)
    world.check_at_rest()
    return world, a, b


def broken(act: Callable[[], object]) -> Law:
    with pytest.raises(LawBroken) as raised:
        act()
    return raised.value.law


def delivery(*payloads: bytes, room: str = "r") -> fx.Deliver:
    return fx.Deliver("b", [Notification([room], payload) for payload in payloads])


class TestDeliveries:
    @pytest.mark.parametrize(
        "wrong",
        [delivery(b"2", b"1"), delivery(b"1", b"1"), delivery(b"1", room="s")],
        ids=["order", "twice", "room"],
    )
    def test_in_order_once_and_where_they_were_said(self, pair: Pair, wrong: fx.Deliver) -> None:
        world, a, _ = pair
        world.ledger._delivered.clear()
        assert broken(lambda: world.shells.perform(a, [wrong])) is Law.IN_ORDER

    def test_in_parts_that_are_the_whole(self, pair: Pair) -> None:
        world, a, b = pair
        payload = world.ledger.say(b, a.life, ("r", "s", "t"), world.now)
        assert broken(lambda: world.ledger.in_parts(payload, [["r", "s"], ["u"]])) is Law.IN_ORDER
        world.ledger.in_parts(payload, [["r", "s"], ["t"]])
        parts = [Notification(["r", "s"], payload), Notification(["t"], payload)]
        assert broken(lambda: world.shells.perform(a, [fx.Deliver("b", parts[::-1])])) is Law.IN_ORDER
        world.shells.perform(a, [fx.Deliver("b", parts)])
        assert a.delivered[b.life][-2:] == [3, 4]
        assert broken(lambda: world.shells.perform(a, [fx.Deliver("b", parts[1:])])) is Law.IN_ORDER

    def test_what_is_missing_without_a_word(self, pair: Pair) -> None:
        world, a, b = pair
        a.delivered[b.life].pop()
        assert broken(world.check_at_rest) is Law.BALANCE

    def test_what_is_announced_for_other_rooms(self, pair: Pair) -> None:
        world, a, _ = pair
        a.tell(fx.Lost("b", 0, {"s": 1}), world.now)
        assert broken(world.check_at_rest) is Law.ANNOUNCED

    def test_what_an_origin_takes_with_it(self, pair: Pair) -> None:
        world, a, b = pair
        world.publish(b, "r")
        world.run(0.01)
        world.weather.is_lost = lambda *_: True
        world.publish(b, "r")
        world.crash(b)
        world.heal()
        world.run(3)
        assert world.waits_for_news(), "it is looked for for a while"
        world.run(world.limits.forget_after)
        assert not world.waits_for_news()
        world.check_at_rest()
        a.announced.clear()
        assert broken(world.check_at_rest) is Law.ANNOUNCED

    def test_the_end_of_one_that_was_held_for_gone_before_and_showed_itself_since(self) -> None:
        world = World(Random(1), Limits(forget_after=4.0))
        a, b = world.start("a"), world.start("b")
        world.run(1)
        world.open_room(a, "r")
        world.run(1)
        world.pause(b, 8)
        world.run(7.5)
        told_at, _, _ = a.announced[-1]
        world.pause(a, 5)
        world.cut(b, a)
        world.run(0.6)
        assert world.publish(b, "r") == ["a"]
        world.leave(b)
        world.run(10)
        world.check_at_rest()
        a.carded_at[b.life] = told_at + world.limits.card_lifetime
        world.check_at_rest()
        a.carded_at[b.life] += 0.1
        assert broken(world.check_at_rest) is Law.ANNOUNCED
        a.announced.append((world.now, b.life, None))
        world.check_at_rest()

    def test_what_one_that_leaves_does_not_wait_for(self, pair: Pair) -> None:
        world, _, b = pair
        world.run(5)
        world.weather.loss = 0.1
        world.run(0)
        lost = world.weather.is_lost
        world.weather.is_lost = lambda *_: True
        world.publish(b, "r")
        world.weather.is_lost = lost
        b.core.leaving._unsettled = lambda: []  # type: ignore[method-assign]
        assert broken(lambda: world.leave(b)) is Law.PATIENT


class TestViews:
    def test_a_room_that_is_not_there(self, pair: Pair) -> None:
        world, _, b = pair
        b.view["a"]["ghost"] = (b"", 1)
        assert broken(world.check_at_rest) is Law.EQUAL_VIEWS

    def test_a_node_that_is_not_there(self, pair: Pair) -> None:
        world, _, b = pair
        b.view["x"] = {"r": (b"", 1)}
        assert broken(world.check_at_rest) is Law.NO_GHOSTS

    def test_two_that_do_not_talk(self, pair: Pair) -> None:
        world, _, _ = pair
        world.cut("a", "b")
        world.run(5)
        assert broken(world.check_at_rest) is Law.EQUAL_VIEWS

    def test_an_embedder_that_is_told_nonsense(self, pair: Pair) -> None:
        world, a, _ = pair
        assert broken(lambda: a.tell(fx.PeerRoomClosed("b", "never"), world.now)) is Law.CONSISTENT

    def test_a_goodbye_that_nobody_heeds(self, pair: Pair) -> None:
        world, a, b = pair
        world.run(5)
        link = a.link("b")
        assert link is not None
        link.said_farewell = lambda *_: None  # type: ignore[method-assign]
        world.leave(b)
        assert broken(lambda: world.run(1)) is Law.NO_GHOSTS


class TestBarriers:
    def test_one_that_lifts_too_early(self, pair: Pair) -> None:
        world, a, _ = pair
        a.core.settled_up_to = lambda: (a.core.epoch, 99)  # type: ignore[method-assign]
        assert broken(lambda: world.open_room(a, "s")) is Law.SETTLED

    def test_one_who_does_not_publish_to_a_settled_room(self, pair: Pair) -> None:
        world, _, b = pair
        b.view.clear()
        assert broken(lambda: world.publish(b, "r")) is Law.SETTLED


class TestDeaths:
    def test_last_words_of_one_that_lives(self, pair: Pair) -> None:
        world, a, _ = pair
        world.run(5)
        assert broken(lambda: world.shells.perform(a, [fx.Lost("b", None, None)])) is Law.NO_FALSE_DEATH
        world.network.break_between("a", "b")
        world.shells.perform(a, [fx.Lost("b", None, None)])

    def test_without_a_reason(self, pair: Pair) -> None:
        world, a, _ = pair
        world.run(5)
        silent = fx.Belief("peer silent", {"peer": "b"})
        for told in (silent, fx.PeerAway("b"), fx.PeerGone("b")):
            assert broken(lambda told=told: world.shells.perform(a, [told])) is Law.NO_FALSE_DEATH

    def test_a_fault_is_a_reason_for_a_while(self, pair: Pair) -> None:
        world, a, _ = pair
        world.run(5)
        world.network.break_between("a", "b")
        world.shells.perform(a, [fx.PeerAway("b"), fx.PeerBack("b")])
        world.run(5)
        assert broken(lambda: world.shells.perform(a, [fx.PeerAway("b")])) is Law.NO_FALSE_DEATH

    def test_who_was_stopped_has_no_right_to_call_others_dead(self, pair: Pair) -> None:
        world, a, _ = pair
        world.run(5)
        world.pause(a, 2)
        world.run(2)
        assert broken(lambda: world.shells.perform(a, [fx.PeerAway("b")])) is Law.NO_FALSE_DEATH

    def test_a_cut_is_no_reason_while_a_third_hears_both(self) -> None:
        world = World(Random(1))
        a, _, _ = (world.start(name) for name in "abc")
        world.run(5)
        world.cut("b", "a")
        world.run(1.5)
        assert broken(lambda: world.shells.perform(a, [fx.PeerAway("b")])) is Law.NO_FALSE_DEATH


class TestRest:
    def test_bounds(self, pair: Pair) -> None:
        world, a, _ = pair
        link = a.link("b")
        assert link is not None
        link.mailbox.received._held = dict.fromkeys(range(world.limits.held_items + 2), Notification([], b""))
        assert broken(world.check_bounds) is Law.BOUNDS

    def test_weights(self, pair: Pair) -> None:
        world, a, _ = pair
        link = a.link("b")
        assert link is not None
        link.mailbox.received.held_bytes = world.limits.held_bytes + 1
        assert broken(world.check_bounds) is Law.BOUNDS

    def test_quiet(self, pair: Pair) -> None:
        world, a, _ = pair
        world.check_quiet(2)
        world.clock.at(world.now + 1, lambda: [world.network.publish(a, b"h\x00") for _ in range(20)])
        assert broken(lambda: world.check_quiet(2)) is Law.QUIET

    def test_readiness(self, pair: Pair) -> None:
        world, a, _ = pair
        a.core.leave("test", world.now)
        assert broken(world.check_at_rest) is Law.READY

    def test_progress(self, pair: Pair) -> None:
        world, a, _ = pair
        with pytest.raises(NotInTime):
            world.run_until(lambda: False, 1)
        a.core.next_deadline = lambda: world.now  # type: ignore[method-assign]
        world.shells.schedule_tick(a)
        assert broken(lambda: world.run(1)) is Law.PROGRESS
