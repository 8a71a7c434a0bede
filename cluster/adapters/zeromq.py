"""The mesh over ZeroMQ: one PUB and one ROUTER bound, one SUB connected to every peer's PUB, one DEALER for each peer.

pyzmq knows no trio, so each receiving socket has one task that waits on the socket's file descriptor. That
descriptor is edge-triggered: any operation on the socket, also a send from another task, may consume the edge. So
EVENTS is looked at before every wait, and `touched` wakes the waiting task when an operation found something to read.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio
import zmq

from cluster.core.identity import Card
from cluster.core.messages import FRAME_BYTES
from cluster.errors import AddressError, BindError
from cluster.ports import Addresses, Arrivals

PUBLISHED_QUEUE: Final = 10_000
"""Frames waiting for one slow peer in the PUB socket, and as many on its side. Under load a frame carries many
messages. Over this, frames for that peer are dropped and counted: the numbering notices and the log repairs."""

DIRECT_QUEUE: Final = 10_000
"""Frames waiting on a DEALER or for one asker on the ROUTER: a snapshot of a million rooms is about 600."""

SEED_QUEUE: Final = 4
"""Hellos waiting for a seed that is not there: more would all be answered at once when it comes."""

FRAMES_AT_ONCE: Final = 256
"""Frames read in one go before other tasks get their turn: about a millisecond's worth."""

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


class ZeroMqTransport:
    """A `Transport` over `tcp://` and `ipc://`. Opened once."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._pub = self._socket(zmq.PUB, PUBLISHED_QUEUE)
        self._sub = _Readable(self._socket(zmq.SUB, PUBLISHED_QUEUE))
        self._router = _Readable(self._socket(zmq.ROUTER, DIRECT_QUEUE))
        self._router.socket.set(zmq.ROUTER_MANDATORY, 1)  # say when the asker has gone, instead of dropping
        self._pub.set(zmq.LINGER, FAREWELL_MS)
        self._pub.set(zmq.XPUB_NODROP, 1)  # tell when a peer's queue is full, instead of dropping in silence
        self._peers: dict[str, _Peer] = {}
        self._seeds: dict[str, _Peer] = {}
        self._nursery: trio.Nursery | None = None
        self._arrivals: Arrivals | None = None

    @asynccontextmanager
    async def open(self, pub: str, router: str, near: Addresses | None = None) -> AsyncIterator[Addresses]:
        """Bind all addresses; at the end wait up to `FAREWELL_MS` for what was published last. Raises `BindError`."""
        try:
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
            for socket in (self._sub.socket, self._router.socket, self._pub):
                socket.close()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._context.term)  # waits for the linger

    async def run(self, arrivals: Arrivals) -> None:
        """Receive until cancelled."""
        self._arrivals = arrivals
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._read_published, arrivals)
                nursery.start_soon(self._read_questions, arrivals)
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
            _connect(dealer, card.router)
            # When another peer has the same address this changes nothing, and must not: that peer may be well.
            _connect(self._sub.socket, card.pub)
        except AddressError:
            dealer.close()
            raise
        peer = self._peers[card.id] = _Peer(card.id, card.pub, _Readable(dealer))
        self._sub.touched()
        self._start_reading(peer)

    def disconnect(self, node: str) -> None:
        """Drop the connection to the peer and what waits to be sent to it."""
        peer = self._peers.pop(node, None)
        if peer is None:
            return
        if all(other.pub != peer.pub for other in self._peers.values()):
            self._sub.socket.disconnect(peer.pub)
            self._sub.touched()
        peer.close()

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
        seed = self._seeds.get(address)
        if seed is None:
            seed = self._seeds[address] = _Peer(address, "", _Readable(self._socket(zmq.DEALER, SEED_QUEUE)))
            _connect(seed.dealer.socket, address)
            self._start_reading(seed)
        _send(seed.dealer, frame)

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

    # -- one task for each receiving socket --

    async def _read_published(self, arrivals: Arrivals) -> None:
        async for frames in self._sub.batches():
            arrivals.published([frame[0] for frame in frames if len(frame) == 1])

    async def _read_questions(self, arrivals: Arrivals) -> None:
        async for frames in self._router.batches():
            arrivals.asked([(frame[0], frame[1]) for frame in frames if len(frame) == 2])

    def _start_reading(self, peer: _Peer) -> None:
        if self._nursery is not None and self._arrivals is not None:
            self._nursery.start_soon(self._read_replies, peer, self._arrivals)
            self._nursery.start_soon(self._watch_connection, peer, self._arrivals)

    async def _read_replies(self, peer: _Peer, arrivals: Arrivals) -> None:
        with peer.reading:
            async for frames in peer.dealer.batches():
                arrivals.answered(peer.node, [frame[0] for frame in frames if len(frame) == 1])

    async def _watch_connection(self, peer: _Peer, arrivals: Arrivals) -> None:
        with peer.watching:
            async for _ in peer.monitor.batches():
                arrivals.hung_up(peer.node)

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
        return socket


class _Readable:
    """A socket and the one task that waits for it to become readable."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        self._wait: trio.CancelScope | None = None

    def touched(self) -> None:
        """An operation was made on the socket: if it consumed the edge, wake the reader."""
        if self._wait is not None and self._has_input():
            self._wait.cancel()

    async def batches(self) -> AsyncIterator[list[list[bytes]]]:
        """All messages that are at hand, again and again; each message as its frames. Ends with the socket, which what
        a message causes may close."""
        while not self.socket.closed:
            if batch := self._receive():
                yield batch
                await trio.lowlevel.checkpoint()
            elif not self._has_input():
                with trio.CancelScope() as self._wait:
                    await trio.lowlevel.wait_readable(self.socket.fileno())
                self._wait = None

    def _has_input(self) -> bool:
        return bool(int(self.socket.get(zmq.EVENTS)) & zmq.POLLIN)

    def _receive(self) -> list[list[bytes]]:
        batch: list[list[bytes]] = []
        try:
            while len(batch) < FRAMES_AT_ONCE:
                batch.append(self.socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            pass
        return batch


@attrs.define(eq=False)
class _Peer:
    node: str
    pub: str
    dealer: _Readable
    monitor: _Readable = attrs.field(init=False)
    reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    watching: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        self.monitor = _Readable(self.dealer.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED))

    def close(self) -> None:
        """Stop both tasks and drop the connection."""
        self.reading.cancel()
        self.watching.cancel()
        self.dealer.socket.disable_monitor()
        self.monitor.socket.close()
        self.dealer.socket.close()


def _send(dealer: _Readable, frame: bytes) -> bool:
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
