"""Who is alive, judged by when we last heard from it. No sockets, no clock, no tasks.

Any frame is a sign of life. Silence makes a peer *silent*: it is then asked directly, and again, and only if that
stays unanswered, and no other peer has heard it either (their heartbeats say so), it is *down*. A closed connection
makes the question immediate, and what was on its way when it closed (frames of the peer, what others say of it) does
not answer it. A node that was stopped itself (paused, asleep, starved) must not count the time that it was away as the
silence of others: `forgive` shifts every judgement by that much.

After SWIM's failure detector (Das, Gupta, Motivala: "SWIM", 2002). Where SWIM asks others to probe on its behalf,
everybody here hears everybody's heartbeats already, so what others heard is known without asking.
"""

from __future__ import annotations

from enum import Enum

from cluster.core.limits import Limits


class Health(Enum):
    """What we believe of a peer's life."""

    UNHEARD = "unheard"  # known by its card only
    UP = "up"
    SILENT = "silent"  # for too long; being asked
    DOWN = "down"


class Liveness:
    """The judgement over one peer. Times are seconds of one monotonic clock."""

    __slots__ = (
        "_asked_at",
        "_doubt_at",
        "_heard_at",
        "_hung_up_at",
        "_limits",
        "health",
        "last_heard",
        "last_vouched",
    )

    def __init__(self, limits: Limits, now: float) -> None:
        self.health = Health.UNHEARD
        self.last_heard = now
        self.last_vouched = now
        """When another peer heard it last, as far as we were told."""
        self._heard_at = now
        self._asked_at = now
        self._doubt_at = float("inf")
        """When to doubt once more that it lives: what was there before its connection closed is read by then."""
        self._hung_up_at = float("-inf")
        self._limits = limits

    @property
    def witnessed_at(self) -> float:
        """When we can swear that it lived: time that was forgiven is not among it."""
        return min(self.last_heard, self._heard_at)

    @property
    def has_hung_up(self) -> bool:
        """Whether its connection was closed when it was heard last, by anybody: of one that does not answer either, the
        process is gone. (What it had sent before may be read a moment later.) One that was stopped, or whose line is
        cut, does not close it."""
        return max(self._heard_at, self.last_vouched) <= self._hung_up_at + self._limits.silent_after

    def heard(self, now: float) -> bool:
        """Something arrived from the peer; True when it had not been up."""
        self.last_heard = self._heard_at = now
        was_up = self.health is Health.UP
        self.health = Health.UP
        return not was_up

    def answered(self) -> None:
        """What arrived was the answer to a question of ours: there is no doubt that it lives."""
        self._doubt_at = float("inf")

    def vouched(self, at: float) -> None:
        """Another peer heard it at that time: it lives, although we may not hear it."""
        self.last_vouched = max(self.last_vouched, at)

    def hung_up(self, now: float) -> None:
        """Its connection was closed: do not wait for silence, ask now. Not a proof: it may connect again."""
        # A connection over which nothing came for long is closed in the end, too, and says nothing new.
        if self.health is Health.UP or now - self.last_heard < self._limits.down_after:
            self._hung_up_at = now
        if self.health is Health.UP:
            self._doubt(now)
            self._doubt_at = now + self._limits.doubt_again_after

    def time_passed(self, now: float) -> bool:
        """Judge anew; True when the peer should be asked for a sign of life now."""
        if now >= self._doubt_at:
            self._doubt_at = float("inf")
            self._doubt(now)
        if self.health is Health.DOWN or now < self._silent_at():
            return False
        if now >= self._down_at():
            self.health = Health.DOWN
            return False
        if self.health is Health.SILENT and now < self._asked_at + self._limits.ask_every:
            return False
        self.health = Health.SILENT
        self._asked_at = now
        return True

    def next_deadline(self) -> float | None:
        """When `time_passed` will have something to judge; None when there is nothing to expect."""
        match self.health:
            case Health.DOWN:
                return None
            case Health.UNHEARD | Health.UP:
                return min(self._doubt_at, self._silent_at())
            case Health.SILENT:
                return min(self._doubt_at, self._asked_at + self._limits.ask_every, self._down_at())

    def forgive(self, seconds: float, now: float) -> None:
        """We were away for that long: the peer was not silent meanwhile, we were deaf."""
        self.last_heard = min(self.last_heard + seconds, now)
        self.last_vouched = min(self.last_vouched + seconds, now)
        self._asked_at = min(self._asked_at + seconds, now)

    def _doubt(self, now: float) -> None:
        self.last_heard = min(self.last_heard, now - self._limits.silent_after)
        self.last_vouched = min(self.last_vouched, self.last_heard)

    def _silent_at(self) -> float:
        return (
            self._down_at() if self.health is Health.UNHEARD else self.last_heard + self._limits.silent_after
        )

    def _down_at(self) -> float:
        if self.health is Health.UNHEARD:
            return self.last_heard + self._limits.unheard_after
        return max(self.last_heard, self.last_vouched) + self._limits.down_after
