"""Where a node stands is one word, and every reason not to rely on it is told, the most final one first."""

from __future__ import annotations

from random import Random

import attrs
import pytest

from cluster.core.limits import Limits
from cluster.core.standing import NotReady, Standing
from cluster.testing import SimNode, World


def standings(node: SimNode) -> list[Standing]:
    return [reason.standing for reason in node.core.reasons()]


def world_of(names: str, **limits: int) -> tuple[World, list[SimNode]]:
    world = World(Random(1), attrs.evolve(Limits(), **limits))
    nodes = [world.start(name) for name in names]
    world.run(0.01)  # the first visit to the pool
    world.run_until(world.is_converged, 2)
    world.run(3)
    return world, nodes


def test_a_node_that_may_be_relied_on_has_no_reason() -> None:
    _, (a, b) = world_of("ab")
    assert standings(a) == standings(b) == []


def test_a_node_that_waits_for_the_pool_and_for_others_says_both() -> None:
    world = World(Random(1), attrs.evolve(Limits(), minimum_nodes=2))
    world.pool.is_up = False
    a = world.start("a")
    world.run(1)
    assert a.core.reasons() == [
        NotReady(Standing.JOINING, "the pool cannot be read: the world has taken it away"),
        NotReady(Standing.WAITING, "1 of at least 2 nodes are here"),
    ]
    assert a.core.why_not_ready() == "the pool cannot be read: the world has taken it away"
    world.heal()
    world.run(1)
    assert standings(a) == [Standing.WAITING]


def test_a_node_that_drains_and_then_leaves_says_both() -> None:
    world, (a, _) = world_of("ab")
    a.core.drain(world.now)
    assert standings(a) == [Standing.DRAINING]
    a.core.leave("test", world.now)
    assert standings(a) == [Standing.LEAVING, Standing.DRAINING]


@pytest.mark.parametrize(("impair", "standing"), [("deafen", Standing.DEAF), ("silence", Standing.MUTE)])
def test_what_is_wrong_with_its_senses_comes_first(impair: str, standing: Standing) -> None:
    world, (a, _) = world_of("ab")
    a.core.drain(world.now)
    getattr(world, impair)(a)
    world.run(4)
    assert standings(a) == [standing, Standing.DRAINING]


def test_a_node_that_stood_still_reads_again_what_others_have() -> None:
    world, (a, b) = world_of("ab")
    world.pause(a, 8)
    world.run(8)
    seen: list[Standing] = []
    world.cut(b, a)  # so that it takes longer than a look
    for _ in range(10):
        world.run(0.05)
        seen += standings(a)
    assert set(seen) == {Standing.SYNCING}


def test_of_two_nodes_of_one_name_each_says_so() -> None:
    _, (a,) = world_of("a")
    for _ in range(4):
        a.core._readiness.was_outbid()
    assert standings(a) == [Standing.TWIN]
