"""One life of a small cluster, played: faults of every kind, rooms and publishes all the while, then peace. Some laws
are looked at all the time, the rest of them when all is quiet."""

from __future__ import annotations

from random import Random

import attrs

from cluster.core.limits import Limits
from cluster.testing import Law, LawBroken, NotInTime, World
from cluster.testing.network import LATENCY_S
from support.plans import Plan

CONNECTED_WITHIN_S = 0.8
"""After the faults, until all connections are made again: an attempt may have half a second to go, a fifth of one is
between two, and a little."""

LEFT_WITHIN_S = 1.6
"""After the faults, until those who were about to leave have gone: a second for what others lack, half of one for the
farewell, and a little."""

HEALED_WITHIN_S = 1.0
"""After that, until all nodes see the same: two heartbeats, as promised."""

DEAD_WITHIN_S = 4.0
"""After that, until those who are not there count as dead with everybody."""

SETTLED_S = 1.2
"""After that, until what was missing is announced, and both sides know of it: two heartbeats, and what the repair takes
of itself (`_repair_s`)."""

ECHO_S = 1.0
"""After that, until who was deaf or mute before the end of the faults, and says so only now, has been heard again."""

QUIET_S = 2.0
"""Then nothing happens any more, for four heartbeats."""


@attrs.define
class Outcome:
    """What came of a plan."""

    world: World
    history: list[str] = attrs.field(factory=list)
    broken: LawBroken | None = None
    connected_after_s: float = 0.0
    """How long after the faults until every connection was made again."""
    healed_after_s: float = 0.0
    """How long after that until all nodes saw the same."""
    settled_after_s: float = 0.0
    """How long after that until the dead were known to be dead, and all were ready."""


def play(plan: Plan) -> Outcome:
    """Play it and see whether the laws hold."""
    limits = Limits(**plan.limits)  # type: ignore[arg-type]  # some are whole numbers
    world = World(Random(plan.dice), limits, plan.frame_bytes)
    outcome = Outcome(world)
    try:
        for action in plan.actions:
            began = world.now
            done = action.perform(world)
            if done is not None:
                outcome.history.append(f"{began:8.3f} {done}")
            world.check_bounds()
        _make_peace(outcome)
    except LawBroken as broken:
        outcome.broken = broken
    except Exception as error:
        outcome.broken = LawBroken(Law.PROGRESS, f"{error!r} was raised")
        outcome.broken.__cause__ = error
    return outcome


def _make_peace(outcome: Outcome) -> None:
    world = outcome.world
    outcome.history.append(f"{world.now:8.3f} peace")
    world.heal()
    world.wake_all()
    try:
        world.run_until(lambda: not world.is_anybody_leaving(), LEFT_WITHIN_S)
        outcome.connected_after_s = world.run_until(world.network.is_connected, CONNECTED_WITHIN_S)
        outcome.healed_after_s = world.run_until(world.is_converged, HEALED_WITHIN_S)
        outcome.settled_after_s = world.run_until(world.is_settled, DEAD_WITHIN_S)
    except NotInTime:
        world.check_at_rest()  # says what is not as it should be
        raise
    world.run(SETTLED_S + _repair_s(world))
    world.run_until(world.is_settled, ECHO_S)
    world.check_at_rest()
    world.check_quiet(QUIET_S)
    world.check_at_rest()
    if world.waits_for_news():
        world.run(world.limits.forget_after)
        if world.waits_for_news():
            raise LawBroken(Law.PROGRESS, "somebody still waits for one that is gone for good")
        world.check_at_rest()


def _repair_s(world: World) -> float:
    """How long it takes at the most to ask for what is missing now, where nothing is the matter: what is missing on one
    link is asked for with one question after the other, and each answer brings one notification at least. It is a
    matter of milliseconds, unless a plan lets thousands of them be missing, and a frame carry no more than one."""
    missing = (
        link.outgoing.tail - back.mailbox.received.position
        for node in world.nodes.values()
        for link in node.core.links
        if (peer := world.nodes.get(link.id)) is not None and (back := peer.link(node.name)) is not None
    )
    return 2 * LATENCY_S * max(missing, default=0)
