"""One node of the mesh, without I/O: it is given frames and the time, and says what to send.

    facts       cards_read, pool_failed, published, asked, answered, hung_up, time_passed
    requests    say (rooms and notifications), flush, reset, drain, leave
    questions   next_deadline, unsettled, settled_up_to, reasons, why_not_ready, senses, epochs, links

Every fact and request returns the effects to carry out, in order.

Built on: numbered streams with negative acknowledgements as in NORM (RFC 5740), an incarnation for each life as in
SWIM, and one writer for each piece of state, as in Phoenix's Tracker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, ValuesView

from cluster.core import messages
from cluster.core.admission import Admission, OpenCard, SealCard
from cluster.core.effects import Answer, Belief, Effect, Lost
from cluster.core.epochs import Epochs
from cluster.core.identity import Card, Epoch, Me
from cluster.core.leaving import Leaving
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.messages import Question, Reply
from cluster.core.peers import Peers
from cluster.core.publisher import Publisher
from cluster.core.readiness import Readiness
from cluster.core.rubbish import Rubbish
from cluster.core.senses import Senses
from cluster.core.standing import NotReady
from cluster.errors import FrameError


class MeshNode:
    """The whole protocol of one node.

    `seal` and `open_card` turn a card into bytes and back; `open_card` raises `CardError` for a card that is not of
    this cluster. `seeds` are router addresses to ask for others when the pool does not say. `now` is monotonic seconds,
    the same clock in every call.
    """

    def __init__(
        self,
        card: Card,
        limits: Limits,
        *,
        seal: SealCard,
        open_card: OpenCard,
        now: float,
        seeds: Sequence[str] = (),
    ) -> None:
        self._limits = limits
        self._me = Me(card, seal(card))
        self._peers = Peers(self._me, limits)
        self._readiness = Readiness(limits)
        self.admission = Admission(
            me=self._me,
            peers=self._peers,
            readiness=self._readiness,
            limits=limits,
            open_card=open_card,
            seeds=seeds,
            now=now,
        )
        self.rubbish = Rubbish(self._peers.links)
        self.senses = Senses(limits, now)
        """What it believes of its own hearing and voice."""
        self._beat_at = now
        self._beaten_at = float("-inf")
        self.say = Publisher(self._me, limits, self._peers.links)
        """What this node says of itself and to its peers; nothing is sent before `flush`."""
        self.epochs = Epochs(
            self._me,
            seal=seal,
            peers=self._peers,
            say=self.say,
            admission=self.admission,
            readiness=self._readiness,
        )
        """In which epoch this node speaks."""
        self.leaving = Leaving(self._me, limits, self._peers, self.say)

    # -- questions --

    @property
    def card(self) -> Card:
        """The card as it is now, epoch included."""
        return self._me.card

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
        return self._peers.links.values()

    @property
    def stale_frames(self) -> int:
        """Frames from lives and epochs that are over."""
        return self._peers.stale_frames

    def unsettled(self, epoch: Epoch, number: int) -> list[str]:
        """The peers that are alive and have not (as far as we know) applied our change `number` of that epoch."""
        return [link.id for link in self._peers.awaited() if not link.has_applied(epoch, number)]

    def settled_up_to(self) -> tuple[Epoch, int]:
        """The last change of ours that every living peer has applied; it counts for all before it."""
        applied = (link.applied for link in self._peers.awaited())
        return min(applied, default=(self._me.epoch, self.say.state_tail))

    def is_joining(self) -> bool:
        """Whether those whom this node found at its start are still waited for."""
        return self._readiness.is_joining(self.links, self._me.epoch)

    def reasons(self) -> list[NotReady]:
        """Why this node must not be relied on now, the most final reason first; empty when it may be."""
        complaint = self.senses.complaint
        return [
            *([] if complaint is None else [complaint]),
            *self._readiness.reasons(self.links, self._me.epoch),
        ]

    def why_not_ready(self) -> str | None:
        """The first of the reasons, in words; None when there is none."""
        reasons = self.reasons()
        return reasons[0].why if reasons else None

    def next_deadline(self) -> float:
        """When `time_passed` will have something to do. Calling it earlier does no harm."""
        if self.leaving.has_parted:
            return self.leaving.next_deadline()
        links = (link.next_deadline() for link in self.links)
        return min(
            [
                self.leaving.next_deadline(),
                self._beat_at,
                self.senses.next_deadline(),
                self.admission.next_deadline(),
                *links,
            ]
        )

    # -- requests --

    def flush(self, now: float) -> list[Effect]:
        """Publish what was said since the last flush."""
        out: list[Effect] = []
        self.say.flush(now, out)
        if out:  # the next heartbeat tells the new tails, soon: by it a lost last message is found
            self._beat_at = min(self._beat_at, now + self._limits.tail_after)
        return out

    def reset(self, now: float) -> list[Effect]:
        """Make every node take a new epoch and read every slice again; `epochs.reset_waits_for` tells when all
        have."""
        out: list[Effect] = []
        self.epochs.reset(now, out)
        return out

    def serve(self) -> None:
        """Clients may come from now on: whoever is found later has to be told that it may have missed something."""
        self._me.is_serving = True

    def drain(self, now: float) -> None:
        """Let the next heartbeat say that clients are not to come here any more. Those that are here are served."""
        self._readiness.is_draining = True
        self._me.takes_clients, self._beat_at = False, min(self._beat_at, now)

    def leave(self, reason: str, now: float) -> list[Effect]:
        """Go, as soon as the peers have what they were sent, and tell them: `leaving.is_over` says when that is done.
        The node is not ready any more, and nothing more may be said."""
        out: list[Effect] = []
        self._readiness.is_leaving = True
        self.leaving.begin(reason, now, out)
        return out

    # -- facts --

    def cards_read(self, sealed: Iterable[bytes], now: float) -> list[Effect]:
        """The pool was read: these are the cards of all nodes that are in it."""
        out: list[Effect] = []
        if self.leaving.has_parted:
            return out
        self._readiness.pool_was_read()
        bad_before = self.admission.bad_cards
        carded = self.admission.pool_was_read(sealed, now, out)
        self._readiness.unreadable_cards = self.admission.bad_cards - bad_before
        self._readiness.foreign = {
            node: card.versions_with(self._me.card) for node, card in self.admission.foreign_in_pool.items()
        }
        self._peers.pool_was_read(carded, now)
        self.epochs.outbid_if_known(now, out)
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
            self.rubbish.published(frame, error, out)
            return out
        link = self._peers.find_current(message, now, out)
        if link is None:
            self.senses.overheard(message, self._me, now)
            return out
        link.heard(now, out)
        match message:
            case messages.Notify():
                self.senses.told(now)
                link.hearing.told_at = now
                link.mailbox.take(message, now, out)
            case messages.State():
                link.replica.take(message, now, out)
            case messages.Heartbeat():
                link.heartbeat(message, now, out)
                self._tell_what_was_missed(link, out)
                self._peers.heard_by(link, now)
                self.leaving.time_passed(now, out)
            case messages.Probe(nonce=nonce):
                link.hearing.told_at = now
                link.replica.probed(nonce, now, out)
            case messages.Farewell():
                link.said_farewell(message, now, out)
                self._let_go(link, now, out)
        return out

    def asked(self, identity: bytes, frame: bytes, now: float) -> list[Effect]:
        """A frame arrived on the ROUTER socket."""
        out: list[Effect] = []
        try:
            question = messages.decode_question(frame)
        except FrameError as error:
            self.rubbish.asked(identity, error, out)
            return out
        if isinstance(question, messages.Hello):
            if self.leaving.has_parted:
                return out
            self.rubbish.greeted(identity, question.origin)
            self.admission.greeted(identity, question, now, out)
            return out
        link = self._peers.find_current(question, now, out)
        if link is not None:
            link.heard(now, out)
            self._answer(identity, link, question, now, out)
        return out

    def answered(self, node: str, frame: bytes, now: float) -> list[Effect]:
        """A frame arrived on the DEALER that is connected to the node, or to the seed of that address."""
        out: list[Effect] = []
        try:
            reply = messages.decode_reply(frame)
        except FrameError as error:
            self.rubbish.answered(node, error, out)
            return out
        match reply:
            case messages.Welcome():
                self.admission.welcomed(node, reply, now, out)
                self.epochs.outbid_if_known(now, out)
            case messages.Refused():
                self.admission.refused(node, reply, out)
                self.epochs.outbid_if_known(now, out)
            case _ if reply.origin == node:
                link = self._peers.find_current(reply, now, out)
                if link is not None:
                    link.heard(now, out)
                    self._take_reply(link, reply, now, out)
            case _:
                pass  # from somebody who sits where this node was
        return out

    def hung_up(self, node: str, now: float) -> list[Effect]:
        """The connection to the node was closed at its end, or broke: a hint, not a proof."""
        link = self._peers.links.get(node)
        if link is not None:
            link.liveness.hung_up(now)
        return []

    def kept_out(self, node: str) -> list[Effect]:
        """The node, or the seed of that address, did not let us connect, or is not who it should be."""
        out: list[Effect] = []
        self.admission.kept_out(node, out)
        return out

    def time_passed(self, now: float) -> list[Effect]:
        """Do what is due: heartbeat, questions to silent peers, repeated requests."""
        out: list[Effect] = []
        self.leaving.time_passed(now, out)
        if self.leaving.has_parted:
            return out
        self._notice_stall(now, out)
        if now >= self._beat_at:
            self._beat_at, self._beaten_at = now + self._limits.heartbeat, now
            self.say.canaries(now, out, is_in_doubt=self.senses.is_in_doubt(now))
            self.say.heartbeat(now, out)
            self.epochs.ask_for_reset(out)
        self.admission.time_passed(now, out)
        self._peers.time_passed(now, out)
        self.senses.judge(self.links, now, out)
        self._me.takes_clients = not (self._readiness.is_draining or self.senses.is_impaired)
        return out

    # -- answering and being answered --

    def _let_go(self, link: Link, now: float, out: list[Effect]) -> None:
        if self._peers.let_go(link, now, out):
            self._beat_soon(now)  # it stays until it hears that it may go

    def _beat_soon(self, now: float) -> None:
        """Somebody waits for a beat of ours, by which things are confirmed. One that is late stays late."""
        self._beat_at = min(self._beat_at, max(now, self._beaten_at + self._limits.repair_every))

    def _answer(self, identity: bytes, link: Link, question: Question, now: float, out: list[Effect]) -> None:
        replies: Iterable[Reply | None] = ()
        match question:
            case messages.Ping(nonce=nonce):
                self._beat_soon(now)
                replies = [self.say.pong(link, nonce)]
            case messages.Applied(of=of, number=number):
                link.applied_by_peer(of, number)
                self._tell_what_was_missed(link, out)
            case messages.Sync(nonce=nonce):
                self.say.flush(now, out)
                link.mailbox.is_peer_given_rooms = True
                if question.has_served:
                    link.served_without_us(nonce)
                replies = self.say.snapshot(nonce)
            case messages.ResendState():
                replies = [self.say.resend_state(question)]
            case messages.ResendNotify():
                replies = [self.say.resend_notifications(link, question)]
            case messages.Reset(nonce=nonce):
                self.epochs.asked_to_reset(link, nonce, now, out)
                replies = [messages.ResetTaken(self._me.id, self._me.epoch, nonce)]
            case messages.Hello():  # pragma: no cover
                raise AssertionError("a hello is answered before the link is known")
        out += [Answer(identity, messages.encode(reply)) for reply in replies if reply is not None]

    def _tell_what_was_missed(self, link: Link, out: list[Effect]) -> None:
        """A peer that was away learned only now of the rooms that we opened meanwhile: who subscribed to them is told
        that something it published may be missing."""
        if link.missed_since is None:
            return
        if link.missed_until is None:  # from now on barriers wait for it
            link.missed_until = (self._me.epoch, self.say.state_tail)
        if link.has_applied(*link.missed_until):
            rooms = self.say.rooms_unknown_to(link.missed_since)
            link.missed_since = link.missed_until = None
            if rooms:
                out.append(Lost(link.id, None, dict.fromkeys(rooms, 0)))

    def _take_reply(self, link: Link, reply: Reply, now: float, out: list[Effect]) -> None:
        match reply:
            case messages.Pong():
                link.pong(reply, now, out)
            case messages.Snapshot():
                was_live = link.is_live
                link.replica.snapshot(reply, now, out)
                if link.is_live and not was_live:
                    # Others may be waiting to hear that we hold this slice. A beat that is late stays late.
                    self._beat_at = min(self._beat_at, now)
            case messages.ResentState():
                link.replica.take_resent(reply, now, out)
            case messages.ResentNotify():
                link.mailbox.take_resent(reply, now, out)
                self._let_go(link, now, out)
            case messages.CutState():
                link.replica.cut(now, out)
            case messages.CutNotify():
                link.mailbox.cut(reply, now, out)
                self._let_go(link, now, out)
            case messages.ResetTaken(nonce=nonce):
                self.epochs.reset_taken(link, nonce)
            case messages.Welcome() | messages.Refused():  # pragma: no cover
                raise AssertionError("taken before the epoch is compared")

    # -- keeping watch --

    def _notice_stall(self, now: float, out: list[Effect]) -> None:
        """A heart that beats late was stopped itself: it has no right to call others silent for that time, and after
        a long while it must suppose that the others have given up on it."""
        late = now - self._beat_at
        if late < self._limits.stall_after:
            return
        out.append(Belief("this node was stalled", {"seconds": round(late, 3)}, is_warning=True))
        self.senses.stalled(late, now)
        for link in self.links:
            link.liveness.forgive(late, now)
            link.hearing.forgive(late, now)
        if late >= self._limits.silent_after:
            self._readiness.was_stalled(late, {link.id for link in self._peers.alive()})
            self._peers.read_anew(now, out)
