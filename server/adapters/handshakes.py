"""TLS handshakes: from an accepted socket to one that encrypts, or to the end of it.

It refuses to wait longer than `limits.tls_handshake_s`, to read more than a handshake can be, and to let others wait
for the arithmetic of many who come at once. A failure concerns nobody but the client: it is counted, and said in the
log at the 1st, 2nd, 4th, 8th… time. Who connects and says nothing at all is no failure: so do those who look whether a
port is open.
"""

import math
import socket
import ssl
from typing import Final

import trio
from structlog.typing import FilteringBoundLogger

from server.adapters.certificates import Certificates
from server.adapters.tls import TlsSocket
from server.gate import Gate

READ_BYTES: Final = 16_384
"""One read. What a client says in a handshake fits, but for odd ones."""

HANDSHAKE_BYTES: Final = 65_536
"""All that a client may say in its handshake: some 2 kB with the largest keys in use, and much room."""

STEPS_AT_ONCE: Final = 8
"""Steps of handshakes in one pass of the scheduler. One takes 0.3 ms with an elliptic key, and 0.5 with RSA of 2,048
bits: others wait no longer than for a turn of messages (see turn.py), also when thousands connect again at once."""

_HANDSHAKE: Final = 0x16
"""The first byte of everybody who speaks TLS (RFC 8446, 5.1). No request in plain text begins with it."""

_REASONS: Final = {
    "NO_SHARED_CIPHER": "the client knows no cipher that is taken here",
    "UNSUPPORTED_PROTOCOL": "the client speaks only versions of TLS before 1.2",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not believe the certificate: it does not know who signed it",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not believe the certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client says that the certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not believe the certificate",
}


class NotTls(Exception):
    """The client speaks plain text. It can be answered in that."""


class HandshakeFailed(Exception):
    """There is nobody to talk to; it is counted already. The message says why; it is empty for who said nothing."""


class Handshakes:
    """The handshakes of all clients of one node."""

    def __init__(
        self, certificates: Certificates, limit_s: float, *, gate: Gate, log: FilteringBoundLogger
    ) -> None:
        """Take the certificates to show, the time for one handshake, and where failures are counted."""
        self.certificates = certificates
        self.limit_s = limit_s
        self.steps = trio.Semaphore(STEPS_AT_ONCE)
        self._gate = gate
        self._log = log

    def failed(self, remote: str, reason: str) -> None:
        """Count a failure."""
        self._gate.handshakes_failed += 1
        count = self._gate.handshakes_failed
        if count & (count - 1) == 0:  # whoever repeats it does not fill the log
            self._log.info("tls handshake failed", client=remote, reason=reason, count=count)


class Handshake:
    """One client, from its first byte until it can be talked to."""

    def __init__(self, sock: socket.socket, remote: str, handshakes: Handshakes) -> None:
        """Take a non-blocking socket."""
        self._socket = sock
        self._remote = remote
        self._all = handshakes
        self._scope = trio.CancelScope()
        self._is_stopped = False

    async def run(self) -> TlsSocket:
        """Return the socket as it is within TLS. Raises NotTls and HandshakeFailed."""
        reason = f"it took more than {self._all.limit_s:g} s"
        try:
            self._scope.deadline = trio.current_time() + self._all.limit_s
            with self._scope:
                return await self._shake_hands()
        except NotTls:
            self._all.failed(self._remote, "the client does not speak TLS")
            raise
        except HandshakeFailed as failed:
            reason = str(failed)
        except ssl.SSLError as error:
            reason = _REASONS.get(error.reason or "", str(error.reason or error).replace("_", " ").lower())
        except OSError as error:
            reason = f"the connection broke: {(error.strerror or str(error)).lower()}"
        if reason and not self._is_stopped:
            self._all.failed(self._remote, reason)
        raise HandshakeFailed(reason)

    def stop(self) -> None:
        """Give up: the node stops."""
        self._is_stopped = True
        self._scope.cancel()

    async def _shake_hands(self) -> TlsSocket:
        arrived = await self._receive()
        if not arrived:
            raise HandshakeFailed("")
        if arrived[0] != _HANDSHAKE:
            raise NotTls
        # Only now: who says nothing has cost nothing but a socket.
        tls = TlsSocket(self._socket, self._all.certificates.context)
        size = 0
        while not await self._step(tls, arrived):
            size += len(arrived)
            if size > HANDSHAKE_BYTES:
                raise HandshakeFailed(f"the client said more than {HANDSHAKE_BYTES} bytes")
            arrived = await self._receive()
            if not arrived:
                raise HandshakeFailed("the client ended the connection")
        return tls

    async def _step(self, tls: TlsSocket, arrived: bytes) -> bool:
        # While others have their turn, the client is not to blame.
        left_s = self._scope.deadline - trio.current_time()
        self._scope.deadline = math.inf
        async with self._all.steps:
            self._scope.deadline = trio.current_time() + left_s
            is_done = tls.shake_hands(arrived)
        while not tls.flush():
            await trio.lowlevel.wait_writable(self._socket)
        return is_done

    async def _receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(READ_BYTES)
            except BlockingIOError:
                continue
