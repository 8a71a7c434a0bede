"""One accepted socket: who is there, reading from it, and parting well.

Writing is the outbox's, which shares the socket. It refuses to close at once what still has an answer under way:
closing a socket that holds unread bytes makes the kernel send a reset, and the reset destroys the answer.
"""

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

import trio

from server.adapters.outbox import Outbox

_DISCARD_BYTES = 65_536
"""One read of what nobody will look at."""

_MOST_MS = 2**31 - 1
"""What an option of a socket can hold; a limit may be set to infinity."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for closing with a reset: the kernel then forgets what it could not deliver."""


def prepare(sock: socket.socket, unheard_s: float) -> None:
    """Set up an accepted socket: non-blocking, no waiting for fuller packets, given up when nobody acknowledges."""
    sock.setblocking(False)
    with contextlib.suppress(OSError):  # the client may be gone already: the first read tells
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Linux: notices a client whose machine vanished after this time, and not after a quarter of an hour.
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, int(min(unheard_s * 1000, _MOST_MS)))


def address_text(address: Any) -> str:
    """Return an IPv4 or IPv6 socket address as people write it."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Wire:
    """The socket of one client."""

    __slots__ = ("_socket", "is_deflated", "outbox", "remote", "unread")

    def __init__(self, sock: socket.socket, outbox: Outbox, remote: str) -> None:
        self._socket = sock
        self.outbox = outbox
        self.remote = remote
        self.unread = b""
        """Read already, and to be read again by who comes next."""
        self.is_deflated = False
        """Whether compression was agreed with the client. It is not done here."""

    async def receive(self, max_bytes: int) -> bytes:
        """Wait for bytes; empty when the client has ended or broken the connection."""
        if self.unread:
            await trio.lowlevel.checkpoint()
            data, self.unread = self.unread[:max_bytes], self.unread[max_bytes:]
            return data
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(max_bytes)
            except BlockingIOError:  # a wakeup without a reason, which the kernel may give
                continue
            except OSError:
                return b""
            self.outbox.quiet_sweeps = 0
            return data

    async def depart(self, *, is_farewell: Callable[[bytes], bool] = lambda _data: False) -> None:
        """Send what waits, say that nothing follows, and wait until the client has ended its side, too, or until what
        it sends `is_farewell`. Takes at most `limits.close_s`; returns at once when the client is lost.
        """
        with self.outbox.last_moments():
            while data := await self.receive(_DISCARD_BYTES):
                if is_farewell(data):
                    break
            await self.outbox.drained()

    def give_up(self) -> None:
        """Write no more. If something is left that the client did not take, closing the socket then is a reset."""
        if not self.outbox.is_empty:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.outbox.lose()
