"""The mesh as a whole, without I/O: each test is a small history in a simulated world."""

from __future__ import annotations

from random import Random

import attrs
import msgspec
import pytest

from cluster.core import effects as fx
from cluster.core import messages
from cluster.core.identity import LATEST_BOOT, Card, Epoch
from cluster.core.limits import Limits
from cluster.core.liveness import Health
from cluster.core.node import MeshNode
from cluster.core.replica import Sync
from cluster.keys import Sealer
from cluster.testing import SimNode, World

Nodes = list[SimNode]


def cluster_of(names: str, limits: Limits | None = None) -> tuple[World, Nodes]:
    world = World(Random(1), limits)
    nodes = [world.start(name) for name in names]
    world.run(0.01)  # the first visit to the pool
    world.run_until(world.is_converged, 2)
    return world, nodes


def link(node: SimNode, peer: str):
    return next(link for link in node.core.links if link.id == peer)


def believed(node: SimNode, event: str) -> int:
    return sum(1 for _, said, _ in node.beliefs if said == event)


class TestJoining:
    def test_three_nodes_are_live_within_milliseconds(self) -> None:
        world = World(Random(1))
        nodes = [world.start(name) for name in "abc"]
        assert world.run_until(world.is_converged, 1) < 0.05
        assert [node.core.why_not_ready() for node in nodes] == [None, None, None]

    def test_a_late_joiner_gets_what_was_there(self) -> None:
        world, (a, _) = cluster_of("ab")
        world.open_room(a, "r", b"description", 3)
        c = world.start("c")
        world.run_until(world.is_converged, 1)
        assert c.view == {"a": {"r": (b"description", 3)}}

    def test_a_lost_probe_is_asked_for_again(self) -> None:
        world = World(Random(1))
        world.weather.is_lost = lambda _s, _r, frame: b"nb@" in frame and world.now < 0.5
        world.start("a")
        world.start("b")
        assert 0.5 < world.run_until(world.is_converged, 3) < 2

    def test_a_large_slice_comes_in_parts(self) -> None:
        world, (a,) = cluster_of("a", Limits(batch_bytes=1000))
        for number in range(50):
            world.open_room(a, f"r{number}", b"x" * 100)
        b = world.start("b")
        world.run_until(world.is_converged, 1)
        assert len(b.view["a"]) == 50

    def test_changes_during_a_snapshot_are_not_lost(self) -> None:
        world, (a,) = cluster_of("a")
        world.open_room(a, "before")
        world.weather.delay = 0.05
        world.start("b")
        for number in range(40):
            world.open_room(a, f"r{number}")
            world.run(0.005)
        world.run_until(world.is_converged, 2)

    def test_early_changes_over_the_bound_are_repaired_later(self) -> None:
        world, (a,) = cluster_of("a", Limits(held_items=3))
        world.weather.delay = 0.05
        world.start("b")
        for number in range(60):
            world.open_room(a, f"r{number}")
            world.run(0.002)
        world.run_until(world.is_converged, 3)

    def test_a_welcome_that_is_none_is_ignored(self) -> None:
        world, (a, b) = cluster_of("ab")
        nonce = 1
        for card in (b"rubbish", Sealer(None).seal(a.core.card)):
            welcome = messages.encode(messages.Welcome("b", b.core.epoch, card, nonce, []))
            assert all(isinstance(effect, fx.Belief) for effect in a.core.answered("b", welcome, world.now))
        assert link(a, "b").is_live

    def test_a_welcome_of_a_later_life_begins_a_new_link(self) -> None:
        world, (a, b) = cluster_of("ab")
        before = link(a, "b")
        later = msgspec.structs.replace(b.core.card, epoch=Epoch(b.boot + 1, 0))
        welcome = messages.Welcome("b", later.epoch, Sealer(None).seal(later), 1, [])
        a.core.answered("b", messages.encode(welcome), world.now)
        assert link(a, "b") is not before
        assert link(a, "b").epoch == later.epoch

    def test_a_turn_learned_from_the_pool_is_followed(self) -> None:
        world, (a, b) = cluster_of("ab")
        for turn in (1, 2):
            later = msgspec.structs.replace(b.core.card, epoch=Epoch(b.boot, turn))
            a.core.cards_read([Sealer(None).seal(later)], world.now)
            assert link(a, "b").epoch == later.epoch
            assert not link(a, "b").is_live
            link(a, "b").replica.greet(world.now, [])

    def test_nobody_is_ready_before_enough_nodes_are_here(self) -> None:
        world, (a,) = cluster_of("a", Limits(minimum_nodes=2))
        assert a.core.why_not_ready() == "1 of at least 2 nodes are here"
        b = world.start("b")
        world.run_until(world.is_converged, 1)
        assert a.core.why_not_ready() is None
        world.crash(b)
        world.run(2)
        assert a.core.why_not_ready() == "1 of at least 2 nodes are here"

    def test_a_stale_card_holds_up_readiness_only_for_a_while(self) -> None:
        world, (_, b) = cluster_of("ab")
        world.crash(b)
        c = world.start("c")
        world.run(0.1)
        assert c.core.why_not_ready() == "joining b"
        world.run(world.limits.unheard_after)
        assert c.core.why_not_ready() is None

    def test_without_a_pool_a_node_says_so_and_joins_when_it_is_back(self) -> None:
        world, (a,) = cluster_of("a")
        world.pool.is_up = False
        b = world.start("b")
        world.run(1)
        assert b.core.why_not_ready() == "the pool cannot be read: the world has taken it away"
        assert a.core.why_not_ready() is None
        world.heal()
        world.run_until(world.is_converged, 1)
        assert b.core.why_not_ready() is None


class TestRefusals:
    def test_versions_that_do_not_meet_refuse_each_other_and_say_why(self) -> None:
        world, (a,) = cluster_of("a")
        b = world.start("b")
        world.run(0.01)
        old = msgspec.structs.replace(b.core.card, protocol=(0, 0))
        hello = messages.Hello("b", old.epoch, Sealer(None).seal(old), 1)
        (refusal,) = [
            messages.decode_reply(effect.frame)
            for effect in a.core.asked(b"b", messages.encode(hello), world.now)
            if isinstance(effect, fx.Answer)
        ]
        assert isinstance(refusal, messages.Refused)
        assert "no protocol version in common" in refusal.reason
        assert refusal.known is None
        link(b, "a").is_known_to_peer = False
        b.core.answered("a", messages.encode(refusal), world.now)
        b.core.answered("a", messages.encode(refusal), world.now)
        assert link(b, "a").refusal == refusal.reason
        world.run(1)
        assert link(b, "a").refusal is None, "a speaks of b as of one that it knows"

    def test_a_refusal_that_comes_late_says_nothing_of_a_live_link(self) -> None:
        world, (a, b) = cluster_of("ab")
        refusal = messages.Refused("a", a.core.epoch, 1, "the seal does not fit", None)
        assert b.core.answered("a", messages.encode(refusal), world.now) == []
        assert link(b, "a").refusal is None

    def test_a_card_of_another_cluster_is_refused(self) -> None:
        world, (a,) = cluster_of("a")
        card = Card(id="x", epoch=Epoch(1, 0), pub="mem://x/pub", router="mem://x/router")
        hello = messages.Hello("x", card.epoch, Sealer("s" * 16).seal(card), 1)
        out = a.core.asked(b"x", messages.encode(hello), world.now)
        (answer,) = [effect for effect in out if isinstance(effect, fx.Answer)]
        refusal = messages.decode_reply(answer.frame)
        assert isinstance(refusal, messages.Refused)
        assert "secret" in refusal.reason
        assert [link.id for link in a.core.links] == []
        for _ in range(7):
            out += a.core.asked(b"x", messages.encode(hello), world.now)
        told = [effect for effect in out if isinstance(effect, fx.Belief) and effect.event == "hello refused"]
        assert (a.core.admission.refusals, a.core.admission.bad_cards, len(told)) == (8, 8, 4)

    def test_a_name_that_nobody_vouches_for_is_logged_without_harm_to_a_terminal(self) -> None:
        world, (a,) = cluster_of("a")
        hello = messages.Hello("x\x1b[2J\n", Epoch(1, 0), b"no card", 1)
        out = a.core.asked(b"x", messages.encode(hello), world.now)
        told = {effect.event: effect.fields for effect in out if isinstance(effect, fx.Belief)}
        assert told["hello refused"]["peer"] == r"'x\x1b[2J\n'"
        assert told["bad card"]["source"] == r"hello from 'x\x1b[2J\n'"

    @pytest.mark.parametrize(
        ("change", "reason"),
        [({"id": "a"}, "somebody else"), ({"epoch": Epoch(9, 9)}, "somebody else")],
    )
    def test_a_borrowed_card_is_refused(self, change: dict[str, object], reason: str) -> None:
        world, (a,) = cluster_of("a")
        card = Card(id="x", epoch=Epoch(1, 0), pub="mem://x/pub", router="mem://x/router")
        sealed = Sealer(None).seal(msgspec.structs.replace(card, **change))
        out = a.core.asked(b"x", messages.encode(messages.Hello("x", card.epoch, sealed, 1)), world.now)
        (answer,) = [effect for effect in out if isinstance(effect, fx.Answer)]
        refusal = messages.decode_reply(answer.frame)
        assert isinstance(refusal, messages.Refused)
        assert reason in refusal.reason

    def test_a_node_with_my_own_name_is_refused(self) -> None:
        world, (a,) = cluster_of("a")
        twin = msgspec.structs.replace(a.core.card, pub="mem://twin/pub")
        hello = messages.Hello("a", twin.epoch, Sealer(None).seal(twin), 1)
        (answer,) = [
            effect
            for effect in a.core.asked(b"t", messages.encode(hello), world.now)
            if isinstance(effect, fx.Answer)
        ]
        refusal = messages.decode_reply(answer.frame)
        assert isinstance(refusal, messages.Refused)
        assert "own name" in refusal.reason

    def test_who_talks_rubbish_is_named_as_far_as_that_can_be_told(self) -> None:
        world, (a, b) = cluster_of("ab")
        unknown_tag = b"s\x00" + msgspec.msgpack.encode([99, "b", [1, 0]])
        hello = messages.encode(messages.Hello("b", b.core.epoch, b.core.sealed_card, 1))
        a.core.asked(b"connection of b", hello, world.now)
        named = [
            a.core.published(unknown_tag, world.now),
            a.core.asked(b"connection of b", b"rubbish", world.now),
            a.core.asked(b"another", b"rubbish", world.now),
            a.core.answered("b", b"rubbish", world.now),
            *(a.core.answered("tcp://seed", b"rubbish", world.now) for _ in range(4)),
        ]
        told = [
            dict(belief.fields)["peer"] for (belief,) in filter(None, named) if isinstance(belief, fx.Belief)
        ]
        assert told == ["b", "b", "b", "unknown"], "the 1st, 2nd, 4th and 8th"
        assert link(a, "b").bad_frames == 3
        assert a.core.rubbish.count == 8

    def test_how_many_connections_are_remembered_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cluster.core.rubbish.ASKERS_AT_MOST", 2)
        world, (a, b) = cluster_of("ab")
        hello = messages.encode(messages.Hello("b", b.core.epoch, b.core.sealed_card, 1))
        for connection in (b"1", b"2", b"3"):
            a.core.asked(connection, hello, world.now)
        for connection in (b"1", b"2", b"3"):
            a.core.asked(connection, b"rubbish", world.now)
        assert link(a, "b").bad_frames == 2

    def test_rubbish_is_counted_and_harms_nothing(self) -> None:
        world, (a, _) = cluster_of("ab")
        for _ in range(9):
            a.core.published(b"rubbish", world.now)
            a.core.asked(b"?", b"rubbish", world.now)
            a.core.answered("b", b"rubbish", world.now)
        assert a.core.rubbish.count == 27
        world.run(1)
        world.check_at_rest()

    def test_strangers_are_not_listened_to(self) -> None:
        world, (a,) = cluster_of("a")
        ping = messages.encode(messages.Ping("x", Epoch(1, 0), 1))
        assert a.core.asked(b"x", ping, world.now) == []
        assert a.core.answered("x", messages.encode(messages.Pong("x", Epoch(1, 0), 1)), world.now) == []
        beat = messages.Probe("x", Epoch(1, 0), 1)
        assert a.core.published(messages.encode_published(b"h\x00", beat), world.now) == []


class TestStreams:
    def test_notifications_arrive_once_and_in_order_under_loss(self) -> None:
        world, (a, b, c) = cluster_of("abc")
        world.open_room(a, "r")
        world.run(0.1)
        world.weather.loss = 0.1
        for _ in range(1000):
            assert world.publish(b, "r") == ["a"]
            world.publish(c, "r")
            world.run(0.001)
        world.heal()
        world.run(1)
        world.check_at_rest()
        assert link(a, "b").mailbox.received.repaired > 50
        assert len(a.delivered[b.life]) == 1000

    def test_a_lost_last_message_is_found_within_a_heartbeat(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "r")
        world.run(0.1)
        world.weather.is_lost = lambda sender, _r, frame: sender is b and frame.startswith(b"na@")
        world.publish(b, "r")
        world.run(0.01)
        world.weather.is_lost = lambda _s, _r, _frame: False
        assert world.run_until(lambda: bool(a.delivered[b.life]), 1) <= world.limits.heartbeat

    def test_a_long_gap_is_repaired_frame_by_frame(self) -> None:
        world, (a, b) = cluster_of("ab", Limits(batch_bytes=500))
        world.open_room(a, "r")
        world.run(0.1)
        world.weather.loss = 1.0
        for _ in range(300):
            world.publish(b, "r")
        world.weather.loss = 0.0
        world.run(2)
        world.check_at_rest()
        assert link(a, "b").mailbox.received.repaired == 300
        assert link(a, "b").gaps == 1

    def test_what_the_log_no_longer_holds_is_announced(self) -> None:
        world, (a, b) = cluster_of("ab", Limits(notify_log_bytes=1000))
        world.open_room(a, "r")
        world.run(0.1)
        world.weather.loss = 1.0
        for _ in range(100):
            world.publish(b, "r")
        world.weather.loss = 0.0
        world.publish(b, "r")
        world.run(1)
        world.check_at_rest()
        assert 80 < a.lost[b.life] < 101
        assert a.lost[b.life] + len(a.delivered[b.life]) == 101
        assert believed(a, "notifications lost") == 1

    def test_a_state_gap_is_repaired_from_the_log(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.weather.loss = 1.0
        for number in range(10):
            world.open_room(a, f"r{number}")
        world.weather.loss = 0.0
        resyncs = link(b, "a").replica.resyncs
        world.open_room(a, "after")
        world.run(0.05)
        assert len(b.view["a"]) == 11
        assert link(b, "a").replica.resyncs == resyncs

    def test_a_state_gap_beyond_the_log_costs_a_snapshot(self) -> None:
        world, (a, b) = cluster_of("ab", Limits(state_log_bytes=300))
        world.weather.loss = 1.0
        for number in range(50):
            world.open_room(a, f"r{number}")
        world.weather.loss = 0.0
        resyncs = link(b, "a").replica.resyncs
        world.open_room(a, "after")
        world.run_until(world.is_converged, 1)
        assert link(b, "a").replica.resyncs == resyncs + 1

    def test_a_lost_last_change_is_found_within_a_heartbeat(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.weather.is_lost = lambda _s, _r, frame: frame.startswith(b"s")
        world.open_room(a, "r")
        world.run(0.01)
        world.weather.is_lost = lambda _s, _r, _frame: False
        assert world.run_until(lambda: "r" in b.view.get("a", {}), 1) <= world.limits.heartbeat
        assert link(b, "a").replica.tail == 1

    def test_counts_and_closings_cross(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "r")
        a.core.say.count_room("r", 7)
        a.core.say.count_room("r", 7)
        world.open_room(a, "s")
        world.close_room(a, "s")
        world.run(0.1)
        assert b.view == {"a": {"r": (b"", 7)}}
        assert a.core.say.rooms == 1

    def test_while_a_hole_is_open_it_is_asked_for_now_and_then(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "r")
        world.run(0.1)
        asked = 0

        def lose(_s: SimNode, receiver: SimNode, frame: bytes) -> bool:
            nonlocal asked
            if receiver is b and not frame.startswith((b"h", b"s", b"n")):
                question = messages.decode_question(frame)
                asked += isinstance(question, messages.ResendNotify | messages.ResendState)
                return True
            return False

        world.weather.loss = 1.0
        world.publish(b, "r")
        world.open_room(b, "lost")
        world.weather.loss = 0.0
        world.weather.is_lost = lose
        for number in range(50):
            world.publish(b, "r")
            world.open_room(b, f"r{number}")
            world.run(0.01)
        assert 8 <= asked <= 14, "twice in every repair_every, not once in every message"
        world.heal()
        world.run(1)
        world.check_at_rest()

    def test_answers_that_come_too_late_change_nothing(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "r")
        world.run(0.1)
        world.publish(b, "r")
        world.run(0.1)
        late = [
            messages.CutNotify("b", b.core.epoch, 1, [["r"]], 2),
            messages.CutNotify("b", b.core.epoch, 1, [], 99),
            messages.ResentNotify("b", b.core.epoch, 1, [messages.Notification(["r"], b"1")]),
            messages.Snapshot("b", b.core.epoch, 1, 9, 0, True, []),
            messages.ResetTaken("b", b.core.epoch, 77),
            messages.Pong("b", b.core.epoch, 1),
        ]
        for reply in late:
            a.core.answered("b", messages.encode(reply), world.now)
        stranger = messages.Pong("c", b.core.epoch, 1)
        a.core.answered("b", messages.encode(stranger), world.now)
        link(a, "b").replica.resync(world.now, [])
        for reply in (
            messages.CutState("b", b.core.epoch, 9),
            messages.ResentState("b", b.core.epoch, 1, [messages.RoomClosed("r")]),
        ):
            assert a.core.answered("b", messages.encode(reply), world.now) == []
        world.run(1)
        world.check_at_rest()

    def test_a_cut_counts_only_what_is_not_here(self) -> None:
        world, (a, b) = cluster_of("ab")
        for number in (3, 5):
            item = messages.Notification(["r"], str(number).encode())
            batch = messages.Notify("b", b.core.epoch, number, [item])
            a.core.published(messages.encode_published(a.core.epochs.notify_topic, batch), world.now)
        cut = messages.CutNotify("b", b.core.epoch, 1, [["x"], ["x", "y"], ["z"]], 4)
        out = a.core.answered("b", messages.encode(cut), world.now)
        assert [effect for effect in out if isinstance(effect, fx.Lost)] == [
            fx.Lost("b", 2, {"x": 2, "y": 1})
        ]
        out = a.core.answered(
            "b", messages.encode(messages.CutNotify("b", b.core.epoch, 4, [], 6)), world.now
        )
        assert [effect for effect in out if isinstance(effect, fx.Lost)] == [fx.Lost("b", 1, None)]
        assert link(a, "b").mailbox.received.position == 5

    def test_a_log_of_another_life_or_turn_is_not_read(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "r")
        other = Epoch(a.boot + 1, 0)
        question = messages.ResendState("b", b.core.epoch, other, 1, 1)
        (answer,) = a.core.asked(b"b", messages.encode(question), world.now)
        assert isinstance(answer, fx.Answer)
        assert messages.decode_reply(answer.frame) == messages.CutState("a", a.core.epoch, 1)
        nothing = messages.ResendNotify("b", b.core.epoch, a.boot + 1, 1, 1)
        assert a.core.asked(b"b", messages.encode(nothing), world.now) == []
        not_yet = messages.ResendState("b", b.core.epoch, a.core.epoch, 2, 2)
        assert a.core.asked(b"b", messages.encode(not_yet), world.now) == []

    def test_a_report_on_a_former_life_of_ours_confirms_nothing(self) -> None:
        world, (a, b) = cluster_of("ab")
        report = messages.LinkReport(Epoch(a.boot - 1, 0), True, 5, 5, 5, 0, 0, 0, 0)
        beat = messages.Heartbeat("b", b.core.epoch, 0, {}, {"a": report})
        a.core.published(messages.encode_published(b"h\x00", beat), world.now)
        assert link(a, "b").accounted.position == 0

    def test_what_a_peer_said_earlier_and_comes_late_is_not_what_it_has_now(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(b, "r")
        world.run(0.1)
        for _ in range(3):
            world.publish(a, "r")
        world.run(1)
        assert link(a, "b").accounted.position == 3
        report = messages.LinkReport(a.core.epoch, True, 0, 1, 1, 0, 0, 0, 0)
        beat = messages.Heartbeat("b", b.core.epoch, 1, {}, {"a": report})
        a.core.published(messages.encode_published(b"h\x00", beat), world.now)
        assert link(a, "b").accounted.position == 3

    def test_a_frame_stops_growing_at_the_batch_bound(self) -> None:
        _, (a, _) = cluster_of("ab", Limits(batch_bytes=1000))
        for _ in range(10):
            a.core.say.notify("b", ["r"], bytes(400))
        frames = [effect for effect in a.core.flush(0.0) if isinstance(effect, fx.Publish)]
        assert len(frames) == 10

    def test_confirmed_notifications_leave_the_log(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "r")
        world.run(0.1)
        for _ in range(100):
            world.publish(b, "r")
        assert link(b, "a").outgoing.bytes_logged > 0
        world.run(1)
        assert (link(b, "a").outgoing.bytes_logged, link(b, "a").accounted.delivered) == (0, 100)

    def test_a_notification_larger_than_a_frame_is_refused(self) -> None:
        _, (a, _) = cluster_of("ab")
        with pytest.raises(ValueError, match="bytes"):
            a.core.say.notify("b", ["r"], bytes(messages.PAYLOAD_BYTES + 1))

    def test_notifications_to_a_peer_that_has_gone_are_counted(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.leave(b)
        world.run(0.1)
        a.core.say.notify("b", ["r"], b"x")
        assert a.core.flush(0.0) == []
        assert a.core.say.dropped == {"peer gone": 1}

    def test_one_frame_carries_what_one_turn_said(self) -> None:
        _, (a, _) = cluster_of("ab")
        for number in range(100):
            a.core.say.open_room(f"r{number}", b"", 1)
            a.core.say.notify("b", ["r"], b"x")
        frames = [effect.frame[:1] for effect in a.core.flush(0.0) if isinstance(effect, fx.Publish)]
        assert frames == [b"s", b"n"]


class TestAnnouncements:
    def test_only_the_rooms_of_what_was_cut_are_told(self) -> None:
        world, (a, b) = cluster_of("ab", Limits(notify_log_bytes=1000))
        for room in ("x", "y", "z"):
            world.open_room(a, room)
        world.run(0.1)
        world.weather.loss = 1.0
        for number in range(100):
            world.publish(b, "x" if number % 2 else "y")
        world.weather.loss = 0.0
        told: list[fx.Lost] = []
        lost_effects(a, told)
        world.publish(b, "z")
        world.run(1)
        world.check_at_rest()
        assert {room for lost in told for room in lost.rooms or ()} == {"x", "y"}
        assert sum(lost.count or 0 for lost in told) == a.lost[b.life]

    def test_over_the_bound_of_what_is_known_of_cut_ones_every_room_is_told(self) -> None:
        world, (a, b) = cluster_of("ab", Limits(notify_log_bytes=1000, cut_items=5))
        world.open_room(a, "x")
        world.run(0.1)
        world.weather.loss = 1.0
        for _ in range(100):
            world.publish(b, "x")
        world.weather.loss = 0.0
        told: list[fx.Lost] = []
        lost_effects(a, told)
        world.run(1)
        world.check_at_rest()
        assert [lost.rooms for lost in told] == [None, {"x": 5}]

    def test_a_node_that_left_in_order_costs_nothing(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "r")
        world.run(0.1)
        world.publish(b, "r")
        world.leave(b)
        world.run(3)
        assert a.warned == []
        assert sum(a.lost.values()) == 0

    def test_a_subscriber_that_was_away_gets_everything_afterwards(self) -> None:
        world, (a, b, _) = cluster_of("abc")
        world.open_room(a, "r")
        world.run(0.1)
        world.pause(a, 7)
        for _ in range(700):
            assert world.publish(b, "r") == ["a"]
            world.run(0.01)
        world.run(2)
        world.check_at_rest()
        assert len(a.delivered[b.life]) == 700
        assert sum(a.lost.values()) == 0

    def test_one_that_was_given_up_on_is_told_that_it_missed_something(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "r")
        world.run(0.1)
        world.publish(b, "r")
        world.run(0.1)
        world.pause(a, 200)
        world.run(100)
        assert "a" not in b.view
        assert world.publish(b, "r") == [], "nobody knows any more that a would want it"
        world.run(110)
        world.check_at_rest()
        assert a.warned == [("b", {"r": 0})], "b said that it had given up a, which had given up nobody"
        assert a.lost[b.life] == 0

    def test_remembered_lives_are_bounded(self) -> None:
        world, (a,) = cluster_of("a", Limits(remembered_lives=2, forget_after=3))
        for name in "bcd":
            node = world.start(name)
            world.run(0.5)
            world.crash(node)
            world.run(8)
        assert len(a.core._peers._remembered) == 2


def lost_effects(node: SimNode, told: list[fx.Lost]) -> None:
    """Keep what the core says of losses, as the embedder is told."""
    answered = node.core.answered

    def listen(peer: str, frame: bytes, now: float) -> list[fx.Effect]:
        out = answered(peer, frame, now)
        told.extend(effect for effect in out if isinstance(effect, fx.Lost))
        return out

    node.core.answered = listen  # type: ignore[method-assign]

    def test_rooms_opened_while_a_living_node_could_not_know_are_told(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "before")
        world.run(1)
        world.cut("a", "b")
        world.cut("b", "a")
        world.run(3)
        world.open_room(a, "meanwhile")
        assert a.core.unsettled(a.core.epoch, a.core.say.state_tail) == [], (
            "nobody alive is there, as far as it knows"
        )
        assert world.publish(b, "meanwhile") == [], "and b lives, and knows of no such room"
        a.warned.clear()
        world.heal()
        world.run_until(world.is_converged, 3)
        assert a.warned == [("b", {"meanwhile": 0})]
        world.run(5)
        assert len(a.warned) == 1

    def test_after_a_reset_meanwhile_every_room_is_told(self) -> None:
        world, (a, _b) = cluster_of("ab")
        world.open_room(a, "before")
        world.run(1)
        world.cut("a", "b")
        world.cut("b", "a")
        world.run(3)
        world.reset(a)
        a.warned.clear()
        world.heal()
        world.run_until(world.is_converged, 3)
        assert a.warned == [("b", {"before": 0})], "what b knew of the epoch before says nothing of this one"


class TestSeeds:
    def test_without_a_pool_one_seed_is_enough_to_find_everybody(self) -> None:
        world, _ = cluster_of("abc")
        world.pool.is_up = False
        d = world.start("d", seeds=["a"])
        world.run_until(world.is_converged, 2)
        assert d.core.why_not_ready() is None
        assert {link.id for link in d.core.links} == {"a", "b", "c"}

    def test_a_seed_that_is_not_there_is_asked_again(self) -> None:
        world = World(Random(1))
        world.pool.is_up = False
        b = world.start("b", seeds=["a", "b"])
        world.run(3)
        assert "the pool cannot be read" in (b.core.why_not_ready() or "")
        world.start("a")
        world.run_until(world.is_converged, 3)
        assert b.core.why_not_ready() is None


class TestBarrier:
    def test_it_lifts_when_every_peer_has_applied(self) -> None:
        world, (a, _, _) = cluster_of("abc")
        world.open_room(a, "r")
        position = (a.core.epoch, a.core.say.state_tail)
        assert a.core.unsettled(*position) == ["b", "c"]
        assert a.core.settled_up_to() < position
        world.run(0.01)
        assert a.core.unsettled(*position) == []
        assert a.core.settled_up_to() >= position

    def test_a_peer_that_does_not_answer_is_named(self) -> None:
        world, (a, b, _) = cluster_of("abc")
        world.pause(b, 1.0)
        world.open_room(a, "r")
        world.run(0.1)
        assert a.core.unsettled(a.core.epoch, a.core.say.state_tail) == ["b"]

    def test_a_lost_confirmation_is_made_up_by_the_heartbeat(self) -> None:
        world, (a, _) = cluster_of("ab")
        world.cut("b", "a")
        world.open_room(a, "r")
        world.run(0.1)
        world.heal()
        world.run(world.limits.heartbeat + 0.1)
        assert a.core.unsettled(a.core.epoch, a.core.say.state_tail) == []

    def test_alone_everything_is_settled(self) -> None:
        world, (a,) = cluster_of("a")
        world.open_room(a, "r")
        assert a.core.settled_up_to() == (a.core.epoch, 1)


class TestFailure:
    def test_a_killed_node_is_down_within_two_seconds(self) -> None:
        world, (a, b, c) = cluster_of("abc")
        world.open_room(b, "r")
        world.run(0.1)
        world.crash(b)
        took = world.run_until(lambda: "b" in a.away and "b" in c.away, 3)
        assert took < 1, "its closed connection makes the question immediate"
        assert link(a, "b").health is Health.DOWN

    def test_a_node_that_leaves_is_gone_at_once(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(b, "r")
        world.run(0.1)
        world.leave(b)
        assert b.core.why_not_ready() == "this node is leaving the cluster"
        world.run(0.01)
        assert [link.id for link in a.core.links] == []
        assert a.view.get("b", {}) == {}

    def test_a_node_restarted_on_its_address_is_another_node(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(b, "old")
        world.run(0.1)
        world.crash(b)
        b = world.start("b")
        world.open_room(b, "new")
        world.run_until(world.is_converged, 1)
        assert a.view == {"b": {"new": (b"", 1)}}

    def test_a_paused_node_is_taken_back_with_nothing_lost(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.open_room(a, "r")
        world.run(0.1)
        world.pause(a, 7)
        for _ in range(100):
            world.publish(b, "r")
            world.run(0.1)
        world.run_until(world.is_converged, 1)
        world.run(1)
        world.check_at_rest()

    def test_a_node_that_was_away_calls_nobody_dead(self) -> None:
        world, (a, _) = cluster_of("ab")
        world.pause(a, 30)
        world.run(29.9)
        world.cut("a", "b")
        world.run(0.2)
        assert "it was stalled for" in (a.core.why_not_ready() or "")
        world.heal()
        world.run_until(lambda: a.core.why_not_ready() is None, 3)
        assert believed(a, "this node was stalled") == 1
        assert believed(a, "peer down") == 0

    def test_a_short_silence_is_asked_about_and_forgotten(self) -> None:
        world, (a, _b) = cluster_of("ab")
        resyncs = link(a, "b").replica.resyncs
        world.cut("b", "a")
        world.run_until(lambda: link(a, "b").health is Health.SILENT, 2)
        world.heal()
        world.run_until(lambda: link(a, "b").health is Health.UP, 0.5)
        assert believed(a, "peer heard again") == 1
        assert link(a, "b").replica.resyncs == resyncs

    def test_one_that_others_hear_is_not_called_dead(self) -> None:
        world, (a, b, _) = cluster_of("abc")
        world.open_room(b, "r")
        world.run(0.1)
        world.cut("b", "a")
        world.run(10)
        assert link(a, "b").health is Health.SILENT
        assert "b" not in a.away
        world.heal()
        world.run(1)
        world.check_at_rest()

    def test_only_witnesses_of_this_very_life_count(self) -> None:
        world, (a, b, c) = cluster_of("abc")
        world.run(1)
        world.cut("b", "a")
        world.run_until(lambda: link(a, "b").health is Health.SILENT, 3)
        vouched = link(a, "b").liveness.last_vouched
        other_life = messages.LinkReport(Epoch(b.boot + 1, 0), True, 0, 0, 0, 0, 0, 0, 0)
        for links in ({}, {"b": other_life}):
            beat = messages.Heartbeat("c", c.core.epoch, 0, {}, links)
            a.core.published(messages.encode_published(b"h\x00", beat), world.now)
            assert link(a, "b").liveness.last_vouched == vouched

    def test_a_pong_of_a_peer_that_is_being_greeted_tells_no_tails(self) -> None:
        world, (a, b) = cluster_of("ab")
        link(a, "b").replica.greet(world.now, [])
        pong = messages.Pong("b", b.core.epoch, 1, 5, (a.boot + 1, 5))
        assert a.core.answered("b", messages.encode(pong), world.now) == []

    def test_a_short_stall_is_forgiven_and_costs_nothing(self) -> None:
        world, (a, _b) = cluster_of("ab")
        world.run(1)
        out = a.core.time_passed(a.core._beat_at + world.limits.stall_after + 0.01)
        assert "this node was stalled" in [effect.event for effect in out if isinstance(effect, fx.Belief)]
        assert a.core.why_not_ready() is None
        assert link(a, "b").is_live

    def test_a_stall_while_joining_only_goes_on_joining(self) -> None:
        world, (a, _b) = cluster_of("ab")
        link(a, "b").replica.greet(world.now, [])
        a.core.time_passed(world.now + 5)
        assert link(a, "b").replica.sync is Sync.GREETING

    def test_a_closed_connection_of_a_living_node_is_no_death(self) -> None:
        world, (a, _b) = cluster_of("ab")
        world.run(1)
        world.network.break_between("a", "b")
        assert a.core.hung_up("nobody", world.now) == []
        world.run(1)
        assert believed(a, "peer down") == 0
        assert 1 <= believed(a, "peer heard again") <= 2, (
            "doubted at once, and again unless it answered by then"
        )

    def test_a_cut_in_one_direction_heals(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.cut("a", "b")
        world.run(5)
        world.heal()
        world.open_room(a, "r")
        world.open_room(b, "s")
        world.run(2)
        world.check_at_rest()

    def test_a_peer_that_is_gone_for_good_is_forgotten(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.crash(b)
        world.run(world.limits.forget_after + 5)
        assert [link.id for link in a.core.links] == []

    def test_a_pool_that_comes_back_empty_is_filled_again(self) -> None:
        world, (a, _) = cluster_of("ab")
        world.pool.is_up = False
        world.pool.flush()
        world.run(10)
        assert a.core.why_not_ready() is None
        world.heal()
        world.run(1)
        world.start("c")
        world.run_until(world.is_converged, 1)

    def test_a_wall_clock_that_went_back_is_outbid(self) -> None:
        world, (_, b) = cluster_of("ab")
        world.crash(b)
        b = world.start("b", boot=3)
        world.run_until(world.is_converged, 2)
        assert b.core.epoch.boot > 1000
        assert b.core.why_not_ready() is None

    def test_a_later_life_that_is_only_spoken_of_is_asked_about_first(self) -> None:
        """Seen in a flood of damaged frames: each that spoke of a later life made the node begin one."""
        world, (a, b) = cluster_of("ab")
        before = a.core.epoch
        later = Epoch(before.boot + 1, 0)
        told = messages.LinkReport(
            later, is_live=False, heard_ms=0, applied=0, position=0, repaired=0, lost=0, told_ms=0, asked=0
        )
        beat = messages.Heartbeat("b", b.core.epoch, state_tail=0, notify_tails={}, links={"a": told})
        effects = a.core.published(messages.encode_published(messages.HEARTBEAT_TOPIC, beat), world.now)
        asked = [messages.decode_question(each.frame) for each in effects if isinstance(each, fx.Ask)]
        assert [type(question) for question in asked] == [messages.Hello]
        assert a.core.epoch == before
        refused = messages.Refused(
            "b", b.core.epoch, asked[0].nonce, "a later life of this name is known", later
        )
        a.core.answered("b", messages.encode(refused), world.now)
        assert a.core.epoch > later

    def test_two_nodes_of_one_name_are_told(self) -> None:
        world, (a, _) = cluster_of("ab")
        for turn in range(1, 6):
            later = msgspec.structs.replace(a.core.card, epoch=Epoch(a.core.epoch.boot + turn, 0))
            a.core.cards_read([Sealer(None).seal(later)], world.now)
        assert a.core.why_not_ready() == "another living node uses this node's name: give each node its own"

    def test_twins_stop_outbidding_each_other(self) -> None:
        world, (a, _) = cluster_of("ab")
        for turn in range(1, 20):
            later = msgspec.structs.replace(a.core.card, epoch=Epoch(a.core.epoch.boot + turn, 0))
            a.core.cards_read([Sealer(None).seal(later)], world.now)
        assert believed(a, "epoch outbid") <= 4

    def test_a_card_of_a_life_that_said_farewell_means_nothing(self) -> None:
        world, (a, b) = cluster_of("ab", Limits(remembered_lives=1))
        card = b.core.sealed_card
        world.leave(b)
        world.run(0.1)
        a.core.cards_read([card], world.now)
        assert list(a.core.links) == []
        b = world.start("b")
        world.run_until(world.is_converged, 1)
        c = world.start("c")
        world.run_until(world.is_converged, 1)
        for node in (b, c):
            world.leave(node)
            world.run(0.1)
        assert len(a.core._peers._departed) == 1

    def test_a_later_life_by_an_earlier_clock_is_looked_for_as_long_as_the_pool_shows_it(self) -> None:
        world = World(Random(1), Limits(forget_after=4.0))
        a, former = world.start("a"), world.start("b", boot=5_000_000)
        world.run(0.01)  # the first visit to the pool
        world.run_until(world.is_converged, 1)
        stale = former.core.sealed_card
        world.leave(former)
        world.run(1)
        b = world.start("b")
        world.run_until(world.is_converged, 1)
        a.core.cards_read([b.core.sealed_card, stale], world.now)
        assert [link.epoch for link in a.core.links] == [b.core.epoch], "the former one is over"
        world.cut("a", "b")
        world.cut("b", "a")
        world.run(10)
        (link,) = a.core.links
        assert link.health is Health.DOWN
        assert a.warned == []

    def test_cards_that_cannot_be_opened_keep_a_newcomer_from_saying_ready(self) -> None:
        world, (a,) = cluster_of("a")
        assert a.core.why_not_ready() is None
        stranger = Sealer("s" * 16).seal(msgspec.structs.replace(a.core.card, id="x"))
        for _ in range(10):
            a.core.cards_read([stranger], world.now)
        assert a.core.why_not_ready() is None, "it has joined before"
        assert a.core.admission.bad_cards == 10
        core = MeshNode(
            msgspec.structs.replace(a.core.card, id="new"),
            Limits(),
            seal=Sealer(None).seal,
            open_card=Sealer(None).open,
            now=world.now,
        )
        lines = sum(
            isinstance(effect, fx.Belief) for _ in range(10) for effect in core.cards_read([stranger], 0.0)
        )
        assert lines == 4, "the 1st, 2nd, 4th and 8th"
        assert "cannot be opened" in (core.why_not_ready() or "")
        core.cards_read([], 0.0)
        assert core.why_not_ready() is None

    def test_an_absurd_epoch_is_not_followed(self) -> None:
        world, (a,) = cluster_of("a")
        absurd = msgspec.structs.replace(a.core.card, epoch=Epoch(LATEST_BOOT, 0))
        before = a.core.epoch
        a.core.cards_read([Sealer(None).seal(absurd), b"rubbish"], world.now)
        assert a.core.epoch == before

    def test_a_peer_that_moved_is_connected_anew(self) -> None:
        world, (a, b) = cluster_of("ab")
        moved = msgspec.structs.replace(b.core.card, pub="mem://elsewhere/pub")
        out = a.core.cards_read([Sealer(None).seal(moved)], world.now)
        assert fx.Connect(moved) in out


class TestReset:
    def test_every_node_takes_a_new_epoch_and_rooms_survive(self) -> None:
        world, nodes = cluster_of("abc")
        a, b, _ = nodes
        world.open_room(a, "r")
        world.run(0.1)
        before = [node.core.epoch for node in nodes]
        world.reset(b)
        assert set(b.core.epochs.reset_waits_for()) == {"a", "c"}
        assert world.publish(b, "r") == ["a"], "nothing is forgotten meanwhile"
        assert world.run_until(lambda: not b.core.epochs.reset_waits_for(), 1) < 0.1
        assert [node.core.epoch for node in nodes] == [epoch.next_turn() for epoch in before]
        world.run(1)
        world.check_at_rest()

    def test_a_lost_question_is_asked_again_and_done_once(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.cut("b", "a")
        turn = b.core.epoch.turn
        world.reset(a)
        world.run(0.6)
        world.heal()
        world.run_until(lambda: not a.core.epochs.reset_waits_for(), 2)
        assert b.core.epoch.turn == turn + 1

    def test_a_greeting_that_it_overtakes_goes_on(self) -> None:
        """A probe that came after the news of the reset was dropped: its receiver asked again only a second later."""
        world, (a, b) = cluster_of("ab")
        former = b.core.epoch
        world.reset(b)
        world.run(0.1)
        replica, out = link(a, "b").replica, list[fx.Effect]()
        replica.greet(world.now, out)
        (hello,) = [messages.decode_question(effect.frame) for effect in out if isinstance(effect, fx.Ask)]
        assert isinstance(hello, messages.Hello)
        probe = messages.Probe("b", former, hello.nonce)
        replica.welcomed(hello.nonce, world.now, [])
        a.core.published(messages.encode_published(a.core.epochs.notify_topic, probe), world.now)
        assert replica.sync is Sync.SYNCING
        assert a.core.stale_frames == 0

    def test_a_hello_that_it_overtakes_is_answered(self) -> None:
        world, (a, b) = cluster_of("ab")
        hello = messages.encode(messages.Hello("b", b.core.epoch, b.core.sealed_card, 99))
        world.reset(b)
        world.run(0.1)
        out = a.core.asked(b"b", hello, world.now)
        (reply,) = [messages.decode_reply(effect.frame) for effect in out if isinstance(effect, fx.Answer)]
        assert isinstance(reply, messages.Welcome)
        assert link(a, "b").epoch == b.core.epoch, "it is not taken back"

    def test_a_dead_peer_does_not_hold_it_up(self) -> None:
        world, (a, b) = cluster_of("ab")
        world.crash(b)
        world.reset(a)
        assert a.core.epochs.reset_waits_for() == ["b"]
        world.run(3)
        assert a.core.epochs.reset_waits_for() == []


class TestTime:
    def test_calling_early_is_harmless(self) -> None:
        world, (a, _) = cluster_of("ab")
        world.run(0.1)
        assert a.core.time_passed(world.now) == []
        assert a.core.next_deadline() > world.now

    def test_an_idle_node_only_beats(self) -> None:
        world, (a, _) = cluster_of("ab")
        world.run(1)
        deadline = a.core.next_deadline()
        out = a.core.time_passed(deadline)
        assert [type(effect) for effect in out] == [fx.Publish]


def test_own_frames_never_confuse_a_core() -> None:
    """A frame of a life that the peer has left behind is stale, and only counted."""
    world, (a, b) = cluster_of("ab")
    old = messages.Probe("b", Epoch(b.boot - 1, 0), 1)
    assert a.core.published(messages.encode_published(b"h\x00", old), world.now) == []
    assert a.core.stale_frames == 1


def test_limits_are_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Limits().heartbeat = 1  # type: ignore[misc]


def test_a_core_needs_no_world() -> None:
    card = Card(id="solo", epoch=Epoch(1, 0), pub="mem://p", router="mem://r")
    sealer = Sealer(None)
    core = MeshNode(card, Limits(), seal=sealer.seal, open_card=sealer.open, now=0.0)
    core.cards_read([core.sealed_card], 0.0)
    assert core.card == card
    assert core.why_not_ready() is None
