"""How a node goes: not before its peers have what it sent them, and not without a goodbye that they heard.

    STAYING    nothing of the kind
    SETTLING   beats, and asks those who have not confirmed everything for a beat of theirs, until all that live have;
               `settle_at_most`
    PARTING    says farewell, again and again, until nobody that lives speaks of this node any more;
               `farewell_at_most`. What is asked is answered: who lacks something lets it go when that is there
    GONE       nothing is to be waited for

It may be killed at any time: then it is like any other that is killed. Time and facts in, effects out; no clock.
"""

from __future__ import annotations

from enum import Enum

from cluster.core import messages
from cluster.core.effects import Ask, Effect
from cluster.core.identity import Me
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.peers import Peers
from cluster.core.publisher import Publisher


class Stage(Enum):
    """How far a node has gone."""

    STAYING = "staying"
    SETTLING = "settling"
    PARTING = "parting"
    GONE = "gone"


class Leaving:
    """The end of one node, in order."""

    def __init__(self, me: Me, limits: Limits, peers: Peers, say: Publisher) -> None:
        self.stage = Stage.STAYING
        self._me = me
        self._limits = limits
        self._peers = peers
        self._say = say
        self._reason = ""
        self._until = float("inf")
        self._again_at = float("inf")

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be waited for any more."""
        return self.stage is Stage.GONE

    @property
    def has_parted(self) -> bool:
        """Whether farewell was said: this node is of no concern to others any more."""
        return self._me.has_parted

    def begin(self, reason: str, now: float, out: list[Effect]) -> None:
        """The node is to go; `reason` is for people."""
        if self.stage is Stage.STAYING:
            self.stage, self._reason = Stage.SETTLING, reason
            self._until, self._again_at = now + self._limits.settle_at_most, now
            self._say.flush(now, out)
            self.time_passed(now, out)

    def next_deadline(self) -> float:
        """When `time_passed` will have something to do; `inf` when there is nothing to expect."""
        return min(self._until, self._again_at)

    def time_passed(self, now: float, out: list[Effect]) -> None:
        """Go on if that is due, or possible. Does nothing for a node that stays."""
        if self.stage is Stage.SETTLING:
            if now >= self._until or not self._unsettled():
                self._part(now)
            elif now >= self._again_at:
                self._ask_for_beats(now, out)
        if self.stage is Stage.PARTING:
            if now >= self._again_at:
                self._again_at = now + self._limits.repair_every
                self._say.farewell(self._reason, now, out)
            if now >= self._until or not self._held_by():
                self.stage = Stage.GONE
                self._until = self._again_at = float("inf")

    def _unsettled(self) -> list[Link]:
        """Those that live and have not confirmed all notifications that they were sent."""
        return [link for link in self._peers.alive() if link.accounted.position < link.outgoing.tail]

    def _held_by(self) -> list[Link]:
        """Those that live and still speak of this node."""
        return [link for link in self._peers.alive() if self._me.id in link.peer_links]

    def _ask_for_beats(self, now: float, out: list[Effect]) -> None:
        """Tell the tails, and ask for heartbeats, by which others confirm."""
        self._again_at = now + self._limits.repair_every
        self._say.heartbeat(now, out)
        for link in self._unsettled():
            ping = messages.Ping(self._me.id, self._me.epoch, self._me.nonce())
            out.append(Ask(link.id, messages.encode(ping)))

    def _part(self, now: float) -> None:
        self.stage, self._me.has_parted = Stage.PARTING, True
        self._until, self._again_at = now + self._limits.farewell_at_most, now
