"""What WebSocket clients send, for the fuzzer: an input is a few bytes that say how it arrives, and then the bytes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from support.front import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, TEXT, call, deflated
from support.fuzz_mutations import Dice, change_bytes

HEAD_BYTES = 4
"""At the beginning of an input: which limits, and three sizes of pieces."""

KINDS = (TEXT, TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE, 0x3, 0xB)
LARGEST = 4096


def head_of(data: bytes) -> tuple[int, list[int], bytes]:
    """Return a number that chooses limits, the sizes of the pieces, and what arrives."""
    head = data[:HEAD_BYTES].ljust(HEAD_BYTES, b"\x00")
    return head[0], [size or LARGEST for size in head[1:]], data[HEAD_BYTES:]


def frame(first: int, payload: bytes, mask: bytes = b"\x00\x00\x00\x00", shift: int = 0) -> bytes:
    """Return a client's frame with this first byte, with its length in a form longer than needed if `shift` says so."""
    length = len(payload)
    form = min(2, (0 if length < 126 else 1 if length < 0x10000 else 2) + shift)
    size = (b"", length.to_bytes(2, "big"), length.to_bytes(8, "big"))[form] if form else b""
    second = 0x80 | ((126, 127)[form - 1] if form else length)
    return bytes((first, second)) + size + mask + bytes(b ^ mask[at & 3] for at, b in enumerate(payload))


def frames_in(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Return first byte, payload and mask of each frame; what is no whole frame at the end is left out."""
    found, _ = _read(data)
    return found


def whole_frames(data: bytes) -> bytes:
    """Return the bytes without what is no whole frame at the end."""
    _, end = _read(data)
    return data[:end]


def _read(data: bytes) -> tuple[list[tuple[int, bytes, bytes]], int]:
    found = []
    end = 0
    while end + 6 <= len(data):
        first, length = data[end], data[end + 1] & 0x7F
        start = end + 2
        if length > 125:
            width = 2 if length == 126 else 8
            length = int.from_bytes(data[start : start + width], "big")
            start += width
        mask, payload = data[start : start + 4], data[start + 4 : start + 4 + length]
        if start + 4 + length > len(data):
            break
        found.append((first, bytes(b ^ mask[at & 3] for at, b in enumerate(payload)), mask))
        end = start + 4 + length
    return found, end


def change_stream(data: bytes, dice: Dice) -> bytes:
    """Change one frame, or their order, or how they arrive; their bytes, now and then."""
    random = dice.random
    if random.random() < 0.15:
        return change_bytes(data, dice)
    head, stream = bytearray(data[:HEAD_BYTES].ljust(HEAD_BYTES, b"\x00")), data[HEAD_BYTES:]
    if random.random() < 0.1:
        head[random.randrange(HEAD_BYTES)] = random.choice((0, 1, 2, 3, 7, 126, random.randrange(256)))
    frames = frames_in(stream) or [(0x80 | TEXT, b"{}", bytes(4))]
    at = random.randrange(len(frames))
    first, payload, mask = frames[at]
    made: list[bytes] = [frame(*each) for each in frames]
    match random.randrange(9):
        case 0:
            made[at] = frame((first & 0xF0) | random.choice(KINDS), payload, mask)
        case 1:
            made[at] = frame(first ^ random.choice((0x80, RSV1, RSV1, 0x20, 0x10)), payload, mask)
        case 2:
            del made[at]
        case 3:
            others = frames_in(dice.other()[HEAD_BYTES:])
            made[at:at] = [frame(*random.choice(others))] if others else []
        case 4:
            cut = random.randrange(len(payload) + 1)
            is_final = first & 0x80
            parts = [frame(first & 0x7F, payload[:cut], mask), frame(is_final, payload[cut:], mask)]
            made[at : at + 1] = parts
        case 5:
            made[at] = frame(
                first | RSV1, deflated(payload, random.randrange(10), random.randrange(9, 16)), mask
            )
        case 6:
            made[at] = frame(first, payload, random.randbytes(4), random.choice((0, 0, 1, 2)))
        case _:
            made[at] = frame(first, change_bytes(payload, dice), mask)
    return bytes(head) + b"".join(made)


def conversations() -> Iterator[bytes]:
    """Sound messages and heartbeats of each kind, then some that are not."""
    last, more = 0x80, 0
    sound: list[Callable[[], bytes]] = [
        lambda: frame(last | TEXT, b'{"p":1}') * 3,
        lambda: frame(last | TEXT, call("echo"), b"mask"),
        lambda: (
            frame(last | TEXT, "é\N{FISH}".encode() * 40)
            + frame(last | PING, b"?")
            + frame(last | PONG, b"!")
        ),
        lambda: frame(last | TEXT, b"x" * 300) + frame(last | BINARY, b"\xff\xfe") + frame(last | TEXT, b""),
        lambda: (
            frame(more | TEXT, b"a") + frame(last | PING, b"?") + frame(last, b"b") + frame(last | TEXT, b"c")
        ),
        lambda: (
            frame(more | BINARY, b"a")
            + frame(more, b"")
            + frame(last, b"b")
            + frame(last | CLOSE, b"\x03\xe8")
        ),
        lambda: frame(last | CLOSE, b"\x0f\xa0bye") + frame(last | TEXT, b"late"),
        lambda: (
            frame(last | TEXT | RSV1, deflated(call("echo", text="the harbor " * 9)))
            + frame(last | TEXT, b"{}")
        ),
        lambda: _in_fragments(deflated(b"\xc3\xa9" * 50)) + frame(last | CLOSE, b""),
        lambda: frame(last | BINARY | RSV1, deflated(b"\xff" * 900)),
        lambda: frame(last | TEXT | RSV1, _ended(b"Hello") + _ended(b"again") + b"\x00"),
        lambda: frame(last | TEXT | RSV1, deflated(b" " * 3_000)),
        lambda: frame(last | TEXT, b"\xc3\xa9\xc3") + frame(last | TEXT, b"late"),
        lambda: frame(last | TEXT, b"x" * 1_500) + frame(last | TEXT, b"next"),
        lambda: frame(last | CLOSE, b"\x03\xed") + b"\x81\xfe",
    ]
    for make in sound:
        for head in (b"\x00\x00\x00\x00", b"\x01\x01\x02\x07"):
            yield head + make()


def _in_fragments(data: bytes) -> bytes:
    return frame(TEXT | RSV1, data[:2]) + frame(0x80 | PONG, b"!") + frame(0, b"") + frame(0x80, data[2:])


def _ended(part: bytes) -> bytes:
    """Return a part of a message as a compressed stream with an end of its own."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(part) + compressor.flush()
