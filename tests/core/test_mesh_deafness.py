"""A node that does not hear a peer's publications, though the peer answers it: what it misses comes by answers."""

from __future__ import annotations

from random import Random

from cluster.core import messages
from cluster.testing import SimNode, World


def deaf_reader() -> tuple[World, SimNode, SimNode]:
    """The reader does not hear what the author publishes; all else arrives."""
    world = World(Random(1))
    reader, author = world.start("reader"), world.start("author")
    world.run(0.01)  # the first visit to the pool
    world.run_until(world.is_converged, 2)
    world.open_room(reader, "r")
    world.run(0.1)
    world.weather.is_lost = lambda sender, _, frame: sender is author and is_published(frame)
    return world, reader, author


def is_published(frame: bytes) -> bool:
    try:
        messages.decode_published(frame)
    except messages.FrameError:
        return False
    return True


def test_notifications_come_by_answers_within_one_silence_and_one_question() -> None:
    world, reader, author = deaf_reader()
    for _ in range(10):
        world.publish(author, "r")
        took = world.run_until(lambda: not missing(world, reader, author), 2)
        assert took < world.limits.silent_after + world.limits.ask_every


def test_changes_come_by_answers_too() -> None:
    world, reader, author = deaf_reader()
    world.open_room(author, "new")
    world.run_until(lambda: "new" in reader.view.get("author", ()), 2)


def test_a_pong_for_an_earlier_life_of_the_asker_says_nothing_of_notifications() -> None:
    world, reader, author = deaf_reader()
    link = next(link for link in reader.core.links if link.id == "author")
    pong = messages.Pong("author", author.core.epoch, 1, 0, (reader.boot - 1, 5))
    reader.core.answered("author", messages.encode(pong), world.now)
    assert link.mailbox.received.missing() is None


def test_when_a_link_is_back_what_is_missing_is_asked_for_at_once() -> None:
    """What was asked while it was cut did not arrive, so there is no reason to wait for the answer."""
    world, reader, author = deaf_reader()
    for _ in range(20):
        world.weather.is_lost = lambda _sender, _receiver, _frame: True
        world.publish(author, "r")
        world.weather.is_lost = lambda sender, _receiver, _frame: sender is reader
        world.publish(author, "r")
        world.run(0.01)
        world.weather.is_lost = lambda _sender, _receiver, _frame: True
        world.run(0.32)
        world.weather.is_lost = lambda _sender, _receiver, _frame: False
        world.publish(author, "r")
        took = world.run_until(lambda: not missing(world, reader, author), 1)
        assert took < 0.02


def missing(world: World, reader: SimNode, author: SimNode) -> int:
    said = world.ledger.said[author.life, reader.life]
    return len(said) - len(reader.delivered[author.life])
