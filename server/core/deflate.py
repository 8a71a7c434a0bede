"""permessage-deflate (RFC 7692): what is agreed with a client, and what clients are sent, compressed once for all.

    Sec-WebSocket-Extensions  --agreed-->  the answer's header, or nothing
    frames for some clients   --shared-->  the same frames, compressed: once per message, not once per client

Each message is compressed for itself, in both directions ("no context takeover"). So whoever is sent a message is sent
the same bytes, nothing is kept per client, and no message tells by its size what was in another. It refuses to
compress what is small, what does not shrink, and what would take so long that others notice. Control frames are never
compressed; they do not pass here. What clients send is inflated elsewhere: see inflating.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from server.core.errors import ApiError
from server.core.frames import RSV1, payload_of, text_frame
from server.core.heads import HeaderLines
from server.core.session import Write

# -- What is agreed -------------------------------------------------------------------------------------------------

WINDOW_BITS: Final = 12
"""How far back a repetition is found: 4 KiB. That is all of most messages; 16 kB of JSON become a twelfth larger than
with zlib's own 15. Some clients (Python's `websockets`) allow no more than 12. A compressor takes 35 kB while it works
and not 270, so that 1 kB takes 14 µs and, in a small process that asks the system for the memory each time, not 41."""

_NAME: Final = b"permessage-deflate"
_TOKEN_CHARACTER: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_EXTENSION: Final = re.compile(
    rb"(?:TOKEN)++(?:[ \t]*+;[ \t]*+(?:TOKEN)++(?:[ \t]*+=[ \t]*+(?:(?:TOKEN)++|\"(?:\\?TOKEN)++\"))?+)*+".replace(
        b"TOKEN", _TOKEN_CHARACTER
    )
)
"""RFC 6455, section 9.1. What is quoted must be a token as well."""

_WINDOWS: Final = frozenset(str(bits).encode() for bits in range(8, 16))
"""What a window may be called: no signs, no leading zeros (RFC 7692, section 7.1.2)."""


def agreed(lines: HeaderLines) -> bytes:
    """Return the value of the answer's Sec-WebSocket-Extensions: for the first offer that can be met; empty for none.

    Raises ApiError when what the client sent does not follow the grammar: the handshake has to fail then.
    """
    offers = b",".join(value for name, value in lines if name == b"sec-websocket-extensions")
    answers = []
    for element in offers.split(b","):
        offer = element.strip(b" \t")
        if not offer:  # a list may have empty elements (RFC 9110, section 5.6.1)
            continue
        if not _EXTENSION.fullmatch(offer):
            why = "this is no WebSocket handshake: Sec-WebSocket-Extensions does not follow RFC 6455, section 9.1"
            raise ApiError("network.http.unexpected_error", why)
        # Nothing that is quoted holds one of the separators.
        name, *parameters = (part.strip(b" \t") for part in offer.split(b";"))
        if name == _NAME:
            answers.append(_answer(parameters))
    return next(filter(None, answers), b"")


def _answer(parameters: Iterable[bytes]) -> bytes:
    """Return the answer to one offer; empty to decline it (RFC 7692, section 7.1)."""
    answer = _NAME + b"; server_no_context_takeover; client_no_context_takeover"
    seen = set()
    for parameter in parameters:
        name, is_given, raw = (part.strip(b" \t") for part in parameter.partition(b"="))
        value = raw.replace(b'"', b"").replace(b"\\", b"") if is_given else None
        if name in seen:
            return b""
        seen.add(name)
        match name:
            case b"server_no_context_takeover" | b"client_no_context_takeover" if value is None:
                pass
            case b"client_max_window_bits" if value is None or value in _WINDOWS:
                pass  # whatever its window is, a larger one reads it
            case b"server_max_window_bits" if value in _WINDOWS and int(value) >= WINDOW_BITS:
                answer += b"; server_max_window_bits=%d" % WINDOW_BITS
            case _:
                return b""
    return answer


# -- What clients are sent ------------------------------------------------------------------------------------------

LEVEL: Final = 3
"""Of 1 to 9. zlib's default makes a sixteenth less of 16 kB, and takes a third longer or, if much repeats itself,
twice as long. Of a small message all make the same."""

MEMORY_LEVEL: Final = 5
"""Of 1 to 9: what the window needs. More changes nothing but the memory."""

LARGEST_BYTES: Final = 1_048_576
"""Compressing so much takes 9 ms, in which nobody else runs. Larger messages are sent as they are."""

KEPT_BYTES: Final = 1_048_576
"""Of compressed messages, and what they were made of, for who is sent them later: as many notifications as are held for
a reply to a subscribe, if they are not large."""

_DATA: Final = 0x81
_SYNC_BYTES: Final = 4
"""What every flushed block ends with, and a message leaves out (RFC 7692, section 7.2.1)."""


class SharedDeflate:
    """Compresses what a node sends: each message once, for all clients that agreed to it. One per node."""

    __slots__ = ("_from_bytes", "_kept", "_kept_bytes", "_run", "_run_deflated")

    def __init__(self, from_bytes: int) -> None:
        """Take the size of the smallest frame that is compressed."""
        self._from_bytes = from_bytes
        self._run: tuple[bytes, ...] = ()
        """The frames written last: most often the next client is sent the same."""
        self._run_deflated: Sequence[bytes] = ()
        self._kept: dict[bytes, bytes] = {}
        """By the frame, which knows its hash after the first time."""
        self._kept_bytes = 0

    def before(self, write: Write) -> Write:
        """Return a way out that compresses frames and has `write` write them."""

        def write_deflated(*frames: bytes, joined: bytes = b"") -> None:  # noqa: ARG001 - not what is sent
            write(*self.shared(frames))

        return write_deflated

    def shared(self, frames: tuple[bytes, ...]) -> Sequence[bytes]:
        """Return what to send instead of these frames, in the same order."""
        # The same objects, as a rule: comparing them is no more than looking at where they are.
        if frames != self._run:
            self._run_deflated = [self._one(frame) for frame in frames]
            self._run = frames
        return self._run_deflated

    def _one(self, frame: bytes) -> bytes:
        if not self._from_bytes <= len(frame) <= LARGEST_BYTES or frame[0] != _DATA:
            return frame
        made = self._kept.get(frame)
        if made is None:
            made = deflated(frame)
            if self._kept_bytes > KEPT_BYTES:
                self._kept.clear()
                self._kept_bytes = 0
            self._kept[frame] = made
            self._kept_bytes += len(frame) + len(made)
        return made


def deflated(frame: bytes) -> bytes:
    """Return a text frame of this server with its text compressed, or as it is when that makes it no smaller."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW_BITS, MEMORY_LEVEL)
    data = compressor.compress(payload_of(frame)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    plain = text_frame(data[:-_SYNC_BYTES])
    return bytes((plain[0] | RSV1,)) + plain[1:] if len(plain) < len(frame) else frame
