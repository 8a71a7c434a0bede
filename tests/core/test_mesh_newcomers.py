"""A node serves clients before it knows the rooms of all others: what they publish goes nowhere, and those are told."""

from __future__ import annotations

from random import Random

from cluster.core.replica import Sync
from cluster.testing import SimNode, World


def reader_and_other() -> tuple[World, SimNode]:
    """Two nodes, of which one has a subscriber."""
    world = World(Random(1))
    reader = world.start("reader")
    world.start("other")
    world.run(0.01)  # the first visit to the pool
    world.run_until(world.is_converged, 2)
    world.open_room(reader, "r")
    world.run(1)
    return world, reader


def is_syncing(author: SimNode) -> bool:
    """Whether it has asked for the reader's rooms, and has no answer yet."""
    link = author.link("reader")
    return link is not None and link.replica.sync is Sync.SYNCING


def test_who_joins_before_it_serves_is_no_news() -> None:
    world, reader = reader_and_other()
    author = world.start("author")
    world.run_until(lambda: not author.core.is_joining(), 2)
    world.run(2)
    assert world.publish(author, "r") == ["reader"]
    assert reader.warned == author.warned == []


def test_a_peer_that_was_paused_when_a_node_began_to_serve_is_told() -> None:
    world, reader = reader_and_other()
    world.pause(reader, 6)
    author = world.start("author")
    world.run(0.1)
    assert author.core.is_joining()
    world.run(world.limits.unheard_after)
    assert not author.core.is_joining(), "it gave up on who does not answer"
    author.core.serve()
    assert world.publish(author, "r") == []
    world.run(5)
    assert reader.warned == [("author", {"r": 0})]
    assert author.warned == []
    world.run(5)
    assert len(reader.warned) == 1, "once"


def test_who_subscribed_on_it_before_the_peer_knew_is_told_too() -> None:
    world, reader = reader_and_other()
    world.pause(reader, 6)
    newcomer = world.start("newcomer")
    world.run(world.limits.unheard_after + 0.1)
    newcomer.core.serve()
    world.open_room(newcomer, "new")
    assert world.publish(reader, "new") == [], "what its clients had sent when it was paused"
    world.run(6)
    assert ("reader", {"new": 0}) in newcomer.warned


def test_two_that_served_without_knowing_of_each_other_tell_all_their_rooms() -> None:
    world = World(Random(1))
    world.pool.is_up = False
    nodes = [world.start(name) for name in ("one", "other")]
    for node in nodes:
        node.core.serve()
        world.open_room(node, "r")
        world.publish(node, "r")
    world.run(1)
    world.pool.is_up = True
    world.run_until(world.is_converged, 2)
    world.run(1)
    assert [node.warned for node in nodes] == [[("other", {"r": 0})], [("one", {"r": 0})]]


def test_who_begins_to_serve_while_it_waits_for_an_answer_says_so() -> None:
    world, reader = reader_and_other()
    world.network.weather.delay = 0.2
    author = world.start("author")
    world.run_until(lambda: is_syncing(author), 1)
    assert world.publish(author, "r") == []
    world.run(2)
    assert ("author", {"r": 0}) in reader.warned
    assert world.publish(author, "r") == ["reader"]
