"""Time in a simulated world: what is to happen, and when. What is due at the same moment happens in the order in which
it was asked for."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

EVENTS_AT_ONCE = 100_000
"""More at one moment are no moment any more: time stands still because something asks to be called again at once."""


class TimeStandsStill(Exception):
    """Something happens again and again without any time passing."""


class Clock:
    """Seconds since the world began, and the events to come."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()

    def at(self, when: float, event: Callable[..., None], *arguments: Any) -> None:
        """Call `event(*arguments)` then, or now if that is over."""
        heapq.heappush(self._events, (max(when, self.now), next(self._order), event, arguments))

    def run(self, seconds: float) -> None:
        """Let time pass. Raises `TimeStandsStill`."""
        end = self.now + seconds
        events = self._events
        at_once = 0
        while events and events[0][0] <= end:
            when, _, event, arguments = heapq.heappop(events)
            at_once = at_once + 1 if when == self.now else 0
            if at_once > EVENTS_AT_ONCE:
                raise TimeStandsStill(f"{EVENTS_AT_ONCE} events at {when:.6f} s")
            self.now = when
            event(*arguments)
        self.now = end
