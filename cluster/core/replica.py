"""Our copy of one peer's slice: how it is got, how it is kept, and what is done when something of it is missing.

Joining is symmetric, and needs no lock over the cluster: each node does it to each other one.

    GREETING   hello on its ROUTER → its welcome, and its probe on our SUB side, which proves that pipe
    SYNCING    sync → the parts of a snapshot, at a known position of its state stream
    LIVE       its state stream is applied change by change; a hole is repaired from its log, or by a new snapshot

Frames and time in, effects out (appended to `out`). No sockets, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from cluster.core import messages
from cluster.core.early import Early
from cluster.core.effects import Belief, Effect
from cluster.core.following import Follower
from cluster.core.identity import Card, Epoch, Me
from cluster.core.limits import Limits
from cluster.core.messages import Change, Question
from cluster.core.slices import PeerSlice
from cluster.core.weights import change_weight

AskPeer = Callable[[Question, list[Effect]], None]
"""Put a question to the peer into the effects."""


class Sync(Enum):
    """How far we are in taking over the peer's slice."""

    GREETING = "greeting"
    SYNCING = "syncing"
    LIVE = "live"


class Replica:
    """The slice of one life of one peer, as far as we have it."""

    def __init__(self, me: Me, card: Card, limits: Limits, now: float, ask: AskPeer) -> None:
        self.epoch = card.epoch
        """In which the changes of the slice are numbered."""
        self.sync = Sync.GREETING
        self.slice = PeerSlice(card.id, limits)
        self.complaint: str | None = None
        """Why we cannot take over the slice."""
        self.resyncs = 0
        """How often it was asked for as a whole."""
        self.connected_at: float | None = None
        """When it was here for the first time."""
        self._me = me
        self._peer = card.id
        self._limits = limits
        self._ask = ask
        self._state = self._follow_state(0)
        self._early = Early(limits)
        self._nonce = 0
        self._was_welcomed = self._was_probed = False
        self._owned_up = False
        self._next_part = self._snapshot_tail = self._snapshots_asked = 0
        self._retry_at = now
        self._wait = limits.greet_every

    @property
    def position(self) -> int:
        """The last change that we have applied."""
        return self._state.stream.position if self.sync is Sync.LIVE else 0

    @property
    def tail(self) -> int:
        """The last change that we know of."""
        return self._state.stream.tail

    @property
    def asked(self) -> int:
        """The number of the last hello or sync of ours."""
        return self._nonce

    @property
    def held(self) -> int:
        """Changes that wait: for a snapshot, or behind a hole."""
        return self._state.stream.held + self._early.changes

    @property
    def held_bytes(self) -> int:
        """What these weigh."""
        return self._state.stream.held_bytes + self._early.bytes

    @property
    def gaps(self) -> int:
        """How often a change was found missing."""
        return self._state.gaps

    # -- greeting --

    def greet(self, now: float, out: list[Effect]) -> None:
        """Begin (again) with hello."""
        self._back_to_greeting()
        self._wait = self._limits.greet_every
        self._greet_again(now, out)

    def say_hello(self, out: list[Effect]) -> int:
        """Tell the peer who we are, and return the number of the question. By itself it begins nothing."""
        nonce = self._me.nonce()
        self._ask(messages.Hello(self._me.id, self._me.epoch, self._me.sealed_card, nonce), out)
        return nonce

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

    def lost_touch(self, now: float) -> None:
        """The peer is down: what we hold stays, and it is greeted now and then."""
        self._back_to_greeting()
        self._wait = self._limits.greet_at_most
        self._retry_at = now + self._wait

    def _back_to_greeting(self) -> None:
        self.sync = Sync.GREETING
        self._was_welcomed = self._was_probed = False
        self._early.take()

    def _greeted(self, now: float, out: list[Effect]) -> None:
        if self._was_welcomed and self._was_probed:
            self.resync(now, out)

    def _greet_again(self, now: float, out: list[Effect]) -> None:
        if not self._me.has_parted:
            self._nonce = self.say_hello(out)
            self._retry_later(now)

    # -- a snapshot --

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
        fields = {"peer": self._peer, "epoch": str(self.epoch), "rooms": len(self.slice)}
        out.append(Belief("peer live", fields))
        self._confirm(out)

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
            fields = {"peer": self._peer, "reason": reason, "rooms": len(self.slice)}
            out.append(Belief("slice not taken over", fields, is_warning=True))
        self.complaint = reason

    # -- following --

    def take_turn(self, epoch: Epoch, now: float, out: list[Effect]) -> None:
        """The peer took a new epoch of the same life: its slice has to be read again."""
        self.epoch = epoch
        if self.sync is not Sync.GREETING:
            self.resync(now, out)

    def take(self, batch: messages.State, now: float, out: list[Effect]) -> None:
        """Changes, from the peer's PUB socket."""
        if self.sync is Sync.LIVE:
            self._take_over(self._state.take(batch.first, batch.changes, now, out), now, out)
        else:
            self._early.keep(batch)

    def take_resent(self, again: messages.ResentState, now: float, out: list[Effect]) -> None:
        """Changes that we had asked for again."""
        if self.sync is Sync.LIVE:
            self._take_over(self._state.take_resent(again.first, again.changes, now, out), now, out)

    def cut(self, now: float, out: list[Effect]) -> None:
        """What is missing is not in the peer's log any more."""
        if self.sync is Sync.LIVE:
            self.resync(now, out)

    def learn_tail(self, tail: int, now: float, out: list[Effect]) -> None:
        """The peer says how far its changes go."""
        if self.sync is Sync.LIVE:
            self._state.learn_tail(tail, now, out)

    def ask_anew(self, now: float) -> None:
        """What was asked last may not have arrived: ask again when something does."""
        self._state.ask_anew(now)

    def answered_badly(self) -> None:
        """Something came from the peer that cannot be read, and may have been the answer."""
        self._state.answered_badly()

    def _take_over(self, changes: Sequence[Change], now: float, out: list[Effect]) -> None:
        self._apply(changes, out)
        if self.slice.is_overfull:
            self._stay_away(now, out)
        elif any(isinstance(change, messages.RoomOpened) for change in changes):
            self._confirm(out)  # somebody may be waiting for it; the rest is confirmed by heartbeats

    def _apply(self, changes: Sequence[Change], out: list[Effect]) -> None:
        for change in changes:
            self.slice.apply(change, out)

    def _confirm(self, out: list[Effect]) -> None:
        self._ask(messages.Applied(self._me.id, self._me.epoch, self.epoch, self.position), out)

    def _follow_state(self, position: int, gaps: int = 0) -> Follower[Change]:
        follower: Follower[Change] = Follower(
            self._peer,
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

    # -- time --

    @property
    def repair_at(self) -> float | None:
        """When to ask again for changes that are missing."""
        return self._state.repair_at

    def repair(self, now: float, out: list[Effect]) -> None:
        """Ask again for changes that are missing, if it is time to."""
        self._state.repair(now, out)

    @property
    def retry_at(self) -> float:
        """When hello or the request for a snapshot is to be repeated; `inf` when the slice is here."""
        return float("inf") if self.sync is Sync.LIVE else self._retry_at

    def retry(self, now: float, out: list[Effect]) -> None:
        """Repeat hello, or the request for a snapshot, if it is time to."""
        if now < self.retry_at:
            return
        if self.sync is Sync.SYNCING:
            self._ask_for_snapshot(now, out)
        else:
            self._greet_again(now, out)

    def retry_soon(self, now: float) -> None:
        """The next `retry` is due."""
        self._retry_at = now

    def _retry_later(self, now: float) -> None:
        self._retry_at = now + self._wait
        is_greeting = self.sync is Sync.GREETING
        most = self._limits.greet_at_most if is_greeting else self._limits.snapshot_at_most
        self._wait = min(2 * self._wait, most)
