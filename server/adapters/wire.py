"""One accepted socket: who is there, reading from it, and parting well.

Writing is the outbox's, which shares the socket. It refuses to close at once what still has an answer under way:
closing a socket that holds unread bytes makes the kernel send a reset, and the reset destroys the answer.
"""

import contextlib
import socket
import struct
from collections.abc import Callable

import trio

from server.adapters.outbox import Outbox
from server.core.accounts import Account
from server.core.buckets import Bucket
from server.core.callers import Caller

_DISCARD_BYTES = 65_536
"""One read of what nobody will look at."""

_EXCUSED = -(2**62)
"""Sweeps to go, for a client that cannot be heard because we do not listen."""

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


class Wire:
    """The socket of one client."""

    __slots__ = (
        "_ration",
        "_socket",
        "account",
        "is_deflated",
        "is_forwarded",
        "is_from_page",
        "outbox",
        "remote",
        "unread",
    )

    def __init__(self, sock: socket.socket, outbox: Outbox, remote: str) -> None:
        self._socket = sock
        self.outbox = outbox
        self.remote = remote
        self.account: Account | None = None
        """What the client's address takes up; None while nothing is counted."""
        self._ration: Bucket | None = None
        """Of the same, the bytes: looked at for each read."""
        self.is_forwarded = False
        """See `Session`, also for the next."""
        self.is_from_page = False
        self.unread = b""
        """Read already, and to be read again by who comes next."""
        self.is_deflated = False
        """Whether compression was agreed with the client. It is not done here."""

    def belongs_to(self, caller: Caller, account: Account | None) -> None:
        """Hear who the client is, as far as that is known by now."""
        self.remote = self.outbox.remote = caller.remote
        self.is_forwarded = caller.is_forwarded
        self.account = account
        self._ration = None if account is None else account.bytes

    async def receive(self, max_bytes: int) -> bytes:
        """Wait for bytes; empty when the client has ended or broken the connection.

        Of an address that sends more than it may, the next bytes are left where they are for a while.
        """
        if self.unread:
            await trio.lowlevel.checkpoint()
            data, self.unread = self.unread[:max_bytes], self.unread[max_bytes:]
            return data
        if self._ration is not None:
            await self._wait_for(self._ration)
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._socket.recv(max_bytes)
            except BlockingIOError:  # a wakeup without a reason, which the kernel may give
                continue
            except OSError:
                return b""
            self.outbox.quiet_sweeps = 0
            if self._ration is not None:
                self._ration.spend(len(data), trio.current_time())
            return data

    async def _wait_for(self, ration: Bucket) -> None:
        # Once, and not until nothing is owed: if others of its address have read meanwhile, each of them waits in its
        # turn for what all owed by then. So what is owed stays bounded, and nobody is woken more than once for a read.
        if debt_s := ration.debt_s(trio.current_time()):
            self.outbox.quiet_sweeps = _EXCUSED
            await trio.sleep(debt_s)
            self.outbox.quiet_sweeps = 0

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
