"""One peer as this node sees it: joining it, following its slice, and what it has of ours.

Joining is symmetric, and needs no lock over the cluster: each node does it to each other one.

    GREETING   hello on its ROUTER → its welcome, and its probe on our SUB side, which proves that pipe
    SYNCING    sync → the parts of a snapshot, at a known position of its state stream
    LIVE       its state stream is applied change by change; a hole is repaired from its log, or by a new snapshot

Frames and time in, effects out (appended to `out`). No sockets, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from cluster.core import messages
from cluster.core.early import Early
from cluster.core.effects import Ask, Belief, Connect, Effect
from cluster.core.following import Follower
from cluster.core.hearing import Hearing
from cluster.core.identity import Card, Epoch, Me
from cluster.core.limits import Limits
from cluster.core.liveness import Health, Liveness
from cluster.core.mailbox import Mailbox
from cluster.core.messages import Change, LinkReport, Notification, Question
from cluster.core.slices import PeerSlice
from cluster.core.streams import Accounted, Outbound
from cluster.core.weights import change_weight, remains_of


class Sync(Enum):
    """How far we are in taking over the peer's slice."""

    GREETING = "greeting"
    SYNCING = "syncing"
    LIVE = "live"


class Link:
    """The link to one life of one peer."""

    def __init__(self, me: Me, card: Card, limits: Limits, now: float) -> None:
        self.card = card
        self.sealed_card = b""
        """The card as its owner sealed it, to be handed on."""
        self.epoch = card.epoch
        self.sync = Sync.GREETING
        self.liveness = Liveness(limits, now)
        self.hearing, self.slice = Hearing(limits, now), PeerSlice(card.id, limits)
        self.mailbox = Mailbox(card.id, limits, self._ask_for_notifications)
        self.outgoing: Outbound[Notification, list[str]] = Outbound(
            limits.notify_log_bytes,
            limits.log_age,
            remains_of,
            remains_limit=limits.cut_items,
            remains_bytes=limits.cut_bytes,
        )
        """What we sent the peer, until it has confirmed it."""
        self.accounted = Accounted()
        """What the peer says became of it."""
        self.applied: tuple[Epoch, int] = (Epoch(0, 0), 0)
        """The last change of our slice that the peer has applied, and in which epoch of ours."""
        self.missed_since: tuple[Epoch, int] | None = None
        """What the peer had applied of our slice when we last knew, if it was away meanwhile: it may have published
        for rooms that it did not know of."""
        self.missed_until: tuple[Epoch, int] | None = None
        """The last change of ours that a barrier did not wait for the peer with, because it was away; None when that
        is not known yet."""
        self.is_awaited = False
        """Whether the peer knew a former life of ours, and has not been heard in this one: it goes on publishing, so
        barriers wait for it."""
        self.leaves_at: float | None = None
        """When the peer's farewell takes effect, if it takes so long until all that it said is here; None before it."""
        self.why_it_leaves = ""
        self.is_known_to_peer = False
        """Whether the peer's last heartbeat says that its link to us is live."""
        self.refusal: str | None = None
        """Why the peer does not accept us, in its words."""
        self.complaint: str | None = None
        """Why we cannot take over the peer's slice."""
        self.reset_taken = 0
        """The last reset that the peer asked for, and that we have done."""
        self.resyncs = self.bad_frames = 0
        self.connected_at: float | None = None
        self.peer_links: dict[str, LinkReport] = {}
        """What the peer's last heartbeat says of others."""
        self.takes_clients = True  # as it says
        self._me = me
        self._limits = limits
        self._state = self._follow_state(0)
        self._early = Early(limits)
        self._nonce = 0
        self._was_welcomed = self._was_probed = False
        self._owned_up = False
        self._next_part = self._snapshot_tail = self._snapshots_asked = 0
        self._retry_at = now
        self._wait = limits.greet_every
        self._reconnect_at = float("inf")
        self._down_at = now

    @property
    def id(self) -> str:
        """The peer's name."""
        return self.card.id

    @property
    def health(self) -> Health:
        """What we believe of the peer's life."""
        return self.liveness.health

    @property
    def is_alive(self) -> bool:
        """Whether it was heard, and is not down."""
        return self.health in (Health.UP, Health.SILENT)

    @property
    def is_live(self) -> bool:
        """We hold the peer's whole slice, and it is not down."""
        return self.sync is Sync.LIVE and self.health is not Health.DOWN

    @property
    def state_position(self) -> int:
        """The last change of the peer's slice that we have applied."""
        return self._state.stream.position if self.sync is Sync.LIVE else 0

    @property
    def state_tail(self) -> int:
        """The last change of the peer's slice that we know of."""
        return self._state.stream.tail

    @property
    def held_changes(self) -> int:
        """Changes of the peer's slice that wait: for a snapshot, or behind a hole."""
        return self._state.stream.held + self._early.changes

    @property
    def held_change_bytes(self) -> int:
        """What these weigh."""
        return self._state.stream.held_bytes + self._early.bytes

    @property
    def gaps(self) -> int:
        """How often something was found missing in a stream of the peer."""
        return self._state.gaps + self.mailbox.gaps

    def served_without_us(self) -> None:
        """The peer served clients before it knew anything of our rooms."""
        self.missed_since, self.missed_until = (Epoch(0, 0), 0), None

    def has_applied(self, epoch: Epoch, number: int) -> bool:
        """Whether the peer has applied our slice up to this change."""
        return self.applied >= (epoch, number)

    def holds(self, peer: str, epoch: Epoch) -> bool:
        """Whether the peer's last heartbeat says that it holds the slice of another one in this epoch or a later."""
        report = self.peer_links.get(peer)
        return report is not None and report.is_live and report.epoch >= epoch

    def report(self, now: float) -> LinkReport:
        """What our heartbeat says of this peer."""
        received = self.mailbox.received
        return LinkReport(
            self.epoch,
            is_live=self.is_live,
            heard_ms=max(0, round(1000 * (now - self.liveness.witnessed_at))),
            applied=self.state_position,
            position=received.position,
            repaired=received.repaired,
            lost=received.lost,
            told_ms=max(0, round(1000 * (now - self.hearing.told_at))),
        )

    # -- joining --

    def greet(self, now: float, out: list[Effect]) -> None:
        """Begin (again) with hello."""
        self.sync = Sync.GREETING
        self._was_welcomed = self._was_probed = False
        self._early.take()
        self._wait = self._limits.greet_every
        self._say_hello(now, out)

    def welcomed(self, nonce: int, now: float, out: list[Effect]) -> None:
        """The peer accepts us."""
        if self.sync is Sync.GREETING and nonce == self._nonce:
            self._was_welcomed = True
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
        self._early.take()
        self._state.repair_at = None
        self._wait = self._limits.greet_every
        self._ask_for_snapshot(now, out)

    def snapshot(self, part: messages.Snapshot, now: float, out: list[Effect]) -> None:
        """A part of the peer's slice. Parts of an earlier request, or out of step, are ignored: the retry asks
        anew."""
        if self.sync is not Sync.SYNCING or part.nonce != self._nonce or part.part != self._next_part:
            return
        if part.part == 0:
            self.slice.begin_snapshot()
            self._snapshot_tail = part.state_tail
        self._next_part += 1
        self._retry_at = now + self._limits.snapshot_at_most
        self.slice.add_part(part.rooms, out)
        if part.is_last:
            self.slice.end_snapshot(out)
            if self._has_served_before and not self._owned_up:  # since it was asked: the peer has to know
                self._ask_for_snapshot(now, out)
            else:
                self._go_live(now, out)

    def _go_live(self, now: float, out: list[Effect]) -> None:
        self._state = self._follow_state(self._snapshot_tail, self._state.gaps)
        for batch in self._early.take():
            self._apply(self._state.take(batch.first, batch.changes, now, out), out)
        if self.slice.is_overfull:
            self._stay_away(now, out)
            return
        self.sync, self.complaint, self._snapshots_asked = Sync.LIVE, None, 0
        if self.connected_at is None:
            self.connected_at = now
        out.append(Belief("peer live", {"peer": self.id, "epoch": str(self.epoch), "rooms": len(self.slice)}))
        self._confirm_state(out)

    def _stay_away(self, now: float, out: list[Effect]) -> None:
        """The peer has more rooms than we take. It is not live with us, and so learns at each of its barriers that we
        do not know them; what we have of it stays, and all of it is read again after a while."""
        self.sync, self._snapshots_asked = Sync.SYNCING, 0
        self._state.repair_at = None
        self._retry_at = now + self._limits.slice_retry
        self._complain(
            f"it has more than the {self._limits.slice_rooms} rooms that are taken, or larger ones", out
        )

    def _complain(self, reason: str, out: list[Effect]) -> None:
        if self.complaint is None:
            fields = {"peer": self.id, "reason": reason, "rooms": len(self.slice)}
            out.append(Belief("slice not taken over", fields, is_warning=True))
        self.complaint = reason

    def _greeted(self, now: float, out: list[Effect]) -> None:
        if self._was_welcomed and self._was_probed:
            self.resync(now, out)

    def _say_hello(self, now: float, out: list[Effect]) -> None:
        if self._me.has_parted:
            return
        self._nonce = self._me.nonce()
        self._retry_later(now)
        hello = messages.Hello(self._me.id, self._me.epoch, self._me.sealed_card, self._nonce)
        self._ask(hello, out)

    def _ask_for_snapshot(self, now: float, out: list[Effect]) -> None:
        self._nonce = self._me.nonce()
        self._next_part = 0
        self._retry_later(now)
        self._owned_up = self._has_served_before
        self._snapshots_asked += 1
        if self._snapshots_asked == self._limits.snapshot_tries:
            self._complain(
                f"a snapshot was asked for {self._snapshots_asked} times, and never came as a whole", out
            )
        self._ask(messages.Sync(self._me.id, self._me.epoch, self._nonce, self._owned_up), out)

    @property
    def _has_served_before(self) -> bool:
        """Whether clients published here while this node never had the peer's slice."""
        return self._me.is_serving and self.connected_at is None

    def _retry_later(self, now: float) -> None:
        self._retry_at = now + self._wait
        is_greeting = self.sync is Sync.GREETING
        most = self._limits.greet_at_most if is_greeting else self._limits.snapshot_at_most
        self._wait = min(2 * self._wait, most)

    # -- following --

    def take_turn(self, epoch: Epoch, now: float, out: list[Effect]) -> None:
        """The peer took a new epoch of the same life: its slice has to be read again."""
        self.epoch = epoch
        if self.sync is not Sync.GREETING:
            self.resync(now, out)

    def state(self, batch: messages.State, now: float, out: list[Effect]) -> None:
        """Changes of the peer's slice, from its PUB socket."""
        if self.sync is Sync.LIVE:
            self._take_over(self._state.take(batch.first, batch.changes, now, out), now, out)
        else:
            self._early.keep(batch)

    def state_resent(self, again: messages.ResentState, now: float, out: list[Effect]) -> None:
        """Changes that we had asked for again."""
        if self.sync is Sync.LIVE:
            self._take_over(self._state.take_resent(again.first, again.changes, now, out), now, out)

    def state_cut(self, now: float, out: list[Effect]) -> None:
        """What is missing is not in the peer's log any more."""
        if self.sync is Sync.LIVE:
            self.resync(now, out)

    def heartbeat(self, beat: messages.Heartbeat, now: float, out: list[Effect]) -> None:
        """The tails of the peer's streams, and what it holds of us."""
        boot, tail = beat.notify_tails.get(self._me.id, (0, 0))
        self.mailbox.learn_tail(tail if boot == self._me.epoch.boot else 0, now, out)
        if self.sync is Sync.LIVE:
            self._state.learn_tail(beat.state_tail, now, out)
        self.peer_links, self.takes_clients = beat.links, beat.takes_clients
        report = beat.links.get(self._me.id)
        self.is_known_to_peer = report is not None and report.is_live and report.epoch == self._me.epoch
        if self.is_known_to_peer:
            self.refusal = None  # an answer to an earlier hello may come late
        if report is None or report.epoch > self._me.epoch:
            if not self._me.has_parted:
                # It is alive and does not know us: our hello was lost, say. Or it takes us for a former life of our
                # name: by one line in passing nobody is made to begin a new one, so it is asked, and has to refuse us.
                card, nonce = self._me.sealed_card, self._me.nonce()
                self._ask(messages.Hello(self._me.id, self._me.epoch, card, nonce), out)
        elif report.epoch.boot == self._me.epoch.boot and report.position <= self.outgoing.tail:
            if report.position >= self.accounted.position:  # else it was said earlier, and came late
                self.accounted = Accounted(report.position, report.repaired, report.lost)
            self.hearing.reported(report.told_ms, now)
            self.outgoing.confirm(report.position)
            if report.is_live:
                self.applied_by_peer(report.epoch, report.applied)

    def pong(self, pong: messages.Pong, now: float, out: list[Effect]) -> None:
        """The peer lives. If it is only its PUB socket that we do not hear, what it published comes this way."""
        self.liveness.answered()
        boot, tail = pong.notify_tail
        if boot == self._me.epoch.boot:
            self.mailbox.learn_tail(tail, now, out)
        if self.sync is Sync.LIVE:
            self._state.learn_tail(pong.state_tail, now, out)

    def answered_badly(self) -> None:
        """The peer answered something that cannot be read."""
        self._state.answered_badly()
        self.mailbox.answered_badly()

    def said_farewell(self, farewell: messages.Farewell, now: float, out: list[Effect]) -> None:
        """The peer leaves. What of it is still missing is asked for, as long as it may be there to answer."""
        boot, tail = farewell.notify_tails.get(self._me.id, (0, 0))
        self.mailbox.learn_last(tail if boot == self._me.epoch.boot else 0, now, out)
        if self.leaves_at is None:
            self.leaves_at, self.why_it_leaves = now + self._limits.farewell_at_most, farewell.reason

    def has_to_go(self, now: float) -> bool:
        """Whether the peer said farewell, and nothing more is to be had of it."""
        return self.leaves_at is not None and (self.mailbox.is_complete or now >= self.leaves_at)

    def applied_by_peer(self, epoch: Epoch, number: int) -> None:
        """The peer has applied our slice up to this change. That it had applied something of a former life of ours says
        nothing: it drops that when it hears of this one."""
        if epoch.boot == self._me.epoch.boot:
            self.applied = max(self.applied, (epoch, number))

    def _take_over(self, changes: Sequence[Change], now: float, out: list[Effect]) -> None:
        self._apply(changes, out)
        if self.slice.is_overfull:
            self._stay_away(now, out)
        elif any(isinstance(change, messages.RoomOpened) for change in changes):
            self._confirm_state(out)  # somebody may be waiting for it; the rest is confirmed by heartbeats

    def _apply(self, changes: Sequence[Change], out: list[Effect]) -> None:
        for change in changes:
            self.slice.apply(change, out)

    def _confirm_state(self, out: list[Effect]) -> None:
        self._ask(messages.Applied(self._me.id, self._me.epoch, self.epoch, self.state_position), out)

    def _follow_state(self, position: int, gaps: int = 0) -> Follower[Change]:
        follower: Follower[Change] = Follower(
            self.id,
            "state",
            self._limits,
            weigh=change_weight,
            ask=self._ask_for_changes,
            give_up=lambda _before, now, out: self.resync(now, out),
            position=position,
        )
        follower.gaps = gaps
        return follower

    def _ask_for_changes(self, first: int, last: int, out: list[Effect]) -> None:
        self._ask(messages.ResendState(self._me.id, self._me.epoch, self.epoch, first, last), out)

    def _ask_for_notifications(self, first: int, last: int, out: list[Effect]) -> None:
        question = messages.ResendNotify(self._me.id, self._me.epoch, self.epoch.boot, first, last)
        self._ask(question, out)

    # -- time --

    def time_passed(self, now: float, out: list[Effect]) -> None:
        """Do what is due: ask a silent peer, repeat a question."""
        before = self.health
        if self.liveness.time_passed(now):
            self._ask(messages.Ping(self._me.id, self._me.epoch, self._me.nonce()), out)
        if self.health is not before:
            self._lost_faith(now, out)
        if now >= self._reconnect_at and self.health is not Health.UP:
            # Others may hear it: perhaps it is our connection that is dead without knowing it.
            self._reconnect_at = now + self._limits.down_after
            self._retry_at = now  # a hello that waits in the new connection goes out when the line is back
            out.append(Connect(self.card))
        if now >= self._retry_at and self.sync is not Sync.LIVE:
            if self.sync is Sync.SYNCING:
                self._ask_for_snapshot(now, out)
            else:
                self._say_hello(now, out)
        if self.health is Health.DOWN:
            return
        for follower in (self._state, self.mailbox):
            if follower.repair_at is not None and now >= follower.repair_at:
                follower.repair(now, out)

    def next_deadline(self) -> float:
        """When `time_passed` will have something to do; `inf` when there is nothing to expect."""
        judged_at = self.liveness.next_deadline()
        due = float("inf") if judged_at is None else judged_at
        if self.sync is not Sync.LIVE:
            due = min(due, self._retry_at)
        if self.leaves_at is not None:
            due = min(due, self.leaves_at)
        health = self.health
        if health is Health.SILENT or health is Health.DOWN:
            due = min(due, self._reconnect_at)
        if health is not Health.DOWN:
            for repair_at in (self._state.repair_at, self.mailbox.repair_at):
                if repair_at is not None:
                    due = min(due, repair_at)
        return due

    def heard(self, now: float, out: list[Effect]) -> None:
        """Any frame of this life of the peer arrived."""
        was = self.health
        if now - self.liveness.last_heard > self._limits.repair_every:
            self._state.ask_anew(now)
            self.mailbox.ask_anew(now)
        if not self.liveness.heard(now) or was is Health.UNHEARD:
            return
        self.mailbox.went_on()
        out.append(Belief("peer heard again", {"peer": self.id, "was": was.value}))
        if was is Health.DOWN:
            self.greet(now, out)

    def seen_alive(self, at: float) -> None:
        """Others know that the peer lived at that time: if it was held for gone, its end is still to come."""
        if self.health is Health.DOWN and at > self._down_at:
            self.mailbox.went_on()

    def ended(self, out: list[Effect]) -> None:
        """This life of the peer is over, or given up on."""
        self.mailbox.ended(out)
        self.slice.drop(out)

    def _lost_faith(self, now: float, out: list[Effect]) -> None:
        silence = round(now - self.liveness.last_heard, 3)
        fields = {"peer": self.id, "silent_s": silence}
        if self.health is not Health.DOWN:
            self._reconnect_at = now + self._limits.down_after
            out.append(Belief("peer silent", fields))
            return
        out.append(Belief("peer down", fields, is_warning=True))
        self.sync = Sync.GREETING
        self._was_welcomed = self._was_probed = False
        self._early.take()
        self._retry_at = now + self._limits.greet_at_most
        self._wait = self._limits.greet_at_most
        self.is_known_to_peer = False
        self._down_at = now
        self.missed_since, self.missed_until = self.missed_since or self.applied, None
        if (
            self.liveness.has_hung_up
        ):  # else it may have been stopped, or cut off, and come back with all it said
            self.mailbox.broke_off(out)
        self.slice.away(out)

    def _ask(self, question: Question, out: list[Effect]) -> None:
        out.append(Ask(self.id, messages.encode(question)))
