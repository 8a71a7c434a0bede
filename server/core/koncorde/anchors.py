"""Values without one of which a filter cannot hold, so that it need not be asked about documents that have none.

    {and: [{equals: {city: "Oslo"}}, {range: …}]}     (city, "Oslo")
    {in: {city: ["Oslo", "Rome"]}}                    (city, "Oslo"), (city, "Rome")
    {exists: "city"}                                  it may hold whatever the values are: no anchors

Whoever keeps many filters finds the few that may hold by looking up the values of a document. Anchors are a necessary
condition and no more: a filter that is found is still to be asked.
"""

from __future__ import annotations

from typing import TypeAlias

from server.core.koncorde.limits import MAX_ANCHORS
from server.core.koncorde.nodes import (
    And,
    ArrayPattern,
    Equals,
    In,
    Match,
    Node,
    Nothing,
    ObjectPattern,
    Or,
    Pattern,
)

Anchor: TypeAlias = tuple[str, object]
"""A field's path, and the key of its value."""


def anchors_of(node: Node) -> tuple[Anchor, ...] | None:
    """Return anchors of which at least one is in each document that satisfies the tree; None when there are no such,
    or too many. Of a filter that never holds, there are none at all: `()`."""
    anchors = _anchors(node)
    return None if anchors is None or len(anchors) > MAX_ANCHORS else tuple(dict.fromkeys(anchors))


def key_of(value: object) -> object:
    """Return what stands for a document's value in anchors; None for an object or array, which equals nothing.

    1 is 1.0, and neither is true."""
    kind = value.__class__
    if kind is str or kind is int or kind is float:
        return value
    if kind is bool or value is None:
        return (value,)
    return None


def _anchors(node: Node) -> list[Anchor] | None:
    match node:
        case Nothing():
            return []
        case Equals(field, value):
            return [(field, key_of(value))]
        case In(field, values):
            return [(field, value) for value in values]
        case Match(fields):
            return _fewest([_anchors_of_pattern(field, pattern) for field, pattern in fields])
        case And(children):
            return _fewest([_anchors(child) for child in children])
        case Or(children):
            found: list[Anchor] = []
            for child in children:
                anchors = _anchors(child)
                if anchors is None:
                    return None
                found += anchors
            return found
        case _:
            return None


def _anchors_of_pattern(field: str, pattern: Pattern) -> list[Anchor] | None:
    return None if isinstance(pattern, ObjectPattern | ArrayPattern) else [(field, key_of(pattern))]


def _fewest(choices: list[list[Anchor] | None]) -> list[Anchor] | None:
    """Return the choice that is found least often, as far as that can be told: every one of them is necessary."""
    return min((anchors for anchors in choices if anchors is not None), key=len, default=None)
