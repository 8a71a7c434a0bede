"""One node of a simulated world: a real core, what its sockets hold, and an embedder that writes down what it is told.

The embedder is as strict as the contract (`cluster.ports.Observer`): to be told of something that contradicts what
it was told before is a broken law.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import Any

import attrs

from cluster.core import effects as fx
from cluster.core.effects import Effect
from cluster.core.link import Link
from cluster.core.node import MeshNode

JUST_HEARD_S = 0.5
"""Who was heard so long ago is alive for everybody."""

Life = tuple[str, int]
"""A node's name and boot: what tells this life from others of that name."""


class Law(Enum):
    """What holds in a mesh, whatever happens to it."""

    IN_ORDER = "a notification arrives once, in its origin's order, where and for what it was said"
    BALANCE = "what was said arrives or is announced as lost, by the books of both sides"
    ANNOUNCED = "who missed something is told, and for the right rooms"
    SETTLED = "behind a barrier every living peer knows the room, and publishes to it"
    EQUAL_VIEWS = "after the faults every node sees the slices of all others as they are"
    NO_GHOSTS = "nothing is seen of nodes that are gone"
    READY = "after the faults every node is ready"
    NO_FALSE_DEATH = "nobody is suspected, called dead or given up on without a reason"
    HONEST = "a node that is deaf or mute says so within three seconds, and no other ever does"
    BOUNDS = "nothing grows over its bound"
    CONSISTENT = "an embedder is told nothing that contradicts what it was told before"
    PATIENT = "who leaves in order waits for what a repair would bring"
    QUIET = "where nobody says anything, there are heartbeats and canaries, and nothing else"
    PROGRESS = "what is waited for comes, and time goes on"


class LawBroken(AssertionError):
    """The mesh did what it must never do: which law, and what was seen."""

    def __init__(self, law: Law, seen: str) -> None:
        super().__init__(f"{law.value}; but {seen}")
        self.law = law


@attrs.define(eq=False)
class SimNode:
    """One life of one node in a world, and what its embedder was told."""

    name: str
    core: MeshNode
    boot: int
    dice: Random
    topics: tuple[bytes, ...] = ()
    rooms: dict[str, tuple[bytes, int]] = attrs.field(factory=dict)
    """Its own rooms."""
    view: dict[str, dict[str, tuple[bytes, int]]] = attrs.field(factory=dict)
    """The rooms of others, by node: what the embedder believes."""
    away: set[str] = attrs.field(factory=set)
    """Nodes whose rooms are kept although they do not answer."""
    boots: dict[str, int] = attrs.field(factory=dict)
    """The life of each peer that it was connected to last."""
    delivered: dict[Life, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    """Numbers of the notifications that arrived in this life, by the life of their origin."""
    lost: dict[Life, int] = attrs.field(factory=lambda: defaultdict(int))
    """How many were announced as lost in this life, by the life of their origin."""
    lost_rooms: dict[Life, Counter[str] | None] = attrs.field(factory=dict)
    """The same by room; None when for some of them every room was told."""
    warned: list[tuple[str, dict[str, int] | None]] = attrs.field(factory=list)
    """Announcements of a loss that nobody can count: the origin, and the rooms."""
    announced: list[tuple[float, Life, set[str] | None]] = attrs.field(factory=list)
    """All announcements of losses: when, from whom, and for which rooms; None for all rooms."""
    beliefs: list[tuple[float, str, dict[str, object]]] = attrs.field(factory=list)
    """What stands in its log: when, the event, and its fields."""
    heard_at: dict[Life, float] = attrs.field(factory=dict)
    """When something of each life of a peer arrived last."""
    began_at: float = 0.0
    """When this life began."""
    linked_at: dict[str, float] = attrs.field(factory=dict)
    """When the link to each peer began."""
    carried_over: set[Life] = attrs.field(factory=set)
    """Lives that it had just heard when it began this life, having outbid another, and has not found dead since: they
    go on publishing."""
    is_leaving: bool = False
    """Whether its embedder is gone, and it only waits for its peers."""
    heard_by: set[Life] = attrs.field(factory=set)
    """Lives that for certain hear a farewell that it says a few times."""
    awaited: set[Life] = attrs.field(factory=set)
    """Lives for which it has to wait when it leaves: at most published frames are lost between them."""
    paused_until: float = 0.0
    healed_at: float = 0.0
    """When it stopped being deaf or mute last."""
    reads_every: float = 0.0
    """A slow consumer looks at its sockets and its clock only so often, seconds."""
    busy_until: float = 0.0
    inbox: list[tuple[str, Callable[..., None], tuple[Any, ...]]] = attrs.field(factory=list)
    """What arrived while it did not look: at which socket, and what to do with it."""
    ticks_at: float = float("inf")
    visits_at: float = float("inf")
    carded_at: dict[Life, float] = attrs.field(factory=dict)
    """When the pool, as this node read it, showed the card of each life last."""
    is_announcing: bool = False
    """Whether its card changed since the pool was visited."""

    @property
    def life(self) -> Life:
        """Name and boot: what tells this life from others."""
        return self.name, self.boot

    def is_reading(self, now: float) -> bool:
        """Whether it looks at its sockets."""
        return now >= self.paused_until and now >= self.busy_until

    def link(self, peer: str) -> Link | None:
        """The core's link to a peer."""
        return next((link for link in self.core.links if link.id == peer), None)

    def seen(self, peer: str) -> dict[str, tuple[bytes, int]] | None:
        """The peer's rooms that count for this node; None when the peer does not answer."""
        return None if peer in self.away else self.view.get(peer, {})

    def tell(self, effect: Effect, now: float) -> None:
        """What an embedder does with what it is told. Raises `LawBroken` when it contradicts itself."""
        try:
            self._tell(effect, now)
        except KeyError as error:
            raise LawBroken(
                Law.CONSISTENT, f"{self.name} is told of something it was never told of before: {effect}"
            ) from error

    def _tell(self, effect: Effect, now: float) -> None:
        match effect:
            case fx.PeerRoom(peer, room, description, count):
                self.view.setdefault(peer, {})[room] = (description, count)
            case fx.PeerRoomCounted(peer, room, count):
                self.view[peer][room] = (self.view[peer][room][0], count)
            case fx.PeerRoomClosed(peer, room):
                del self.view[peer][room]
            case fx.PeerAway(peer):
                self.away.add(peer)
            case fx.PeerBack(peer):
                self.away.remove(peer)
            case fx.PeerGone(peer):
                self.away.discard(peer)
                self.view.pop(peer, None)
            case fx.Deliver():
                pass  # the ledger knows what it was
            case fx.Lost(peer, count, rooms):
                self._note_loss((peer, self.boots[peer]), count, rooms, now)
            case fx.Belief(event, fields):
                if not effect.is_repeated:
                    self.beliefs.append((now, event, fields))
                if event == "peer down":
                    peer = str(fields["peer"])
                    self.carried_over.discard((peer, self.boots[peer]))
            case _:
                raise AssertionError(f"an effect for the sockets: {effect}")

    def _note_loss(self, origin: Life, count: int | None, rooms: dict[str, int] | None, now: float) -> None:
        self.announced.append((now, origin, None if rooms is None else set(rooms)))
        if count is None:
            self.warned.append((origin[0], rooms))
            return
        self.lost[origin] += count
        known = self.lost_rooms.setdefault(origin, Counter())
        if rooms is None or known is None:
            self.lost_rooms[origin] = None
        else:
            known.update(rooms)

    def began_new_life(self, boot: int, now: float) -> None:
        """It outbid a later life of its name: what came before was another node's."""
        self.carried_over = {life for life, when in self.heard_at.items() if when > now - JUST_HEARD_S}
        self.boot, self.began_at = boot, now
        for account in (self.delivered, self.lost, self.lost_rooms):
            account.clear()
