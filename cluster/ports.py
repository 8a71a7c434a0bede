"""What the mesh needs of the outside: something that carries frames, somewhere that nodes find each other, and somebody
to tell. Every adapter of a port passes the port's contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

from cluster.core.identity import Card
from cluster.core.messages import Notification
from cluster.keys import Keys


@attrs.frozen
class Addresses:
    """Where others can connect: the addresses as bound, any free port filled in."""

    pub: str
    router: str


class Arrivals(Protocol):
    """Where a transport puts what arrived. The calls are made on the trio thread, and must not block; each gets all
    that was at hand when its socket was looked at, within a bound, in the order of arrival.

    The first three return how many of the frames were rubbish: the transport reads that socket the more slowly."""

    def published(self, frames: Sequence[bytes]) -> int:
        """From peers' PUB sockets, topic included."""

    def asked(self, questions: Sequence[tuple[bytes, bytes]]) -> int:
        """From peers' DEALERs: (identity to answer to, frame)."""

    def answered(self, node: str, frames: Sequence[bytes]) -> int:
        """From the ROUTER of the node; or, under the address asked, from whoever sits there."""

    def hung_up(self, node: str) -> None:
        """The connection to the node's ROUTER was closed at its end, or broke. The transport goes on trying."""

    def kept_out(self, node: str | None) -> None:
        """A handshake failed: the node (or who sits at the address asked) did not let us in, or is somebody else; for
        None, we did not let in somebody who connected to us. Nothing of it was received."""


class Transport(Protocol):
    """Carries frames between nodes.

    Guarantees: published frames of one node arrive at a subscriber in the order in which they were sent, each at
    most once; some may be missing (at the start, and under overload). Direct frames between two nodes are in order,
    each at most once, and may be missing after a connection broke. A frame over `FRAME_BYTES` is not read by who gets
    it, and ends the connection on which it comes, which is then made anew. Nothing else: the core lives with the rest.
    Sending never waits.
    """

    def open(
        self, pub: str, router: str, near: Addresses | None = None, keys: Keys | None = None
    ) -> AbstractAsyncContextManager[Addresses]:
        """Bind both addresses, and a second pair if there is one, and be usable until the end of the context. Gives
        the first pair as bound. Raises `BindError`.

        With `keys`, nothing leaves the process unencrypted; questions are taken only from who has a key of a secret
        that we know, answers and publications only from who has the server key on its card, and only those hear what
        is published that have the key on the card of a node that is connected to here."""

    async def run(self, arrivals: Arrivals) -> None:
        """Receive until cancelled."""

    def subscribe(self, topic: bytes) -> None:
        """Receive what any connected peer publishes under the topic."""

    def unsubscribe(self, topic: bytes) -> None:
        """Receive nothing more under the topic."""

    def connect(self, card: Card) -> None:
        """Connect to a peer's addresses, and go on trying; replaces an earlier connection to the same node.

        Two peers may name the same addresses: one of them is the former life of a machine under another name. Raises
        `AddressError`, and connects to nothing, when an address is none, or with keys when the card has none; the
        card comes from outside."""

    def disconnect(self, node: str) -> None:
        """Drop the connection to the peer and what waits to be sent to it."""

    def publish(self, frame: bytes) -> bool:
        """To every peer that subscribed to the frame's topic, and to this node itself if it did: through the same two
        sockets, so that it comes back only when both work. False when one of them could not take it (its queue is
        full): the others got it."""

    def ask(self, node: str, frame: bytes) -> bool:
        """To the peer's ROUTER; False when it cannot be queued (not connected, or its queue is full)."""

    def ask_at(self, address: str, frame: bytes) -> None:
        """To the ROUTER at an address; for a few seeds, which need not be there."""

    def answer(self, identity: bytes, frame: bytes) -> bool:
        """To the DEALER that asked under this identity; False when it has gone, or its queue is full."""


class Pool(Protocol):
    """Where the nodes of one cluster find each other's cards.

    Each card lives for the given time by the pool's own clock, so that nodes need not agree on theirs."""

    async def beat(self, node: str, card: bytes, lifetime_ms: int) -> list[bytes]:
        """Write (or renew) the node's card and read all live ones, the own included, in one step. A different card
        of the same node that was there before is returned, too: by it two nodes of one name notice each other.

        Raises `PoolUnavailable`, after a bounded time, when the pool does not answer. Cancelling it leaves the pool
        usable; whether the card was written is then unknown."""

    async def withdraw(self, node: str, card: bytes) -> None:
        """Take the card away if it is still this one. Raises `PoolUnavailable`."""

    async def aclose(self) -> None:
        """Drop the connections."""


class Observer(Protocol):
    """Whoever embeds the mesh. The calls are made in order on the trio thread, and must not block or raise."""

    def peer_room(self, node: str, room: str, description: bytes, count: int) -> None:
        """The node has `count` subscribers in the room. Said again after a resync."""

    def peer_room_counted(self, node: str, room: str, count: int) -> None:
        """The number of the node's subscribers in a room told of before."""

    def peer_room_closed(self, node: str, room: str) -> None:
        """The node has no subscriber in the room any more."""

    def peer_away(self, node: str) -> None:
        """The node does not answer: its subscribers count no more, but what is published for its rooms is still to be
        given to `notify`, which keeps it for when the node is back. `peer_back` or `peer_gone` settles it."""

    def peer_back(self, node: str) -> None:
        """The node that was away answers again, and its rooms have been told anew: they count."""

    def peer_gone(self, node: str) -> None:
        """All rooms of the node are gone with it."""

    def deliver(self, node: str, items: Sequence[Notification]) -> None:
        """Notifications from the node, in its order, each once."""

    def lost(self, node: str, count: int | None, rooms: Mapping[str, int] | None) -> None:
        """Notifications from the node cannot be had any more: `count` of them, or None when nobody can know. `rooms`
        are those concerned, each with how many were for it (0: not known); None is every room of this node."""

    def turn_over(self) -> None:
        """Everything that was at hand has been told: now is the time to flush what it caused."""
