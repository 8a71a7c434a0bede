"""Following one numbered stream of a peer: what is missing is asked for, at once and then now and then, until it is
here.

`Inbound` knows what is missing; this knows when to ask. Time in, questions out; no sockets, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from cluster.core.effects import Belief, Effect
from cluster.core.limits import Limits
from cluster.core.streams import Inbound

T = TypeVar("T")

AskAgain = Callable[[int, int, list[Effect]], None]
"""Ask the origin for items from the first to the last number."""


class Follower(Generic[T]):
    """The stream `name` of `peer`, and its repair. `ask` puts the question for a missing range into the effects."""

    def __init__(self, peer: str, name: str, limits: Limits, ask: AskAgain, position: int = 0) -> None:
        self.stream: Inbound[T] = Inbound(limits.held_items, position)
        self._peer = peer
        self._name = name
        self.gaps = 0
        """How often something was found missing."""
        self.repair_at: float | None = None
        """When to ask (again); None when nothing is missing."""
        self._every = limits.repair_every
        self._ask = ask

    def take(self, first: int, items: Sequence[T], now: float, out: list[Effect]) -> Sequence[T]:
        """Items arrived: returns those that can be given on now."""
        ready = self.stream.take(first, items)
        if self.stream.position < self.stream.tail:
            self.repair(now, out)
        return ready

    def take_resent(self, first: int, items: Sequence[T], now: float, out: list[Effect]) -> Sequence[T]:
        """Items arrived that were asked for. What is still missing is asked for at once."""
        self.repair_at = now
        ready = self.stream.take(first, items, is_resent=True)
        self.repair(now, out)
        return ready

    def learn_tail(self, tail: int, now: float, out: list[Effect]) -> None:
        """The origin says how far the stream goes."""
        if tail > self.stream.position:
            self.stream.learn_tail(tail)
            self.repair(now, out)

    def ask_anew(self, now: float) -> None:
        """What was asked last may not have arrived: ask again when something does."""
        if self.repair_at is not None:
            self.repair_at = now

    def give_up(self, before: int, now: float, out: list[Effect]) -> tuple[int, Sequence[T]]:
        """What is missing before that number will not come: returns how many are, and what can be given on now."""
        lost, ready = self.stream.give_up(before)
        self.repair_at = now
        self.repair(now, out)
        return lost, ready

    def repair(self, now: float, out: list[Effect]) -> None:
        """Ask for what is missing, if it is time to."""
        if self.repair_at is not None and now < self.repair_at:
            return
        hole = self.stream.missing()
        if hole is None:
            self.repair_at = None
            return
        if self.repair_at is None:
            self._found_gap(hole, out)
        self.repair_at = now + self._every
        self._ask(*hole, out)

    def _found_gap(self, hole: tuple[int, int], out: list[Effect]) -> None:
        self.gaps += 1
        if self.gaps & (self.gaps - 1) == 0:  # the 1st, 2nd, 4th, 8th…: a bad line fills no log
            first, last = hole
            fields = {
                "peer": self._peer,
                "stream": self._name,
                "first": first,
                "last": last,
                "gaps": self.gaps,
            }
            out.append(Belief("gap in stream", fields, is_warning=True))
