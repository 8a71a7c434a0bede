"""A node learns that its name had a later life, and begins one later still: what becomes of what it had at hand."""

from __future__ import annotations

from random import Random

from cluster.core.limits import Limits
from cluster.core.liveness import Health
from cluster.testing import SimNode, World


def three_nodes(limits: Limits | None = None) -> tuple[World, SimNode, SimNode]:
    world = World(Random(1), limits)
    twin, peer, _ = (world.start(name) for name in ("twin", "peer", "third"))
    world.run(0.01)  # the first visit to the pool
    world.run_until(world.is_converged, 2)
    world.open_room(peer, "r")
    world.run(1)
    return world, twin, peer


def test_barriers_wait_for_those_who_knew_the_life_before() -> None:
    world, twin, _ = three_nodes()
    twin.core.say.open_room("new", b"", 1)
    position = (twin.core.epoch, twin.core.say.state_tail)
    world.outbid(twin)
    assert {link.health for link in twin.core.links} == {Health.UNHEARD}
    assert twin.core.settled_up_to() < position
    assert twin.core.unsettled(*position) == ["peer", "third"]
    assert world.run_until(lambda: twin.core.settled_up_to() >= position, 1) > 0
    assert all("new" in node.view["twin"] for node in world.nodes.values() if node is not twin)


def test_they_do_not_wait_for_one_that_died_meanwhile() -> None:
    world, twin, peer = three_nodes()
    world.outbid(twin)
    world.crash(peer)
    position = (twin.core.epoch, twin.core.say.state_tail)
    took = world.run_until(lambda: twin.core.settled_up_to() >= position, 5)
    assert took <= world.limits.unheard_after + 0.02


def test_nor_for_one_that_was_dead_before() -> None:
    world, twin, peer = three_nodes()
    world.pause(peer, 30)
    world.run(5)
    world.outbid(twin)
    assert twin.core.unsettled(twin.core.epoch, twin.core.say.state_tail) == ["third"]


def test_nor_for_one_that_was_given_up_since_and_is_only_spoken_of() -> None:
    """It goes on publishing once it is awake, for the rooms of the former life: that is told, and not waited for."""
    world, twin, peer = three_nodes(Limits(forget_after=4))
    third = world.nodes["third"]
    world.pause(peer, 70)
    world.outbid(twin)
    world.pause(third, 8)
    world.run(7.5)
    assert twin.link("peer") is None
    world.run_until(lambda: twin.link("peer") is not None, 1)
    world.open_room(twin, "new")
    position = (twin.core.epoch, twin.core.say.state_tail)
    assert twin.core.unsettled(*position) == ["third"]
    world.run(0.01)
    assert twin.core.settled_up_to() == position
    assert world.publish(peer, "new") == []
    world.wake_all()
    world.run(2)
    assert ("peer", {"new": 0}) in twin.warned
    world.check_at_rest()


def test_what_waited_to_be_sent_goes_out_in_the_life_in_which_it_was_said() -> None:
    world, twin, peer = three_nodes()
    before = twin.life
    payload = world.ledger.say(twin, peer.life, ("r",), world.now)
    twin.core.say.notify("peer", ["r"], payload)
    world.outbid(twin)
    world.run(1)
    assert peer.delivered[before] == [int(payload)]
    assert world.publish(twin, "r") == ["peer"]
    world.run(1)
    world.check_at_rest()
    assert len(peer.delivered[twin.life]) == 1


def test_and_if_it_is_lost_those_whom_it_was_for_are_told() -> None:
    world, twin, peer = three_nodes()
    world.weather.is_lost = lambda sender, _receiver, frame: sender is twin and frame.startswith(b"npeer@")
    payload = world.ledger.say(twin, peer.life, ("r",), world.now)
    twin.core.say.notify("peer", ["r"], payload)
    world.outbid(twin)
    world.weather.is_lost = lambda _sender, _receiver, _frame: False
    world.run(1)
    assert ("twin", None) in peer.warned
    world.check_at_rest()


def test_its_own_subscribers_are_told_that_what_was_under_way_is_void() -> None:
    world, twin, peer = three_nodes()
    world.open_room(twin, "mine")
    world.run(1)
    world.weather.is_lost = lambda sender, _receiver, _frame: sender is peer
    world.publish(peer, "mine")
    world.outbid(twin)
    told = [rooms for when, (origin, _), rooms in twin.announced if origin == "peer" and when == world.now]
    assert told == [None]
