"""What of the way that notifications take, between this node and one peer, was seen to work, and when.

That a peer's heartbeats arrive proves nothing of its notifications: those come under a topic of their own, and answers
come through other sockets still. So it is noted apart when something came under that topic, and what the peer says of
the other direction.
"""

from __future__ import annotations

from cluster.core.limits import Limits


class Doubt:
    """Whether one direction of a link is believed not to work. What only seems so for less than a heartbeat is not: a
    peer that goes on after a pause answers first, say, and publishes a moment later."""

    __slots__ = ("_patience", "_since", "is_believed")

    def __init__(self, limits: Limits) -> None:
        self.is_believed = False
        self._patience = limits.heartbeat
        self._since: float | None = None

    def seems(self, is_wrong: bool, now: float) -> bool:
        """Look again; True when it changes what is believed."""
        if not is_wrong:
            self._since = None
            was_believed, self.is_believed = self.is_believed, False
            return was_believed
        self._since = now if self._since is None else self._since
        if self.is_believed or now < self._since + self._patience:
            return False
        self.is_believed = True
        return True


class Hearing:
    """Both directions of one link. Times are seconds of one monotonic clock."""

    __slots__ = ("_limit", "_reported_at", "_unheard_s", "deaf", "mute", "said_at", "told_at")

    def __init__(self, limits: Limits, now: float) -> None:
        self.told_at = now
        """When something came from the peer under our notify topic; at first, when the link began."""
        self.said_at = float("-inf")
        """When something was published to the peer under its notify topic."""
        self.deaf, self.mute = Doubt(limits), Doubt(limits)
        """Of what the peer publishes for us, and of what we publish for it."""
        self._limit = limits.deaf_after
        self._reported_at = float("-inf")
        self._unheard_s = 0.0

    def reported(self, told_ms: int, now: float) -> None:
        """The peer says how long ago something came to it under its notify topic."""
        self._reported_at, self._unheard_s = now, told_ms / 1000

    def forgive(self, seconds: float, now: float) -> None:
        """We were away for that long: what did not arrive meanwhile says nothing."""
        self.told_at = min(self.told_at + seconds, now)

    @property
    def arrived_at(self) -> float:
        """When something of ours came to the peer under its notify topic, as it says; minus infinity when it has not
        said so yet."""
        return self._reported_at - self._unheard_s

    def hears(self, now: float) -> bool:
        """Whether what the peer publishes for us arrives: a canary at least, lately."""
        return now - self.told_at < self._limit

    def is_heard(self, now: float) -> bool | None:
        """Whether what we publish for the peer arrives there, as it says; None when it has not said so lately."""
        return self._unheard_s < self._limit if now - self._reported_at < self._limit else None
