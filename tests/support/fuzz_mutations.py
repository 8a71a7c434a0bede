"""How the fuzzer makes one input of another: bytes that were changed, and trees (JSON, MessagePack) that were.

Dice are given, so the same dice make the same input. It refuses to know what an input means to a target; a target that
knows better has a mutator of its own, made of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeAlias

import attrs
import msgspec

MOST_BYTES = 4096
"""Of one input. The interesting limits of a target are to be set so low that they fit in."""

EXTREMES = (
    b"\x00",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\r\n",
    b"\n",
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"\\ud800",
    b"[" * 120,
)
"""What a reader may stumble over: ends of ranges, almost UTF-8, numbers that fit nowhere, nesting."""

SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1.0, 0.5, -0.0, 1e308, 5e-324, 10**30),
    *(1 << 31, 1 << 32, (1 << 53) + 1, 1 << 60, 1 << 61, 1 << 62, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1),
    *("", "a", "\x00", "\n", "é", "\N{FISH}", "\ud800", "x" * 300, [], {}, [[]], {"": None}),
)

ENDS = ("\n", "\x00", " ", ".", "-", "é", "\x7f", "\x85", "\u2028", "0", "]")
"""What is easily overlooked at an end of a text."""


@attrs.frozen
class Dice:
    """What a mutator may use."""

    random: Random
    tokens: Sequence[bytes]
    others: Sequence[bytes]
    """Inputs of the same target, at least one."""

    def other(self) -> bytes:
        """Return one of the other inputs."""
        return self.random.choice(self.others)

    def token(self) -> bytes:
        """Return something that the target may know, or stumble over."""
        return self.random.choice(self.tokens if self.tokens and self.random.random() < 0.7 else EXTREMES)


Mutate: TypeAlias = Callable[[bytes, Dice], bytes]


def several(mutate: Mutate) -> Mutate:
    """Return a mutator that does it once or more often."""

    def mutate_several(data: bytes, dice: Dice) -> bytes:
        changed = mutate(data, dice)
        while dice.random.random() < 0.5:
            changed = mutate(changed, dice)
        return changed if len(changed) <= MOST_BYTES else data[:MOST_BYTES]

    return mutate_several


def either(*mutators: Mutate) -> Mutate:
    """Return a mutator that does what one of these does."""
    return lambda data, dice: dice.random.choice(mutators)(data, dice)


# -- Bytes ----------------------------------------------------------------------------------------------------------


def change_bytes(data: bytes, dice: Dice) -> bytes:
    """Change one thing in these bytes."""
    random = dice.random
    changed = bytearray(data)
    at = random.randrange(len(data) + 1)
    size = min(random.choice((1, 1, 2, 4, 8, 16, 64)), len(data) - at)
    match random.randrange(10):
        case 0:
            changed[at : at + 1] = bytes([random.randrange(256)])
        case 1 if at < len(data):
            changed[at] ^= 1 << random.randrange(8)
        case 2 if at < len(data):
            changed[at] = (changed[at] + random.choice((-1, 1, 16, -16))) % 256
        case 3:
            del changed[at : at + size]
        case 4:
            changed[at:at] = changed[at : at + size] * random.choice((1, 1, 1, 40))
        case 5 | 6:
            changed[at:at] = dice.token()
        case 7:
            token = dice.token()
            changed[at : at + len(token)] = token
        case 8:
            other = dice.other()
            start = random.randrange(len(other) + 1)
            changed[at : at + size] = other[start : start + random.choice((4, 16, 64, 256))]
        case _:
            other = dice.other()
            changed[at:] = other[random.randrange(len(other) + 1) :]
    return bytes(changed)


# -- Trees ----------------------------------------------------------------------------------------------------------


def changed_tree(tree: Any, other: Any, dice: Dice) -> Any:
    """Return the tree with one thing changed, perhaps by a part of the other; the tree itself may be used up."""
    random = dice.random
    places = _places(tree)
    if not places:
        return random.choice(SCALARS)
    container, key = random.choice(places)
    value = container[key]
    match random.randrange(12):  # the last third changes what a leaf says
        case 0:
            container[key] = random.choice(SCALARS)
        case 1 | 2:
            found, inner = random.choice(_places(other) or places)
            container[key] = found[inner]
        case 3:
            del container[key]
        case 4:
            container[key] = random.choice(([value], {_text(dice): value}, [value, value]))
        case 5 if isinstance(container, list):
            container.insert(random.randrange(len(container) + 1), value)
        case 5 | 6 if isinstance(container, dict):
            del container[key]
            container[_text(dice)] = value
        case 7:
            swapped, place = random.choice(places)
            container[key], swapped[place] = swapped[place], value
        case _:
            container[key] = _changed_scalar(value, dice)
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return where in the tree something is: container and key."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting and len(found) < 2_000:
        container = waiting.pop()
        if isinstance(container, dict):
            keys: Any = list(container)
        elif isinstance(container, list):
            keys = range(len(container))
        else:
            continue
        found += [(container, key) for key in keys]
        waiting += [container[key] for key in keys]
    return found


def _changed_scalar(value: Any, dice: Dice) -> Any:
    random = dice.random
    match value:
        case bool():
            return not value
        case int() | float():
            return random.choice(
                (value + 1, value - 1, value * 2, value + 10, -value, value + random.random())
            )
        case str() if random.random() < 0.5:
            end = random.choice(ENDS)
            return random.choice((value + end, end + value, value + value, value[:-1], value.swapcase()))
        case str():
            return change_bytes(value.encode(errors="surrogatepass"), dice).decode(errors="replace")
        case bytes():
            return change_bytes(value, dice)
        case _:
            return _text(dice)


def _text(dice: Dice) -> str:
    return dice.token().decode(errors="replace")


def change_json(data: bytes, dice: Dice) -> bytes:
    """Change one thing in a JSON text; in its bytes, when it is none."""
    try:
        tree, other = json.loads(data), json.loads(dice.other())
        changed = changed_tree(tree, other, dice)
        is_ascii = dice.random.random() < 0.5
        return json.dumps(changed, ensure_ascii=is_ascii).encode(errors="surrogatepass")
    except (ValueError, RecursionError, OverflowError):
        return change_bytes(data, dice)


def change_msgpack(data: bytes, dice: Dice) -> bytes:
    """Change one thing in a MessagePack value; in its bytes, when it is none."""
    try:
        tree = msgspec.msgpack.decode(data)
        other = msgspec.msgpack.decode(dice.other())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return change_bytes(data, dice)
    try:
        return msgspec.msgpack.encode(changed_tree(tree, other, dice))
    except (TypeError, OverflowError, UnicodeEncodeError, RecursionError, msgspec.MsgspecError):
        return change_bytes(data, dice)
