"""The mesh in one process: a network and a pool in memory, for tests, for the simulator, and for whoever embeds several
nodes in one loop. Faults are injected by `MemoryNetwork.is_lost`.

Frames are handed over in order, but never within the call that sent them: as with sockets, the receiver gets them
when its task runs. A frame over `FRAME_BYTES` is lost, and who asked is told that the connection broke.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count

import trio

from cluster.core.identity import Card
from cluster.core.messages import FRAME_BYTES
from cluster.errors import BindError, PoolUnavailable
from cluster.keys import Keys
from cluster.ports import Addresses, Arrivals

QUEUE = 100_000
"""Frames waiting at one node; over it the newest is lost, as at a socket's high-water mark."""


class MemoryNetwork:
    """Where memory transports meet. `is_lost(sender, receiver, frame)` decides which frames do not arrive; both are
    named by their pub address."""

    def __init__(self) -> None:
        self.is_lost: Callable[[str, str, bytes], bool] = lambda _sender, _receiver, _frame: False
        self._transports: dict[str, MemoryTransport] = {}
        self._ports = count(1)

    def transport(self) -> MemoryTransport:
        """A new transport on this network."""
        return MemoryTransport(self)

    def _bind(self, address: str, transport: MemoryTransport) -> str:
        if address.endswith((":*", ":0")):
            address = f"{address.rpartition(':')[0]}:{next(self._ports)}"
        if address in self._transports:
            raise BindError(f"the mesh address {address} cannot be bound: another node has it")
        self._transports[address] = transport
        return address


class MemoryTransport:
    """A `Transport` on a `MemoryNetwork`. Opened once."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self._addresses = Addresses("", "")
        self._is_at: frozenset[str] = frozenset()
        self._topics: set[bytes] = set()
        self._peers: dict[str, Card] = {}
        self._inbox: deque[Callable[[Arrivals], object]] = deque()
        self._arrived = trio.Event()

    @asynccontextmanager
    async def open(
        self,
        pub: str,
        router: str,
        near: Addresses | None = None,
        keys: Keys | None = None,  # noqa: ARG002 - nothing leaves the process
    ) -> AsyncIterator[Addresses]:
        """Take all addresses on the network. Raises `BindError` when one is taken."""
        known = self._network._transports
        taken: list[str] = []
        try:
            for address in (pub, router, *([near.pub, near.router] if near else [])):
                taken.append(self._network._bind(address, self))
            self._addresses, self._is_at = Addresses(*taken[:2]), frozenset(taken)
            yield self._addresses
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()
            for address in taken:
                del known[address]
            for peer in set(known.values()):
                peer._hung_up(self._is_at)

    async def run(self, arrivals: Arrivals) -> None:
        """Receive until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            for _ in range(len(self._inbox)):
                self._inbox.popleft()(arrivals)
            await trio.lowlevel.checkpoint()

    def subscribe(self, topic: bytes) -> None:
        """Receive what any connected peer publishes under the topic."""
        self._topics.add(topic)

    def unsubscribe(self, topic: bytes) -> None:
        """Receive nothing more under the topic."""
        self._topics.discard(topic)

    def connect(self, card: Card) -> None:
        """Connect to the peer's addresses, whether or not somebody is there yet."""
        self._peers[card.id] = card

    def disconnect(self, node: str) -> None:
        """Drop the connection to the peer."""
        self._peers.pop(node, None)

    def publish(self, frame: bytes) -> bool:
        """To every transport that is connected here and subscribed to the frame's topic, and to this one if it is;
        False when one is full."""
        is_taken = True
        for receiver in set(self._network._transports.values()):
            is_connected = receiver is self or any(
                card.pub in self._is_at for card in receiver._peers.values()
            )
            if is_connected and any(frame.startswith(topic) for topic in receiver._topics):
                is_taken &= self._send(receiver, frame, lambda arrivals: arrivals.published([frame]))
        return is_taken

    def ask(self, node: str, frame: bytes) -> bool:
        """To the peer's ROUTER; False when the peer is not connected."""
        if (card := self._peers.get(node)) is None:
            return False
        if (receiver := self._network._transports.get(card.router)) is not None:
            identity = f"{self._addresses.router} {node}".encode()
            self._send(receiver, frame, lambda arrivals: arrivals.asked([(identity, frame)]))
            if len(frame) > FRAME_BYTES:
                self._put(partial(_tell_hung_up, node))
        return True

    def ask_at(self, address: str, frame: bytes) -> None:
        """To the ROUTER at an address, if there is one."""
        if (receiver := self._network._transports.get(address)) is not None:
            identity = f"{self._addresses.router} {address}".encode()
            self._send(receiver, frame, lambda arrivals: arrivals.asked([(identity, frame)]))

    def answer(self, identity: bytes, frame: bytes) -> bool:
        """To the node that asked under this identity; False when it has gone."""
        address, _, node = identity.decode().rpartition(" ")
        if (receiver := self._network._transports.get(address)) is None:
            return False
        self._send(receiver, frame, lambda arrivals: arrivals.answered(node, [frame]))
        if len(frame) > FRAME_BYTES:
            receiver._put(partial(_tell_hung_up, node))
        return True

    def _hung_up(self, gone: frozenset[str]) -> None:
        for node in [card.id for card in self._peers.values() if card.router in gone]:
            self._put(partial(_tell_hung_up, node))

    def _put(self, hand_over: Callable[[Arrivals], object]) -> None:
        self._inbox.append(hand_over)
        self._arrived.set()

    def _send(self, receiver: MemoryTransport, frame: bytes, hand_over: Callable[[Arrivals], object]) -> bool:
        if len(receiver._inbox) >= QUEUE:
            return False
        if len(frame) > FRAME_BYTES:
            return True
        sender = self._addresses.pub
        if receiver is self or not self._network.is_lost(sender, receiver._addresses.pub, frame):
            receiver._put(hand_over)
        return True


def _tell_hung_up(node: str, arrivals: Arrivals) -> None:
    arrivals.hung_up(node)


class MemoryPool:
    """A `Pool` in memory, with trio's clock. `failure` makes it unavailable for that reason."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self._cards: dict[str, tuple[bytes, float]] = {}

    async def beat(self, node: str, card: bytes, lifetime_ms: int) -> list[bytes]:
        """Write the card and read all live ones. Raises `PoolUnavailable` when `failure` says so."""
        await self._available()
        now = trio.current_time()
        before, _ = self._cards.get(node, (card, 0.0))
        self._cards[node] = (card, now + lifetime_ms / 1000)
        self._cards = {node: kept for node, kept in self._cards.items() if kept[1] > now}
        return [sealed for sealed, _ in self._cards.values()] + ([before] if before != card else [])

    async def withdraw(self, node: str, card: bytes) -> None:
        """Take the card away if it is still this one. Raises `PoolUnavailable`."""
        await self._available()
        if self._cards.get(node, (b"", 0))[0] == card:
            del self._cards[node]

    async def aclose(self) -> None:
        """Nothing to close: other nodes may use the pool."""
        await trio.lowlevel.checkpoint()

    def flush(self) -> None:
        """Forget all cards, as a Redis that was restarted empty."""
        self._cards.clear()

    async def _available(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise PoolUnavailable(self.failure)
