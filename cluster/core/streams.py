"""Numbered streams: how a receiver notices that something is missing, and how the origin can say it again.

An origin numbers what it says 1, 2, 3… (`Outbound`) and keeps the last of it in a bounded log. A receiver
(`Inbound`) gives items on in order and once: what it had is dropped, what is ahead of a hole is held back within a
bounds (items, and bytes), and the hole is named so that it can be asked for. What the bounds do not let it hold is
forgotten, and becomes part of the hole.

No clock: when to ask, and how often, is the link's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, repeat
from typing import Generic, TypeVar

import attrs

T = TypeVar("T")
R = TypeVar("R")


class Outbound(Generic[T, R]):
    """The origin's side: the last number given out, and a log of the latest items.

    The log is bounded by bytes and by age. What it had to cut leaves its *remains*: enough to say who is concerned by a
    loss, within bounds of their own. Confirmed items leave nothing. `remains_of` gives what is left of an item that
    weighed so much, and what that weighs.
    """

    __slots__ = (
        "_age",
        "_bytes",
        "_limit",
        "_log",
        "_remains",
        "_remains_bytes",
        "_remains_bytes_limit",
        "_remains_limit",
        "_remains_of",
        "tail",
    )

    def __init__(
        self,
        log_bytes: int,
        log_age: float,
        remains_of: Callable[[T, int], tuple[R, int]],
        *,
        remains_limit: int = 0,
        remains_bytes: int = 0,
    ) -> None:
        self.tail = 0
        self._log: deque[tuple[T, int, float]] = deque()
        self._bytes = 0
        self._limit = log_bytes
        self._age = log_age
        self._remains: deque[tuple[R, int]] = deque()
        self._remains_bytes = 0
        self._remains_limit = remains_limit
        self._remains_bytes_limit = remains_bytes
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
            self._forget_remains()
        while self._log and self.oldest <= number:
            self._bytes -= self._log.popleft()[1]

    def read(self, first: int, last: int, max_items: int, max_bytes: int) -> list[T] | None:
        """Items from `first`, up to `last` and within both bounds, but at least one; None when `first` is cut off.

        An empty list means that there is no such item (yet)."""
        if first < self.oldest:
            return None
        if first > self.tail:
            return []
        logged = ((item, size) for item, size, _ in islice(self._log, first - self.oldest, None))
        return _within(logged, min(max_items, last - first + 1), max_bytes)

    def remains(self, first: int, last: int, max_items: int, max_bytes: int) -> list[R]:
        """What is left of the cut items from `first` to `last`, within both bounds, but of one at least; empty when not
        even that is known."""
        begin = first - self.first_remains
        if begin < 0:
            return []
        return _within(islice(self._remains, begin, None), min(max_items, last - first + 1), max_bytes)

    @property
    def first_remains(self) -> int:
        """The first number of which anything is known."""
        return self.oldest - len(self._remains)

    @property
    def remains_bytes(self) -> int:
        """What the remains weigh now."""
        return self._remains_bytes

    def _cut(self) -> None:
        item, size, _ = self._log.popleft()
        self._bytes -= size
        remains = self._remains_of(item, size)
        self._remains.append(remains)
        self._remains_bytes += remains[1]
        while self._remains and (
            len(self._remains) > self._remains_limit or self._remains_bytes > self._remains_bytes_limit
        ):
            self._forget_remains()

    def _forget_remains(self) -> None:
        self._remains_bytes -= self._remains.popleft()[1]


def _within(sized: Iterable[tuple[T, int]], max_items: int, max_bytes: int) -> list[T]:
    """The first of them, as many as both bounds allow; if any is allowed, the very first may be heavier."""
    found: list[T] = []
    weight = 0
    for item, size in islice(sized, max(0, max_items)):
        weight += size
        if found and weight > max_bytes:
            break
        found.append(item)
    return found


@attrs.frozen
class Accounted:
    """What the receiver says became of a stream, up to number `position`."""

    position: int = 0
    repaired: int = 0
    lost: int = 0

    @property
    def delivered(self) -> int:
        """Those that arrived by themselves."""
        return self.position - self.repaired - self.lost


class Inbound(Generic[T]):
    """The receiver's side of one stream, from the moment its position is known."""

    __slots__ = (
        "_held",
        "_held_bytes_limit",
        "_held_limit",
        "_weigh",
        "delivered",
        "duplicates",
        "held_bytes",
        "lost",
        "position",
        "repaired",
        "tail",
    )

    def __init__(
        self, held_limit: int, position: int = 0, *, held_bytes: int, weigh: Callable[[T], int]
    ) -> None:
        self.position = position
        """The last number given on, or accounted for as lost."""
        self.tail = position
        """The highest number known to have been given out."""
        self.delivered = 0
        """Items given on; those `repaired` (that had to be asked for) are among them."""
        self.repaired = 0
        self.lost = 0
        self.duplicates = 0
        self.held_bytes = 0
        """What those weigh that wait behind a hole."""
        self._held: dict[int, T] = {}
        self._held_limit = held_limit
        self._held_bytes_limit = held_bytes
        self._weigh = weigh

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
        ready: list[T] = []
        for number, item in enumerate(items, first):
            if number == self.position + 1:
                self.position = number
                ready.append(item)
                ready += self._release()
            elif number <= self.position or number in self._held:
                self.duplicates += 1
                continue
            elif not self._hold(number, item):
                continue
            if is_resent:
                self.repaired += 1
        self.delivered += len(ready)
        return ready

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
        ready = [self._let_go(number) for number in numbers]
        lost = max(0, before - 1 - self.position - len(ready))
        self.lost += lost
        self.position = max(self.position, before - 1)
        self.tail = max(self.tail, self.position)
        ready += self._release()
        self.delivered += len(ready)
        return lost, ready

    def forget_held(self) -> None:
        """Nobody asks for what is missing any more: what waits for it is of no use."""
        self._held.clear()
        self.held_bytes = 0
        self.tail = self.position

    def _hold(self, number: int, item: T) -> bool:
        weight = self._weigh(item)
        if len(self._held) >= self._held_limit or self.held_bytes + weight > self._held_bytes_limit:
            return False
        self._held[number] = item
        self.held_bytes += weight
        return True

    def _let_go(self, number: int) -> T:
        item = self._held.pop(number)
        self.held_bytes -= self._weigh(item)
        return item

    def _release(self) -> list[T]:
        ready = []
        while self.position + 1 in self._held:
            self.position += 1
            ready.append(self._let_go(self.position))
        return ready
