"""The pool of a simulated world: a Redis that can be away, slow, flushed, or lose a card."""

from __future__ import annotations

from cluster.testing.clock import Clock

CARD_LIFETIME_S = 2.5
"""Five heartbeats, as `cluster.config` has it."""

PATIENCE_S = 2.0
"""How long a visit to a pool that hangs takes before it counts as failed."""


class SimPool:
    """Cards with an expiry by the world's clock."""

    def __init__(self, clock: Clock) -> None:
        self.is_up = True
        self.latency = 0.0005
        """Of one visit, seconds; over `PATIENCE_S` none succeeds."""
        self._clock = clock
        self._cards: dict[str, tuple[bytes, float]] = {}

    @property
    def answers(self) -> bool:
        """Whether a visit succeeds."""
        return self.is_up and self.latency <= PATIENCE_S

    @property
    def visit_takes(self) -> float:
        """How long it is until a visitor knows more, seconds."""
        return min(self.latency, PATIENCE_S)

    def beat(self, node: str, card: bytes) -> list[bytes]:
        """Write the card and read all that live, and the one that it replaced."""
        now = self._clock.now
        before, _ = self._cards.get(node, (card, 0.0))
        self._cards[node] = (card, now + CARD_LIFETIME_S)
        live = [card for card, expiry in self._cards.values() if expiry > now]
        return live if before == card else [*live, before]

    def withdraw(self, node: str) -> None:
        """The node's card is not wanted any more; it expires by itself when the pool is away."""
        if self.answers:
            self.lose(node)

    def lose(self, node: str) -> None:
        """One card is gone, as one that Redis evicted."""
        self._cards.pop(node, None)

    def flush(self) -> None:
        """All cards are gone, as in a Redis that was restarted."""
        self._cards.clear()

    def restore(self) -> None:
        """It answers at once again."""
        self.is_up = True
        self.latency = 0.0005
