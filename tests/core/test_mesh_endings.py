"""What becomes of a peer's last notifications when it ends, or seems to: faults that chaos on real processes found."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from cluster.core import messages
from cluster.testing import SimNode, World


def reader_and_author() -> tuple[World, SimNode, SimNode]:
    world = World(Random(1))
    reader, author = world.start("reader"), world.start("author")
    world.run(0.01)  # the first visit to the pool
    world.run_until(world.is_converged, 2)
    world.open_room(reader, "r")
    world.run(0.1)
    return world, reader, author


def lose_repairs(_sender: SimNode, _receiver: SimNode, frame: bytes) -> bool:
    try:
        return isinstance(messages.decode_reply(frame), messages.ResentNotify)
    except messages.FrameError:
        return False


def lose_questions(*kinds: type[messages.Question]) -> Callable[[SimNode, SimNode, bytes], bool]:
    def is_lost(_sender: SimNode, _receiver: SimNode, frame: bytes) -> bool:
        try:
            return isinstance(messages.decode_question(frame), kinds)
        except messages.FrameError:
            return False

    return is_lost


def test_a_hole_that_its_origin_takes_with_it_is_told_to_every_room() -> None:
    """Nothing of this origin had ever been delivered, so no room was known to have been spoken to."""
    world, reader, author = reader_and_author()
    world.weather.loss = 1.0
    world.publish(author, "r")
    world.weather.loss = 0.0
    world.weather.is_lost = lose_repairs
    world.publish(author, "r")
    world.run(1)
    assert not reader.delivered[author.life]
    world.crash(author)
    world.run(2)
    assert reader.warned == [("author", None)]


@pytest.mark.parametrize("ending", ["forgotten", "restarted"])
def test_what_waits_behind_such_a_hole_is_delivered_in_the_end_and_the_hole_counted(ending: str) -> None:
    world, reader, author = reader_and_author()
    world.weather.loss = 1.0
    world.publish(author, "r")
    world.weather.loss = 0.0
    world.weather.is_lost = lose_repairs
    for _ in range(3):
        world.publish(author, "r")
    world.run(1)
    assert not reader.delivered[author.life]
    world.crash(author)
    if ending == "restarted":
        world.start("author")
        world.run(1)
    else:
        world.run(world.limits.forget_after + 3)
    assert reader.delivered[author.life] == world.ledger.said[author.life, reader.life][1:]
    assert reader.lost[author.life] == 1
    assert reader.warned == [("author", None)], "once, when it broke off"


def kill_after_a_lost_word(world: World, author: SimNode) -> None:
    """One publish into a room in which nothing was ever said, the frame is lost, and the author is killed."""
    world.weather.loss = 1.0
    world.publish(author, "r")
    world.weather.loss = 0.0
    world.crash(author)


class TestLastWords:
    def test_who_was_never_spoken_to_is_told_of_a_kill_too(self) -> None:
        """Nothing shows that anything is missing, and something is: to which room, only the dead could say."""
        world, reader, author = reader_and_author()
        kill_after_a_lost_word(world, author)
        world.run(1)
        assert reader.warned == [("author", None)]
        world.run(100)
        assert reader.warned == [("author", None)], "once"

    def test_a_node_that_never_had_our_rooms_took_nothing_of_ours_with_it(self) -> None:
        world = World(Random(1))
        reader, author = world.start("reader"), world.start("author")
        world.weather.is_lost = lose_questions(messages.Sync)
        world.run(0.5)
        assert author.view == {}
        world.crash(author)
        world.run(100)
        assert reader.warned == []

    def test_one_that_was_only_stopped_took_nothing_with_it(self) -> None:
        world, reader, author = reader_and_author()
        world.publish(author, "r")
        world.pause(author, 50)
        world.run(55)
        assert "peer down" in [event for _, event, _ in reader.beliefs]
        world.check_at_rest()
        assert reader.announced == author.announced == []

    def test_one_that_was_stopped_and_then_killed_is_told_of_when_it_is_given_up(self) -> None:
        world, reader, author = reader_and_author()
        world.pause(author, 30)
        world.run(5)
        world.crash(author)
        world.run(50)
        assert reader.warned == [], "for all that anybody can see, it may come back"
        world.run(15)
        assert reader.warned == [("author", None)]

    def test_a_later_life_says_that_the_one_before_is_over(self) -> None:
        world, reader, author = reader_and_author()
        world.pause(author, 30)
        world.run(5)
        world.crash(author)
        world.start("author")
        world.run(1)
        assert reader.warned == [("author", None)]

    def test_where_the_pool_does_not_say_who_lives_it_is_told_as_late(self) -> None:
        world, reader, author = reader_and_author()
        world.run(1)
        world.pool.is_up = False
        world.pause(author, 100)
        world.run(5)
        world.crash(author)
        world.run(50)
        assert reader.warned == []
        world.run(10)
        assert reader.warned == [("author", None)]
        assert reader.link("author") is not None, "its card may still be there when the pool is back"

    def test_one_whose_card_is_renewed_lives_and_will_say_itself_what_was_lost(self) -> None:
        world, reader, author = reader_and_author()
        world.cut(author, reader)
        world.cut(reader, author)
        world.run(100)
        assert reader.announced == []

    def test_one_that_was_held_for_gone_and_lives_on_may_still_take_something_with_it(self) -> None:
        """Its connections broke, and nothing comes through; the pool says that it lives. Then it is killed."""
        world, reader, author = reader_and_author()
        world.network.break_between("reader", "author")
        world.cut(author, reader)
        world.cut(reader, author)
        world.run(10)
        assert reader.warned == [("author", None)]
        world.publish(author, "r")
        world.crash(author)
        world.run(70)
        assert reader.warned == [("author", None)] * 2

    def test_also_when_it_is_a_third_that_says_so(self) -> None:
        world, reader, author = reader_and_author()
        witness = world.start("witness")
        world.run_until(world.is_converged, 2)
        world.pool.is_up = False
        for one in (author, witness):
            for other in (reader, author):
                if one is not other:
                    world.cut(one, other)
                    world.cut(other, one)
        world.network.break_between("reader", "author")
        world.run(5)
        assert reader.warned[0] == ("author", None)
        world.network.cuts = dict.fromkeys([("reader", "author"), ("author", "reader")], False)
        world.run(5)
        before = len(reader.warned)
        world.crash(author)
        world.run(70)
        assert reader.warned[before:] == [("author", None)]

    def test_a_broken_line_that_is_held_for_an_end_is_told_once_each_time(self) -> None:
        world, reader, author = reader_and_author()
        for _ in range(2):
            world.run(5)
            world.network.break_between("reader", "author")
            world.cut(author, reader)
            world.cut(reader, author)
            world.run(5)
            world.heal()
            world.run(3)
        world.check_at_rest()
        assert reader.warned == [("author", None)] * 2
