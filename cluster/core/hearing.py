"""What of the way that notifications take, between this node and one peer, was seen to work, and when.

That a peer's heartbeats arrive proves nothing of its notifications: those come under a topic of their own, and answers
come through other sockets still. So it is noted apart when something came under that topic, and what the peer says of
the other direction.
"""

from __future__ import annotations


class Hearing:
    """Both directions of one link. Times are seconds of one monotonic clock."""

    __slots__ = ("_reported_at", "_unheard_s", "said_at", "told_at")

    def __init__(self, now: float) -> None:
        self.told_at = now
        """When something came from the peer under our notify topic; at first, when the link began."""
        self.said_at = float("-inf")
        """When something was published to the peer under its notify topic."""
        self._reported_at = float("-inf")
        self._unheard_s = 0.0

    def reported(self, told_ms: int | None, now: float) -> None:
        """The peer says how long ago something came to it under its notify topic; None when it does not know."""
        if told_ms is not None:
            self._reported_at, self._unheard_s = now, told_ms / 1000

    def says_unheard(self, limit: float, now: float) -> bool:
        """Whether the peer says, and said so lately, that nothing of ours has come for that long."""
        return now - self._reported_at < limit and self._unheard_s >= limit

    @property
    def has_canaries(self) -> bool:
        """Whether the peer ever said what it hears of us. One that speaks an older version does not, and sends none."""
        return self._reported_at > float("-inf")
