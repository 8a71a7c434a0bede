"""Following one numbered stream of a peer: what is missing is asked for, at once and then now and then, until it is
here, or until it was asked for in vain so often that it will never be.

`Inbound` knows what is missing; this knows when to ask, and when to stop. Time in, questions out; no sockets, no clock.
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

GiveUp = Callable[[int, float, list[Effect]], None]
"""What is missing before that number was asked for in vain: go on without it."""


class Follower(Generic[T]):
    """The stream `name` of `peer`, and its repair. `ask` puts the question for a missing range into the effects;
    `give_up` is called when asking has no sense any more."""

    def __init__(
        self,
        peer: str,
        name: str,
        limits: Limits,
        *,
        weigh: Callable[[T], int],
        ask: AskAgain,
        give_up: GiveUp,
        position: int = 0,
    ) -> None:
        self.stream: Inbound[T] = Inbound(
            limits.held_items, position, held_bytes=limits.held_bytes, weigh=weigh
        )
        self._peer = peer
        self._name = name
        self.gaps = 0
        """How often something was found missing."""
        self.repair_at: float | None = None
        """When to ask (again); None when nothing is missing."""
        self._limits = limits
        self._ask = ask
        self._give_up = give_up
        self._stuck_at = -1
        """The position at the last question; since it moved, so often was asked, and answered with rubbish."""
        self._asked = self._bad_answers = 0

    def take(self, first: int, items: Sequence[T], now: float, out: list[Effect]) -> Sequence[T]:
        """Items arrived: returns those that can be given on now."""
        ready = self.stream.take(first, items)
        if self.stream.position < self.stream.tail:
            self.repair(now, out)
        return ready

    def take_resent(self, first: int, items: Sequence[T], now: float, out: list[Effect]) -> Sequence[T]:
        """Items arrived that were asked for. What is still missing is asked for at once, unless they were of no use:
        else who answers nonsense would be asked without end."""
        before = self.stream.position
        ready = self.stream.take(first, items, is_resent=True)
        if self.stream.position > before:
            self.repair_at = now
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

    def answered_badly(self) -> None:
        """Something came from the peer that cannot be read, and may have been the answer."""
        self._bad_answers += 1

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
        if self.stream.position > self._stuck_at:
            self._stuck_at = self.stream.position
            self._asked = self._bad_answers = 0
        if self._is_hopeless():
            self._asked = self._bad_answers = 0
            self._give_up(hole[1] + 1, now, out)
            return
        if self.repair_at is None:
            self._found_gap(hole, out)
        self._asked += 1
        self.repair_at = now + self._limits.repair_every
        self._ask(*hole, out)

    def _is_hopeless(self) -> bool:
        bad_answers = min(self._bad_answers, self._asked)  # others are not for what was asked last
        return self._asked >= self._limits.repair_tries or bad_answers >= self._limits.bad_answers

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
