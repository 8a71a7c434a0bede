"""What a server writes on a WebSocket: text frames and close frames, as bytes (RFC 6455, section 5.2).

Both are made once and shared by everyone who is sent them. It refuses code 1000: Kuzzle's SDK takes a normal closure
for a wanted one, and does not come back. Reading frames is trio-websocket's work.
"""

from enum import IntEnum, unique
from typing import Final

_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_LONGEST_CLOSE: Final = 2 + 4 + 125
"""A client's close frame: two bytes of header, the mask, and what a control frame may carry at the most."""
_SHORT_HEADERS: Final = tuple(bytes((_TEXT, length)) for length in range(126))
"""Ready for payloads of fewer than 126 bytes, whose length fits into the second byte."""

MAX_REASON_BYTES: Final = 123
"""A control frame carries at most 125 bytes, and two of them are the code."""


@unique
class CloseCode(IntEnum):
    """Why this server closes a connection (RFC 6455, section 7.4.1, and its IANA registry)."""

    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    BAD_TEXT = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012


def text_frame(payload: bytes) -> bytes:
    """Return an unmasked, unfragmented text frame around `payload`, which must be UTF-8."""
    length = len(payload)
    if length < 126:
        return _SHORT_HEADERS[length] + payload
    if length < 0x10000:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame; a reason of more than 123 bytes is cut at a character.

    Raises ValueError for a code that must not be sent: 1000 (see above), one that the RFC reserves, and any number
    outside of 1001 to 4999.
    """
    if not 1001 <= code <= 4999 or code in (1004, 1005, 1006, 1015) or 1016 <= code <= 2999:
        raise ValueError(f"a server does not close with code {code}")
    text = reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore").encode()
    return bytes((_CLOSE, 2 + len(text))) + code.to_bytes(2, "big") + text


def ends_with_close(data: bytes) -> bool:
    """Tell whether what a client sent ends with a whole close frame: it has answered ours, and waits for us to go
    (RFC 6455, 7.1.1)."""
    for at in range(max(0, len(data) - _LONGEST_CLOSE), len(data) - 5):
        if data[at] == _CLOSE and data[at + 1] == 0x80 | (len(data) - at - 6):
            return True
    return False


def is_close(frame: bytes) -> bool:
    """Tell whether a whole frame, made by a server, is a close frame."""
    return frame[:1] == b"\x88"


def is_pong(frame: bytes) -> bool:
    """Tell whether a whole frame, made by a server, is a pong."""
    return frame[:1] == b"\x8a"
