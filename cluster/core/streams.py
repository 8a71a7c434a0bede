"""Numbered streams: how a receiver notices that something is missing, and how the origin can say it again.

An origin numbers what it says 1, 2, 3… (`Outbound`) and keeps the last of it in a bounded log. A receiver
(`Inbound`) gives items on in order and once: what it had is dropped, what is ahead of a hole is held back within a
bound, and the hole is named so that it can be asked for. What the bound does not let it hold is forgotten, and
becomes part of the hole.

No clock: when to ask, and how often, is the link's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Outbound(Generic[T]):
    """The origin's side: the last number given out and a log of the latest items, bounded by bytes."""

    __slots__ = ("_bytes", "_limit", "_log", "tail")

    def __init__(self, log_bytes: int) -> None:
        self.tail = 0
        self._log: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._limit = log_bytes

    @property
    def oldest(self) -> int:
        """The first number that the log still holds; `tail + 1` when it holds none."""
        return self.tail - len(self._log) + 1

    @property
    def bytes_logged(self) -> int:
        """What the log weighs now."""
        return self._bytes

    def append(self, item: T, size: int) -> int:
        """Number the item and log it; returns its number. `size` is what it weighs in the log, bytes."""
        self.tail += 1
        self._log.append((item, size))
        self._bytes += size
        while self._bytes > self._limit:
            self._bytes -= self._log.popleft()[1]
        return self.tail

    def confirm(self, number: int) -> None:
        """The receiver has everything up to `number`: nobody will ask for that again."""
        if number > self.tail:
            return  # said by a peer: a number never given out confirms nothing
        while self._log and self.oldest <= number:
            self._bytes -= self._log.popleft()[1]

    def read(self, first: int, last: int, max_items: int, max_bytes: int) -> list[T] | None:
        """Items from `first`, up to `last` and within both bounds, but at least one; None when `first` is cut off.

        An empty list means that there is no such item (yet)."""
        if first < self.oldest:
            return None
        items: list[T] = []
        weight = 0
        offset = first - self.oldest
        for index in range(offset, min(len(self._log), offset + last - first + 1)):
            item, size = self._log[index]
            weight += size
            if items and (len(items) >= max_items or weight > max_bytes):
                break
            items.append(item)
        return items


class Inbound(Generic[T]):
    """The receiver's side of one stream, from the moment its position is known."""

    __slots__ = ("_held", "_held_limit", "duplicates", "lost", "position", "repaired", "tail")

    def __init__(self, held_limit: int, position: int = 0) -> None:
        self.position = position
        """The last number given on, or accounted for as lost."""
        self.tail = position
        """The highest number known to have been given out."""
        self.duplicates = 0
        self.repaired = 0
        self.lost = 0
        self._held: dict[int, T] = {}
        self._held_limit = held_limit

    @property
    def held(self) -> int:
        """How many items wait behind a hole."""
        return len(self._held)

    def take(self, first: int, items: Sequence[T], *, is_resent: bool = False) -> Sequence[T]:
        """Items `first`, `first + 1`, … arrived: returns those that can be given on now, in order."""
        last = first + len(items) - 1
        self.tail = max(self.tail, last)
        if first == self.position + 1 and not self._held:  # nearly always
            self.position = last
            if is_resent:
                self.repaired += len(items)
            return items
        for number, item in enumerate(items, first):
            if number <= self.position or number in self._held:
                self.duplicates += 1
            elif len(self._held) < self._held_limit or number == self.position + 1:
                self._held[number] = item
                if is_resent:
                    self.repaired += 1
        return self._release()

    def learn_tail(self, tail: int) -> None:
        """The origin says how far the stream goes: a lost last item shows as missing."""
        self.tail = max(self.tail, tail)

    def missing(self) -> tuple[int, int] | None:
        """The first hole (first and last number), or None when everything up to the tail is here."""
        if self.position >= self.tail:
            return None
        last = min(self._held) - 1 if self._held else self.tail
        return self.position + 1, last

    def give_up(self, before: int) -> tuple[int, Sequence[T]]:
        """What is missing before the number `before` will not come: count it as lost, and go on behind it.

        Returns how many were lost, and what can be given on now."""
        given_up = range(self.position + 1, before)
        kept = [number for number in given_up if number in self._held]
        ready = [self._held.pop(number) for number in kept]
        lost = len(given_up) - len(kept)
        self.lost += lost
        self.position = max(self.position, before - 1)
        self.tail = max(self.tail, self.position)
        return lost, [*ready, *self._release()]

    def _release(self) -> list[T]:
        ready = []
        while (item := self._held.pop(self.position + 1, None)) is not None:
            self.position += 1
            ready.append(item)
        return ready
