"""One peer as this node sees it: joining it, following its streams, and what it has of ours.

Joining is symmetric, and needs no lock over the cluster: each node does it to each other one.

    GREETING   hello on its ROUTER → its welcome, and its probe on our SUB side, which proves that pipe
    SYNCING    sync → the parts of a snapshot, at a known position of its state stream
    LIVE       its state stream is applied change by change; a hole is repaired from its log, or by a new snapshot

The notifications that it sends us are numbered for this life of it and this life of us, from 1, so nothing needs to be
agreed before they are taken: what is published before our subscription has reached the peer shows as missing
and is asked for.

Frames and time in, effects out (appended to `out`). No sockets, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from cluster.core import messages
from cluster.core.effects import Ask, Belief, Deliver, Effect, Lost
from cluster.core.identity import Card, Epoch
from cluster.core.limits import Limits
from cluster.core.liveness import Health, Liveness
from cluster.core.messages import Change, LinkReport, Notification, Question
from cluster.core.slices import PeerSlice
from cluster.core.streams import Inbound, Outbound


class Sync(Enum):
    """How far we are in taking over the peer's slice."""

    GREETING = "greeting"
    SYNCING = "syncing"
    LIVE = "live"


class Me:
    """What every link needs to know of this node: its name, its epoch of the moment, and numbers used once."""

    __slots__ = ("_nonce", "epoch", "id", "sealed_card")

    def __init__(self, node_id: str, epoch: Epoch) -> None:
        self.id = node_id
        self.epoch = epoch
        self.sealed_card = b""
        self._nonce = 0

    def nonce(self) -> int:
        """A number that tells an answer to this question from the answers to earlier ones."""
        self._nonce += 1
        return self._nonce


class Link:
    """The link to one life of one peer."""

    def __init__(self, me: Me, card: Card, limits: Limits, now: float) -> None:
        self.card = card
        self.epoch = card.epoch
        self.sync = Sync.GREETING
        self.liveness = Liveness(limits, now)
        self.slice = PeerSlice(card.id)
        self.notifications: Inbound[Notification] = Inbound(limits.held_items)
        """What the peer sent us."""
        self.outgoing: Outbound[Notification] = Outbound(limits.notify_log_bytes)
        """What we sent the peer, until it has confirmed it."""
        self.confirmed = 0
        """The last of our notifications that the peer has delivered or accounted for."""
        self.applied: tuple[Epoch, int] = (Epoch(0, 0), 0)
        """The last change of our slice that the peer has applied, and in which epoch of ours."""
        self.is_known_to_peer = False
        """Whether the peer's last heartbeat says that its link to us is live."""
        self.refusal: str | None = None
        """Why the peer does not accept us, in its words."""
        self.reset_taken = 0
        """The last reset that the peer asked for, and that we have done."""
        self.resyncs = 0
        self.gaps = 0
        self.connected_at: float | None = None
        self._peer_links: dict[str, LinkReport] = {}
        self._me = me
        self._limits = limits
        self._state: Inbound[Change] = Inbound(limits.held_items)
        self._early: list[messages.State] = []
        self._nonce = 0
        self._was_welcomed = self._was_probed = False
        self._next_part = 0
        self._snapshot_tail = 0
        self._retry_at = now
        self._wait = limits.greet_every
        self._state_repair_at: float | None = None
        self._notify_repair_at: float | None = None

    @property
    def id(self) -> str:
        """The peer's node id."""
        return self.card.id

    @property
    def health(self) -> Health:
        """What we believe of the peer's life."""
        return self.liveness.health

    @property
    def is_live(self) -> bool:
        """We hold the peer's whole slice, and it is not down."""
        return self.sync is Sync.LIVE and self.health is not Health.DOWN

    @property
    def state_position(self) -> int:
        """The last change of the peer's slice that we have applied."""
        return self._state.position if self.sync is Sync.LIVE else 0

    @property
    def state_tail(self) -> int:
        """The last change of the peer's slice that we know of."""
        return self._state.tail

    def has_applied(self, epoch: Epoch, number: int) -> bool:
        """Whether the peer has applied our slice up to this change."""
        return self.applied >= (epoch, number)

    def holds(self, peer: str, epoch: Epoch) -> bool:
        """Whether the peer's last heartbeat says that it holds the slice of another one in this epoch or a later."""
        report = self._peer_links.get(peer)
        return report is not None and report.is_live and report.epoch >= epoch

    def report(self) -> LinkReport:
        """What our heartbeat says of this peer."""
        return LinkReport(self.epoch, self.is_live, self.state_position, self.notifications.position)

    # -- joining --

    def greet(self, now: float, out: list[Effect]) -> None:
        """Begin (again) with hello."""
        self.sync = Sync.GREETING
        self._was_welcomed = self._was_probed = False
        self._early.clear()
        self._wait = self._limits.greet_every
        self._say_hello(now, out)

    def welcomed(self, nonce: int, now: float, out: list[Effect]) -> None:
        """The peer accepts us."""
        if self.sync is Sync.GREETING and nonce == self._nonce:
            self._was_welcomed = True
            self.refusal = None
            self._greeted(now, out)

    def probed(self, nonce: int, now: float, out: list[Effect]) -> None:
        """The peer's answer to a hello of ours came through its PUB socket. Which of our hellos does not matter: the
        pipe is proved by any."""
        if self.sync is Sync.GREETING and nonce <= self._nonce:
            self._was_probed = True
            self._greeted(now, out)

    def resync(self, now: float, out: list[Effect]) -> None:
        """Ask for a snapshot; what we hold stays until it is here."""
        self.sync = Sync.SYNCING
        self.resyncs += 1
        self._early.clear()
        self._state_repair_at = None
        self._wait = self._limits.greet_every
        self._ask_for_snapshot(now, out)

    def snapshot(self, part: messages.Snapshot, now: float, out: list[Effect]) -> None:
        """A part of the peer's slice. Parts of an earlier request, or out of step, are ignored: the retry asks anew."""
        if self.sync is not Sync.SYNCING or part.nonce != self._nonce or part.part != self._next_part:
            return
        if part.part == 0:
            self.slice.begin_snapshot()
            self._snapshot_tail = part.state_tail
        self._next_part += 1
        self._retry_at = now + self._limits.greet_at_most
        self.slice.add_part(part.rooms, out)
        if part.is_last:
            self.slice.end_snapshot(out)
            self._go_live(now, out)

    def _go_live(self, now: float, out: list[Effect]) -> None:
        self.sync = Sync.LIVE
        self._state = Inbound(self._limits.held_items, self._snapshot_tail)
        early, self._early = self._early, []
        for batch in early:
            self._apply(self._state.take(batch.first, batch.changes), out)
        if self.connected_at is None:
            self.connected_at = now
        out.append(Belief("peer live", {"peer": self.id, "epoch": str(self.epoch), "rooms": len(self.slice)}))
        self._confirm_state(out)
        self._repair_state(now, out)

    def _greeted(self, now: float, out: list[Effect]) -> None:
        if self._was_welcomed and self._was_probed:
            self.resync(now, out)

    def _say_hello(self, now: float, out: list[Effect]) -> None:
        self._nonce = self._me.nonce()
        self._retry_later(now)
        self._ask(
            messages.Hello(self._me.id, self._me.epoch, card=self._me.sealed_card, nonce=self._nonce), out
        )

    def _ask_for_snapshot(self, now: float, out: list[Effect]) -> None:
        self._nonce = self._me.nonce()
        self._next_part = 0
        self._retry_later(now)
        self._ask(messages.Sync(self._me.id, self._me.epoch, self._nonce), out)

    def _retry_later(self, now: float) -> None:
        self._retry_at = now + self._wait
        self._wait = min(2 * self._wait, self._limits.greet_at_most)

    # -- following --

    def take_turn(self, epoch: Epoch, now: float, out: list[Effect]) -> None:
        """The peer took a new epoch of the same life: its slice has to be read again."""
        self.epoch = epoch
        if self.sync is not Sync.GREETING:
            self.resync(now, out)

    def state(self, batch: messages.State, now: float, out: list[Effect]) -> None:
        """Changes of the peer's slice, from its PUB socket."""
        if self.sync is not Sync.LIVE:
            if sum(len(early.changes) for early in self._early) < self._limits.held_items:
                self._early.append(batch)  # over the bound: found missing later, and repaired
            return
        self._take_changes(batch.first, batch.changes, is_resent=False, now=now, out=out)

    def state_resent(self, again: messages.ResentState, now: float, out: list[Effect]) -> None:
        """Changes that we had asked for again."""
        if self.sync is Sync.LIVE:
            self._state_repair_at = now  # what is still missing is asked for at once
            self._take_changes(again.first, again.changes, is_resent=True, now=now, out=out)

    def state_cut(self, now: float, out: list[Effect]) -> None:
        """What is missing is not in the peer's log any more."""
        if self.sync is Sync.LIVE:
            self.resync(now, out)

    def notified(self, batch: messages.Notify, now: float, out: list[Effect]) -> None:
        """Notifications for us, from the peer's PUB socket."""
        self._deliver(self.notifications.take(batch.first, batch.items), out)
        if self.notifications.position < self.notifications.tail:
            self._repair_notifications(now, out)

    def notifications_resent(self, again: messages.ResentNotify, now: float, out: list[Effect]) -> None:
        """Notifications that we had asked for again."""
        self._notify_repair_at = now  # what is still missing is asked for at once
        self._deliver(self.notifications.take(again.first, again.items, is_resent=True), out)
        self._repair_notifications(now, out)

    def notifications_cut(self, oldest: int, now: float, out: list[Effect]) -> None:
        """Nothing before `oldest` can be had any more: say so, and go on."""
        self._notify_repair_at = now
        missing = self.notifications.missing()
        if missing is None or oldest <= missing[0] or oldest > self.notifications.tail + 1:
            return  # an answer to a question that has been settled since, or nonsense
        lost, ready = self.notifications.give_up(oldest)
        if lost:
            out.append(Lost(self.id, lost))
            out.append(Belief("notifications lost", {"peer": self.id, "count": lost}, is_warning=True))
        self._deliver(ready, out)
        self._repair_notifications(now, out)

    def heartbeat(self, beat: messages.Heartbeat, now: float, out: list[Effect]) -> None:
        """The tails of the peer's streams, and what it holds of us."""
        boot, notify_tail = beat.notify_tails.get(self._me.id, (0, 0))
        if boot == self._me.epoch.boot and notify_tail > self.notifications.position:
            self.notifications.learn_tail(notify_tail)
            self._repair_notifications(now, out)
        if self.sync is Sync.LIVE and beat.state_tail > self._state.position:
            self._state.learn_tail(beat.state_tail)
            self._repair_state(now, out)
        self._peer_links = beat.links
        report = beat.links.get(self._me.id)
        self.is_known_to_peer = report is not None and report.is_live and report.epoch == self._me.epoch
        if report is None:
            self._say_hello_once(out)
        elif report.epoch.boot == self._me.epoch.boot:
            self.delivered_by_peer(report.delivered)
            if report.is_live:
                self.applied_by_peer(report.epoch, report.applied)

    def applied_by_peer(self, epoch: Epoch, number: int) -> None:
        """The peer has applied our slice up to this change."""
        self.applied = max(self.applied, (epoch, number))

    def delivered_by_peer(self, number: int) -> None:
        """The peer has our notifications up to this one: the log need not keep them."""
        self.confirmed = max(self.confirmed, min(number, self.outgoing.tail))
        self.outgoing.confirm(number)

    def _say_hello_once(self, out: list[Effect]) -> None:
        """The peer is alive and does not know us (its card of us expired, or our hello was lost)."""
        hello = messages.Hello(self._me.id, self._me.epoch, card=self._me.sealed_card, nonce=self._me.nonce())
        self._ask(hello, out)

    def _take_changes(
        self, first: int, changes: Sequence[Change], *, is_resent: bool, now: float, out: list[Effect]
    ) -> None:
        ready = self._state.take(first, changes, is_resent=is_resent)
        self._apply(ready, out)
        if any(isinstance(change, messages.RoomOpened) for change in ready):
            self._confirm_state(out)  # somebody may be waiting for it; the rest is confirmed by heartbeats
        if self._state.position < self._state.tail:
            self._repair_state(now, out)

    def _apply(self, changes: Sequence[Change], out: list[Effect]) -> None:
        for change in changes:
            self.slice.apply(change, out)

    def _deliver(self, items: Sequence[Notification], out: list[Effect]) -> None:
        if items:
            out.append(Deliver(self.id, items))

    def _confirm_state(self, out: list[Effect]) -> None:
        self._ask(messages.Applied(self._me.id, self._me.epoch, self.epoch, self._state.position), out)

    # -- repair --

    def _repair_state(self, now: float, out: list[Effect]) -> None:
        if self._state_repair_at is not None and now < self._state_repair_at:
            return
        hole = self._state.missing()
        if hole is None:
            self._state_repair_at = None
            return
        if self._state_repair_at is None:
            self._found_gap("state", hole, out)
        self._state_repair_at = now + self._limits.repair_every
        self._ask(messages.ResendState(self._me.id, self._me.epoch, self.epoch, *hole), out)

    def _repair_notifications(self, now: float, out: list[Effect]) -> None:
        if self._notify_repair_at is not None and now < self._notify_repair_at:
            return
        hole = self.notifications.missing()
        if hole is None:
            self._notify_repair_at = None
            return
        if self._notify_repair_at is None:
            self._found_gap("notify", hole, out)
        self._notify_repair_at = now + self._limits.repair_every
        self._ask(messages.ResendNotify(self._me.id, self._me.epoch, self.epoch.boot, *hole), out)

    def _found_gap(self, stream: str, hole: tuple[int, int], out: list[Effect]) -> None:
        self.gaps += 1
        fields = {"peer": self.id, "stream": stream, "first": hole[0], "last": hole[1]}
        out.append(Belief("gap in stream", fields, is_warning=True))

    # -- time --

    def time_passed(self, now: float, out: list[Effect]) -> None:
        """Do what is due: ask a silent peer, repeat a question."""
        before = self.health
        if self.liveness.time_passed(now):
            self._ask(messages.Ping(self._me.id, self._me.epoch, self._me.nonce()), out)
        if self.health is not before:
            self._lost_faith(now, out)
        if now >= self._retry_at and self.sync is not Sync.LIVE:
            # A peer that is down is only greeted: asking for a snapshot makes sense when it answers.
            if self.sync is Sync.GREETING or self.health is Health.DOWN:
                self.sync = Sync.GREETING
                self._was_welcomed = False
                self._say_hello(now, out)
            else:
                self._ask_for_snapshot(now, out)
        if self.health is Health.DOWN:
            return
        if self._state_repair_at is not None and now >= self._state_repair_at:
            self._repair_state(now, out)
        if self._notify_repair_at is not None and now >= self._notify_repair_at:
            self._repair_notifications(now, out)

    def next_deadline(self) -> float:
        """When `time_passed` will have something to do; `inf` when there is nothing to expect."""
        due = [float("inf")]
        if (judgement := self.liveness.next_deadline()) is not None:
            due.append(judgement)
        if self.sync is not Sync.LIVE:
            due.append(self._retry_at)
        if self.health is not Health.DOWN:
            due += [at for at in (self._state_repair_at, self._notify_repair_at) if at is not None]
        return min(due)

    def heard(self, now: float, out: list[Effect]) -> None:
        """Any frame of this life of the peer arrived."""
        was = self.health
        if not self.liveness.heard(now) or was is Health.UNHEARD:
            return
        out.append(Belief("peer heard again", {"peer": self.id, "was": was.value}))
        if was is Health.DOWN:
            self.greet(now, out)

    def _lost_faith(self, now: float, out: list[Effect]) -> None:
        silence = round(now - self.liveness.last_heard, 3)
        fields = {"peer": self.id, "silent_s": silence}
        if self.health is not Health.DOWN:
            out.append(Belief("peer silent", fields))
            return
        out.append(Belief("peer down", fields, is_warning=True))
        self.sync = Sync.GREETING
        self._early.clear()
        self._state_repair_at = None
        self._retry_at = now + self._limits.greet_at_most
        self._wait = self._limits.greet_at_most
        self.is_known_to_peer = False
        self.slice.drop(out)

    def _ask(self, question: Question, out: list[Effect]) -> None:
        out.append(Ask(self.id, messages.encode(question)))
