"""The pool of a simulated world: a Redis that can be away, slow, flushed, or lose a card."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from cluster.testing.clock import Clock

CARD_LIFETIME_S = 2.5
"""Five heartbeats, as `cluster.config` has it."""

LATENCY_S = 0.0005
"""Of a visit to a pool that is well."""

PATIENCE_S = 2.0
"""How long a visit to a pool that hangs takes before it counts as failed."""


@attrs.define(eq=False)
class _Visit:
    node: str
    card: bytes
    tell: Callable[[list[bytes] | None], None]
    cards: list[bytes] | None = None


class SimPool:
    """Cards with an expiry by the world's clock."""

    def __init__(self, clock: Clock) -> None:
        self.is_up = True
        self.latency = LATENCY_S
        """Of one visit, seconds; over `PATIENCE_S` none succeeds."""
        self._clock = clock
        self._cards: dict[str, tuple[bytes, float]] = {}
        self._visits: list[_Visit] = []

    def visit(self, node: str, card: bytes, tell: Callable[[list[bytes] | None], None]) -> None:
        """Write the card and read all that live, and the one that it replaced. They are told after a while: None when
        the pool did not answer."""
        visit = _Visit(node, card, tell)
        self._visits.append(visit)
        takes = min(self.latency, PATIENCE_S)
        self._clock.at(self._clock.now + takes / 2, self._beat, visit)
        self._clock.at(self._clock.now + takes, self._end, visit)

    def withdraw(self, node: str) -> None:
        """The node's card is not wanted any more, and it visits no more; the card expires by itself when the pool is
        away."""
        self._visits = [visit for visit in self._visits if visit.node != node]
        if self._answers:
            self.lose(node)

    def lose(self, node: str) -> None:
        """One card is gone, as one that Redis evicted."""
        self._cards.pop(node, None)

    def flush(self) -> None:
        """All cards are gone, as in a Redis that was restarted."""
        self._cards.clear()

    def restore(self) -> None:
        """It answers at once again, also those who wait."""
        self.is_up = True
        self.latency = LATENCY_S
        for visit in self._visits:
            self._clock.at(self._clock.now + LATENCY_S / 2, self._beat, visit)
            self._clock.at(self._clock.now + LATENCY_S, self._end, visit)

    @property
    def _answers(self) -> bool:
        return self.is_up and self.latency <= PATIENCE_S

    def _beat(self, visit: _Visit) -> None:
        if not self._answers or visit not in self._visits:
            return
        now = self._clock.now
        before, _ = self._cards.get(visit.node, (visit.card, 0.0))
        self._cards[visit.node] = (visit.card, now + CARD_LIFETIME_S)
        visit.cards = [card for card, expiry in self._cards.values() if expiry > now]
        if before != visit.card:
            visit.cards.append(before)

    def _end(self, visit: _Visit) -> None:
        if visit in self._visits:
            self._visits.remove(visit)
            visit.tell(visit.cards)
