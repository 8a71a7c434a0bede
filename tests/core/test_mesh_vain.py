"""Many rooms at once, answers that nobody can read or that never come, peers that want too much: all of it ends."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from cluster.core import effects as fx
from cluster.core import messages
from cluster.core.early import Early
from cluster.core.identity import Epoch
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.messages import Notification, RoomOpened
from cluster.core.replica import Sync
from cluster.testing import SimNode, World

Pair = tuple[World, SimNode, SimNode]


def pair(limits: Limits | None = None) -> Pair:
    """Two nodes: a has the room r."""
    world = World(Random(1), limits)
    a, b = world.start("a"), world.start("b")
    world.run(1)
    world.open_room(a, "r")
    world.run(0.1)
    assert a.core.why_not_ready() is b.core.why_not_ready() is None
    return world, a, b


def link(node: SimNode, peer: str) -> Link:
    found = node.link(peer)
    assert found is not None
    return found


def believed(node: SimNode, event: str) -> list[dict[str, object]]:
    return [fields for _, said, fields in node.beliefs if said == event]


def garble(world: World, kind: type[messages.Reply]) -> None:
    """Answers of this kind cannot be read."""

    def answered(node: SimNode, sender: SimNode, asked_as: str, frame: bytes) -> None:
        is_one = isinstance(messages.decode_reply(frame), kind)
        world.shells._answered(node, sender, asked_as, b"rubbish" if is_one else frame)

    world.network.answered = answered


def ungarble(world: World) -> None:
    world.network.answered = world.shells._answered


def lose(world: World, do: Callable[[], object]) -> None:
    world.weather.loss = 1.0
    do()
    world.weather.loss = 0.0


class TestManyRooms:
    def test_a_notification_for_more_rooms_than_one_can_name_arrives_in_all(self) -> None:
        world, a, b = pair()
        rooms = [f"{number:064x}" for number in range(messages.ROOMS_PER_NOTIFICATION + 1)]
        world.open_rooms(a, rooms)
        world.run(1)
        world.publish(b, *rooms)
        world.publish(b, "r")
        world.run(1)
        world.check_at_rest()
        received = link(a, "b").mailbox.received
        assert (received.delivered, received.lost) == (19, 0), "of 3,744 rooms each, and one"

    def test_what_was_cut_is_told_in_as_many_frames_as_it_takes(self) -> None:
        world, a, b = pair(Limits(notify_log_bytes=1 << 20))
        rooms = [f"{number:064x}" for number in range(40)]
        world.open_rooms(a, rooms)
        world.run(1)
        lose(world, lambda: [world.publish(b, *rooms) for _ in range(4200)])
        world.publish(b, "r")
        world.run(5)
        world.check_at_rest()
        assert a.lost[b.life] > 3800
        told = a.lost_rooms[b.life]
        assert told is not None
        assert set(told.values()) == {a.lost[b.life]}
        assert set(told) == set(rooms)

    def test_of_what_was_cut_no_more_is_remembered_than_is_allowed(self) -> None:
        limits = Limits(notify_log_bytes=1000, cut_bytes=2000)
        world, a, b = pair(limits)
        lose(world, lambda: [world.publish(b, "r") for _ in range(100)])
        assert 1880 <= link(b, "a").outgoing.remains_bytes <= 2000
        world.publish(b, "r")
        world.run(1)
        world.check_at_rest()
        assert a.lost_rooms[b.life] is None, "of the earlier ones everybody is told"


class TestInVain:
    def test_what_cannot_be_read_is_asked_for_ten_times_and_then_announced(self) -> None:
        world, a, b = pair()
        garble(world, messages.ResentNotify)
        lose(world, lambda: [world.publish(b, "r") for _ in range(3)])
        for _ in range(50):
            world.publish(b, "r")
        world.run(0.85)
        assert a.delivered[b.life] == []
        world.run(0.5)
        assert (a.lost[b.life], len(a.delivered[b.life])) == (3, 50)
        assert a.lost_rooms[b.life] is None, "nobody knows for whom it was"
        world.run(1)
        world.check_at_rest()
        ungarble(world)
        lose(world, lambda: world.publish(b, "r"))
        world.publish(b, "r")
        world.run(1)
        world.check_at_rest()
        assert (a.lost[b.life], link(a, "b").mailbox.received.repaired) == (3, 1)

    def test_what_is_never_answered_is_announced_after_so_many_questions(self) -> None:
        world, a, b = pair(Limits(repair_tries=30))
        lost = [messages.ResentNotify]
        world.weather.is_lost = lambda _s, receiver, frame: (
            receiver is a and frame[0] > 0x80 and isinstance(messages.decode_reply(frame), *lost)
        )
        for _ in range(2):  # two holes, one after the other
            world.weather.loss = 1.0
            world.publish(b, "r")
            world.weather.loss = 0.0
            world.publish(b, "r")
        world.run(2)
        assert a.lost[b.life] == 0
        world.run(6)
        assert (a.lost[b.life], len(a.delivered[b.life])) == (2, 2)
        world.run(1)
        world.check_at_rest()

    def test_one_bad_answer_is_no_reason(self) -> None:
        world, a, b = pair()
        garble(world, messages.ResentNotify)
        lose(world, lambda: world.publish(b, "r"))
        world.publish(b, "r")
        world.run(0.5)
        ungarble(world)
        world.run(1)
        world.check_at_rest()
        assert a.lost[b.life] == 0

    def test_bad_answers_to_nobodys_question_say_nothing_of_the_next_one(self) -> None:
        world, a, b = pair()
        for _ in range(20):
            a.core.answered("b", b"rubbish", world.now)
        lose(world, lambda: world.publish(b, "r"))
        world.publish(b, "r")
        world.run(1)
        world.check_at_rest()
        assert a.lost[b.life] == 0

    def test_an_answer_that_is_of_no_use_is_not_asked_for_again_at_once(self) -> None:
        world, a, b = pair()
        lose(world, lambda: world.publish(b, "r"))
        world.weather.is_lost = lambda _s, receiver, frame: receiver is b and frame[0] > 0x80
        world.publish(b, "r")
        world.run(0.001)
        for useless in (
            messages.ResentNotify("b", b.core.epoch, 1, []),
            messages.ResentNotify("b", b.core.epoch, 2, [Notification(["r"], b"2")]),
        ):
            assert a.core.answered("b", messages.encode(useless), world.now) == []
        world.heal()
        world.run(1)
        world.check_at_rest()

    def test_a_slice_of_which_changes_cannot_be_read_is_read_anew(self) -> None:
        world, a, b = pair()
        garble(world, messages.ResentState)
        resyncs = link(b, "a").replica.resyncs
        lose(world, lambda: world.open_room(a, "lost"))
        world.open_room(a, "s")
        world.run(0.5)
        assert "lost" not in b.view["a"]
        world.run(1)
        assert (link(b, "a").replica.resyncs, b.view["a"].keys()) == (resyncs + 1, {"r", "lost", "s"})
        world.run(1)
        world.check_at_rest()

    def test_a_snapshot_that_cannot_be_read_is_said_and_tried_further(self) -> None:
        world, _, _ = pair()
        garble(world, messages.Snapshot)
        c = world.start("c")
        world.run(10)
        told = believed(c, "slice not taken over")
        assert [fields["peer"] for fields in told] == ["a", "b"]
        assert not link(c, "a").is_live
        reason = "a snapshot was asked for 10 times, and never came as a whole"
        assert c.core.why_not_ready() == f"joining a ({reason}), b ({reason})"
        ungarble(world)
        world.run(3)
        assert c.core.why_not_ready() is None
        assert link(c, "a").replica.complaint is None
        world.check_at_rest()


class TestTooMuch:
    LIMITS = Limits(slice_rooms=4, slice_retry=3.0)

    @pytest.fixture
    def full(self) -> Pair:
        world, a, b = pair(self.LIMITS)
        world.open_rooms(a, ["s", "t", "u"])
        world.run(1)
        return world, a, b

    def test_rooms_over_the_bound_are_refused_and_their_owner_knows(self, full: Pair) -> None:
        world, a, b = full
        applied = link(a, "b").applied
        world.open_room(a, "v")
        world.run(1)
        assert set(b.view["a"]) == {"r", "s", "t", "u"}, "what is known stays"
        assert link(b, "a").replica.sync is Sync.SYNCING
        assert not link(a, "b").is_known_to_peer
        assert link(a, "b").applied == applied, "the room's barrier does not lift"
        world.open_room(a, "w")
        world.run(8)
        (told,) = believed(b, "slice not taken over")
        assert told == {
            "peer": "a",
            "reason": "it has more than the 4 rooms that are taken, or larger ones",
            "rooms": 4,
        }
        assert link(b, "a").replica.resyncs == 1, "it is read again now and then"
        assert b.core.why_not_ready() is None

    def test_when_there_is_a_place_again_all_is_well(self, full: Pair) -> None:
        world, a, b = full
        world.open_rooms(a, ["v", "w"])
        world.run(1)
        for room in ("r", "s"):
            world.close_room(a, room)
        world.run(4)
        assert set(b.view["a"]) == {"t", "u"}, "only at the end of the snapshot was there a place"
        world.run(3)
        assert set(b.view["a"]) == {"t", "u", "v", "w"}
        assert link(b, "a").replica.complaint is None
        world.check_at_rest()

    def test_larger_ones_than_are_taken(self) -> None:
        world, a, b = pair(Limits(slice_bytes=1000, slice_retry=3.0))
        world.open_room(a, "s", bytes(900))
        world.run(0.5)
        assert (set(b.view["a"]), link(b, "a").is_live) == ({"r"}, False)
        world.open_room(a, "s", bytes(800))
        world.run(4)
        assert link(b, "a").replica.slice.bytes == 86 + 886
        world.check_at_rest()

    def test_what_comes_behind_a_snapshot_counts_as_well(self) -> None:
        world, a, _ = pair(self.LIMITS)
        world.weather.delay = 0.05
        c = world.start("c")
        for room in "stuvw":
            world.open_room(a, room)
            world.run(0.03)
        world.weather.delay = 0.0002
        world.run(1)
        assert link(c, "a").replica.sync is Sync.SYNCING
        assert len(link(c, "a").replica.slice) == 4

    def test_what_waits_for_a_snapshot_is_bounded_in_number_and_weight(self) -> None:
        def batch(first: int, size: int, count: int) -> messages.State:
            rooms = [RoomOpened(f"r{n}", bytes(size), 1) for n in range(count)]
            return messages.State("a", Epoch(1, 0), first, list(rooms))

        early = Early(Limits(held_items=10, held_bytes=2000))
        for kept in (batch(1, 0, 6), batch(7, 0, 5), batch(7, 1500, 1), batch(7, 0, 4)):
            early.keep(kept)
        assert (early.changes, early.bytes) == (10, 860)
        assert [kept.first for kept in early.take()] == [1, 7]
        assert (early.take(), early.changes, early.bytes) == ([], 0, 0)

    def test_what_waits_behind_a_hole_is_bounded_in_weight(self) -> None:
        world, a, b = pair(Limits(held_bytes=500))
        lose(world, lambda: world.publish(b, "r"))
        for _ in range(20):
            world.publish(b, "r")
        world.run(0.0003)
        received = link(a, "b").mailbox.received
        assert (received.held, received.held_bytes) == (4, 4 * 121)
        world.run(1)
        world.check_at_rest()
        assert len(a.delivered[b.life]) == 21
        assert received.held_bytes == 0


def test_effects_for_the_embedder_stay_in_order_when_a_range_is_given_up() -> None:
    world, a, b = pair(Limits(bad_answers=1))
    item = Notification(["r"], b"x")
    for number in (2, 4):
        batch = messages.Notify("b", b.core.epoch, number, [item])
        a.core.published(messages.encode_published(a.core.epochs.notify_topic, batch), world.now)
    a.core.answered("b", b"rubbish", world.now)
    out = a.core.time_passed(world.now + 0.1)
    told = [effect for effect in out if isinstance(effect, fx.Lost | fx.Deliver)]
    assert told == [fx.Lost("b", 1, None), fx.Deliver("b", [item])]
    asked = [messages.decode_question(effect.frame) for effect in out if isinstance(effect, fx.Ask)]
    assert [(ask.first, ask.last) for ask in asked if isinstance(ask, messages.ResendNotify)] == [(3, 3)]
