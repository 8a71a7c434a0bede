"""A WebSocket client that costs next to nothing, for loads that a real one could not carry beside the cluster.

No task, no lock, no masking (the mask is zero), no extensions: bytes out, and frames of the server in. It refuses
what a Shoal node never sends: fragments, and masked frames.
"""

import base64
import os
import struct
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import attrs
import trio

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9

READ_BYTES: Final = 1 << 20
HEAD_LIMIT: Final = 65_536
OPEN_S: Final = 10.0

OpenStream = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Connects to a host and port; a test whose nodes live in a network of their own has another one."""


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A frame from a client. The mask is there, as it has to be, and changes nothing."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + b"\x00\x00\x00\x00" + payload


@attrs.define
class FrameReader:
    """From a server's bytes to its frames."""

    _rest: bytes = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Opcode and payload of each frame that is complete now."""
        buffer = self._rest + data
        frames = []
        at, end = 0, len(buffer)
        while end - at >= 2:
            first, size = buffer[at], buffer[at + 1]
            assert first & 0xF0 == 0x80, "a whole frame without extensions"
            assert size < 128, "a server does not mask"
            start = at + 2
            if size >= 126:
                wide = 2 if size == 126 else 8
                start += wide
                if start > end:
                    break
                size = int.from_bytes(buffer[start - wide : start])
            if start + size > end:
                break
            frames.append((first & 0x0F, buffer[start : start + size]))
            at = start + size
        self._rest = buffer[at:]
        return frames


@attrs.define(eq=False)
class LeanSocket:
    """One connection. Made by `open_lean_socket`; one task may read while another sends."""

    _stream: trio.abc.Stream
    _reader: FrameReader
    _early: list[tuple[int, bytes]]
    closed: str | None = None
    """Why the connection ended, once it has."""

    async def send(self, frames: bytes) -> bool:
        """Send ready frames; False when the connection is over."""
        if self.closed is None:
            try:
                await self._stream.send_all(frames)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._ended("it broke while sending")
            else:
                return True
        return False

    async def receive(self) -> list[bytes]:
        """The texts that are at hand, waiting for the first; empty at the end."""
        while self.closed is None:
            frames, self._early = self._early, []
            if not frames:
                try:
                    data = bytes(await self._stream.receive_some(READ_BYTES))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
                frames = self._reader.feed(data)
                if not data:
                    self._ended("the other end closed it")
            texts = [payload for opcode, payload in frames if opcode == TEXT]
            for opcode, payload in frames:
                if opcode == CLOSE:
                    code = int.from_bytes(payload[:2])
                    self._ended(f"closed with {code} {payload[2:].decode()}")
            if texts:
                return texts
        return []

    async def aclose(self) -> None:
        """Break off, without a goodbye."""
        self._ended("it was ended here")
        await trio.aclose_forcefully(self._stream)

    def _ended(self, why: str) -> None:
        self.closed = self.closed or why


async def open_lean_socket(url: str, open_stream: OpenStream = trio.open_tcp_stream) -> LeanSocket:
    """Connect and shake hands. Raises OSError when nobody is there or it breaks off."""
    where = urlsplit(url)
    assert where.hostname is not None
    with trio.fail_after(OPEN_S):
        stream = await open_stream(where.hostname, where.port or 80)
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            head = (
                f"GET / HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            try:
                await stream.send_all(head.encode())
                data = b""
                while b"\r\n\r\n" not in data:
                    more = bytes(await stream.receive_some(READ_BYTES))
                    if not more:
                        raise ConnectionResetError("the node closed the connection during the handshake")
                    data += more
                    assert len(data) < HEAD_LIMIT
            except trio.BrokenResourceError as error:
                raise ConnectionResetError("the connection broke during the handshake") from error
            answer, _, trailing = data.partition(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101 "), answer
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    reader = FrameReader()
    return LeanSocket(stream, reader, reader.feed(trailing))
