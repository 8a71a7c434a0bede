"""The mesh over ZeroMQ: one PUB and one ROUTER bound, one SUB connected to every peer's PUB, one DEALER for each peer.

With keys every connection is encrypted and authenticated by CURVE (CurveZMQ, RFC 26): `cluster.adapters.curve`.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio
import zmq

from cluster.adapters.curve import FAILED_HANDSHAKES, HANDSHAKE_LIMIT_MS, OTHER_LANGUAGE, Locks, check_keys
from cluster.adapters.mending import BREAKS, mend
from cluster.adapters.readable import Readable
from cluster.core.identity import Card
from cluster.core.messages import FRAME_BYTES
from cluster.errors import AddressError, BindError
from cluster.keys import Keys
from cluster.ports import Addresses, Arrivals

PUBLISHED_QUEUE: Final = 10_000
"""Frames waiting for one slow peer in the PUB socket, and as many on its side. Under load a frame carries many
messages. Over this, frames for that peer are dropped and counted: the numbering notices and the log repairs."""

DIRECT_QUEUE: Final = 10_000
"""Frames waiting on a DEALER or for one asker on the ROUTER: a snapshot of a million rooms is about 600."""

SEED_QUEUE: Final = 4
"""Hellos waiting for a seed that is not there: more would all be answered at once when it comes. Over it the connection
is made anew: ZeroMQ gives up on who once answered in another language."""

ITSELF: Final = "inproc://itself"
"""Where this node's SUB hears its own PUB. The name is known within one context, and every transport has its own."""

FAREWELL_MS: Final = 500
"""How long closing waits for the last frames (the farewell) to leave."""

PROBE_MS: Final = 2000
PROBE_LIMIT_MS: Final = 10_000
"""ZeroMQ's own heartbeat on each connection. Slow, so that a paused peer keeps its connections and what waits in
them."""

RECONNECT_MS: Final = 50
RECONNECT_AT_MOST_MS: Final = 200
"""Between two attempts to connect, doubling from the first to the second: a peer that restarts is found within a
moment, and one that is gone costs five attempts a second, for as long as it is looked for."""

CONNECT_LIMIT_MS: Final = 500
"""How long an attempt may take: one round trip, on any line but a satellite's. The kernel would repeat a lost first
packet after one second, then two, then four: when a network heals, nobody wants to wait for that."""

RUBBISH_REST_S: Final = 100e-6
"""How long a socket is left alone for each frame on it that was no message: so a flood of them costs a few percent of a
core, and then waits where it comes from. ZeroMQ reads from all peers in turn, so the others get theirs through."""


class ZeroMqTransport:
    """A `Transport` over `tcp://` and `ipc://`. Opened once."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._pub = self._socket(zmq.PUB, PUBLISHED_QUEUE)
        self._sub = Readable(self._socket(zmq.SUB, PUBLISHED_QUEUE), parts=1)
        self._sub_monitor = Readable(self._sub.socket.get_monitor_socket(BREAKS), parts=2)
        self._router = Readable(self._socket(zmq.ROUTER, DIRECT_QUEUE), parts=2)
        self._router.socket.set(zmq.ROUTER_MANDATORY, 1)  # say when the asker has gone, instead of dropping
        self._pub.set(zmq.LINGER, FAREWELL_MS)
        self._pub.set(zmq.XPUB_NODROP, 1)  # tell when a peer's queue is full, instead of dropping in silence
        self._peers: dict[str, _Peer] = {}
        self._seeds: dict[tuple[str, str], _Peer] = {}
        """By address, and the server key that is tried there."""
        self._cards: dict[str, Card] = {}
        self._heard_with: dict[str, str] = {}
        """The server key with which SUB is connected, by address."""
        self._locks: Locks | None = None
        self._nursery: trio.Nursery | None = None
        self._arrivals: Arrivals | None = None

    @asynccontextmanager
    async def open(
        self, pub: str, router: str, near: Addresses | None = None, keys: Keys | None = None
    ) -> AsyncIterator[Addresses]:
        """Bind all addresses; at the end wait up to `FAREWELL_MS` for what was published last. Raises `BindError`."""
        try:
            if keys is not None:
                self._locks = Locks(self._context, keys)
                self._locks.lock(publisher=self._pub, router=self._router.socket)
            bound = Addresses(pub=_bind(self._pub, pub), router=_bind(self._router.socket, router))
            if near is not None:
                _bind(self._pub, near.pub)
                _bind(self._router.socket, near.router)
            _bind(self._pub, ITSELF)
            self._sub.socket.connect(ITSELF)
            yield bound
        finally:
            for node in list(self._peers):
                self.disconnect(node)
            for seed in self._seeds.values():
                seed.close()
            self._sub.socket.disable_monitor()
            for socket in (self._sub_monitor.socket, self._sub.socket, self._router.socket, self._pub):
                socket.close()
            if self._locks is not None:
                self._locks.close()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._context.term)  # waits for the linger

    async def run(self, arrivals: Arrivals) -> None:
        """Receive until cancelled."""
        self._arrivals = arrivals
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._read_published, arrivals)
                nursery.start_soon(mend, self._sub_monitor, lambda _kind: None, self._hear_anew)
                nursery.start_soon(self._read_questions, arrivals)
                if self._locks is not None:
                    nursery.start_soon(self._locks.run, lambda: arrivals.kept_out(None))
                for peer in (*self._peers.values(), *self._seeds.values()):
                    self._start_reading(peer)
        finally:
            self._nursery = self._arrivals = None

    def subscribe(self, topic: bytes) -> None:
        """Receive what any connected peer publishes under the topic."""
        self._sub.socket.subscribe(topic)
        self._sub.touched()

    def unsubscribe(self, topic: bytes) -> None:
        """Receive nothing more under the topic."""
        self._sub.socket.unsubscribe(topic)
        self._sub.touched()

    def connect(self, card: Card) -> None:
        """Connect to the peer; replaces an earlier connection to the same node. Raises `AddressError`."""
        self.disconnect(card.id)
        dealer = self._socket(zmq.DEALER, DIRECT_QUEUE)
        try:
            if self._locks is not None:
                check_keys(card)
                self._locks.show_as_client(dealer, card.server_key)
            _connect(dealer, card.router)
            self._cards[card.id] = card
            self._hear_at(card.pub)
        except AddressError:
            self._cards.pop(card.id, None)
            dealer.close()
            raise
        peer = self._peers[card.id] = _Peer(card.id, Readable(dealer, parts=1), self._locks is not None)
        self._start_reading(peer)
        self._know_cards()

    def disconnect(self, node: str) -> None:
        """Drop the connection to the peer and what waits to be sent to it."""
        peer = self._peers.pop(node, None)
        if peer is None:
            return
        self._hear_at(self._cards.pop(node).pub)
        peer.close()
        self._know_cards()

    def publish(self, frame: bytes) -> bool:
        """To every peer that subscribed to the frame's topic; False when the queue of one of them was full."""
        try:
            self._pub.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            # With NODROP nobody got it, because somebody could not take it. The others need not suffer for that one.
            self._pub.set(zmq.XPUB_NODROP, 0)
            self._pub.send(frame, zmq.NOBLOCK)
            self._pub.set(zmq.XPUB_NODROP, 1)
            return False
        return True

    def ask(self, node: str, frame: bytes) -> bool:
        """To the peer's ROUTER; False when its queue is full or the peer is not connected."""
        peer = self._peers.get(node)
        if peer is None:
            return False
        return _send(peer.dealer, frame)

    def ask_at(self, address: str, frame: bytes) -> None:
        """To the ROUTER at an address; connects to it at the first time, and goes on trying."""
        for server_key in [""] if self._locks is None else self._locks.server_keys():
            seed = self._seeds.get((address, server_key)) or self._open_seed(address, server_key)
            if not _send(seed.dealer, frame):
                seed.close()
                del self._seeds[address, server_key]

    def answer(self, identity: bytes, frame: bytes) -> bool:
        """To the DEALER that asked under this identity; False when it has gone or its queue is full."""
        try:
            self._router.socket.send_multipart((identity, frame), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return False
            raise
        self._router.touched()
        return True

    # -- who is connected, and with which key --

    def _hear_at(self, address: str) -> None:
        """Connect SUB to the address, or leave it, as the cards say. Two may name one address, if they are two lives of
        one machine under two names: that changes nothing, and must not, for the later one may be well; and it is the
        later one's key that counts."""
        cards = (card for card in self._cards.values() if card.pub == address)
        latest = max(cards, key=lambda card: card.epoch.boot, default=None)
        key = None if latest is None else latest.server_key
        if key == self._heard_with.get(address):
            return
        if self._heard_with.pop(address, None) is not None:
            self._sub.socket.disconnect(address)
        if key is not None:
            if self._locks is not None:
                self._locks.show_as_subscriber(self._sub.socket, key)
            _connect(self._sub.socket, address)
            self._heard_with[address] = key
        self._sub.touched()

    def _hear_anew(self, address: str) -> None:
        """ZeroMQ has given the connection of SUB up."""
        if self._heard_with.pop(address, None) is not None:
            self._sub.socket.disconnect(address)
            self._hear_at(address)

    def _know_cards(self) -> None:
        if self._locks is not None:
            self._locks.know(self._cards.values())

    def _open_seed(self, address: str, server_key: str) -> _Peer:
        dealer = self._socket(zmq.DEALER, SEED_QUEUE)
        if self._locks is not None:
            self._locks.show_as_client(dealer, server_key)
        _connect(dealer, address)
        seed = self._seeds[address, server_key] = _Peer(
            address, Readable(dealer, parts=1), self._locks is not None
        )
        self._start_reading(seed)
        return seed

    def _has_failed(self, peer: _Peer) -> bool:
        """A handshake did; whether that says something. A seed is asked again with a new connection, if at all: of the
        keys that are tried there, one at the most fits."""
        for way, seed in list(self._seeds.items()):
            if seed is peer:
                seed.close()
                del self._seeds[way]
                return all(address != peer.node for address, _ in self._seeds)
        return True

    # -- one task for each receiving socket --

    async def _read_published(self, arrivals: Arrivals) -> None:
        async for frames in self._sub.batches():
            await _rest(arrivals.published([_single(frame) for frame in frames]))

    async def _read_questions(self, arrivals: Arrivals) -> None:
        async for frames in self._router.batches():
            await _rest(arrivals.asked([(frame[0], _single(frame[1:])) for frame in frames]))

    def _start_reading(self, peer: _Peer) -> None:
        if self._nursery is not None and self._arrivals is not None:
            self._nursery.start_soon(self._read_replies, peer, self._arrivals)
            self._nursery.start_soon(self._watch_connection, peer, self._arrivals)

    async def _read_replies(self, peer: _Peer, arrivals: Arrivals) -> None:
        with peer.reading:
            async for frames in peer.dealer.batches():
                await _rest(arrivals.answered(peer.node, [_single(frame) for frame in frames]))

    async def _watch_connection(self, peer: _Peer, arrivals: Arrivals) -> None:
        def tell(kind: int) -> None:
            if kind == zmq.EVENT_DISCONNECTED:
                arrivals.hung_up(peer.node)
            elif self._has_failed(peer):
                arrivals.kept_out(peer.node)

        with peer.watching:
            await mend(peer.monitor, tell, peer.connect_anew)

    def _socket(self, kind: int, queue: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set_hwm(queue)
        socket.set(zmq.MAXMSGSIZE, FRAME_BYTES)  # a larger one closes that connection before it is read
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.HEARTBEAT_IVL, PROBE_MS)  # finds connections that are dead without either end knowing
        socket.set(zmq.HEARTBEAT_TIMEOUT, PROBE_LIMIT_MS)
        socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.set(zmq.RECONNECT_IVL_MAX, RECONNECT_AT_MOST_MS)
        socket.set(zmq.CONNECT_TIMEOUT, CONNECT_LIMIT_MS)
        socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_LIMIT_MS)
        return socket


@attrs.define(eq=False)
class _Peer:
    node: str
    dealer: Readable
    is_locked: bool
    monitor: Readable = attrs.field(init=False)
    reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    watching: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        failures = FAILED_HANDSHAKES if self.is_locked else OTHER_LANGUAGE
        self.monitor = Readable(self.dealer.socket.get_monitor_socket(BREAKS | failures), parts=2)

    def connect_anew(self, address: str) -> None:
        """ZeroMQ has given the connection up."""
        self.dealer.socket.disconnect(address)
        _connect(self.dealer.socket, address)
        self.dealer.touched()

    def close(self) -> None:
        """Stop both tasks and drop the connection."""
        self.reading.cancel()
        self.watching.cancel()
        self.dealer.socket.disable_monitor()
        self.monitor.socket.close()
        self.dealer.socket.close()


def _single(parts: list[bytes]) -> bytes:
    """What came as one part, as all does that nodes send; else nothing, which is no message."""
    return parts[0] if len(parts) == 1 else b""


async def _rest(rubbish: int) -> None:
    if rubbish:
        await trio.sleep(rubbish * RUBBISH_REST_S)


def _send(dealer: Readable, frame: bytes) -> bool:
    try:
        dealer.socket.send(frame, zmq.NOBLOCK)
    except zmq.Again:
        return False
    dealer.touched()
    return True


def _connect(socket: zmq.Socket[bytes], address: str) -> None:
    _choose_family(socket, address)
    try:
        socket.connect(address)
    except (
        zmq.ZMQError,
        ValueError,
    ) as error:  # ValueError: a text that ZeroMQ's binding does not even pass on
        raise AddressError(f"{address!r} is no address to connect to: {error}") from error


def _choose_family(socket: zmq.Socket[bytes], address: str) -> None:
    """Only for IPv6: with it on, ZeroMQ would name IPv4 addresses in their mapped form, which others may not reach."""
    socket.set(zmq.IPV6, address.startswith("tcp://["))


def _bind(socket: zmq.Socket[bytes], address: str) -> str:
    _choose_family(socket, address)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        match error.errno:
            case zmq.EADDRINUSE:
                reason = (
                    "another process has it; stop that one, or choose another port (* takes any free one)"
                )
            case zmq.EADDRNOTAVAIL | errno.ENODEV:
                reason = "this machine has no such address"
            case _:
                reason = str(error)
        raise BindError(f"the mesh address {address} cannot be bound: {reason}") from error
    return socket.get_string(zmq.LAST_ENDPOINT)
