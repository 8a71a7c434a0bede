"""A node that goes in order: it takes nothing with it that others lack, and it does not go unheard."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from cluster.core import effects as fx
from cluster.core import messages
from cluster.core.leaving import Stage
from cluster.core.limits import Limits
from cluster.testing import SimNode, World
from cluster.testing.world import GOODBYE_S

Lost = Callable[[SimNode, SimNode, bytes], bool]


def reader_and_author() -> tuple[World, SimNode, SimNode]:
    world = World(Random(1))
    reader, author = world.start("reader"), world.start("author")
    world.run(0.01)  # the first visit to the pool
    world.run_until(world.is_converged, 2)
    world.open_room(reader, "r")
    world.run(1)
    return world, reader, author


def is_gone(world: World, node: SimNode) -> bool:
    return world.nodes.get(node.name) is not node


def lose_one(world: World, author: SimNode) -> None:
    """Publish once, into nothing."""
    world.weather.loss = 1.0
    world.publish(author, "r")
    world.weather.loss = 0.0


def lose(kind: type[messages.Farewell | messages.Notify], times: int) -> Lost:
    """The first so many frames of that kind do not arrive."""
    left = iter(range(times))

    def is_lost(_sender: SimNode, _receiver: SimNode, frame: bytes) -> bool:
        try:
            return isinstance(messages.decode_published(frame), kind) and next(left, None) is not None
        except messages.FrameError:
            return False

    return is_lost


def lose_resends(_sender: SimNode, _receiver: SimNode, frame: bytes) -> bool:
    try:
        return isinstance(messages.decode_question(frame), messages.ResendNotify)
    except messages.FrameError:
        return False


class TestSettling:
    def test_one_to_whom_nothing_is_owed_goes_at_once(self) -> None:
        world, reader, author = reader_and_author()
        world.leave(author)
        assert world.run_until(lambda: is_gone(world, author), 1) <= world.limits.repair_every + 0.01
        assert reader.announced == []

    def test_nobody_is_waited_for_where_nobody_is(self) -> None:
        world = World(Random(1))
        alone = world.start("alone")
        world.run(1)
        world.leave(alone)
        assert is_gone(world, alone)

    def test_what_was_lost_is_asked_for_before_it_goes(self) -> None:
        world, reader, author = reader_and_author()
        lose_one(world, author)
        world.leave(author)
        assert world.run_until(lambda: is_gone(world, author), 2) < 0.5
        assert len(reader.delivered[author.life]) == 1
        assert reader.announced == []

    def test_under_loss_too(self) -> None:
        world, reader, author = reader_and_author()
        world.weather.loss = 0.1
        for _ in range(300):
            world.publish(author, "r")
        world.leave(author)
        world.run_until(lambda: is_gone(world, author), 2)
        world.run(1)
        assert len(reader.delivered[author.life]) == 300
        assert reader.announced == []

    def test_one_that_is_stopped_does_not_hold_it_up_for_long(self) -> None:
        world, reader, author = reader_and_author()
        world.pause(reader, 5)
        world.publish(author, "r")
        world.leave(author)
        limits = world.limits
        took = world.run_until(lambda: is_gone(world, author), 3)
        assert took <= limits.settle_at_most + limits.farewell_at_most + 0.01
        world.run(6)
        assert len(reader.delivered[author.life]) == 1, "it waited in the sockets of who was stopped"
        assert reader.announced == []

    def test_whoever_is_asked_beats_soon_but_not_more_often_than_that(self) -> None:
        world, reader, author = reader_and_author()
        ping = messages.encode(messages.Ping("author", author.core.epoch, 1))
        reader.core.asked(b"1", ping, world.now)
        first = reader.core.next_deadline()
        assert first <= world.now + world.limits.repair_every
        reader.core.time_passed(first)
        reader.core.asked(b"1", ping, first)
        assert reader.core.next_deadline() == first + world.limits.repair_every


class TestParting:
    @pytest.mark.parametrize("times", [1, 3])
    def test_a_farewell_that_is_lost_is_said_again(self, times: int) -> None:
        world, reader, author = reader_and_author()
        world.weather.is_lost = lose(messages.Farewell, times)
        world.leave(author)
        world.run_until(lambda: is_gone(world, author), 1)
        world.run(GOODBYE_S)
        assert reader.link("author") is None
        world.run(5)
        assert reader.announced == []

    def test_one_that_nobody_heard_is_taken_for_one_that_was_killed(self) -> None:
        """One publish into a quiet room, of which nothing arrived, and no farewell either."""
        world, reader, author = reader_and_author()
        world.weather.is_lost = lambda sender, _receiver, _frame: sender is author
        world.publish(author, "r")
        world.leave(author)
        world.run(4)
        assert reader.warned == [("author", None)]

    def test_who_lacks_something_asks_once_more_while_the_other_is_there(self) -> None:
        world, reader, author = reader_and_author()
        world.weather.is_lost = lose_resends
        lose_one(world, author)
        world.leave(author)
        world.run_until(lambda: author.core.leaving.stage is Stage.PARTING, 2)
        world.run(0.01)
        assert reader.link("author") is not None
        world.weather.is_lost = lambda _sender, _receiver, _frame: False
        world.run(0.3)
        assert is_gone(world, author)
        assert reader.link("author") is None
        assert len(reader.delivered[author.life]) == 1
        assert reader.announced == []

    def test_what_is_cut_from_its_log_is_not_waited_for(self) -> None:
        world = World(Random(1), Limits(notify_log_bytes=200))
        reader, author = world.start("reader"), world.start("author")
        world.run(1)
        world.open_room(reader, "r")
        world.run(0.1)
        for _ in range(5):
            lose_one(world, author)
        world.leave(author)
        world.run_until(lambda: is_gone(world, author), 1)
        assert reader.lost[author.life] + len(reader.delivered[author.life]) == 5
        assert reader.lost[author.life] > 0

    def test_what_it_did_not_give_in_time_is_counted_and_what_waits_behind_it_is_given_on(self) -> None:
        world, reader, author = reader_and_author()
        world.weather.is_lost = lose_resends
        lose_one(world, author)
        for _ in range(3):
            world.publish(author, "r")
        world.leave(author)
        world.run(3)
        assert reader.lost[author.life] == 1
        assert reader.warned == []
        assert len(reader.delivered[author.life]) == 3
        assert reader.link("author") is None

    def test_a_new_life_of_it_says_that_what_is_missing_will_not_come(self) -> None:
        world, reader, author = reader_and_author()
        world.weather.is_lost = lose_resends
        lose_one(world, author)
        world.leave(author)
        world.run_until(lambda: author.core.leaving.stage is Stage.PARTING, 2)
        world.run(0.01)
        world.crash(author)
        world.start("author")
        world.run(0.1)
        assert reader.lost[author.life] == 1
        assert reader.warned == [], "it had said how far it went"

    def test_who_has_parted_is_nobody_any_more(self) -> None:
        world, reader, author = reader_and_author()
        world.cut(reader, author)  # so that it stays for a while
        world.leave(author)
        world.run(0.1)
        assert author.core.leaving.stage is Stage.PARTING
        core, now = author.core, world.now
        hello = messages.encode(messages.Hello("reader", reader.core.epoch, reader.core.sealed_card, 1))
        assert core.asked(b"1", hello, now) == []
        assert core.cards_read([reader.core.sealed_card], now) == []
        assert core.leave("again", now) == []
        link = author.link("reader")
        assert link is not None
        assert core._peers.let_go(link, now, []) is False
        beat = messages.Heartbeat("reader", reader.core.epoch, 0, {}, {})
        out = core.published(messages.encode_published(messages.HEARTBEAT_TOPIC, beat), now)
        assert not [effect for effect in out if isinstance(effect, fx.Ask)], "no hello to who has let it go"
        assert core.leaving.is_over
        link.replica.greet(now, again := [])
        assert again == []

    def test_a_hello_that_comes_behind_the_farewell_is_refused(self) -> None:
        world, reader, author = reader_and_author()
        hello = messages.encode(messages.Hello("author", author.core.epoch, author.core.sealed_card, 1))
        world.leave(author)
        world.run(1)
        (answer,) = [
            effect for effect in reader.core.asked(b"1", hello, world.now) if isinstance(effect, fx.Answer)
        ]
        refusal = messages.decode_reply(answer.frame)
        assert isinstance(refusal, messages.Refused)
        assert refusal.reason == "this life of it has said farewell"
        assert reader.link("author") is None
