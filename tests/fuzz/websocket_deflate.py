"""What a client sends over WebSocket that agreed to compression, in any pieces. The law: what the inflater gives out

- is bounded, and does not depend on the pieces;
- is read by a plain reader as what went in is read by one with compression (wsproto).

Where wsproto is wrong, it is not asked. Behind a control frame within a compressed message, it takes all for plain; it
inflates what breaks into a message; it does not miss what is cut off at the end of one; it knows no streams that end
within one; and it inflates bombs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from server.core.inflating import Inflater
from support.front import RSV1, SYNC
from support.fuzz_engine import Target
from support.fuzz_websocket import change_stream, conversations, frames_in, head_of, whole_frames
from support.websocket_readers import (
    Reader,
    a_reader_without_compression_reads_the_same,
    taken,
    what_is_inflated_does_not_depend_on_the_pieces,
)

LAST_BLOCK = b"\x03\x00"
"""An empty one, for what has ended with a whole block."""

MESSAGE_BYTES = (2_000, 10, 1, 100_000)
MOSTS = (16_384, 1, 100)


def check(data: bytes) -> None:
    """Inflate it at once and in pieces; read what comes out, and compare."""
    choice, sizes, stream = head_of(data)
    message_bytes = MESSAGE_BYTES[choice % len(MESSAGE_BYTES)]
    most = MOSTS[choice // len(MESSAGE_BYTES) % len(MOSTS)]
    what_is_inflated_does_not_depend_on_the_pieces(stream, sizes, most, message_bytes)
    _is_bounded(stream, message_bytes)
    if message_bytes == max(MESSAGE_BYTES) and _is_for_wsproto(stream):
        a_reader_without_compression_reads_the_same(whole_frames(stream), sizes, most, message_bytes)


def _is_for_wsproto(stream: bytes) -> bool:
    """Tell whether there is no control frame, none out of turn, and each message ends where it is said to."""
    message = None
    is_fragmented = False
    size, most = 0, max(MESSAGE_BYTES)
    for first, payload, _ in frames_in(stream):
        if first & 0x08 or (first & 0x0F == 0) is not is_fragmented or (first & RSV1 and is_fragmented):
            return False
        if first & RSV1:
            message = zlib.decompressobj(-15)
        is_fragmented = not first & 0x80
        if message is not None:
            try:
                size += len(message.decompress(payload + (b"" if is_fragmented else SYNC), most - size + 1))
                if size > most or message.eof or not (is_fragmented or _ends_here(message)):
                    return False
            except zlib.error:
                return True  # both find a fault, and that is the end
        if not is_fragmented:
            message = None
    return True


def _ends_here(message: zlib._Decompress) -> bool:
    try:
        return message.decompress(LAST_BLOCK) == b"" and message.eof
    except zlib.error:
        return False


def _is_bounded(stream: bytes, message_bytes: int) -> None:
    inflater, reader = Inflater(message_bytes), Reader()
    inflater.feed(stream)
    out = taken(inflater, 1_000_000)
    reader.receive(out)
    compressed = sum(bool(first & RSV1) for first, _, _ in frames_in(stream))
    assert len(out) <= len(stream) + compressed * (message_bytes + 14)


def seeds() -> Iterator[bytes]:
    """Conversations, sound and unsound, with all limits."""
    for data in conversations():
        yield data
        yield b"\x03" + data[1:]


TARGET = Target(check, seeds, change_stream)
