"""What a client sends that agreed to permessage-deflate, as if it had not (RFC 7692, section 7.2.2).

    bytes  --feed, take-->  the same frames in the same order; each compressed message as one plain frame

So whoever reads behind it need not know of compression. Nothing is kept from one message to the next, and what a
message inflates to is bounded while it is inflated: a bomb is noticed at the limit, not after it went off. No more is
inflated ahead than is asked for, and the rest of one message. The laws, however the bytes are cut into pieces:

- frames that are not compressed come out unchanged, as they arrive; control frames also from the middle of a
  compressed message, so in front of it;
- what comes before a fault comes out first.

It refuses what breaks the rules of compression or of frames, and says with which code to close. All else that may be
wrong, such as text that is no UTF-8, is left to the reader behind it.
"""

import zlib
from typing import Final, NamedTuple

from server.core.frames import RSV1, CloseCode, Opcode
from server.core.splitting import NO_FRAME, UNKNOWN, frame_bytes, unmasked

MOST_STREAMS: Final = 16
"""Streams behind the first one in a message. A sender has no reason for any, though it may; each costs up to 10 µs, for
two bytes of the message."""

_LONGEST_HEADER: Final = 14
_FINAL: Final = 0x80
_CONTROL: Final = 0x08
_MASKED: Final = 0x80
_NO_MASK: Final = bytes(4)
_SYNC: Final = b"\x00\x00\xff\xff"
"""What every flushed block ends with, and a message leaves out."""
_EMPTY_LAST_BLOCK: Final = b"\x03\x00"
"""Fits behind whole blocks. Within one it may mean anything, also an end, but hardly one that says nothing more."""
_LARGEST_WINDOW: Final = 15
_NOTHING: Final = memoryview(b"")


class Fault(NamedTuple):
    """Why the connection has to be closed."""

    code: CloseCode
    reason: str


class Inflater:
    """Reads what one client sends."""

    __slots__ = (
        "_arrived",
        "_at",
        "_is_compressed",
        "_is_fragmented",
        "_is_last",
        "_mask",
        "_message",
        "_message_bytes",
        "_owed",
        "_ready",
        "fault",
    )

    def __init__(self, message_bytes: int) -> None:
        """Take the largest size in bytes of a message, inflated."""
        self._message_bytes = message_bytes
        self._arrived = b""
        self._at = 0
        """Where that begins which was not looked at."""
        self._owed = 0
        """Bytes to come of the frame that is being read."""
        self._is_compressed = False
        """Whether that frame is part of a compressed message."""
        self._is_last = False
        """Whether it is the last one of that."""
        self._mask = b""
        """What that frame's next byte is masked with, and those behind it."""
        self._message: _Message | None = None
        """The compressed message that is being read."""
        self._is_fragmented = False
        """Within a message of several frames that is not compressed."""
        self._ready = _NOTHING
        self.fault: Fault | None = None
        """What counts when nothing comes out any more."""

    def feed(self, data: bytes) -> None:
        """Take what arrived. What was fed before should be taken first: it is not bounded here."""
        self._arrived = self._arrived[self._at :] + data
        self._at = 0

    def take(self, most: int) -> bytes:
        """Return the next bytes, at most so many; empty when more has to arrive, or at a fault."""
        if len(self._ready) < most:
            pieces: list[bytes | memoryview] = [self._ready]
            size = len(self._ready)
            while size < most and self.fault is None and (piece := self._next()) is not None:
                pieces.append(piece)
                size += len(piece)
            self._ready = memoryview(b"".join(pieces))
        taken = bytes(self._ready[:most])
        # An empty part of something large would keep all of it.
        self._ready = self._ready[most:] if len(self._ready) > most else _NOTHING
        return taken

    def _next(self) -> bytes | None:
        """Read the rest of a frame, or the next one, as far as it has arrived; return what comes out of that. None
        when more has to arrive."""
        if not self._owed:
            length = frame_bytes(self._arrived, self._at, allowed=RSV1)
            header = _header_bytes(length)
            if length == UNKNOWN or (length != NO_FRAME and len(self._arrived) - self._at < header):
                return None
            if length == NO_FRAME or not self._may_come(self._arrived[self._at]):
                return self._stop(CloseCode.PROTOCOL_ERROR, "a frame that must not be here")
            self._begin(self._arrived[self._at], length, header)
        elif self._at == len(self._arrived):
            return None
        piece = self._arrived[self._at : self._at + self._owed]
        self._at += len(piece)
        self._owed -= len(piece)
        return (
            piece
            if self._message is None or not self._is_compressed
            else self._inflated(self._message, piece)
        )

    def _may_come(self, first: int) -> bool:
        """Tell whether a frame with this first byte may be next. Of those that are passed on, the reader judges."""
        opcode = first & 0x0F
        if first & RSV1:
            is_new = self._message is None and not self._is_fragmented
            return is_new and opcode in (Opcode.TEXT, Opcode.BINARY)
        return self._message is None or opcode == Opcode.CONTINUATION or bool(first & _CONTROL)

    def _begin(self, first: int, length: int, header: int) -> None:
        """Start to read a frame."""
        if first & RSV1:
            self._message = _Message(first & 0x0F, self._message_bytes)
        is_control = bool(first & _CONTROL)
        self._is_compressed = self._message is not None and not is_control
        self._owed = length
        if self._is_compressed:
            self._at += header
            self._owed -= header
            self._mask = self._arrived[self._at - 4 : self._at]
            self._is_last = bool(first & _FINAL)
        elif not is_control:
            self._is_fragmented = not first & _FINAL

    def _inflated(self, message: "_Message", piece: bytes) -> bytes:
        """Inflate a piece of a compressed frame; return the whole message at its end."""
        turned = len(piece) % 4
        try:
            message.feed(unmasked(self._mask, piece))
            self._mask = self._mask[turned:] + self._mask[:turned]
            if self._owed or not self._is_last:
                return b""
            text = message.finish()
        except _TooBig:
            return self._stop(CloseCode.TOO_BIG, f"a message of more than {self._message_bytes} bytes")
        except (zlib.error, _Unfinished):
            return self._stop(CloseCode.BAD_TEXT, "a message that cannot be inflated")
        self._message = None
        return _plain_frame(message.opcode, text)

    def _stop(self, code: CloseCode, reason: str) -> bytes:
        self.fault = Fault(code, reason)
        self._arrived = b""
        self._at = 0
        self._message = None
        return b""


class _TooBig(Exception):
    """A message inflates to more than the limit."""


class _Unfinished(Exception):
    """A message ends within a block, or begins anew too often."""


class _Message:
    """One compressed message, inflated as it arrives."""

    __slots__ = ("_ends", "_inflate", "_most", "_text", "opcode")

    def __init__(self, opcode: int, most: int) -> None:
        self.opcode = opcode
        self._most = most
        self._inflate = zlib.decompressobj(-_LARGEST_WINDOW)
        self._text = bytearray()
        self._ends = 0

    def feed(self, data: bytes) -> None:
        """Inflate some more. Raises _TooBig, _Unfinished and zlib.error."""
        while data:
            if self._inflate.eof:
                self._begin_anew()
            # One byte more than allowed is enough to know. Below that, zlib leaves nothing of the data.
            self._text += self._inflate.decompress(data, self._most - len(self._text) + 1)
            if len(self._text) > self._most:
                raise _TooBig
            data = self._inflate.unused_data

    def _begin_anew(self) -> None:
        """Go on behind a block that said it is the last: a message may have some (RFC 7692, section 7.2.3.4)."""
        self._ends += 1
        if self._ends > MOST_STREAMS:
            raise _Unfinished
        before = bytes(self._text[-(1 << _LARGEST_WINDOW) :])
        self._inflate = zlib.decompressobj(-_LARGEST_WINDOW, before)

    def finish(self) -> bytes:
        """Return the message. Raises as `feed`."""
        if not self._inflate.eof:
            self.feed(_SYNC)
            size = len(self._text)
            self.feed(_EMPTY_LAST_BLOCK)
            if not self._inflate.eof or len(self._text) != size:
                raise _Unfinished
        return bytes(self._text)


def _header_bytes(length: int) -> int:
    """Return the size of the header of a client's frame that has this size in all."""
    if length < 6 + 126:
        return 6
    return 8 if length < 8 + 0x10000 else _LONGEST_HEADER


def _plain_frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame that is not compressed, with a mask that changes nothing."""
    length = len(payload)
    if length < 126:
        head = bytes((_FINAL | opcode, _MASKED | length))
    elif length < 0x10000:
        head = bytes((_FINAL | opcode, _MASKED | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, _MASKED | 127)) + length.to_bytes(8, "big")
    return head + _NO_MASK + payload
