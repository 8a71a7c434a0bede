"""Faults planted in the mesh on purpose, to prove that the simulator finds faults.

Each takes one idea out of the core by replacing a method, for as long as a context lasts. Where the core no longer has
such a method, planting it fails: a fault that cannot be planted proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import msgspec
import pytest

from cluster.core import messages, publisher, senses
from cluster.core.effects import Effect
from cluster.core.epochs import Epochs
from cluster.core.following import Follower
from cluster.core.leaving import Leaving
from cluster.core.link import Link
from cluster.core.liveness import Liveness
from cluster.core.mailbox import Mailbox
from cluster.core.node import MeshNode
from cluster.core.peers import Peers
from cluster.core.publisher import Publisher
from cluster.core.replica import Replica, Sync
from cluster.core.senses import Senses
from cluster.core.slices import OwnSlice, PeerSlice
from cluster.core.streams import Inbound, Outbound
from cluster.core.weights import rooms_weight
from cluster.testing import Law

Plant = Callable[[pytest.MonkeyPatch], None]


@attrs.frozen
class Mutation:
    """A fault, how to plant it, and the laws of which it breaks one."""

    name: str
    plant: Plant
    laws: frozenset[Law]
    is_rare: bool
    """Whether it takes many seeds to show."""

    def __str__(self) -> str:
        return self.name


MUTATIONS: list[Mutation] = []


def mutation(*laws: Law, is_rare: bool = False) -> Callable[[Plant], Plant]:
    """Put the fault on the list, under the name of its function."""

    def add(plant: Plant) -> Plant:
        MUTATIONS.append(Mutation(plant.__name__.replace("_", " "), plant, frozenset(laws), is_rare))
        return plant

    return add


def _nothing(*_arguments: Any, **_named: Any) -> None:
    pass


# -- repair --


@mutation(Law.BALANCE)
def no_tails_of_notifications_in_heartbeats(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Publisher, "_notify_tails", lambda _self: {})


@mutation(Law.EQUAL_VIEWS, Law.BALANCE)
def tails_are_not_listened_to(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Follower, "learn_tail", _nothing)


@mutation(Law.BALANCE, Law.PROGRESS, Law.EQUAL_VIEWS)
def what_is_missing_is_asked_for_only_once(patch: pytest.MonkeyPatch) -> None:
    repair = Follower.repair

    def repair_once(self: Follower[Any], now: float, out: list[Effect]) -> None:
        repair(self, now, out)
        if self.repair_at is not None:
            self.repair_at = float("inf")

    patch.setattr(Follower, "repair", repair_once)
    patch.setattr(Follower, "ask_anew", _nothing)


@mutation(Law.IN_ORDER)
def duplicates_are_not_dropped(patch: pytest.MonkeyPatch) -> None:
    take = Inbound.take

    def take_again(
        self: Inbound[Any], first: int, items: Sequence[Any], *, is_resent: bool = False
    ) -> Sequence[Any]:
        again = items[: max(0, self.position - first + 1)]
        return [*again, *take(self, first, items, is_resent=is_resent)]

    patch.setattr(Inbound, "take", take_again)


@mutation(Law.IN_ORDER)
def what_is_ahead_of_a_hole_is_not_held_back(patch: pytest.MonkeyPatch) -> None:
    take = Inbound.take

    def take_ahead(
        self: Inbound[Any], first: int, items: Sequence[Any], *, is_resent: bool = False
    ) -> Sequence[Any]:
        ready = take(self, first, items, is_resent=is_resent)
        ahead = [self._held.pop(number) for number in sorted(self._held)]
        return [*ready, *ahead]

    patch.setattr(Inbound, "take", take_ahead)


@mutation(Law.BOUNDS, is_rare=True)
def any_number_of_items_is_held(patch: pytest.MonkeyPatch) -> None:
    begin = Inbound.__init__

    def begin_unbounded(self: Inbound[Any], _held_limit: int, *arguments: Any, **named: Any) -> None:
        begin(self, 1 << 30, *arguments, **named)

    patch.setattr(Inbound, "__init__", begin_unbounded)


@mutation(Law.BOUNDS, is_rare=True)
def what_is_held_may_weigh_anything(patch: pytest.MonkeyPatch) -> None:
    begin = Inbound.__init__

    def begin_unbounded(self: Inbound[Any], *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **{**named, "held_bytes": 1 << 30})

    patch.setattr(Inbound, "__init__", begin_unbounded)


@mutation(Law.BOUNDS)
def logs_are_not_cut(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outbound, "_cut", _keep)


def _keep(self: Outbound[Any, Any]) -> None:
    self._limit = 1 << 30


# -- frames --


WEDGED = Law.BALANCE, Law.PROGRESS, Law.EQUAL_VIEWS, Law.READY


@mutation(*WEDGED, is_rare=True)
def the_rooms_of_one_notification_are_not_bounded(patch: pytest.MonkeyPatch) -> None:
    def whole(rooms: Sequence[str], _max_bytes: int) -> list[tuple[Sequence[str], int]]:
        return [(rooms, rooms_weight(rooms))]

    patch.setattr(publisher, "rooms_apart", whole)


@mutation(*WEDGED)
def what_is_said_of_a_cut_is_bounded_by_items_only(patch: pytest.MonkeyPatch) -> None:
    remains = Outbound.remains

    def of_any_weight(
        self: Outbound[Any, Any], first: int, last: int, max_items: int, _bytes: int
    ) -> list[Any]:
        return remains(self, first, last, max_items, 1 << 30)

    patch.setattr(Outbound, "remains", of_any_weight)


@mutation(*WEDGED, is_rare=True)
def what_is_said_again_is_bounded_by_items_only(patch: pytest.MonkeyPatch) -> None:
    read = Outbound.read

    def of_any_weight(self: Outbound[Any, Any], first: int, last: int, max_items: int, _bytes: int) -> Any:
        return read(self, first, last, max_items, 1 << 30)

    patch.setattr(Outbound, "read", of_any_weight)


@mutation(Law.BOUNDS, is_rare=True)
def the_rooms_of_what_was_cut_may_weigh_anything(patch: pytest.MonkeyPatch) -> None:
    begin = Outbound.__init__

    def begin_unbounded(self: Outbound[Any, Any], *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **{**named, "remains_bytes": 1 << 30})

    patch.setattr(Outbound, "__init__", begin_unbounded)


# -- announcements --


@mutation(Law.BALANCE, Law.ANNOUNCED)
def a_cut_log_is_not_announced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "_tell_loss", _nothing)


@mutation(Law.ANNOUNCED)
def losses_are_told_to_the_wrong_rooms(patch: pytest.MonkeyPatch) -> None:
    remains = Outbound.remains

    def remains_of_others(self: Outbound[Any, Any], *arguments: int) -> list[Any]:
        return [["r9"] for _ in remains(self, *arguments)]

    patch.setattr(Outbound, "remains", remains_of_others)


@mutation(Law.ANNOUNCED)
def nobody_is_told_of_last_words(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "broke_off", _nothing)


@mutation(Law.ANNOUNCED)
def only_who_heard_of_a_killed_node_is_told_of_last_words(patch: pytest.MonkeyPatch) -> None:
    broke_off = Mailbox.broke_off

    def broke_off_if_heard(self: Mailbox, out: list[Effect]) -> None:
        if self.received.tail:
            broke_off(self, out)

    patch.setattr(Mailbox, "broke_off", broke_off_if_heard)


@mutation(Law.NO_FALSE_DEATH)
def who_falls_silent_is_held_for_gone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Liveness, "has_hung_up", True)


@mutation(Law.ANNOUNCED, is_rare=True)
def what_waits_behind_a_hole_dies_with_its_origin(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mailbox, "_give_up", _nothing)


@mutation(Law.ANNOUNCED)
def rooms_opened_while_one_was_away_are_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MeshNode, "_tell_what_was_missed", _nothing)


@mutation(Law.ANNOUNCED)
def who_serves_before_it_knows_everybody_does_not_own_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Link, "served_without_us", _nothing)


@mutation(Law.IN_ORDER, Law.BALANCE, Law.ANNOUNCED)
def lives_that_were_given_up_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    forget = Peers.forget

    def forget_wholly(self: Peers, link: Link, out: list[Effect]) -> None:
        forget(self, link, out)
        self._remembered.clear()

    patch.setattr(Peers, "forget", forget_wholly)


# -- state --


@mutation(Law.EQUAL_VIEWS, Law.SETTLED, is_rare=True)
def the_position_after_a_snapshot_is_taken_from_a_third_party(patch: pytest.MonkeyPatch) -> None:
    heard_by, go_live = Peers.heard_by, Replica._go_live

    def listen(self: Peers, witness: Link, now: float) -> None:
        heard_by(self, witness, now)
        for link in self.links.values():
            report = witness.peer_links.get(link.id)
            if report is not None and report.is_live and link is not witness:
                link.replica._others_have = (report.epoch, report.applied)  # type: ignore[attr-defined]

    def go_live_there(self: Replica, now: float, out: list[Effect]) -> None:
        epoch, applied = getattr(self, "_others_have", (None, 0))
        if epoch == self.epoch:
            self._snapshot_tail = max(applied, self._snapshot_tail)
        go_live(self, now, out)

    patch.setattr(Peers, "heard_by", listen)
    patch.setattr(Replica, "_go_live", go_live_there)


@mutation(Law.EQUAL_VIEWS, Law.SETTLED, is_rare=True)
def the_answer_to_an_earlier_sync_is_accepted(patch: pytest.MonkeyPatch) -> None:
    snapshot = Replica.snapshot

    def accept(self: Replica, part: messages.Snapshot, now: float, out: list[Effect]) -> None:
        if self.sync is Sync.LIVE:
            self.sync, self._next_part = Sync.SYNCING, part.part
        snapshot(self, msgspec.structs.replace(part, nonce=self._nonce), now, out)

    patch.setattr(Replica, "snapshot", accept)


@mutation(Law.EQUAL_VIEWS, Law.IN_ORDER, Law.SETTLED, Law.QUIET, is_rare=True)
def epochs_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Peers, "find_current", lambda self, message, _now, _out: self.links.get(message.origin))


@mutation(Law.EQUAL_VIEWS, Law.SETTLED)
def subscriptions_are_forgotten_at_a_reset(patch: pytest.MonkeyPatch) -> None:
    restart = Publisher.restart_state

    def restart_empty(self: Publisher) -> None:
        self._slice = OwnSlice()
        restart(self)

    patch.setattr(Publisher, "restart_state", restart_empty)


@mutation(Law.EQUAL_VIEWS)
def what_a_snapshot_does_not_name_is_kept(patch: pytest.MonkeyPatch) -> None:
    end = PeerSlice.end_snapshot

    def end_and_keep(self: PeerSlice, out: list[Effect]) -> None:
        self._snapshot = set(self._rooms)
        end(self, out)

    patch.setattr(PeerSlice, "end_snapshot", end_and_keep)


@mutation(Law.SETTLED)
def barriers_lift_when_the_first_has_applied(patch: pytest.MonkeyPatch) -> None:
    def settled_up_to(self: MeshNode) -> tuple[Any, int]:
        applied = [link.applied for link in self._peers.alive()]
        return max(applied, default=(self._me.epoch, self.say.state_tail))

    patch.setattr(MeshNode, "settled_up_to", settled_up_to)


@mutation(Law.SETTLED)
def barriers_do_not_wait_for_who_is_not_live_yet(patch: pytest.MonkeyPatch) -> None:
    def settled_up_to(self: MeshNode) -> tuple[Any, int]:
        applied = [link.applied for link in self._peers.alive() if link.is_known_to_peer]
        return min(applied, default=(self._me.epoch, self.say.state_tail))

    patch.setattr(MeshNode, "settled_up_to", settled_up_to)


# -- life and death --


@mutation(Law.NO_FALSE_DEATH, Law.HONEST)
def a_node_that_was_stopped_blames_its_peers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MeshNode, "_notice_stall", _nothing)


@mutation(Law.NO_FALSE_DEATH)
def nobody_vouches_for_others(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Peers, "heard_by", _nothing)


@mutation(Law.NO_GHOSTS)
def goodbyes_are_not_listened_to(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Link, "said_farewell", _nothing)


@mutation(Law.PATIENT, is_rare=True)
def a_node_leaves_without_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leaving, "_unsettled", lambda _self: [])


@mutation(Law.NO_GHOSTS, is_rare=True)
def farewell_is_said_only_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leaving, "_held_by", lambda _self: [])


@mutation(Law.SETTLED)
def barriers_forget_the_peers_of_a_former_life(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Peers, "awaited", Peers.alive)


@mutation(Law.EQUAL_VIEWS, Law.NO_GHOSTS, Law.READY, is_rare=True)
def a_later_life_of_the_own_name_is_not_outbid(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Epochs, "outbid_if_known", _nothing)


@mutation(Law.QUIET)
def everybody_is_greeted_at_every_heartbeat(patch: pytest.MonkeyPatch) -> None:
    heartbeat = Link.heartbeat

    def greet_as_well(self: Link, beat: messages.Heartbeat, now: float, out: list[Effect]) -> None:
        heartbeat(self, beat, now, out)
        self.replica.say_hello(out)

    patch.setattr(Link, "heartbeat", greet_as_well)


@mutation(Law.PROGRESS)
def the_next_deadline_is_always_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MeshNode, "next_deadline", lambda _self: 0.0)


# -- honesty --


@mutation(Law.HONEST)
def nobody_listens_to_itself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Senses, "next_deadline", lambda _self: float("inf"))
    patch.setattr(Senses, "_why_not_itself", _nothing)


@mutation(Law.HONEST, is_rare=True)
def one_witness_is_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(senses, "WITNESSES", 1)
