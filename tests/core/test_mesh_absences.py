"""What a node misses while somebody was away, or thought to be, and how it is told: faults that the simulator found."""

from __future__ import annotations

from random import Random

import msgspec

from cluster.core import effects as fx
from cluster.core import messages
from cluster.core.identity import Epoch
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.liveness import Health
from cluster.testing import SimNode, World


def two_nodes(limits: Limits | None = None) -> tuple[World, SimNode, SimNode]:
    world = World(Random(1), limits)
    reader, author = world.start("reader"), world.start("author")
    world.run(0.01)  # the first visit to the pool
    world.run_until(world.is_converged, 2)
    return world, reader, author


def link(node: SimNode, peer: SimNode) -> Link:
    found = node.link(peer.name)
    assert found is not None
    return found


def lose_direct(*kinds: type[messages.Question]) -> object:
    def is_lost(_sender: SimNode, _receiver: SimNode, frame: bytes) -> bool:
        try:
            return isinstance(messages.decode_question(frame), kinds)
        except messages.FrameError:
            return False

    return is_lost


class TestRoomsOpenedWhileOneWasAway:
    def part_and_subscribe(self, world: World, reader: SimNode, author: SimNode) -> None:
        world.cut(reader, author)
        world.cut(author, reader)
        world.run(3)
        world.open_room(reader, "r")
        assert reader.core.settled_up_to() >= (reader.core.epoch, 1), "nobody alive has to know"
        assert world.publish(author, "r") == []

    def test_their_subscribers_are_told(self) -> None:
        world, reader, author = two_nodes()
        self.part_and_subscribe(world, reader, author)
        world.heal()
        world.run(3)
        world.check_at_rest()
        assert reader.warned == [("author", {"r": 0})]

    def test_also_when_the_confirmation_is_lost(self) -> None:
        world, reader, author = two_nodes()
        self.part_and_subscribe(world, reader, author)
        world.heal()
        world.weather.is_lost = lose_direct(messages.Applied)  # type: ignore[assignment]
        world.run(3)
        world.check_at_rest()
        assert reader.warned == [("author", {"r": 0})]

    def test_not_before_the_author_knows_the_room(self) -> None:
        """A confirmation that was on its way for long says nothing of what was opened meanwhile."""
        world, reader, author = two_nodes()
        world.cut(reader, author)
        world.cut(author, reader, holds=True)
        world.run(3)
        world.open_room(reader, "r")
        late = messages.encode(messages.Applied("author", author.core.epoch, reader.core.epoch, 0))
        assert not [
            effect for effect in reader.core.asked(b"1", late, world.now) if isinstance(effect, fx.Lost)
        ]
        world.publish(author, "r")
        world.heal()
        world.run(3)
        world.check_at_rest()
        assert reader.warned == [("author", {"r": 0})]

    def test_without_such_a_room_nobody_is_told(self) -> None:
        world, reader, author = two_nodes()
        world.open_room(reader, "r")
        world.run(0.1)
        world.cut(reader, author)
        world.cut(author, reader)
        world.run(3)
        world.heal()
        world.run(3)
        world.check_at_rest()
        assert reader.warned == []


class TestGivenUpOn:
    def test_what_is_published_before_the_rooms_are_known_again_is_announced(self) -> None:
        """The author had given the reader up, learns of it again, and takes a while to read its rooms."""
        world, reader, author = two_nodes(Limits(forget_after=4.0))
        world.open_room(reader, "r")
        world.run(0.1)
        world.pause(reader, 8)
        world.run(7.9)
        assert author.link("reader") is None
        world.weather.is_lost = lose_direct(messages.Sync)  # type: ignore[assignment]
        world.run(2)
        assert link(reader, author).health is Health.UP
        assert reader.announced == []
        assert world.publish(author, "r") == []
        world.weather.is_lost = lambda _sender, _receiver, _frame: False
        world.run(3)
        world.check_at_rest()
        assert reader.warned == [("author", {"r": 0})]
        assert reader.lost[author.life] == 0, "nobody counted them"


class TestWitnesses:
    def test_what_was_forgiven_was_not_witnessed(self) -> None:
        """A node that was stopped does not know whether the others lived meanwhile."""
        world, reader, author = two_nodes()
        world.run(1)
        world.pause(reader, 5)
        world.crash(author)
        world.run(5.01)
        liveness = link(reader, author).liveness
        assert world.now - liveness.last_heard < 1.5
        assert link(reader, author).report(world.now).heard_ms > 5000

    def test_a_stall_is_noticed_whatever_is_read_first(self) -> None:
        """A snapshot that waited for the node makes it want to beat; that hides nothing of how late it is."""
        world, reader, author = two_nodes()
        world.run(1)
        link(reader, author).replica.resync(world.now, [])
        reader.core.time_passed(link(reader, author).next_deadline())
        late = world.now + 20
        snapshot = messages.Snapshot("author", author.core.epoch, 4, 0, 0, True, [])
        for nonce in range(1, 9):
            again = msgspec.structs.replace(snapshot, nonce=nonce)
            reader.core.answered("author", messages.encode(again), late)
        assert link(reader, author).is_live
        told = reader.core.time_passed(late)
        assert [effect.event for effect in told if isinstance(effect, fx.Belief)][:1] == [
            "this node was stalled"
        ]


class TestLives:
    def test_one_that_went_back_is_refused_and_told_why(self) -> None:
        """The pool does not know of the later life any more; a peer does."""
        world, _, author = two_nodes()
        world.crash(author)
        world.pool.flush()
        author = world.start("author", boot=3)
        world.run_until(world.is_converged, 2)
        assert [event for _, event, _ in author.beliefs if event == "refused by peer"]
        assert author.core.epoch.boot > 1000

    def test_a_later_life_that_speaks_first_is_asked_for_its_card(self) -> None:
        world, reader, author = two_nodes()
        later = Epoch(author.boot + 1, 0)
        beat = messages.Heartbeat("author", later, 0, {}, {})
        reader.core.published(messages.encode_published(messages.HEARTBEAT_TOPIC, beat), world.now)
        assert link(reader, author).epoch == later
        assert link(reader, author).health is Health.UNHEARD

    def test_one_that_does_not_hold_our_slice_confirms_nothing_of_it(self) -> None:
        world, reader, author = two_nodes()
        world.open_room(reader, "r")
        report = messages.LinkReport(reader.core.epoch, False, 5, 1, 0, 0, 0, 0, 0)
        beat = messages.Heartbeat("author", author.core.epoch, 0, {}, {"reader": report})
        reader.core.published(messages.encode_published(messages.HEARTBEAT_TOPIC, beat), world.now)
        assert not link(reader, author).has_applied(reader.core.epoch, 1)


class TestOneThatWasGivenUp:
    def give_up(self) -> tuple[World, SimNode, SimNode]:
        """The author was stopped for so long that the reader has forgotten it, and the pool is away since."""
        world, reader, author = two_nodes(Limits(forget_after=4.0))
        world.open_room(reader, "r")
        world.run(1)
        world.pause(author, 8)
        world.run(7.9)
        world.pool.is_up = False
        assert reader.link("author") is None
        assert reader.warned == [("author", None)]
        return world, reader, author

    def test_is_known_again_by_any_question(self) -> None:
        world, reader, author = self.give_up()
        ping = messages.encode(messages.Ping("author", author.core.epoch, 1))
        out = reader.core.asked(b"1", ping, world.now)
        assert {type(effect) for effect in out} >= {fx.Connect, fx.Answer}
        assert link(reader, author).health is Health.UP

    def test_has_what_it_said_then_given_on(self) -> None:
        world, reader, author = self.give_up()
        world.run(0.11)
        world.publish(author, "r")
        world.leave(author)
        world.run(2)
        assert len(reader.delivered[author.life]) == 1

    def test_and_is_killed_then_is_told_of_once_more(self) -> None:
        world, reader, author = self.give_up()
        ping = messages.encode(messages.Ping("author", author.core.epoch, 1))
        world.shells.turn(reader, reader.core.asked(b"1", ping, world.now))
        world.crash(author)
        world.run(8)
        assert reader.warned == [("author", None)] * 2

    def test_but_not_when_it_has_said_farewell(self) -> None:
        world, reader, author = two_nodes()
        world.leave(author)
        world.run(1)
        ping = messages.encode(messages.Ping("author", author.core.epoch, 1))
        assert reader.core.asked(b"1", ping, world.now) == []
        assert reader.link("author") is None

    def test_has_confirmed_nothing_to_one_that_it_gave_up_itself(self) -> None:
        """The reader was stopped, and held the author for alive all the while: what the author confirmed before it
        dropped the rooms says nothing any more."""
        world, reader, author = two_nodes()
        world.open_room(reader, "r")
        world.run(1)
        position = reader.core.epoch, 1
        assert reader.core.unsettled(*position) == []
        owned_up_in = 7
        sync = messages.encode(messages.Sync("author", author.core.epoch, owned_up_in, has_served=True))
        reader.core.asked(b"1", sync, world.now)
        assert reader.core.unsettled(*position) == ["author"]
        overtaken = messages.LinkReport(*position[:1], True, 5, 1, 0, 0, 0, 0, asked=owned_up_in - 1)
        beat = messages.Heartbeat("author", author.core.epoch, 0, {}, {"reader": overtaken})
        reader.core.published(messages.encode_published(messages.HEARTBEAT_TOPIC, beat), world.now)
        assert reader.core.unsettled(*position) == ["author"]
        applied = messages.encode(messages.Applied("author", author.core.epoch, *position))
        (told,) = [
            effect for effect in reader.core.asked(b"1", applied, world.now) if isinstance(effect, fx.Lost)
        ]
        assert told == fx.Lost("author", None, {"r": 0})
