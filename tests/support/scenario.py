"""A random life of a small cluster: faults of every kind, rooms and publishes all the while, then peace, then the
laws."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cluster.core.limits import Limits
from cluster.testing import SimNode, World

NAMES = "abcd"
PEACE_S = 6.0
"""After the faults: longer than a silence counts as death and a join attempt takes."""


LIMITS = (
    Limits(),
    Limits(),
    Limits(forget_after=4.0, log_age=4.0),
    Limits(notify_log_bytes=2000, cut_items=10, state_log_bytes=500),
    Limits(batch_bytes=300, held_items=5),
)
"""As they are, and so small that every bound is met."""


class Scenario:
    """One seed, played. `history` says what was done, for whoever has to understand a broken law."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.world = World(self._random, self._random.choice(LIMITS))
        self.history: list[str] = []
        self._actions: list[tuple[int, Callable[[], None]]] = [
            (30, self._publish),
            (12, self._open_room),
            (6, self._close_room),
            (3, self._crash_or_leave),
            (5, self._start),
            (3, self._pause),
            (3, self._cut),
            (2, self._heal),
            (2, self._lose),
            (1, self._slow_down),
            (1, self._pool_goes),
            (1, self._flush_pool),
            (1, self._reset),
        ]

    def play(self, steps: int = 120) -> None:
        """Do it; raises `LawBroken`."""
        for name in NAMES[: self._random.randint(2, len(NAMES))]:
            self._note(f"start {name}")
            self.world.start(name)
        weights = [weight for weight, _ in self._actions]
        for _ in range(steps):
            (_, act), *_ = self._random.choices(self._actions, weights)
            act()
            self.world.run(self._random.choice((0.0, 0.001, 0.01, 0.1, 0.5)))
            self.world.check_always()
        self._note("peace")
        self.world.heal()
        self.world.wake_all()
        self.world.run(PEACE_S)
        self.world.check_at_rest()

    def _note(self, text: str) -> None:
        self.history.append(f"{self.world.now:8.3f} {text}")

    def _any(self) -> SimNode | None:
        nodes = list(self.world.nodes.values())
        return self._random.choice(nodes) if nodes else None

    def _awake(self) -> SimNode | None:
        nodes = [node for node in self.world.nodes.values() if node.paused_until <= self.world.now]
        return self._random.choice(nodes) if nodes else None

    def _publish(self) -> None:
        if node := self._awake():
            rooms = sorted({room for rooms in node.view.values() for room in rooms})
            for _ in range(self._random.choice((1, 1, 5, 40)) if rooms else 0):
                self.world.publish(node, self._random.choice(rooms))
            self._note(f"{node.name} publishes")

    def _open_room(self) -> None:
        if node := self._awake():
            room = f"r{self._random.randint(1, 5)}"
            self._note(f"{node.name} opens {room}")
            self.world.open_room(node, room, room.encode(), self._random.randint(1, 3))

    def _close_room(self) -> None:
        if (node := self._awake()) and node.rooms:
            room = self._random.choice(sorted(node.rooms))
            self._note(f"{node.name} closes {room}")
            self.world.close_room(node, room)

    def _crash_or_leave(self) -> None:
        node = self._awake()
        if node is None or len(self.world.nodes) < 2:
            return
        if self._random.random() < 0.6:
            self._note(f"{node.name} crashes")
            self.world.crash(node)
        else:
            self._note(f"{node.name} leaves")
            self.world.leave(node)

    def _start(self) -> None:
        if absent := sorted(set(NAMES) - self.world.nodes.keys()):
            name = self._random.choice(absent)
            went_back = 500 + len(self.history)  # a wall clock that did, now and then: never the same twice
            boot = self._random.choice((None, None, None, went_back))
            self._note(f"start {name} {boot or ''}")
            seeds = self._random.choice(((), (), sorted(set(NAMES) - {name})))
            self.world.start(name, boot, seeds)

    def _pause(self) -> None:
        if node := self._awake():
            seconds = self._random.choice((0.2, 1.0, 3.0, 8.0, 70.0))
            self._note(f"{node.name} pauses {seconds}")
            self.world.pause(node, seconds)

    def _cut(self) -> None:
        a, b = self._any(), self._any()
        if a and b and a is not b:
            self._note(f"cut {a.name}->{b.name}")
            self.world.cut(a, b)
            if self._random.random() < 0.5:
                self.world.cut(b, a)

    def _heal(self) -> None:
        self._note("heal")
        self.world.heal()

    def _lose(self) -> None:
        self.world.loss = self._random.choice((0.01, 0.1, 0.5))
        self._note(f"lose {self.world.loss}")

    def _slow_down(self) -> None:
        self.world.delay = self._random.choice((0.01, 0.1, 0.7))
        self._note(f"delay {self.world.delay}")

    def _pool_goes(self) -> None:
        self._note("pool away")
        self.world.is_pool_up = False

    def _flush_pool(self) -> None:
        self._note("pool flushed")
        self.world.flush_pool()

    def _reset(self) -> None:
        if node := self._awake():
            self._note(f"{node.name} resets")
            self.world.reset(node)
