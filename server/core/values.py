"""JSON in and out, with one kind of failure.

Everything that clients, peers and plugins hand over as JSON passes here.
"""

from typing import Any

import msgspec


class JsonError(ValueError):
    """Not JSON, nested too deep, or with a number that no program could hold. The message is for the sender."""


_decode = msgspec.json.Decoder().decode

encode_json = msgspec.json.Encoder().encode
"""Return the JSON bytes of a value. Raises TypeError, ValueError or RecursionError for one that has none."""


def decode_json(data: str | bytes) -> Any:
    """Return the value; raise `JsonError` for anything that is not sound JSON in UTF-8."""
    try:
        return _decode(data)
    except RecursionError:
        raise JsonError("nested too deep") from None
    except ValueError as error:  # msgspec's own errors, bad UTF-8, numbers of thousands of digits
        raise JsonError(str(error)) from None
