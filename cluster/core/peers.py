"""Which peers there are, and in which life of theirs.

Cards make links and epochs void them: a later life of a name is another node, and ends the link to the one before. A
peer that was given up on leaves its card and its numbering behind: if this very life comes back (it was paused, or cut
off, for long), any frame of it is enough to know it again, nothing is doubled, and nothing that it missed meanwhile is
missed in silence.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import attrs
import msgspec

from cluster.core import messages
from cluster.core.effects import Belief, Connect, Disconnect, Effect
from cluster.core.identity import Card, Epoch, Me, Near
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.liveness import Health
from cluster.core.messages import Notification
from cluster.core.streams import Inbound


@attrs.frozen
class _Remembered:
    """A life that was given up, and where the two notify streams between us and it stood."""

    card: Card
    sent: int
    received: Inbound[Notification]
    applied: tuple[Epoch, int]
    """What it had of our slice."""


class Peers:
    """The links of one node. `links` is read by others, and changed only here."""

    def __init__(self, me: Me, limits: Limits) -> None:
        self.links: dict[str, Link] = {}
        self.stale_frames = 0
        """Frames of lives and epochs that are over."""
        self._me = me
        self._limits = limits
        self._carded: set[str] = set()
        self._pool_read_at = float("-inf")
        self._departed: OrderedDict[str, int] = OrderedDict()
        self._remembered: OrderedDict[tuple[str, int], _Remembered] = OrderedDict()

    def alive(self) -> list[Link]:
        """Those that were heard, and are not down."""
        return [link for link in self.links.values() if link.is_alive]

    def awaited(self) -> list[Link]:
        """Those whom barriers wait for: who is alive; and who was when a former life of ours ended, and has neither
        been heard in this one nor found dead."""
        return [
            link
            for link in self.links.values()
            if link.is_alive or (link.is_awaited and link.health is Health.UNHEARD)
        ]

    def find_current(self, message: messages.Message, now: float, out: list[Effect]) -> Link | None:
        """The link to the life and epoch that speaks in the message; a later one than known is followed.

        None for strangers, for what is stale, and for a new life that has to be greeted first. A life that was given up
        is no stranger: it was only away, and takes us for its peer all the time. A probe proves the pipe to a life, in
        whichever turn it was said: one that is slower than the news of a reset is no less welcome."""
        link = self.links.get(message.origin)
        if link is None:
            link = self._recall(message, now, out)
        if link is None or message.epoch == link.epoch:
            return link
        if message.epoch < link.epoch:
            if isinstance(message, messages.Probe) and message.epoch.boot == link.epoch.boot:
                return link
            self.stale_frames += 1
            return None
        if message.epoch.boot == link.epoch.boot:
            link.replica.take_turn(message.epoch, now, out)
            return link
        # A new life on the same addresses: its card says how to talk to it, so ask for that first.
        self._begin_new_life(link, msgspec.structs.replace(link.card, epoch=message.epoch), now, out)
        return None

    def learn(self, card: Card, now: float, out: list[Effect]) -> Link:
        """The link that goes with a card; a new one when it is for a peer, or a life of it, not known yet."""
        link = self.links.get(card.id)
        if link is None:
            return self._begin(card, now, out)
        if card.epoch.boot > link.epoch.boot:
            return self._begin_new_life(link, card, now, out)
        if card.epoch >= link.epoch:
            if _addresses(card) != _addresses(link.card):
                out.append(Connect(card))
            link.card = card
            if card.epoch > link.epoch:
                link.replica.take_turn(card.epoch, now, out)
        return link

    def forget(self, link: Link, out: list[Effect]) -> None:
        """Give up on the peer, or on this life of it."""
        link.ended(out)
        del self.links[link.id]
        out.append(Disconnect(link.id))
        self._remembered[link.id, link.epoch.boot] = _Remembered(
            msgspec.structs.replace(link.card, epoch=link.epoch),
            link.outgoing.tail,
            link.mailbox.received,
            link.missed_since or link.applied,
        )
        if len(self._remembered) > self._limits.remembered_lives:
            self._remembered.popitem(last=False)

    def let_go(self, link: Link, now: float, out: list[Effect]) -> bool:
        """If the peer said farewell, and nothing more is to be had of it, forget it; its card may be seen for a moment
        longer, and means nothing. Returns whether that is so."""
        if not link.has_to_go(now):
            return False
        out.append(Belief("peer left", {"peer": link.id, "reason": link.why_it_leaves}))
        self.forget(link, out)
        self._departed[link.id] = link.epoch.boot
        self._departed.move_to_end(link.id)
        if len(self._departed) > self._limits.remembered_lives:
            self._departed.popitem(last=False)
        return True

    def has_left(self, card: Card) -> bool:
        """Whether this very life, or a later one of the name, has said farewell. One that said hello since has not: its
        clock went back, and the pool shows that it lives."""
        link, boot = self.links.get(card.id), card.epoch.boot
        departed = self._departed.get(card.id, -1)
        return boot == departed or (boot < departed and (link is None or link.epoch.boot != boot))

    def has_just_left(self, card: Card) -> bool:
        """Whether it was this very life that said farewell."""
        return card.epoch.boot == self._departed.get(card.id)

    def pool_was_read(self, carded: Iterable[str], now: float) -> None:
        """These peers have a card in the pool: they are looked for as long as that is so."""
        self._carded, self._pool_read_at = set(carded), now
        for node in self._carded & self.links.keys():
            self.links[node].seen_alive(now - self._limits.card_lifetime)

    def time_passed(self, now: float, out: list[Effect]) -> None:
        """Do what is due for each peer, and forget those that nobody misses."""
        for link in list(self.links.values()):
            link.outgoing.expire(now)
            link.time_passed(now, out)
            if self.let_go(link, now, out) or link.health is not Health.DOWN:
                continue
            if now - link.liveness.last_heard > self._limits.forget_after:
                self._give_up(link, now, out)

    def read_anew(self, now: float, out: list[Effect]) -> None:
        """Ask for all slices that are here once more; what we hold of them stays until then."""
        for link in self.links.values():
            if link.is_live:
                link.replica.resync(now, out)

    def heard_by(self, witness: Link, now: float) -> None:
        """A peer's heartbeat says when it heard others: it vouches for those whom we do not hear."""
        for link in self.links.values():
            if link.health in (Health.SILENT, Health.DOWN) and link is not witness:
                report = witness.peer_links.get(link.id)
                if report is not None and report.epoch.boot == link.epoch.boot:
                    heard_at = now - report.heard_ms / 1000
                    link.liveness.vouched(heard_at)
                    link.seen_alive(heard_at)

    def start_over(self, move: Effect, now: float, out: list[Effect]) -> None:
        """We begin a new life: every link is ended, then we move, then every link is begun anew."""
        cards = [link.card for link in self.links.values()]
        awaited = {link.id for link in self.awaited()}
        for link in list(self.links.values()):
            self.forget(link, out)
        self._remembered.clear()  # numbered for the life that is over
        out.append(move)
        for card in cards:
            self._begin(card, now, out).is_awaited = card.id in awaited

    def _give_up(self, link: Link, now: float, out: list[Effect]) -> None:
        if link.id not in self._carded:
            self.forget(link, out)
        elif now - self._pool_read_at > self._limits.forget_after:
            link.mailbox.broke_off(out)  # its card is from before the pool went away, and says nothing

    def _recall(self, message: messages.Message, now: float, out: list[Effect]) -> Link | None:
        """The link to the life that speaks, begun anew, if it is one that was given up and has said no farewell."""
        remembered = self._remembered.get((message.origin, message.epoch.boot))
        if remembered is None or self.has_left(remembered.card):
            return None
        return self._begin(remembered.card, now, out)

    def _begin(self, card: Card, now: float, out: list[Effect]) -> Link:
        link = self.links[card.id] = Link(self._me, card, self._limits, now)
        fields = {"peer": card.id, "epoch": str(card.epoch), "pub": card.pub, "router": card.router}
        out.append(Belief("peer known", fields))
        remembered = self._remembered.pop((card.id, card.epoch.boot), None)
        if remembered is not None:
            link.mailbox.resume(remembered.received)
            link.missed_since = remembered.applied
            link.outgoing.tail = remembered.sent
        out.append(Connect(card))
        link.replica.greet(now, out)
        return link

    def _begin_new_life(self, link: Link, card: Card, now: float, out: list[Effect]) -> Link:
        out.append(Belief("peer restarted", {"peer": link.id, "epoch": str(card.epoch)}))
        self.forget(link, out)
        return self._begin(card, now, out)


def _addresses(card: Card) -> tuple[str, str, Near | msgspec.UnsetType]:
    return card.pub, card.router, card.near
