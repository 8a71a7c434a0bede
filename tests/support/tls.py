"""TLS for tests: ways to connect with it, and a client in memory.

What the client would send are bytes, which a test may cut, hold back, join or damage.
"""

import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from support.certificates import Authority, Certificate


def settings_for(certificate: Certificate) -> dict[str, Any]:
    """Return the settings of a node that shows this."""
    return {"server.tls_certificate": certificate.certificate, "server.tls_key": certificate.key}


def opener(authority: Authority) -> Callable[[str, int], Awaitable[trio.abc.Stream]]:
    """Return what connects with TLS to whom this authority vouches for; for `running_node`, `http` and `websocket`."""

    async def open_stream(host: str, port: int) -> trio.SSLStream[trio.SocketStream]:
        # Read each time: the file may be another by now.
        trust = ssl.create_default_context(cafile=authority.certificate)
        stream = await trio.open_tcp_stream(host, port)
        tls = trio.SSLStream(stream, trust, server_hostname=host, https_compatible=True)
        try:
            await tls.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return tls

    return open_stream


async def shown_name(host: str, port: int, authority: Authority) -> str:
    """Connect; return whose certificate is shown."""
    async with await opener(authority)(host, port) as stream:
        return subject_of(stream)


def subject_of(stream: trio.abc.Stream) -> str:
    """Return whose certificate was shown."""
    assert isinstance(stream, trio.SSLStream)
    return str(dict(part[0] for part in stream.getpeercert()["subject"])["commonName"])


def replace(files: Certificate, by: Certificate) -> None:
    """Put another certificate and key into these files."""
    files.certificate.write_bytes(by.certificate.read_bytes())
    files.key.write_bytes(by.key.read_bytes())


class TlsBytes:
    """One client's side of TLS."""

    def __init__(self, trust: ssl.SSLContext, host: str = "localhost") -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake_hands(self, arrived: bytes = b"") -> tuple[bytes, bool]:
        """Go on with the handshake; return what is to be sent, and whether it is done."""
        self._incoming.write(arrived)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read(), False
        return self._outgoing.read(), True

    def encrypted(self, data: bytes) -> bytes:
        """Return data (of up to 16 KiB) as one record."""
        self.tls.write(data)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """Return a close_notify."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        return self._outgoing.read()

    def said(self) -> bytes:
        """Return what is to be sent after something went wrong: an alert."""
        return self._outgoing.read()

    def decrypted(self, arrived: bytes) -> bytes:
        """Return what is in these records, and in those before that were not whole."""
        self._incoming.write(arrived)
        data = b""
        while True:
            try:
                piece = self.tls.read(65_536)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                return data
            if not piece:
                return data
            data += piece

    async def connect(self, stream: trio.SocketStream, trailing: bytes = b"") -> None:
        """Shake hands with whoever is at the stream's other end; `trailing` goes into the last write."""
        said, is_done = self.shake_hands()
        while not is_done:
            await stream.send_all(said)
            said, is_done = self.shake_hands(await stream.receive_some(65_536))
        await stream.send_all(said + (self.encrypted(trailing) if trailing else b""))


def client_hello(version: bytes) -> bytes:
    """Return the first record of a client that speaks up to this version, such as b"\\x03\\x02" for TLS 1.1."""
    body = version + bytes(32) + b"\x00" + b"\x00\x02\xc0\x13" + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(message).to_bytes(2) + message
