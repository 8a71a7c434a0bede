"""JSON in and out, with one kind of failure.

Everything that clients, peers and plugins hand over as JSON passes here. It refuses what is nested so deep that code
which walks through it would fail on it later: whatever comes in can be walked through, and written again.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

MAX_DEPTH: Final = 100
"""Objects and arrays within each other. Elasticsearch maps documents 20 deep; the interpreter gives up at 1,000, and
what is decoded here is encoded again inside of other things, and walked by plugins."""


class JsonError(ValueError):
    """Not JSON, nested too deep, or with a number that no program could hold. The message is for the sender."""


encode_json = msgspec.json.Encoder().encode
"""Return the JSON bytes of a value. Raises TypeError, ValueError or RecursionError for one that has none."""

T = TypeVar("T")


def decoder_of(kind: type[T]) -> Callable[[str | bytes], T]:
    """Return a function that decodes values of this type; it raises `JsonError` for anything that is none, or is not
    sound JSON in UTF-8."""
    decode_any = msgspec.json.Decoder().decode
    decode = msgspec.json.Decoder(kind).decode

    def decode_json(data: str | bytes) -> T:
        try:
            value = decode(data)
        except RecursionError:
            raise JsonError("nested too deep") from None
        except ValueError as error:  # msgspec's own errors, bad UTF-8, numbers of thousands of digits
            raise JsonError(str(error)) from None
        if len(data) > 2 * MAX_DEPTH and _may_be_deep(data) and _is_deep(decode_any(data)):
            raise JsonError("nested too deep")
        return value

    return decode_json


decode_json: Final[Callable[[str | bytes], Any]] = decoder_of(Any)
"""Return the value; raise `JsonError` for anything that is not sound JSON in UTF-8."""


def _may_be_deep(data: str | bytes) -> bool:
    """Tell whether it opens enough objects and arrays, which costs next to nothing and spares most the next step."""
    if isinstance(data, str):
        return data.count("[") + data.count("{") > MAX_DEPTH
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH


def _is_deep(value: Any) -> bool:
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return False
    return True


_CONTAINERS = (dict, list)
