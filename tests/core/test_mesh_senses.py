"""A node knows whether it hears and is heard, and blames itself only for what is its own fault."""

from __future__ import annotations

from random import Random

import pytest

from cluster.core import messages
from cluster.core.messages import FrameError
from cluster.core.senses import Senses
from cluster.testing import LawBroken, SimNode, World
from cluster.testing.world import SAID_WITHIN_S

SAID_OF_LINK_WITHIN_S = 4.0
"""What is said of one link has to last for a heartbeat more, and to be told by the other end."""

DEAF = "it is deaf: nothing that is published for it arrives, not even from itself"
MUTE = "it is mute: what it publishes does not come back to it, and what others publish arrives"


def cluster_of(names: str) -> tuple[World, list[SimNode]]:
    world = World(Random(1))
    nodes = [world.start(name) for name in names]
    world.run(0.01)  # the first visit to the pool
    world.run_until(world.is_converged, 2)
    world.run(3)
    return world, nodes


def complaints(nodes: list[SimNode]) -> list[str | None]:
    return [node.core.why_not_ready() for node in nodes]


def said_of_links(node: SimNode) -> list[tuple[str, object]]:
    return [(event, fields["peer"]) for _, event, fields in node.beliefs if event.startswith("link ")]


def is_published(frame: bytes, *kinds: type[messages.Message]) -> bool:
    try:
        return isinstance(messages.decode_published(frame), kinds or (messages.Message,))
    except FrameError:
        return False


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_a_deaf_node_says_so_and_nobody_else(names: str) -> None:
    world, (a, *others) = cluster_of(names)
    world.deafen(a)
    assert world.run_until(lambda: a.core.senses.is_impaired, 5) < SAID_WITHIN_S
    world.run(10)
    assert complaints([a, *others]) == [DEAF, *[None] * len(others)]


def test_a_deaf_node_does_not_fill_its_log() -> None:
    """Its peers fall silent each second, and answer when they are asked: that is said once, until it hears again."""
    world, (a, *_) = cluster_of("abc")

    def said(event: str) -> list[object]:
        return [fields["peer"] for _, what, fields in a.beliefs if what == event]

    for times in (1, 2):
        world.deafen(a)
        world.run(30)
        world.heal()
        world.run(3)
        assert [sorted(map(str, said(event))) for event in ("peer silent", "peer heard again")] == [
            ["b"] * times + ["c"] * times
        ] * 2


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_a_mute_node_says_so_and_nobody_else(names: str) -> None:
    world, (a, *others) = cluster_of(names)
    world.silence(a)
    assert world.run_until(lambda: a.core.senses.is_impaired, 5) < SAID_WITHIN_S
    world.run(10)
    assert complaints([a, *others]) == [MUTE, *[None] * len(others)]


def test_others_know_that_clients_are_not_to_be_sent_there_as_far_as_they_hear_it() -> None:
    world, (a, b) = cluster_of("ab")
    world.deafen(a)
    world.run(4)
    assert [link.takes_clients for link in b.core.links] == [False]
    world.heal()
    world.run(2)
    assert complaints([a, b]) == [None, None]
    assert [link.takes_clients for link in b.core.links] == [True]


def test_a_canary_that_was_under_way_to_a_former_life_leaves_nobody_deaf() -> None:
    world, (a,) = cluster_of("a")
    world.slow_down(a, 0.3)
    world.run(1)
    world.run_until(lambda: has_canary_waiting(a), 2)
    world.outbid(a)
    world.run(5)
    assert "deaf or mute" not in [event for _, event, _ in a.beliefs]


def has_canary_waiting(node: SimNode) -> bool:
    frames = [arguments[-1] for socket, _, arguments in node.inbox if socket == "sub"]
    return any(is_published(frame, messages.Notify) for frame in frames)


def test_who_is_no_longer_mute_tries_with_the_next_heartbeat_whether_it_hears() -> None:
    world, (a, b) = cluster_of("ab")
    world.silence(a)
    world.run_until(lambda: a.core.senses.is_impaired, 5)
    world.cut(b, a)  # whose canaries it had heard until then
    world.run(1.2)
    world.heal()
    world.cut(b, a)
    world.open_room(a, "r")
    world.run(0.01)
    world.shells.turn(a, a.core.time_passed(world.now))
    assert not a.core.senses.is_impaired, "its change of rooms came back to it"
    assert a.core.senses.is_in_doubt(world.now)
    world.run(world.limits.tail_after)
    assert not a.core.senses.is_in_doubt(world.now)


def test_heartbeats_alone_are_no_proof_that_notifications_come() -> None:
    world, (a, *others) = cluster_of("abc")
    world.weather.is_lost = lambda _sender, receiver, frame: (
        receiver is a and is_published(frame, messages.Notify)
    )
    took = world.run_until(lambda: a.core.senses.is_impaired, 5)
    assert 1 < took < SAID_WITHIN_S + world.limits.heartbeat
    assert "hears nothing that b, c publish" in str(a.core.why_not_ready())
    assert complaints(others) == [None, None]


def test_a_node_that_two_others_do_not_hear_is_told_so_by_them() -> None:
    world, (a, *others) = cluster_of("abc")
    world.weather.is_lost = lambda sender, _receiver, frame: sender is a and is_published(frame)
    world.run_until(lambda: a.core.senses.is_impaired, 5)
    assert "none of b, c hears" in str(a.core.why_not_ready())
    assert complaints(others) == [None, None]


def test_one_link_that_does_not_work_is_nobodys_fault() -> None:
    world, nodes = cluster_of("abc")
    a, b, _ = nodes
    world.weather.is_lost = lambda sender, receiver, frame: (
        {sender, receiver} == {a, b} and is_published(frame)
    )
    world.run(10)
    assert complaints(nodes) == [None, None, None]


def test_of_one_link_that_does_not_work_each_end_says_so_once_and_when_it_works_again() -> None:
    world, nodes = cluster_of("abc")
    a, b, c = nodes
    world.weather.is_lost = lambda sender, receiver, frame: (
        (sender, receiver) == (a, b) and is_published(frame)
    )
    assert world.run_until(lambda: said_of_links(b), 6) < SAID_OF_LINK_WITHIN_S
    world.run(10)
    assert said_of_links(b) == [("link deaf or mute", "a")]
    assert said_of_links(a) == [("link deaf or mute", "b")]
    assert said_of_links(c) == []
    world.heal()
    world.run(2)
    assert said_of_links(b) == [("link deaf or mute", "a"), ("link works again", "a")]
    assert said_of_links(a) == [("link deaf or mute", "b"), ("link works again", "b")]


def test_what_is_known_of_both_directions_of_a_link() -> None:
    world, (a, b) = cluster_of("ab")
    (here,), (there,) = a.core.links, b.core.links
    assert [end.hearing.hears(world.now) for end in (here, there)] == [True, True]
    assert [end.hearing.is_heard(world.now) for end in (here, there)] == [True, True]
    world.weather.is_lost = lambda sender, _receiver, frame: (
        sender is a and is_published(frame, messages.Notify)
    )
    world.run(5)
    assert (here.hearing.hears(world.now), here.hearing.is_heard(world.now)) == (True, False)
    assert (there.hearing.hears(world.now), there.hearing.is_heard(world.now)) == (False, True)
    assert 3 < world.now - here.hearing.arrived_at < 7
    world.cut(b, a)
    world.run(5)
    assert here.hearing.is_heard(world.now) is None, "it has not said so lately"


@pytest.mark.parametrize("impair", ["deafen", "silence"])
def test_who_is_deaf_or_mute_itself_blames_no_link(impair: str) -> None:
    world, (a, *others) = cluster_of("abcd")
    getattr(world, impair)(a)
    world.run(10)
    assert said_of_links(a) == []
    for other in others:
        assert said_of_links(other) == [("link deaf or mute", "a")]
    world.heal()
    world.run(10)
    assert said_of_links(a) == []
    for other in others:
        assert said_of_links(other) == [("link deaf or mute", "a"), ("link works again", "a")]


def test_pauses_and_deaths_say_nothing_of_links() -> None:
    world, nodes = cluster_of("abcd")
    for _ in range(5):
        world.pause(nodes[0], 8)
        world.run(12)
    world.crash(nodes[3])
    world.run(10)
    assert [said_of_links(node) for node in nodes] == [[], [], [], []]


def test_who_hears_nobody_is_no_witness() -> None:
    world, nodes = cluster_of("abc")
    for deaf in nodes[1:]:
        world.deafen(deaf)
    world.run(10)
    assert complaints(nodes) == [None, DEAF, DEAF]


def test_a_peer_that_is_killed_makes_nobody_deaf() -> None:
    world, nodes = cluster_of("abc")
    for victim in nodes[1:]:
        world.crash(victim)
    world.run(10)
    assert complaints(nodes[:1]) == [None]


def test_a_node_that_was_stopped_is_not_deaf_for_that() -> None:
    world, nodes = cluster_of("abc")
    world.pause(nodes[0], 8)
    world.run(8)
    for _ in range(40):
        world.run(0.1)
        assert not nodes[0].core.senses.is_impaired


def test_who_is_cut_off_before_it_heard_a_first_heartbeat_knows_it_too() -> None:
    """It is ready by questions and answers: what the others publish is missed although it never came."""
    world, _ = cluster_of("abc")
    late = world.start("d")
    world.weather.is_lost = lambda sender, receiver, frame: (
        receiver is late and sender is not late and is_published(frame, messages.Notify, messages.Heartbeat)
    )
    world.run_until(lambda: late.core.why_not_ready() is None, 2)
    assert world.run_until(lambda: late.core.senses.is_impaired, 5) < SAID_WITHIN_S
    assert complaints([late]) == ["it hears nothing that a, b, c publish for it, although they answer"]
    assert [link.hearing.hears(world.now) for link in late.core.links] == [False] * 3


def test_where_much_is_said_no_canary_is_needed() -> None:
    world, (a, b) = cluster_of("ab")
    world.open_room(b, "r")
    world.run(1)
    counted = 0

    def count(sender: SimNode, _receiver: SimNode, frame: bytes) -> bool:
        nonlocal counted
        if sender is a and is_published(frame, messages.Notify):
            counted += not messages.decode_published(frame).items
        return False

    world.weather.is_lost = count
    for _ in range(100):
        world.publish(a, "r")
        world.run(0.1)
    assert counted == 0
    world.run(10)
    assert 8 <= counted <= 14


def test_a_canary_tells_how_far_the_stream_goes() -> None:
    """The last notification is lost, and so is the heartbeat that would tell: the canary does."""
    world, (a, b) = cluster_of("ab")
    world.open_room(b, "r")
    world.run(1)
    world.weather.is_lost = lambda sender, _receiver, frame: (
        sender is a
        and (
            is_published(frame, messages.Heartbeat)
            or (is_published(frame, messages.Notify) and bool(messages.decode_published(frame).items))
        )
    )
    world.publish(a, "r")
    took = world.run_until(lambda: b.delivered[a.life], 3)
    assert took < 1.5


def test_a_node_that_drains_says_so_and_serves_on() -> None:
    world, (a, b) = cluster_of("ab")
    world.open_room(b, "r")
    a.core.drain(world.now)
    world.run(0.6)
    assert "drained" in str(a.core.why_not_ready())
    assert [link.takes_clients for link in b.core.links] == [False]
    assert world.publish(a, "r") == ["b"]
    world.run(0.1)
    assert len(b.delivered[a.life]) == 1


def test_the_world_notices_a_node_that_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    world, (a, b) = cluster_of("ab")
    monkeypatch.setattr(Senses, "_why_not_itself", lambda *_: None)
    monkeypatch.setattr(Senses, "next_deadline", lambda _: float("inf"))
    world.deafen(a)
    with pytest.raises(LawBroken, match="does not say so"):
        world.run(4)
    monkeypatch.undo()
    world.heal()
    world.run(3)
    b.core.senses._told_at = float("-inf")
    with pytest.raises(LawBroken, match="hears and is heard"):
        world.run(1)
