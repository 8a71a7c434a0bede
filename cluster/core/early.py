"""Changes of a peer's slice that came before its snapshot did: kept, within bounds, to be applied behind it.

What is over the bounds is forgotten: it is found missing later, and repaired.
"""

from __future__ import annotations

from cluster.core import messages
from cluster.core.limits import Limits
from cluster.core.weights import change_weight


class Early:
    """The batches that wait for one snapshot."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._batches: list[messages.State] = []
        self.changes = 0
        self.bytes = 0
        """What the changes weigh."""

    def keep(self, batch: messages.State) -> None:
        """Keep it, if there is a place for all of it."""
        changes = self.changes + len(batch.changes)
        weight = self.bytes + sum(map(change_weight, batch.changes))
        if changes <= self._limits.held_items and weight <= self._limits.held_bytes:
            self._batches.append(batch)
            self.changes, self.bytes = changes, weight

    def take(self) -> list[messages.State]:
        """All of them, in the order in which they came; none is kept any more."""
        batches, self._batches = self._batches, []
        self.changes = self.bytes = 0
        return batches
