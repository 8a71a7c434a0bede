"""How much in a second: a bucket that fills at a steady rate, holds what was not used lately, and is taken from.

    take(5, now) -> as many as there are, at most 5     spend(5, now): owe what is not there; debt_s(now) -> how long

The laws: between any two moments `take` gives no more than fits into the bucket, and the rate times the seconds
between; `spend` goes over that by what is spent at once, and as long as that is owed nothing is given. Time is an
argument, in seconds; one that lies before one that was seen already counts as that one. It refuses to wait: who asks
does.
"""

from typing import Final

BURST_S: Final = 2.0
"""What was not used in the last two seconds may be used at once: a page that opens asks for much, then for little."""


class Bucket:
    """One allowance, full at the beginning."""

    __slots__ = ("_at", "_level", "_most", "_per_s")

    def __init__(self, per_s: float, now: float) -> None:
        """Take how much comes in a second: at least 1."""
        self._per_s = per_s
        self._most = per_s * BURST_S
        self._level = self._most
        self._at = now

    def take(self, wanted: int, now: float) -> int:
        """Take as many whole ones as there are, at most so many, and return how many that was."""
        self._fill(now)
        taken = max(0, min(wanted, int(self._level)))
        self._level -= taken
        return taken

    def spend(self, amount: int, now: float) -> None:
        """Take so much, whether it is there or not."""
        self._fill(now)
        self._level -= amount

    def debt_s(self, now: float) -> float:
        """Return the seconds until nothing is owed; 0 when nothing is."""
        self._fill(now)
        return max(0.0, -self._level / self._per_s)

    def is_full(self, now: float) -> bool:
        """Tell whether nothing is left of what was taken: a new one would be the same."""
        self._fill(now)
        return self._level >= self._most

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self._most, self._level + (now - self._at) * self._per_s)
            self._at = now
