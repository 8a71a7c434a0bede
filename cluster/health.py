"""What a node answers to those who ask how it is.

It is judged with each heartbeat and each change of belief, so that to ask costs next to nothing. A judgement is of no
worth when the clock was not looked at for long; then that is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from cluster.core.node import MeshNode
from cluster.core.standing import NotReady, Standing
from cluster.visits import Log


class Health:
    """The last judgement of one node on itself."""

    def __init__(self, core: MeshNode, *, lasts_s: float, log: Log) -> None:
        self._core = core
        self._lasts_s = lasts_s
        self._log = log
        self._reasons: Sequence[NotReady] = core.reasons()
        self._told_reason: str | None = "not started"
        self._judged_at = trio.current_time()
        self._changed = trio.Event()
        self._is_stale = False
        self.has_to_move_clients = False
        """Whether this node is deaf or mute by a fault of its own, and another takes clients."""

    # -- questions --

    def reasons(self) -> Sequence[NotReady]:
        """Why this node must not be relied on now, the most final reason first; empty when it may be."""
        if trio.current_time() > self._judged_at + self._lasts_s:
            return (NotReady(Standing.STALLED, "its clock has not been looked at for some time"),)
        return self._reasons

    def why_not_ready(self) -> str | None:
        """The first of the reasons, in words; None when there is none."""
        reasons = self.reasons()
        return reasons[0].why if reasons else None

    @property
    def standing(self) -> Standing:
        """Where this node stands in the cluster."""
        reasons = self.reasons()
        return reasons[0].standing if reasons else Standing.LIVE

    async def changed(self) -> None:
        """Wait until `reasons` or `has_to_move_clients` changes."""
        await self._changed.wait()

    # -- judging --

    def grew_stale(self) -> None:
        """Something was believed since, or time has passed: judge anew at the end of the turn."""
        self._is_stale = True

    def judge(self) -> None:
        """Judge anew if there is a reason to: while the node is not ready, there always is."""
        if not (self._is_stale or self._reasons):
            return
        self._judged_at, self._is_stale = trio.current_time(), False
        core, before = self._core, (self._reasons, self.has_to_move_clients)
        self._reasons = core.reasons()
        is_anybody_there = any(link.is_live and link.takes_clients for link in core.links)
        self.has_to_move_clients = core.senses.is_own_fault and is_anybody_there
        if before != (self._reasons, self.has_to_move_clients):
            self._changed.set()
            self._changed = trio.Event()

    def note(self) -> None:
        """Write a line into the log if it has changed; as often as the heart beats."""
        reason = self._reasons[0].why if self._reasons else None
        if reason == self._told_reason:
            return
        self._told_reason = reason
        if reason is None:
            self._log.info("ready", nodes=1 + sum(link.is_live for link in self._core.links))
        else:
            self._log.warning("not ready", reason=reason)
