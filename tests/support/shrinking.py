"""Make the plan of a broken law small, so that a person can read it.

Delta debugging (Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", 2002): leave out halves,
quarters, eighths… of the actions as long as the same law stays broken; then make what is left simpler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from cluster.testing import Law
from support import actions as act
from support.actions import Action
from support.plans import Plan
from support.scenario import play

PLAYS = 600
"""How often a plan is played at most: some twenty seconds."""


def shrink(plan: Plan, law: Law, is_broken: Callable[[Plan, Law], bool] | None = None) -> Plan:
    """The smallest plan found that breaks the same law."""
    return _Shrinking(plan, law, is_broken or breaks).run()


def breaks(plan: Plan, law: Law) -> bool:
    """Whether the plan breaks that law."""
    broken = play(plan).broken
    return broken is not None and broken.law is law


class _Shrinking:
    def __init__(self, plan: Plan, law: Law, is_broken: Callable[[Plan, Law], bool]) -> None:
        self._best = plan
        self._law = law
        self._is_broken = is_broken
        self._plays = 0

    def run(self) -> Plan:
        before = None
        while before != self._best and self._plays < PLAYS:
            before = self._best
            self._leave_out()
            self._simplify()
        return self._best

    def _leave_out(self) -> None:
        size = max(1, len(self._best.actions) // 2)
        while size:
            start = 0
            while start < len(self._best.actions):
                actions = self._best.actions
                if not self._try(actions[:start] + actions[start + size :]):
                    start += size
            size //= 2

    def _simplify(self) -> None:
        index = 0
        while index < len(self._best.actions):
            actions = self._best.actions
            for simpler in _simpler(actions[index : index + 2]):
                if self._try([*actions[:index], *simpler, *actions[index + 2 :]]):
                    break
            index += 1

    def _try(self, actions: list[Action]) -> bool:
        if self._plays >= PLAYS:
            return False
        self._plays += 1
        candidate = msgspec.structs.replace(self._best, actions=actions)
        if self._is_broken(candidate, self._law):
            self._best = candidate
            return True
        return False


def _simpler(pair: list[Action]) -> Iterator[list[Action]]:
    """Simpler forms of an action and the one behind it, the simplest first."""
    match pair:
        case [act.Wait(first), act.Wait(second)]:
            yield [act.Wait(round(first + second, 6))]
        case [act.Publish(node, rooms, times), *rest] if times > 1 or len(rooms) > 1:
            yield from ([act.Publish(node, [room]), *rest] for room in rooms)
            yield [act.Publish(node, rooms), *rest]
        case [act.Broadcast(node, rooms, times), *rest] if times > 1:
            yield [act.Broadcast(node, rooms), *rest]
            yield [act.Broadcast(node, rooms, times // 2), *rest]
        case [act.Start(node, clock_ms, seeds), *rest] if clock_ms or seeds:
            yield [act.Start(node), *rest]
            yield [act.Start(node, 0, seeds), *rest]
            yield [act.Start(node, clock_ms), *rest]
        case [act.Open(node, room, count), *rest] if count > 1:
            yield [act.Open(node, room), *rest]
        case _:
            pass
