"""TLS on one accepted socket: written to as a socket is, and read from as a wire is.

    Outbox -- send --> TlsSocket -- records --> socket
    Lane <-- receive -- TlsWire <- TlsSocket <- records -- socket

OpenSSL works in memory here, and never sees the socket: one read of it may hold many records, and what the kernel does
not take at once is kept as it was encrypted, since a record can neither be taken back nor encrypted twice. It refuses
to keep more than a record in either direction. Who ends the connection without saying so (close_notify) has ended it
all the same: HTTP and WebSocket know by themselves whether a message is complete.

A client that only listens costs 16 kB more than without TLS, nearly all of it OpenSSL's state; one that was sent much
and has sent much, up to 60 kB. A plain client never comes here.
"""

import contextlib
import socket
import ssl
from typing import Final

import trio

from server.adapters.outbox import Outbox
from server.adapters.wire import Wire

RECORD_BYTES: Final = 16_384
"""Plain bytes in one record, at most (RFC 8446, 5.1): what is encrypted in one go."""

READ_BYTES: Final = 16_384
"""One read of the socket: OpenSSL's buffers in memory never shrink again, and do not grow beyond this."""

SEND_BYTES: Final = 1_048_576
"""Encrypted before others have their turn: a millisecond of work."""

UNSENT_BYTES: Final = 65_536
"""Encrypted bytes that wait for the socket: a record, and what a client made us answer without reading it. No client
that is well comes near."""


class TlsSocket:
    """An accepted, non-blocking socket, as it is within TLS."""

    __slots__ = (
        "_at_hand",
        "_incoming",
        "_is_finished",
        "_is_over",
        "_outgoing",
        "_owed",
        "_tls",
        "_unsent",
        "raw",
    )

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """Take a socket, and a server's context."""
        self.raw = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._unsent: bytes | memoryview = b""
        """Encrypted, and not taken by the kernel yet."""
        self._owed = 0
        """Plain bytes of that which we have not said are sent: 0 or 1."""
        self._at_hand = b""
        """Decrypted, and not asked for yet."""
        self._is_over = False
        """Nothing more comes from the client."""
        self._is_finished = False
        """Nothing more is encrypted."""

    def fileno(self) -> int:
        """Return the socket's descriptor, to wait for it."""
        return self.raw.fileno()

    # -- Handshake --------------------------------------------------------------------------------------------------

    def shake_hands(self, arrived: bytes) -> bool:
        """Go on with the handshake, with what has arrived; tell whether it is done. What is to be sent, `flush` sends.

        Raises ssl.SSLError when it failed; the client is told why, as far as TLS has words for it.
        """
        self._incoming.write(arrived)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                self.flush()
            raise
        return True

    # -- Writing ----------------------------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and send; return how many bytes of `data` that were. Raises OSError, as a socket does.

        What is encrypted is sent before anything else. So as long as the kernel has not taken all of it, one byte less
        is called sent: the outbox then waits, comes again with that byte, and does not drop the frame that it ends.
        (Every frame has two bytes or more: the last one never is all of a frame.)
        """
        if self._unsent and not self.flush():
            raise BlockingIOError
        count, self._owed = self._owed, 0
        size = len(data)
        most = min(size, SEND_BYTES)
        while count < most:
            is_one = size <= RECORD_BYTES and not count
            count += self._tls.write(data if is_one else memoryview(data)[count : count + RECORD_BYTES])
            if not self.flush():
                self._owed = int(count == size)
                return count - self._owed
        return count

    def flush(self) -> bool:
        """Send what is encrypted; tell whether the kernel took all of it. Raises OSError when that is over."""
        data = self._unsent
        if self._outgoing.pending:
            data = b"".join((data, self._outgoing.read())) if data else self._outgoing.read()
        if not data:
            return True
        try:
            count = self.raw.send(data)
        except BlockingIOError:
            count = 0
        self._unsent = memoryview(data)[count:] if count < len(data) else b""
        return not self._unsent

    def shutdown(self, how: int) -> None:
        """Say that nothing follows, in TLS's words and then as `how` does in TCP's. May be called again.

        Raises BlockingIOError when there is no room for that now, and OSError, as a socket does.
        """
        if not self._is_finished:
            self._is_finished = True
            self._say_goodbye()
        if not self.flush():
            raise BlockingIOError
        self.raw.shutdown(how)

    def _say_goodbye(self) -> None:
        # Python does not only send close_notify, it also looks for the client's. It must find nothing: a message in its
        # place would be an error, behind which nothing can be read any more.
        if self._tls.pending():
            self._at_hand += self._tls.read(self._tls.pending())
        arrived = self._incoming.read()
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._incoming.write(arrived)

    # -- Reading ----------------------------------------------------------------------------------------------------

    @property
    def has_more(self) -> bool:
        """Whether `recv` may have something without the socket's being readable."""
        return bool(self._at_hand or self._incoming.pending or self._tls.pending() or self._is_over)

    def recv(self, max_bytes: int) -> bytes:
        """Return what there is, decrypted; empty when the client has ended or broken the connection.

        Raises BlockingIOError when nothing is there yet.
        """
        try:
            data = self._decrypted(max_bytes)
            if not data and not self._is_over:
                data = self._read(max_bytes)
        finally:
            if self._outgoing.pending:
                self._answer()
        if not data and not self._is_over:
            raise BlockingIOError
        return data

    def _read(self, max_bytes: int) -> bytes:
        """Read from the socket; more than once if there is more, so that what comes in a flood is handled together."""
        data = b""
        for _ in range(max_bytes // READ_BYTES + 1):  # not until there is enough: a record may be of one byte
            try:
                arrived = self.raw.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                arrived = b""
            if not arrived:
                self._is_over = True
                break
            self._incoming.write(arrived)
            data += self._decrypted(max_bytes - len(data))
            if len(data) >= max_bytes or len(arrived) < READ_BYTES or self._is_over:
                break
        return data

    def _decrypted(self, max_bytes: int) -> bytes:
        parts = []
        if self._at_hand:
            data, self._at_hand = self._at_hand[:max_bytes], self._at_hand[max_bytes:]
            parts.append(data)
            max_bytes -= len(data)
        while max_bytes and (self._incoming.pending or self._tls.pending()) and not self._is_over:
            try:
                data = self._tls.read(max_bytes)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:  # a broken record, or what must not come now; the alert that says so is sent
                data = b""
            self._is_over = not data
            parts.append(data)
            max_bytes -= len(data)
        return b"".join(parts)

    def _answer(self) -> None:
        """Send what was made by reading: an alert, or the answer to a change of keys."""
        with contextlib.suppress(OSError):  # who writes finds out
            self.flush()
        if len(self._unsent) > UNSENT_BYTES:
            self._is_over = True


class TlsWire(Wire):
    """The socket of one client, read from through TLS."""

    __slots__ = ("_tls",)

    def __init__(self, tls: TlsSocket, outbox: Outbox, remote: str) -> None:
        super().__init__(tls.raw, outbox, remote)
        self._tls = tls

    async def receive(self, max_bytes: int) -> bytes:
        """Wait for bytes; empty when the client has ended or broken the connection."""
        if self.unread:
            return await super().receive(max_bytes)
        if self._ration is not None:
            await self._wait_for(self._ration)
        while True:
            if self._tls.has_more:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._socket)
            try:
                data = self._tls.recv(max_bytes)
            except BlockingIOError:  # a part of a record
                continue
            self.outbox.quiet_sweeps = 0
            if self._ration is not None:
                self._ration.spend(len(data), trio.current_time())
            return data

    def give_up(self) -> None:
        """Write no more. Who was sent everything is told that nothing follows, as closing a plain socket does."""
        if self.outbox.is_empty:
            with contextlib.suppress(OSError):
                self._tls.shutdown(socket.SHUT_WR)
        super().give_up()
