"""What a server writes on a WebSocket: text and control frames, as bytes (RFC 6455, section 5.2).

They are made once and shared by everyone who is sent them. It refuses to close with code 1000: Kuzzle's SDK takes a
normal closure for a wanted one, and does not come back. A client's own 1000 is answered with the same.
Reading frames is not done here: see splitting.
"""

from enum import IntEnum, unique
from typing import Final


@unique
class Opcode(IntEnum):
    """What a frame is (RFC 6455, section 11.8)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


RSV1: Final = 0x40
"""The bit in a frame's first byte that says that its message is compressed, for who agreed to that (RFC 7692)."""

_FINAL: Final = 0x80
_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_LONGEST_CLOSE: Final = 2 + 4 + 125
"""A client's close frame: two bytes of header, the mask, and what a control frame may carry at the most."""
_SHORT_HEADERS: Final = tuple(bytes((_TEXT, length)) for length in range(126))
"""Ready for payloads of fewer than 126 bytes, whose length fits into the second byte."""

_HEADER_BYTES: Final = {126: 4, 127: 10}
"""By the second byte, where it says that the length follows; 2 for all others."""

_CLIENTS_CODES: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1014)))
"""Those below 3000 that have a meaning and may be sent."""

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


def payload_of(frame: bytes) -> memoryview:
    """Return what a whole frame, made by a server, carries."""
    return memoryview(frame)[_HEADER_BYTES.get(frame[1], 2) :]


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame; a reason of more than 123 bytes is cut at a character.

    Raises ValueError for a code that must not be sent: 1000 (see above), one that the RFC reserves, and any number
    outside of 1001 to 4999.
    """
    if not 1001 <= code <= 4999 or code in (1004, 1005, 1006, 1015) or 1016 <= code <= 2999:
        raise ValueError(f"a server does not close with code {code}")
    text = reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore").encode()
    return bytes((_CLOSE, 2 + len(text))) + code.to_bytes(2, "big") + text


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a ping with this payload, of at most 125 bytes."""
    return bytes((_FINAL | Opcode.PONG, len(payload))) + payload


def echoed_close(payload: bytes) -> bytes:
    """Return the answer to a sound close frame with this payload: the same (RFC 6455, 5.5.1)."""
    return bytes((_CLOSE, len(payload))) + payload


def is_sound_close(payload: bytes) -> bool:
    """Tell whether a client may close with this payload: nothing, or a code that may be sent, and text."""
    if len(payload) < 2:
        return not payload
    code = payload[0] << 8 | payload[1]
    if code not in _CLIENTS_CODES and not 3000 <= code <= 4999:
        return False
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return False
    return True


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
