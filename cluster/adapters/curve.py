"""The locks on ZeroMQ's sockets: CURVE (CurveZMQ, RFC 26) encrypts and authenticates each connection.

A socket that is bound answers to one key, and lets in only whom `cluster.adapters.zap` lets in; the handshakes of all
sockets of a context come to one place to be judged, read by a task of this loop. Handshakes that fail before that,
because who connects does not know the server key or speaks no CURVE, never get there: ZeroMQ tells only that they
failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import trio
import zmq

from cluster.adapters.readable import Readable
from cluster.adapters.zap import ASKERS, HEARERS, REQUEST_FRAMES, Doors
from cluster.core.identity import Card
from cluster.errors import AddressError
from cluster.keys import KeyPair, Keys

HANDSHAKE_LIMIT_MS: Final = 2000
"""How long who connects may take to show who it is; after that it is cut off. Enough for a slow line and a node whose
loop is busy (it has to judge keys), and little for who connects only to keep us occupied."""

# Events of a socket's monitor. The first kind can only mean another language; with keys, that the other end hung up, or
# that time was up, most often means another key.
OTHER_LANGUAGE: Final = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
FAILED_HANDSHAKES: Final = OTHER_LANGUAGE | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


class Locks:
    """Puts the locks on the sockets of one context, and runs the place where handshakes are judged."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: Keys) -> None:
        self._keys = keys
        self._doors = Doors(keys.may_ask)
        self._requests = Readable(context.socket(zmq.ROUTER), parts=REQUEST_FRAMES)
        self._requests.socket.set(zmq.LINGER, 0)
        self._requests.socket.bind("inproc://zeromq.zap.01")
        self._monitors: list[Readable] = []

    def lock(self, *, publisher: zmq.Socket[bytes], router: zmq.Socket[bytes]) -> None:
        """Lock the sockets that are going to be bound."""
        for socket, domain in ((publisher, HEARERS), (router, ASKERS)):
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.ZAP_DOMAIN, domain)
            socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
            _set_pair(socket, self._keys.server)
            self._monitors.append(Readable(socket.get_monitor_socket(FAILED_HANDSHAKES), parts=2))

    def show_as_subscriber(self, socket: zmq.Socket[bytes], server_key: str) -> None:
        """From the next `connect` on, talk only to who answers to `server_key`, with the own key."""
        _set_pair(socket, self._keys.own)
        socket.set(zmq.CURVE_SERVERKEY, bytes.fromhex(server_key))

    def show_as_client(self, socket: zmq.Socket[bytes], server_key: str) -> None:
        """From the next `connect` on, talk only to who answers to `server_key`, with the client key that it takes."""
        server = bytes.fromhex(server_key)
        _set_pair(socket, self._keys.client_for(server))
        socket.set(zmq.CURVE_SERVERKEY, server)

    def server_keys(self) -> list[str]:
        """What somebody may answer to of whom only the address is known."""
        return [server.hex() for server, _ in self._keys.ways_in]

    def know(self, cards: Iterable[Card]) -> None:
        """The nodes with these cards, and nobody else, may hear what is published."""
        self._send(self._doors.now_known({bytes.fromhex(card.key) for card in cards}))

    async def run(self, kept_out: Callable[[], None]) -> None:
        """Judge handshakes until cancelled; `kept_out` is told of each that failed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._judge)
            for monitor in self._monitors:
                nursery.start_soon(self._watch, monitor, kept_out)

    def close(self) -> None:
        """After the sockets: no handshake is let through meanwhile."""
        for readable in (*self._monitors, self._requests):
            readable.socket.close()

    async def _judge(self) -> None:
        async for requests in self._requests.batches():
            for request in requests:
                self._send(self._doors.knocked(request))

    async def _watch(self, monitor: Readable, kept_out: Callable[[], None]) -> None:
        async for events in monitor.batches():
            for _ in events:
                kept_out()

    def _send(self, replies: Iterable[list[bytes]]) -> None:
        for reply in replies:
            self._requests.socket.send_multipart(reply, zmq.NOBLOCK)  # dropped if the handshake is over
        self._requests.touched()


def check_keys(card: Card) -> None:
    """Raise `AddressError` for a card that does not say what it answers to."""
    if not (card.server_key and card.key):
        raise AddressError("the card has no keys, and nothing is sent here that is not encrypted")


def _set_pair(socket: zmq.Socket[bytes], pair: KeyPair) -> None:
    socket.set(zmq.CURVE_PUBLICKEY, pair.public)
    socket.set(zmq.CURVE_SECRETKEY, pair.private)
