"""One peer as this node sees it: whether it lives, what we have of it, and what it has of ours.

    liveness, hearing    whether it is there, and which ways to it and from it work
    replica              our copy of its slice
    mailbox              what it sends us
    outgoing, accounted  what we send it, and what became of that

Frames and time in, effects out (appended to `out`). No sockets, no clock.
"""

from __future__ import annotations

from cluster.core import messages
from cluster.core.effects import Ask, Belief, Connect, Effect
from cluster.core.hearing import Hearing
from cluster.core.identity import Card, Epoch, Me
from cluster.core.limits import Limits
from cluster.core.liveness import Health, Liveness
from cluster.core.mailbox import Mailbox
from cluster.core.messages import LinkReport, Notification, Question
from cluster.core.replica import Replica, Sync
from cluster.core.streams import Accounted, Outbound
from cluster.core.weights import remains_of


class Link:
    """The link to one life of one peer."""

    def __init__(self, me: Me, card: Card, limits: Limits, now: float) -> None:
        self.card = card
        self.sealed_card = b""
        """The card as its owner sealed it, to be handed on."""
        self.liveness, self.hearing = Liveness(limits, now), Hearing(limits, now)
        self.replica = Replica(me, card, limits, now, self._ask)
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
        self.reset_taken = 0
        """The last reset that the peer asked for, and that we have done."""
        self.bad_frames = 0
        self.peer_links: dict[str, LinkReport] = {}
        """What the peer's last heartbeat says of others."""
        self.takes_clients = True  # as it says
        self._me = me
        self._limits = limits
        self._reconnect_at = float("inf")
        self._down_at = now
        self._owned_up_in = 0
        self._fell_silent_at = float("-inf")
        self._only_answers = False  # nothing that it published came since it was last said to be silent

    @property
    def id(self) -> str:
        """The peer's name."""
        return self.card.id

    @property
    def epoch(self) -> Epoch:
        """The life of the peer that this link is to, and the last turn that it is known to have taken."""
        return self.replica.epoch

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
        return self.replica.sync is Sync.LIVE and self.health is not Health.DOWN

    @property
    def gaps(self) -> int:
        """How often something was found missing in a stream of the peer."""
        return self.replica.gaps + self.mailbox.gaps

    def served_without_us(self, asked: int) -> None:
        """The peer served clients before it knew anything of our rooms, or after it had given us up and dropped
        them, and says so in its question of this number: what it had applied before says nothing of what it knows
        now."""
        self._owned_up_in = asked
        self.applied = (Epoch(0, 0), 0)
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
            applied=self.replica.position,
            position=received.position,
            repaired=received.repaired,
            lost=received.lost,
            told_ms=max(0, round(1000 * (now - self.hearing.told_at))),
            asked=self.replica.asked,
        )

    # -- what it says --

    def heartbeat(self, beat: messages.Heartbeat, now: float, out: list[Effect]) -> None:
        """The tails of the peer's streams, and what it holds of us."""
        boot, tail = beat.notify_tails.get(self._me.id, (0, 0))
        self.mailbox.learn_tail(tail if boot == self._me.epoch.boot else 0, now, out)
        self.replica.learn_tail(beat.state_tail, now, out)
        self.peer_links, self.takes_clients = beat.links, beat.takes_clients
        report = beat.links.get(self._me.id)
        self.is_known_to_peer = report is not None and report.is_live and report.epoch == self._me.epoch
        if self.is_known_to_peer:
            self.refusal = None  # an answer to an earlier hello may come late
        if report is None or report.epoch.boot > self._me.epoch.boot:
            if not self._me.has_parted:
                # It is alive and does not know us: our hello was lost, say. Or it takes us for a former life of our
                # name: by one line in passing nobody is made to begin a new one, so it is asked, and has to refuse us.
                self.replica.say_hello(out)
        elif report.epoch.boot == self._me.epoch.boot and report.position <= self.outgoing.tail:
            if report.position >= self.accounted.position:  # else it was said earlier, and came late
                self.accounted = Accounted(report.position, report.repaired, report.lost)
            self.hearing.reported(report.told_ms, now)
            self.outgoing.confirm(report.position)
            is_from_before = report.asked < self._owned_up_in  # it came late
            if report.is_live and not is_from_before:
                self.applied_by_peer(report.epoch, report.applied)

    def pong(self, pong: messages.Pong, now: float, out: list[Effect]) -> None:
        """The peer lives. If it is only its PUB socket that we do not hear, what it published comes this way."""
        self.liveness.answered()
        boot, tail = pong.notify_tail
        if boot == self._me.epoch.boot:
            self.mailbox.learn_tail(tail, now, out)
        self.replica.learn_tail(pong.state_tail, now, out)

    def answered_badly(self) -> None:
        """The peer answered something that cannot be read."""
        self.replica.answered_badly()
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
            self.replica.retry_soon(
                now
            )  # a hello that waits in the new connection goes out when the line is back
            out.append(Connect(self.card))
        self.replica.retry(now, out)
        if self.health is Health.DOWN:
            return
        for stream in (self.replica, self.mailbox):
            if stream.repair_at is not None and now >= stream.repair_at:
                stream.repair(now, out)

    def next_deadline(self) -> float:
        """When `time_passed` will have something to do; `inf` when there is nothing to expect."""
        judged_at = self.liveness.next_deadline()
        due = self.replica.retry_at
        if judged_at is not None:
            due = min(due, judged_at)
        if self.leaves_at is not None:
            due = min(due, self.leaves_at)
        health = self.health
        if health is Health.SILENT or health is Health.DOWN:
            due = min(due, self._reconnect_at)
        if health is not Health.DOWN:
            for repair_at in (self.replica.repair_at, self.mailbox.repair_at):
                if repair_at is not None:
                    due = min(due, repair_at)
        return due

    def heard(self, now: float, out: list[Effect]) -> None:
        """Any frame of this life of the peer arrived."""
        was = self.health
        if now - self.liveness.last_heard > self._limits.repair_every:
            self.replica.ask_anew(now)
            self.mailbox.ask_anew(now)
        if not self.liveness.heard(now) or was is Health.UNHEARD:
            return
        self.mailbox.went_on()
        is_repeated = was is Health.SILENT and self._only_answers
        out.append(Belief("peer heard again", {"peer": self.id, "was": was.value}, is_repeated=is_repeated))
        if was is Health.DOWN:
            self.replica.greet(now, out)

    def seen_alive(self, at: float) -> None:
        """Others know that the peer lived at that time: if it was held for gone, its end is still to come."""
        if self.health is Health.DOWN and at > self._down_at:
            self.mailbox.went_on()

    def ended(self, out: list[Effect]) -> None:
        """This life of the peer is over, or given up on."""
        self.mailbox.ended(out)
        self.replica.slice.drop(out)

    def _lost_faith(self, now: float, out: list[Effect]) -> None:
        silence = round(now - self.liveness.last_heard, 3)
        fields = {"peer": self.id, "silent_s": silence}
        if self.health is not Health.DOWN:
            self._reconnect_at = now + self._limits.down_after
            self._only_answers = self.hearing.told_at <= self._fell_silent_at
            self._fell_silent_at = now
            out.append(Belief("peer silent", fields, is_repeated=self._only_answers))
            return
        out.append(Belief("peer down", fields, is_warning=True))
        self.replica.lost_touch(now)
        self.is_known_to_peer = False
        self._down_at = now
        self.missed_since, self.missed_until = self.missed_since or self.applied, None
        if self.liveness.has_hung_up:  # else it may come back with all it said: it was stopped, or cut off
            self.mailbox.broke_off(out)
        self.replica.slice.away(out)

    def _ask(self, question: Question, out: list[Effect]) -> None:
        out.append(Ask(self.id, messages.encode(question)))
