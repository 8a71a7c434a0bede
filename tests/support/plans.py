"""Random lives of small clusters, as data: a seed makes a plan, which can be written down, cut and played again.

Each seed leaves out some kinds of faults altogether, so that the others are seen for themselves ("swarm testing", Groce
and others, 2012), and some seeds have no faults at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import msgspec

from cluster.core.messages import FRAME_BYTES
from cluster.testing.network import LATENCY_S
from support import actions as act
from support.actions import Action

ROOMS = ("r1", "r2", "r3", "r4")

LIMITS: tuple[dict[str, int | float], ...] = (
    {},
    {},
    {"forget_after": 4.0, "log_age": 4.0},
    {"notify_log_bytes": 2000, "cut_items": 10, "state_log_bytes": 500},
    {"batch_bytes": 300, "held_items": 5},
    {"forget_after": 4.0, "log_age": 2.0, "cut_items": 3, "notify_log_bytes": 3000, "held_items": 8},
)
"""As they are, and so small that every bound is met."""


CROWD_LIMITS: tuple[dict[str, int | float], ...] = (
    {"batch_bytes": 1000},
    {"batch_bytes": 1000, "notify_log_bytes": 5000},
    {"batch_bytes": 1000, "notify_log_bytes": 3000, "cut_bytes": 5000, "held_bytes": 4000},
    {"batch_bytes": 300, "log_age": 2.0, "cut_items": 100, "held_bytes": 2000, "state_log_bytes": 1000},
)
"""Where nodes have many rooms: what they say has to be cut to fit into frames."""

CROWD_FRAME_BYTES = 4096
"""What a frame may have then: 60 rooms do not fit into one, as 120,000 do not into a real one."""

CROWDS = (50, 50, 80, 80, 80, 200)
BIG_CROWD = 2000


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """One life of a cluster. `dice` is for what the world leaves to chance: which frames are lost, say, and how late
    the others are."""

    dice: int
    limits: dict[str, int | float]
    actions: list[Action]
    frame_bytes: int = FRAME_BYTES


class Regression(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan that broke a law once: which, and what was wrong with the mesh."""

    found: str
    law: str
    plan: Plan


def plan_of(seed: int) -> Plan:
    """The plan that the seed stands for."""
    dice = Random(seed)
    names = "abcde"[: dice.choice((2, 3, 3, 4, 4, 5))]
    limits = dice.choice(LIMITS)
    maker = _Maker(dice, names)
    plan = Plan(dice.getrandbits(32), limits, list(maker.actions(dice.choice((30, 80, 150)))))
    _impair_somebody(plan, names, Random(f"{seed} senses"))
    _lose_last_words(plan, names, Random(f"{seed} last words"))
    _read_again_while_late(plan, names, Random(f"{seed} late"))
    _outbid_somebody(plan, names, Random(f"{seed} outbid"))
    return _crowded(plan, names, Random(f"{seed} crowds"))


def _crowded(plan: Plan, names: str, dice: Random) -> Plan:
    """In some lives nodes have many rooms, and things are published to all of them at once. Dice of their own, too."""
    if dice.random() >= 0.2:
        return plan
    rooms = BIG_CROWD if dice.random() < 0.1 else dice.choice(CROWDS)
    actions = list(plan.actions)
    for name in dice.sample(names, 2):
        where = dice.randrange(len(names), len(names) + 8)
        actions.insert(where, act.Fill(name, rooms))
    for _ in range(3 if rooms == BIG_CROWD else 12):
        where = dice.randrange(len(names) + 8, len(actions) + 1)
        few = rooms == BIG_CROWD or dice.random() < 0.5
        actions[where:where] = [
            act.Broadcast(dice.choice(names), rooms, 1 if few else dice.choice((5, 20))),
            *([act.Wait(0.01)] if dice.random() < 0.5 else []),
        ]
    limits = {**plan.limits, **dice.choice(CROWD_LIMITS)}
    return msgspec.structs.replace(plan, limits=limits, actions=actions, frame_bytes=CROWD_FRAME_BYTES)


def _impair_somebody(plan: Plan, names: str, dice: Random) -> None:
    """In some lives nodes become deaf or mute. Dice of their own: the rest of the life is what it would be without."""
    if dice.random() < 0.3:
        for _ in range(dice.choice((1, 1, 2, 3))):
            impair = dice.choice((act.Deafen, act.Silence))
            where = dice.randrange(len(plan.actions) + 1)
            plan.actions[where:where] = [
                impair(dice.choice(names)),
                *([act.Wait(3.5)] if dice.random() < 0.5 else []),
            ]


def _lose_last_words(plan: Plan, names: str, dice: Random) -> None:
    """In some lives nodes are killed when what they said last was lost, or leave while frames are being lost. Dice of
    their own, here too."""
    if dice.random() < 0.4:
        for _ in range(dice.choice((1, 2, 3))):
            name = dice.choice(names)
            words = act.Publish(name, [dice.choice(ROOMS)], dice.choice((1, 40)))
            if dice.random() < 0.5:
                pause = act.Wait(dice.choice((0.0, 0.05, 0.15)))
                ending: list[Action] = [
                    act.Weather(loss=1.0),
                    words,
                    act.Weather(loss=0.0),
                    pause,
                    act.Crash(name),
                ]
            else:
                ending = [act.Weather(loss=0.1), words, act.Leave(name), act.Wait(2.0), act.Weather(loss=0.0)]
            if dice.random() < 0.5:
                ending.append(act.Start(name))
            where = dice.randrange(len(plan.actions) + 1)
            plan.actions[where:where] = ending


def _outbid_somebody(plan: Plan, names: str, dice: Random) -> None:
    """In some lives a node learns of a later life of its name just when somebody has subscribed there."""
    if dice.random() < 0.2:
        name = dice.choice(names)
        where = dice.randrange(len(plan.actions) + 1)
        plan.actions[where:where] = [act.Open(name, dice.choice(ROOMS)), act.Outbid(name)]


def _read_again_while_late(plan: Plan, names: str, dice: Random) -> None:
    """In some lives all slices are read again while frames are late and the slices change: who is asked, and others
    that have an opinion, are at different points for long."""
    if dice.random() < 0.2:
        actions: list[Action] = [act.Weather(delay=0.7), act.Reset(dice.choice(names))]
        for _ in range(12):
            name, room = dice.choice(names), dice.choice(ROOMS)
            actions.append(act.Open(name, room) if dice.random() < 0.7 else act.Close(name, room))
            actions.append(act.Wait(0.1))
        where = dice.randrange(len(plan.actions) + 1)
        plan.actions[where:where] = [*actions, act.Weather(delay=LATENCY_S)]


class _Maker:
    """Draws actions that make sense together."""

    def __init__(self, dice: Random, names: str) -> None:
        self._dice = dice
        self._names = names
        kinds: list[tuple[int, Callable[[], Iterable[Action]]]] = [
            (6, self._crash_or_leave),
            (5, self._pause),
            (3, self._slow),
            (4, self._block),
            (3, self._partition),
            (4, self._break),
            (4, self._weather),
            (3, self._pool),
            (2, self._reset),
        ]
        faults = [kind for kind in kinds if dice.random() < 0.5]
        self._kinds = [(30, self._publish), (18, self._open), (5, self._close), (7, self._start), *faults]
        if faults:
            self._kinds.append((1 + sum(weight for weight, _ in faults) // 4, self._heal))
        self._waits = dice.choice(
            ((0.0, 0.001, 0.01, 0.1), (0.0, 0.001, 0.01, 0.1, 0.5), (0.01, 0.5, 1.0, 2.0))
        )
        self._clocks = dice.choice(((0,), (0, 0, 0, -600_000, 3_600_000)))
        self._has_seeds = dice.random() < 0.3

    def actions(self, steps: int) -> Iterable[Action]:
        """The whole life."""
        if self._has_seeds and self._dice.random() < 0.5:
            yield act.Pool(is_up=False)
        for name in self._names:
            yield self._start_of(name)
        if self._dice.random() < 0.7:
            yield act.Wait(1.0)
        weights = [weight for weight, _ in self._kinds]
        for _ in range(steps):
            ((_, make),) = self._dice.choices(self._kinds, weights)
            yield from make()
            if wait := self._dice.choice(self._waits):
                yield act.Wait(wait)
            if self._dice.random() < 0.01:
                yield act.Wait(self._dice.choice((5.0, 5.0, 12.0, 70.0)))

    def _any(self) -> str:
        return self._dice.choice(self._names)

    def _two(self) -> list[str]:
        return self._dice.sample(self._names, 2)

    def _publish(self) -> Iterable[Action]:
        rooms = sorted(self._dice.sample(ROOMS, self._dice.choice((1, 1, 1, 2, 4))))
        yield act.Publish(self._any(), rooms, self._dice.choice((1, 1, 1, 5, 40)))

    def _open(self) -> Iterable[Action]:
        yield act.Open(self._any(), self._dice.choice(ROOMS), self._dice.randint(1, 3))

    def _close(self) -> Iterable[Action]:
        yield act.Close(self._any(), self._dice.choice(ROOMS))

    def _start_of(self, name: str) -> Action:
        others = sorted(set(self._names) - {name})
        seeds = self._dice.sample(others, self._dice.randint(1, len(others))) if self._has_seeds else []
        return act.Start(name, self._dice.choice(self._clocks), seeds)

    def _start(self) -> Iterable[Action]:
        yield self._start_of(self._any())

    def _crash_or_leave(self) -> Iterable[Action]:
        name = self._any()
        if self._dice.random() < 0.5:  # while it has something to say
            for _ in range(2):
                yield act.Wait(0.01)
                yield act.Publish(name, [self._dice.choice(ROOMS)], self._dice.choice((1, 5)))
        yield act.Crash(name) if self._dice.random() < 0.7 else act.Leave(name)
        if self._dice.random() < 0.4:  # at once on the same address
            yield act.Wait(self._dice.choice((0.001, 0.05, 0.3, 2.0)))
            yield self._start_of(name)

    def _pause(self) -> Iterable[Action]:
        yield act.Pause(self._any(), self._dice.choice((0.2, 0.6, 1.0, 3.0, 8.0, 12.0, 70.0)))

    def _slow(self) -> Iterable[Action]:
        yield act.Slow(self._any(), self._dice.choice((0.0, 0.05, 0.3, 0.6)))

    def _block(self) -> Iterable[Action]:
        sender, receiver = self._two()
        yield act.Block(sender, receiver, holds=self._dice.random() < 0.5)

    def _partition(self) -> Iterable[Action]:
        names = list(self._names)
        self._dice.shuffle(names)
        groups: list[list[str]] = [[] for _ in range(self._dice.choice((2, 2, 3)))]
        for index, name in enumerate(names):
            groups[index if index < len(groups) else self._dice.randrange(len(groups))].append(name)
        yield act.Partition([sorted(group) for group in groups if group], holds=self._dice.random() < 0.5)

    def _break(self) -> Iterable[Action]:
        yield act.Break(*self._two())

    def _weather(self) -> Iterable[Action]:
        choices: list[dict[str, Any]] = [
            {"loss": self._dice.choice((0.01, 0.1, 0.5))},
            {"loss": 0.0},
            {"direct_loss": self._dice.choice((0.01, 0.1, 0.5))},
            {"duplication": self._dice.choice((0.01, 0.3))},
            {"delay": self._dice.choice((0.01, 0.1, 0.7))},
            {"queue": self._dice.choice((3, 30))},
        ]
        yield act.Weather(**self._dice.choice(choices))

    def _pool(self) -> Iterable[Action]:
        choices = (
            act.Pool(is_up=False),
            act.Pool(is_up=True),
            act.Pool(is_up=True, latency=self._dice.choice((0.3, 1.5, 5.0))),
            act.Flush(),
            act.Flush(self._any()),
        )
        yield self._dice.choice(choices)

    def _reset(self) -> Iterable[Action]:
        yield act.Reset(self._any())

    def _heal(self) -> Iterable[Action]:
        yield act.Heal()
