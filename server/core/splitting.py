"""What a client sends, frame by frame: the common ones, or something for a WebSocket library (RFC 6455, section 5).

    bytes  --split-->  texts of plain frames, unmasked   |   behind them a sound control frame, or bytes to pass on

A frame is *plain* when it is all of one text message (final, no extension), masked, of a size that is kept whole, and
sound UTF-8. Sound control frames are common as well, until something was passed on: a library that is asked for the
rest wants to hear of them, too. Everything else is passed on from its first byte to its last: fragments, binary, what
is large, and whatever breaks the protocol, with all that follows it. To whoever reads what is passed on, the common
frames were never there. They may stand between any two messages, so nothing breaks by that.

The laws, for any way in which the bytes are cut into pieces:

- texts, control frames and what is passed on come out in the order of the frames;
- what waits here for its rest is the beginning of one common frame, of fewer than `kept_bytes`, or of a header;
- a fault is passed on as soon as it can be seen, and is left to the library to judge.

It refuses to judge itself, and does not read what is passed on. So texts behind a message that was passed on count
only when that has come out of the library: `messages_passed` says how many have to.
"""

from typing import Final, NamedTuple

from server.core.frames import Opcode, is_sound_close

_FINAL_TEXT: Final = 0x81
_FINAL: Final = 0x80
_EXTENSIONS: Final = 0x70
_CONTROL: Final = 0x08
_MASKED: Final = 0x80
_OPCODES: Final = frozenset(Opcode)
_LONGEST_CONTROL: Final = 125


class Control(NamedTuple):
    """A sound control frame."""

    opcode: Opcode
    payload: bytes


class FrameSplitter:
    """Splits what one client sends."""

    __slots__ = (
        "_has_passed",
        "_is_fragmented",
        "_is_given_up",
        "_kept_bytes",
        "_message_bytes",
        "_owed",
        "_rest",
        "messages_passed",
    )

    def __init__(self, *, message_bytes: int, kept_bytes: int) -> None:
        """Take plain frames of at most `message_bytes` of text, and of `kept_bytes` (or 64 KiB) in all."""
        self._message_bytes = message_bytes
        # Up to there the length of a frame has at most two bytes: one form less on the hot path.
        self._kept_bytes = min(kept_bytes, 0x10000)
        self._rest = b""
        self._owed = 0
        """Bytes to come of a frame that is being passed on."""
        self._has_passed = False
        """Something was passed on."""
        self._is_fragmented = False
        """Within a message of several frames, whose beginning was passed on."""
        self._is_given_up = False
        """Everything is passed on: there was a close frame or a fault."""
        self.messages_passed = 0
        """Messages whose last frame was passed on, at least its beginning."""

    @property
    def bytes_kept(self) -> int:
        """What waits for its rest, or for the next `split`."""
        return len(self._rest)

    def split(self, data: bytes = b"") -> tuple[list[str], Control | None, bytes]:
        """Return the texts of plain frames, and what is behind them: a control frame, or what is to be passed on.

        When there is something behind them, more may follow: call again, without data, before reading more.
        """
        if self._rest:
            data = self._rest + data
        texts: list[str] = []
        control = None
        at = 0
        if not (self._owed or self._is_fragmented or self._is_given_up):
            at = self._take_plain(data, texts)
            if at < len(data) and data[at] & _CONTROL and not self._has_passed:
                control, at = self._take_control(data, at)
        end = self._passed_until(data, at) if control is None else at
        self._rest = data[end:]
        return texts, control, data[at:end]

    def _take_plain(self, data: bytes, texts: list[str]) -> int:
        """Add the texts of the plain frames that `data` begins with; return where they end. The hot path."""
        size, longest = len(data), self._message_bytes
        at = 0
        while at + 6 <= size and data[at] == _FINAL_TEXT:
            length = data[at + 1] - _MASKED
            start = at + 6
            if length == 126:
                length = data[at + 2] << 8 | data[at + 3]
                start = at + 8
                if length < 126:
                    break
            elif not 0 <= length < 126:
                break
            end = start + length
            if end > size or length > longest or end - at > self._kept_bytes:
                break
            try:
                texts.append(unmasked(data[start - 4 : start], data[start:end]).decode())
            except UnicodeDecodeError:
                self._is_given_up = True
                break
            at = end
        return at

    def _take_control(self, data: bytes, at: int) -> tuple[Control | None, int]:
        """Return the control frame at `at`, if it is whole and sound, and where it ends."""
        length = frame_bytes(data, at)
        if length in (UNKNOWN, NO_FRAME) or at + length > len(data):
            return None, at
        control = Control(
            Opcode(data[at] & 0x0F), unmasked(data[at + 2 : at + 6], data[at + 6 : at + length])
        )
        if control.opcode is Opcode.CLOSE:
            self._is_given_up = True
            if not is_sound_close(control.payload):
                return None, at
        return control, at + length

    def _passed_until(self, data: bytes, at: int) -> int:
        """Return where that ends which is to be passed on from `at` on."""
        size = len(data)
        while at < size:
            if self._is_given_up:
                return size
            if not self._owed:
                length = frame_bytes(data, at)
                if length == UNKNOWN or (length != NO_FRAME and self._is_common(data, at, length)):
                    return at
                self._begin(data[at], length)
                continue
            step = min(self._owed, size - at)
            self._owed -= step
            at += step
        return at

    def _is_common(self, data: bytes, at: int, length: int) -> bool:
        """Tell whether a sound frame is taken once it is whole, as far as its header says."""
        if data[at] & _CONTROL:
            return not self._has_passed
        if data[at] != _FINAL_TEXT or self._is_fragmented or length > self._kept_bytes:
            return False
        return _payload_bytes(length) <= self._message_bytes

    def _begin(self, first: int, length: int) -> None:
        """Note that a frame with this first byte is passed on."""
        self._has_passed = True
        opcode = first & 0x0F
        is_data = not first & _CONTROL
        is_out_of_turn = is_data and self._is_fragmented != (opcode == Opcode.CONTINUATION)
        if length == NO_FRAME or opcode == Opcode.CLOSE or is_out_of_turn:
            self._is_given_up = True
            return
        self._owed = length
        if is_data:
            self._is_fragmented = not first & _FINAL
            if not self._is_fragmented:
                self.messages_passed += 1


UNKNOWN: Final = 0
"""Too few bytes to tell how long a frame is."""
NO_FRAME: Final = -1
"""No frame that a client may send."""


def frame_bytes(data: bytes, at: int, allowed: int = 0) -> int:
    """Return the size of the frame that begins at `at`, header and all, as soon as it can be told.

    `allowed` are bits of extensions that its first byte may have.
    """
    available = len(data) - at
    if available < 2:
        return UNKNOWN
    first, second = data[at], data[at + 1]
    opcode, length = first & 0x0F, second & 0x7F
    if first & _EXTENSIONS & ~allowed or opcode not in _OPCODES or not second & _MASKED:
        return NO_FRAME
    if opcode & _CONTROL and (not first & _FINAL or length > _LONGEST_CONTROL):
        return NO_FRAME
    if length < 126:
        return 6 + length
    width = 2 if length == 126 else 8
    if available < 2 + width:
        return UNKNOWN
    length = int.from_bytes(data[at + 2 : at + 2 + width], "big")
    # The shortest form of a length is the only one.
    if length < (126 if width == 2 else 0x10000) or length >> 63:
        return NO_FRAME
    return 6 + width + length


def _payload_bytes(length: int) -> int:
    """Return how much a frame of this size carries, one of at most 64 KiB."""
    return length - 6 if length < 6 + 126 else length - 8


def unmasked(mask: bytes, payload: bytes) -> bytes:
    """Return the payload without its mask: one operation on two large numbers, not one for each byte."""
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(length, "little")
