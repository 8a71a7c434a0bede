"""One frame of the mesh, in each of the three ways that it may come. The law: it is a message or a `FrameError`; and

- a message is encoded and decoded again as the same;
- it says no more than the frame: what a reader of plain MessagePack finds there begins with the same;
- whose a frame claims to be is what its message says, and can be asked of any bytes;
- no list, text or number in it is over its cap, and reasons are harmless to the terminal that shows them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from cluster.core import messages
from cluster.errors import FrameError
from support.documents import ROOT
from support.fuzz_engine import Target
from support.fuzz_mutations import Dice, change_bytes, change_msgpack

DECODERS: tuple[Callable[[bytes], Any], ...] = (
    messages.decode_published,
    messages.decode_question,
    messages.decode_reply,
)
MOST_NUMBER = 1 << 62
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check(data: bytes) -> None:
    """Read it as what may come on each of the sockets."""
    claimed = messages.claimed_origin(data)
    for decode in DECODERS:
        try:
            message = decode(data)
        except FrameError:
            continue
        start = 0
        if decode is messages.decode_published:
            start = data.index(messages.TOPIC_END) + 1
            assert claimed == message.origin
        body = msgspec.msgpack.encode(message)
        assert decode(data[:start] + body) == message
        _within_caps(message)
        try:
            plain = msgspec.msgpack.decode(data[start:])
        except UnicodeDecodeError:
            continue  # behind what is known, where nobody looks
        assert _begins_with(plain, msgspec.msgpack.decode(body))


def _begins_with(longer: Any, shorter: Any) -> bool:
    """Tell whether each array of one is the beginning of the other's: later versions may add members."""
    if isinstance(longer, dict) and isinstance(shorter, dict):
        return longer.keys() == shorter.keys() and all(
            _begins_with(longer[key], shorter[key]) for key in longer
        )
    if isinstance(longer, list) and isinstance(shorter, list):
        # What is left out has a default, which is written out.
        return all(_begins_with(*pair) for pair in zip(longer, shorter, strict=False))
    return type(longer) is type(shorter) and bool(longer == shorter)


def _within_caps(message: Any) -> None:
    assert 1 <= len(message.origin) <= 64
    assert not CONTROL.search(getattr(message, "reason", ""))
    waiting: list[Any] = [msgspec.to_builtins(message, builtin_types=(bytes,))]
    while waiting:
        value = waiting.pop()
        match value:
            case bool() | None:
                pass
            case int():
                assert 0 <= value <= MOST_NUMBER
            case str():
                assert len(value) <= 300
            case bytes():
                assert len(value) <= messages.PAYLOAD_BYTES
            case list() | tuple():
                assert len(value) <= messages.ROOMS_PER_NOTIFICATION
                waiting += value
            case dict():
                assert len(value) <= messages.LINKS_PER_HEARTBEAT
                waiting += [*value, *value.values()]
            case _:
                raise AssertionError(value)


def seeds() -> Iterator[bytes]:
    """Every message there is, as recorded."""
    golden = json.loads((ROOT / "tests" / "vectors" / "mesh-v1.json").read_text())
    for way in ("published", "asked", "answered"):
        yield from (bytes.fromhex(frame["hex"]) for frame in golden[way])


def change_frame(data: bytes, dice: Dice) -> bytes:
    """Change one thing in a frame: most often in its message, and leave the topic."""
    start = data.find(messages.TOPIC_END, 0, messages.LONGEST_TOPIC) + 1 if data[:1] in b"hsn" else 0
    if dice.random.random() < 0.2:
        return change_bytes(data, dice)
    body = change_msgpack(data[start:], _Bodies(dice.random, dice.tokens, dice.others))
    return data[:start] + body


class _Bodies(Dice):
    """Dice by which a part of another frame is one of its message."""

    def other(self) -> bytes:
        data = super().other()
        return (
            data[data.find(messages.TOPIC_END, 0, messages.LONGEST_TOPIC) + 1 :]
            if data[:1] in b"hsn"
            else data
        )


TARGET = Target(check, seeds, change_frame)
