"""One node of the mesh, without I/O: it is given frames and the time, and says what to send.

    facts       cards_read, pool_failed, published, asked, answered, time_passed
    requests    say (rooms and notifications), flush, reset, leave
    questions   next_deadline, unsettled, reset_waits_for, why_not_ready, links

Every fact and request returns the effects to carry out, in order.

Built on: numbered streams with negative acknowledgements as in NORM (RFC 5740), an incarnation for each life as in
SWIM, and one writer for each piece of state, as in Phoenix's Tracker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, ValuesView

import msgspec

from cluster.core import messages
from cluster.core.effects import Announce, Answer, Ask, Belief, Connect, Disconnect, Effect, MoveTopic
from cluster.core.identity import LATEST_BOOT, Card, Epoch
from cluster.core.limits import Limits
from cluster.core.link import Link, Me
from cluster.core.liveness import Health
from cluster.core.messages import Question, Reply
from cluster.core.publisher import Publisher
from cluster.core.readiness import Readiness
from cluster.errors import CardError, FrameError

OUTBID_STEP = 1000
"""By how much a node outbids a later life of its name: a second's worth of boot numbers, so that it does not meet one in
between that its informant has not heard of."""

OpenCard = Callable[[bytes], Card]
SealCard = Callable[[Card], bytes]


class MeshNode:
    """The whole protocol of one node.

    `seal` and `open_card` turn a card into bytes and back; `open_card` raises `CardError` for a card that is not of
    this cluster. `now` is monotonic seconds, the same clock in every call.
    """

    def __init__(
        self, card: Card, limits: Limits, *, seal: SealCard, open_card: OpenCard, now: float
    ) -> None:
        self._card = card
        self._limits = limits
        self._seal = seal
        self._open_card = open_card
        self._me = Me(card.id, card.epoch)
        self._me.sealed_card = seal(card)
        self._links: dict[str, Link] = {}
        self._carded: set[str] = set()
        self._readiness = Readiness(limits)
        self._reset_nonce = 0
        self._reset_waits: set[str] = set()
        self._beat_at = now
        self._is_leaving = False
        self.say = Publisher(self._me, limits, self._links)
        """What this node says of itself and to its peers; nothing is sent before `flush`."""
        self.bad_frames = 0
        self.stale_frames = 0

    # -- questions --

    @property
    def card(self) -> Card:
        """The card as it is now, epoch included."""
        return self._card

    @property
    def sealed_card(self) -> bytes:
        """The card as it goes into the pool."""
        return self._me.sealed_card

    @property
    def epoch(self) -> Epoch:
        """The epoch under which this node speaks now."""
        return self._me.epoch

    @property
    def links(self) -> ValuesView[Link]:
        """One for each peer that is known, whatever its state."""
        return self._links.values()

    @property
    def notify_topic(self) -> bytes:
        """The topic on which this life of this node is told of things."""
        return messages.notify_topic(self._me.id, self._me.epoch.boot)

    def unsettled(self, epoch: Epoch, number: int) -> list[str]:
        """The peers that are alive and have not (as far as we know) applied our change `number` of that epoch."""
        return [link.id for link in self._alive() if not link.has_applied(epoch, number)]

    def settled_up_to(self) -> tuple[Epoch, int]:
        """The last change of ours that every living peer has applied; it counts for all before it."""
        applied = (link.applied for link in self._alive())
        return min(applied, default=(self._me.epoch, self.say.state_tail))

    def why_not_ready(self) -> str | None:
        """The reason, for people, why this node must not be relied on now; None when it may be."""
        if self._is_leaving:
            return "this node is leaving the cluster"
        return self._readiness.why_not(self._links.values(), self._me.epoch)

    def reset_waits_for(self) -> list[str]:
        """Peers that have not taken the last reset yet, or between which and any other node a slice is not read
        again."""
        epochs = {link.id: link.epoch for link in self._alive()}
        return [
            link.id
            for link in self._alive()
            if link.id in self._reset_waits
            or not link.is_live
            or not link.has_applied(self._me.epoch, 0)
            or not all(link.holds(peer, epoch) for peer, epoch in epochs.items() if peer != link.id)
        ]

    def next_deadline(self) -> float:
        """When `time_passed` will have something to do. Calling it earlier does no harm."""
        return min([self._beat_at, *(link.next_deadline() for link in self._links.values())])

    # -- requests --

    def flush(self) -> list[Effect]:
        """Publish what was said since the last flush."""
        out: list[Effect] = []
        self.say.flush(out)
        return out

    def reset(self, now: float) -> list[Effect]:
        """Make every node take a new epoch and read every slice again; `reset_waits_for` tells when all have."""
        out: list[Effect] = [Belief("cluster reset", {"asked_by": self._me.id})]
        self.say.flush(out)
        self._reset_nonce = self._me.nonce()
        self._reset_waits = {link.id for link in self._alive()}
        self._take_epoch(self._me.epoch.next_turn(), now, out)
        self._ask_for_reset(out)
        return out

    def leave(self, reason: str) -> list[Effect]:
        """Tell everybody that this node goes; it is not ready any more."""
        out: list[Effect] = []
        self._is_leaving = True
        self.say.farewell(reason, out)
        return out

    # -- facts --

    def cards_read(self, sealed: Iterable[bytes], now: float) -> list[Effect]:
        """The pool was read: these are the cards of all nodes that are in it."""
        out: list[Effect] = []
        self._carded = set()
        for card_bytes in sealed:
            card = self._try_card(card_bytes, "the pool", out)
            if card is None:
                continue
            if card.id != self._me.id:
                self._carded.add(card.id)
                self._learn(card, now, out)
            elif card.epoch > self._me.epoch:
                self._outbid(card.epoch, now, out)
        self._readiness.pool_was_read(self._carded)
        return out

    def pool_failed(self, reason: str) -> None:
        """The pool could not be read; `reason` is for people."""
        self._readiness.pool_failed(reason)

    def published(self, frame: bytes, now: float) -> list[Effect]:
        """A frame arrived on the SUB socket."""
        out: list[Effect] = []
        try:
            message = messages.decode_published(frame)
        except FrameError as error:
            self._bad_frame("published", error, out)
            return out
        link = self._links.get(message.origin)
        if link is None or not self._is_current(link, message, now, out):
            return out
        link.heard(now, out)
        match message:
            case messages.Notify():
                link.notified(message, now, out)
            case messages.State():
                link.state(message, now, out)
            case messages.Heartbeat():
                link.heartbeat(message, now, out)
            case messages.Probe(nonce=nonce):
                link.probed(nonce, now, out)
            case messages.Farewell(reason=reason):
                out.append(Belief("peer left", {"peer": link.id, "reason": reason}))
                self._forget(link, out)
        return out

    def asked(self, identity: bytes, frame: bytes, now: float) -> list[Effect]:
        """A frame arrived on the ROUTER socket."""
        out: list[Effect] = []
        try:
            question = messages.decode_question(frame)
        except FrameError as error:
            self._bad_frame("direct", error, out)
            return out
        if isinstance(question, messages.Hello):
            self._greeted(identity, question, now, out)
            return out
        link = self._links.get(question.origin)
        if link is None or not self._is_current(link, question, now, out):
            return out
        link.heard(now, out)
        self._answer(identity, link, question, now, out)
        return out

    def answered(self, node: str, frame: bytes, now: float) -> list[Effect]:
        """A frame arrived on the DEALER that is connected to the node."""
        out: list[Effect] = []
        try:
            reply = messages.decode_reply(frame)
        except FrameError as error:
            self._bad_frame("reply", error, out)
            return out
        link = self._links.get(node)
        if link is None:
            return out
        match reply:
            case messages.Welcome():
                self._welcomed(link, reply, now, out)
            case messages.Refused():
                self._refused(link, reply, now, out)
            case _:
                if reply.origin == node and self._is_current(link, reply, now, out):
                    link.heard(now, out)
                    self._take_reply(link, reply, now, out)
        return out

    def time_passed(self, now: float) -> list[Effect]:
        """Do what is due: heartbeat, questions to silent peers, repeated requests."""
        out: list[Effect] = []
        self._notice_stall(now, out)
        if now >= self._beat_at:
            self._beat_at = now + self._limits.heartbeat
            self.say.heartbeat(out)
            self._ask_for_reset(out)
        for link in list(self._links.values()):
            link.time_passed(now, out)
            is_missed = link.health is Health.DOWN and link.id not in self._carded
            if is_missed and now - link.liveness.last_heard > self._limits.forget_after:
                self._forget(link, out)
        return out

    # -- own epoch --

    def _take_epoch(self, epoch: Epoch, now: float, out: list[Effect]) -> None:
        self._me.epoch = epoch
        self._card = msgspec.structs.replace(self._card, epoch=epoch)
        self._me.sealed_card = self._seal(self._card)
        self.say.restart_state()
        out.append(Announce(epoch))
        self.say.heartbeat(out)
        for link in self._links.values():
            if link.is_live:
                link.resync(now, out)

    def _outbid(self, known: Epoch, now: float, out: list[Effect]) -> None:
        """Somebody remembers a later life of this node's name (the wall clock went back, say): begin a later one
        still."""
        if known.boot >= LATEST_BOOT:
            return  # no clock says that: a lie
        fields = {"own": str(self._me.epoch), "known": str(known)}
        out.append(Belief("epoch outbid", fields, is_warning=True))
        self._readiness.was_outbid()
        cards = [link.card for link in self._links.values()]
        for link in list(self._links.values()):
            self._forget(link, out)
        former = self.notify_topic
        self._take_epoch(Epoch(known.boot + OUTBID_STEP, 0), now, out)
        out.append(MoveTopic(former, self.notify_topic))
        for card in cards:
            self._learn(card, now, out)

    def _ask_for_reset(self, out: list[Effect]) -> None:
        if self._reset_waits:
            self._reset_waits &= {link.id for link in self._alive()}
            question = messages.encode(messages.Reset(self._me.id, self._me.epoch, self._reset_nonce))
            out += [Ask(peer, question) for peer in sorted(self._reset_waits)]

    # -- hearing --

    def _is_current(self, link: Link, message: messages.Message, now: float, out: list[Effect]) -> bool:
        """Whether the message comes from the life and epoch that the link is to; a later one is followed."""
        if message.epoch == link.epoch:
            return True
        if message.epoch < link.epoch:
            self.stale_frames += 1
            return False
        if message.epoch.boot == link.epoch.boot:
            link.take_turn(message.epoch, now, out)
            return True
        # A new life on the same addresses: its card says how to talk to it, so ask for that first.
        self._begin_new_life(link, msgspec.structs.replace(link.card, epoch=message.epoch), now, out)
        return False

    def _begin_new_life(self, link: Link, card: Card, now: float, out: list[Effect]) -> None:
        out.append(Belief("peer restarted", {"peer": link.id, "epoch": str(card.epoch)}))
        self._forget(link, out)
        self._learn(card, now, out)

    def _learn(self, card: Card, now: float, out: list[Effect]) -> Link:
        """The link that goes with a card; a new one when it is for a peer, or a life of it, not known yet."""
        link = self._links.get(card.id)
        if link is None:
            link = self._links[card.id] = Link(self._me, card, self._limits, now)
            fields = {"peer": card.id, "epoch": str(card.epoch), "pub": card.pub, "router": card.router}
            out.append(Belief("peer known", fields))
            out.append(Connect(card))
            link.greet(now, out)
        elif card.epoch.boot > link.epoch.boot:
            self._begin_new_life(link, card, now, out)
            link = self._links[card.id]
        elif card.epoch >= link.epoch:
            if (card.pub, card.router) != (link.card.pub, link.card.router):
                out.append(Connect(card))
            link.card = card
            if card.epoch > link.epoch:
                link.take_turn(card.epoch, now, out)
        return link

    def _forget(self, link: Link, out: list[Effect]) -> None:
        link.slice.drop(out)
        del self._links[link.id]
        out.append(Disconnect(link.id))

    def _greeted(self, identity: bytes, hello: messages.Hello, now: float, out: list[Effect]) -> None:
        card = self._try_card(hello.card, f"hello from {hello.origin}", out)
        refusal = self._why_refuse(hello, card)
        if card is None or refusal is not None:
            reason, known = refusal or ("", None)
            fields = {"peer": hello.origin, "reason": reason}
            out.append(Belief("hello refused", fields, is_warning=True))
            answer = messages.Refused(self._me.id, self._me.epoch, hello.nonce, reason, known)
            out.append(Answer(identity, messages.encode(answer)))
            return
        link = self._learn(card, now, out)
        link.heard(now, out)
        welcome = messages.Welcome(self._me.id, self._me.epoch, self._me.sealed_card, hello.nonce)
        out.append(Answer(identity, messages.encode(welcome)))
        self.say.probe(card.id, card.epoch.boot, hello.nonce, out)

    def _why_refuse(self, hello: messages.Hello, card: Card | None) -> tuple[str, Epoch | None] | None:
        """The reason for people, and the epoch known of the asker if it is that."""
        if card is None:
            return "the card is not of this cluster: is the secret the same on all nodes?", None
        if card.id != hello.origin or card.epoch != hello.epoch:
            return "the card belongs to somebody else", None
        if card.id == self._me.id:
            return "that is this node's own name: give each node another", None
        if not card.speaks_with(self._card):
            return f"no protocol version in common: {card.protocol} and {self._card.protocol}", None
        link = self._links.get(card.id)
        if link is not None and card.epoch < link.epoch:
            return "a later life of this name is known", link.epoch
        return None

    def _answer(self, identity: bytes, link: Link, question: Question, now: float, out: list[Effect]) -> None:
        replies: Iterable[Reply | None] = ()
        match question:
            case messages.Ping(nonce=nonce):
                replies = [messages.Pong(self._me.id, self._me.epoch, nonce)]
            case messages.Applied(of=of, number=number):
                link.applied_by_peer(of, number)
            case messages.Sync(nonce=nonce):
                self.say.flush(out)
                replies = self.say.snapshot(nonce)
            case messages.ResendState():
                replies = [self.say.resend_state(question)]
            case messages.ResendNotify():
                replies = [self.say.resend_notifications(link, question)]
            case messages.Reset(nonce=nonce):
                self._reset_asked(link, nonce, now, out)
                replies = [messages.ResetTaken(self._me.id, self._me.epoch, nonce)]
            case messages.Hello():  # pragma: no cover
                raise AssertionError("a hello is answered before the link is known")
        out += [Answer(identity, messages.encode(reply)) for reply in replies if reply is not None]

    def _reset_asked(self, link: Link, nonce: int, now: float, out: list[Effect]) -> None:
        if link.reset_taken == nonce:
            return  # asked again, because our answer was late or lost
        link.reset_taken = nonce
        out.append(Belief("cluster reset", {"asked_by": link.id}))
        self.say.flush(out)
        self._take_epoch(self._me.epoch.next_turn(), now, out)

    def _welcomed(self, link: Link, welcome: messages.Welcome, now: float, out: list[Effect]) -> None:
        card = self._try_card(welcome.card, f"welcome from {link.id}", out)
        if card is None or card.id != link.id or card.epoch != welcome.epoch:
            return
        current = self._learn(card, now, out)
        current.heard(now, out)
        if current is link:
            link.welcomed(welcome.nonce, now, out)

    def _refused(self, link: Link, refusal: messages.Refused, now: float, out: list[Effect]) -> None:
        fields = {"peer": link.id, "reason": refusal.reason}
        if refusal.known is not None and refusal.known > self._me.epoch:
            self._outbid(refusal.known, now, out)
        elif link.refusal != refusal.reason:
            out.append(Belief("refused by peer", fields, is_warning=True))
        link.refusal = refusal.reason

    def _take_reply(self, link: Link, reply: Reply, now: float, out: list[Effect]) -> None:
        match reply:
            case messages.Pong():
                pass  # a sign of life like any other
            case messages.Snapshot():
                was_live = link.is_live
                link.snapshot(reply, now, out)
                if link.is_live and not was_live:
                    self._beat_at = now  # others may be waiting to hear that we hold this slice
            case messages.ResentState():
                link.state_resent(reply, now, out)
            case messages.ResentNotify():
                link.notifications_resent(reply, now, out)
            case messages.CutState():
                link.state_cut(now, out)
            case messages.CutNotify(oldest=oldest):
                link.notifications_cut(oldest, now, out)
            case messages.ResetTaken(nonce=nonce):
                if nonce == self._reset_nonce:
                    self._reset_waits.discard(link.id)
            case messages.Welcome() | messages.Refused():  # pragma: no cover
                raise AssertionError("taken before the epoch is compared")

    # -- keeping watch --

    def _alive(self) -> list[Link]:
        return [link for link in self._links.values() if link.health in (Health.UP, Health.SILENT)]

    def _notice_stall(self, now: float, out: list[Effect]) -> None:
        """A heart that beats late was stopped itself: it has no right to call others silent for that time."""
        late = now - self._beat_at
        if late < self._limits.stall_after:
            return
        for link in self._links.values():
            link.liveness.forgive(late, now)
        out.append(Belief("this node was stalled", {"seconds": round(late, 3)}, is_warning=True))

    def _try_card(self, sealed: bytes, source: str, out: list[Effect]) -> Card | None:
        try:
            return self._open_card(sealed)
        except CardError as error:
            out.append(Belief("bad card", {"source": source, "error": str(error)}, is_warning=True))
            return None

    def _bad_frame(self, kind: str, error: FrameError, out: list[Effect]) -> None:
        self.bad_frames += 1
        if self.bad_frames & (self.bad_frames - 1) == 0:  # the 1st, 2nd, 4th, 8th…: a flood fills no log
            fields = {"kind": kind, "error": str(error), "count": self.bad_frames}
            out.append(Belief("frame refused", fields, is_warning=True))
