"""How a filter is refused: where in it the fault is, what is wrong, and what to write instead.

It is always the client's fault. Nothing here knows what a filter means.
"""

from __future__ import annotations

_SHOWN_CHARACTERS = 60
"""How much of a client's text an error repeats: enough to recognise it, not enough to make a large answer of it."""


class FilterError(ValueError):
    """The filter is not one of the Koncorde language.

    `path` leads to the fault: keywords and members joined by dots, as in `and.equals.city`; "" is the filter itself.
    The message starts with it, in quotes, unless it is empty.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f'"{path}": {reason}' if path else reason)


def shown(text: str) -> str:
    """Return the text as a part of a path or a message may have it: cut where it is long."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def joined(path: str, *members: str) -> str:
    """Return the path of a member further in."""
    return ".".join(filter(None, (path, *map(shown, members))))


def kind(value: object) -> str:
    """Name the JSON type of a value, with its article, for a sentence such as "got an array"."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string" if value else "an empty string"
        case int() | float():
            return "a number"
        case list():
            return "an array" if value else "an empty array"
        case dict():
            return "an object" if value else "an empty object"
        case _:
            return f"a value of the type {type(value).__name__}"
