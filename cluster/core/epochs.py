"""In which epoch this node speaks: at a reset it takes the next turn, and it begins a later life when somebody knows a
later one of its name than this.

A reset goes round the cluster like this: who is asked for it takes its next turn, and asks every living peer to do the
same, with each heartbeat again until it has. A new turn makes all others read this node's slice anew; its notifications
keep their numbers.

Time and facts in, effects out (appended to `out`). No sockets, no clock.
"""

from __future__ import annotations

import msgspec

from cluster.core import messages
from cluster.core.admission import Admission, SealCard
from cluster.core.effects import Announce, Ask, Belief, Effect, MoveTopic
from cluster.core.identity import Epoch, Me
from cluster.core.link import Link
from cluster.core.peers import Peers
from cluster.core.publisher import Publisher
from cluster.core.readiness import Readiness

OUTBID_STEP = 1000
"""By how much a node outbids a later life of its name, at least: a second's worth of boot numbers, so that it does not
meet one in between that its informant has not heard of. What it adds of its own tells it from others that outbid the
same life."""


class Epochs:
    """The present epoch of one node, and the reset that it has asked for."""

    def __init__(
        self,
        me: Me,
        *,
        seal: SealCard,
        peers: Peers,
        say: Publisher,
        admission: Admission,
        readiness: Readiness,
    ) -> None:
        self._me = me
        self._seal = seal
        self._peers = peers
        self._say = say
        self._admission = admission
        self._readiness = readiness
        self._nonce = 0
        self._waits: set[str] = set()
        """Who has not taken the last reset yet."""

    @property
    def notify_topic(self) -> bytes:
        """The topic on which this life of this node is told of things."""
        return messages.notify_topic(self._me.id, self._me.epoch.boot)

    # -- resets --

    def reset(self, now: float, out: list[Effect]) -> None:
        """Somebody asks this node for a reset of the cluster."""
        out.append(Belief("cluster reset", {"asked_by": self._me.id}))
        self._say.flush(now, out)
        self._nonce = self._me.nonce()
        self._waits = {link.id for link in self._peers.alive()}
        self._take(self._me.epoch.next_turn(), now, out)
        self.ask_for_reset(out)

    def ask_for_reset(self, out: list[Effect]) -> None:
        """Ask those who have not taken the last reset yet, if there are any."""
        if self._waits:
            self._waits &= {link.id for link in self._peers.alive()}
            question = messages.encode(messages.Reset(self._me.id, self._me.epoch, self._nonce))
            out += [Ask(peer, question) for peer in sorted(self._waits)]

    def asked_to_reset(self, link: Link, nonce: int, now: float, out: list[Effect]) -> None:
        """The peer goes through a reset: go through it as well, once."""
        if link.reset_taken == nonce:
            return  # asked again, because our answer was late or lost
        link.reset_taken = nonce
        out.append(Belief("cluster reset", {"asked_by": link.id}))
        self._say.flush(now, out)
        self._take(self._me.epoch.next_turn(), now, out)

    def reset_taken(self, link: Link, nonce: int) -> None:
        """The peer has done what this node asked it for."""
        if nonce == self._nonce:
            self._waits.discard(link.id)

    def reset_waits_for(self) -> list[str]:
        """Peers that have not taken the last reset yet, or between which and any other node a slice is not read
        again."""
        alive = self._peers.alive()
        epochs = {link.id: link.epoch for link in alive}
        return [
            link.id
            for link in alive
            if link.id in self._waits
            or not link.is_live
            or not link.has_applied(self._me.epoch, 0)
            or not all(link.holds(peer, epoch) for peer, epoch in epochs.items() if peer != link.id)
        ]

    # -- lives --

    def outbid_if_known(self, now: float, out: list[Effect]) -> None:
        """If somebody remembers a later life of this node's name (the wall clock went back, say), begin a later one
        still."""
        known, own = self._admission.later_self, self._me.epoch
        if known is None or known <= own or self._readiness.is_name_taken or self._me.has_parted:
            return
        out.append(Belief("epoch outbid", {"own": str(own), "known": str(known)}, is_warning=True))
        self._readiness.was_outbid()
        former = self.notify_topic
        self._say.flush(now, out)  # what was said in this life is numbered, and belongs to it
        self._take(Epoch(known.boot + OUTBID_STEP + own.boot % OUTBID_STEP, 0), now, out)
        self._peers.start_over(MoveTopic(former, self.notify_topic), now, out)

    def _take(self, epoch: Epoch, now: float, out: list[Effect]) -> None:
        card = msgspec.structs.replace(self._me.card, epoch=epoch)
        self._me.take_card(card, self._seal(card))
        self._say.restart_state()
        out.append(Announce())
        self._say.heartbeat(now, out)
        self._peers.read_anew(now, out)
