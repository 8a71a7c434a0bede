"""Numbered streams: how a receiver notices that something is missing, and how the origin can say it again.

An origin numbers what it says 1, 2, 3… (`Outbound`) and keeps the last of it in a bounded log. A receiver
(`Inbound`) gives items on in order and once: what it had is dropped, what is ahead of a hole is held back within a
bound, and the hole is named so that it can be asked for. What the bound does not let it hold is forgotten, and
becomes part of the hole.

No clock: when to ask, and how often, is the link's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Outbound(Generic[T, R]):
    """The origin's side: the last number given out, and a log of the latest items.

    The log is bounded by bytes and by age. What it had to cut leaves its *remains*: enough to say who is concerned by a
    loss, within a bound of their own. Confirmed items leave nothing.
    """

    __slots__ = ("_age", "_bytes", "_limit", "_log", "_remains", "_remains_of", "tail")

    def __init__(
        self, log_bytes: int, log_age: float, remains_of: Callable[[T], R], remains_limit: int = 0
    ) -> None:
        self.tail = 0
        self._log: deque[tuple[T, int, float]] = deque()
        self._bytes = 0
        self._limit = log_bytes
        self._age = log_age
        self._remains: deque[R] = deque(maxlen=remains_limit)
        self._remains_of = remains_of

    @property
    def oldest(self) -> int:
        """The first number that the log still holds; `tail + 1` when it holds none."""
        return self.tail - len(self._log) + 1

    @property
    def bytes_logged(self) -> int:
        """What the log weighs now."""
        return self._bytes

    def extend(self, items: Sequence[T], sizes: Sequence[int], now: float) -> int:
        """Number the items and log them; returns the number of the first. `sizes` is what they weigh in the log,
        bytes."""
        first = self.tail + 1
        self.tail += len(items)
        self._log.extend(zip(items, sizes, repeat(now)))
        self._bytes += sum(sizes)
        while self._bytes > self._limit:
            self._cut()
        return first

    def expire(self, now: float) -> None:
        """Cut what is too old to be asked for."""
        while self._log and now - self._log[0][2] > self._age:
            self._cut()

    def confirm(self, number: int) -> None:
        """The receiver has everything up to `number`: nobody will ask for that again."""
        if number > self.tail:
            return  # said by a peer: a number never given out confirms nothing
        while self._remains and self.first_remains <= number:
            self._remains.popleft()
        while self._log and self.oldest <= number:
            self._bytes -= self._log.popleft()[1]

    def skip(self) -> None:
        """Give out a number for nothing, and forget what was before: whoever follows the stream will learn that it
        missed something."""
        self._log.clear()
        self._bytes = 0
        self._remains.clear()
        self.tail += 1

    def read(self, first: int, last: int, max_items: int, max_bytes: int) -> list[T] | None:
        """Items from `first`, up to `last` and within both bounds, but at least one; None when `first` is cut off.

        An empty list means that there is no such item (yet)."""
        if first < self.oldest:
            return None
        items: list[T] = []
        weight = 0
        offset = first - self.oldest
        for index in range(offset, min(len(self._log), offset + last - first + 1)):
            item, size, _ = self._log[index]
            weight += size
            if items and (len(items) >= max_items or weight > max_bytes):
                break
            items.append(item)
        return items

    def remains(self, first: int, last: int, max_items: int) -> list[R]:
        """What is left of the cut items from `first` to `last`, at most so many; empty when not even that is known."""
        begin = first - self.first_remains
        if begin < 0:
            return []
        end = min(begin + last - first + 1, begin + max_items, len(self._remains))
        return [self._remains[index] for index in range(begin, end)]

    @property
    def first_remains(self) -> int:
        """The first number of which anything is known."""
        return self.oldest - len(self._remains)

    def _cut(self) -> None:
        item, size, _ = self._log.popleft()
        self._bytes -= size
        self._remains.append(self._remains_of(item))


class Inbound(Generic[T]):
    """The receiver's side of one stream, from the moment its position is known."""

    __slots__ = ("_held", "_held_limit", "delivered", "duplicates", "lost", "position", "repaired", "tail")

    def __init__(self, held_limit: int, position: int = 0) -> None:
        self.position = position
        """The last number given on, or accounted for as lost."""
        self.tail = position
        """The highest number known to have been given out."""
        self.delivered = 0
        """Items given on; those `repaired` (that had to be asked for) are among them."""
        self.repaired = 0
        self.lost = 0
        self.duplicates = 0
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
            self.delivered += len(items)
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

    def lacks(self, number: int) -> bool:
        """Whether this one has not arrived."""
        return number > self.position and number not in self._held

    def give_up(self, before: int) -> tuple[int, Sequence[T]]:
        """What is missing before the number `before` will not come: count it as lost, and go on behind it.

        Returns how many are lost, and what can be given on now. That is reckoned from what is here: how much is missing
        is the origin's word, and may be any number."""
        numbers = sorted(number for number in self._held if number < before)
        ready = [self._held.pop(number) for number in numbers]
        lost = max(0, before - 1 - self.position - len(ready))
        self.lost += lost
        self.delivered += len(ready)
        self.position = max(self.position, before - 1)
        self.tail = max(self.tail, self.position)
        return lost, [*ready, *self._release()]

    def forget_held(self) -> None:
        """Nobody asks for what is missing any more: what waits for it is of no use."""
        self._held.clear()
        self.tail = self.position

    def _release(self) -> list[T]:
        ready = []
        while (item := self._held.pop(self.position + 1, None)) is not None:
            self.position += 1
            ready.append(item)
        self.delivered += len(ready)
        return ready
