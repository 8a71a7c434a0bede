"""How long processes wait for a core: what a busy machine costs, and not the product.

The kernel keeps, for each process, how long its main thread could have run and did not (the second number of
/proc/…/schedstat, in nanoseconds). Where there is no such file, nothing is known of it, and nobody is excused.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import attrs
import trio

LOOK_S: Final = 0.01
"""Between two looks: finer than what is to be explained by it, and cheap."""


@attrs.define(eq=False)
class Waits:
    """How long one process had waited, at each look: seconds since it began."""

    looked_at: array[float] = attrs.field(factory=lambda: array("d"))
    waited: array[float] = attrs.field(factory=lambda: array("d"))

    def note(self, at: float, waited: float) -> None:
        """A look."""
        self.looked_at.append(at)
        self.waited.append(waited)

    def during(self, begin: float, end: float) -> float:
        """How long it waited between two times, from the look before the first to the one after the last; never more
        than lies between the times."""
        first = max(0, bisect_right(self.looked_at, begin) - 1)
        last = min(len(self.looked_at) - 1, bisect_left(self.looked_at, end))
        return min(self.waited[last] - self.waited[first], end - begin) if last > first else 0.0


@attrs.define(eq=False)
class Starvation:
    """Watches processes, by any name, and remembers."""

    pids: Mapping[str, int]
    waits: dict[str, Waits] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.waits = {name: Waits() for name in self.pids}

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            for name, pid in self.pids.items():
                self.waits[name].note(trio.current_time(), waited_for_a_core(pid))
            await trio.sleep(LOOK_S)

    def most_during(self, names: Iterable[str], begin: float, end: float) -> float:
        """How long that one of these processes waited, between two times, that waited longest. What goes through all of
        them was held up so long at least; by more, if they did not wait at the same time."""
        return max(self.waits[name].during(begin, end) for name in names)


def waited_for_a_core(pid: int) -> float:
    """How long the main thread of a process has waited for a core since it began, in seconds."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
