"""What becomes of a peer's last notifications when it ends, or seems to: faults that chaos on real processes found."""

from __future__ import annotations

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


def test_last_words_count_as_recent_for_a_heartbeat_also_under_load() -> None:
    """Heartbeats come soon after something was said: under load, two of them are a fifth of a second."""
    world, reader, author = reader_and_author()
    world.open_room(reader, "busy")
    world.run(1)
    world.publish(author, "r")
    for _ in range(40):
        world.publish(author, "busy")
        world.run(0.01)
    world.crash(author)
    world.run(2)
    assert reader.warned == [("author", {"busy": 0, "r": 0})]
