"""What a filter means, as a tree of frozen nodes: the closed union `Node`.

Parsing makes it, compiling and the canonical form read it, each by a `match` over all of its types. A node holds
values that were checked and brought to one form: points as coordinates, distances in metres, `ids` as `in`. Nothing
here tests, parses or compares; nodes are equal only to themselves, because 1 and true would be equal to Python.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import attrs

Number: TypeAlias = int | float
Scalar: TypeAlias = str | int | float | bool | None


class Point(NamedTuple):
    """A place on Earth, in degrees."""

    lat: float
    lon: float


# -- terms --


@attrs.frozen(eq=False)
class Everything:
    """Holds for every document: the empty filter."""


@attrs.frozen(eq=False)
class Nothing:
    """Holds for no document."""


@attrs.frozen(eq=False)
class Equals:
    """The field is there and is this scalar, of the same type."""

    field: str
    value: Scalar


@attrs.frozen(eq=False)
class In:
    """The field is one of these strings, of which there is at least one."""

    field: str
    values: tuple[str, ...]


@attrs.frozen(eq=False)
class Exists:
    """The field is there, if only as null."""

    field: str


@attrs.frozen(eq=False)
class Contains:
    """The field is an array with this scalar among its elements."""

    field: str
    value: Scalar


@attrs.frozen(eq=False)
class Range:
    """The field is a number within the bounds: at most one lower, at most one upper, at least one of them."""

    field: str
    gt: Number | None = None
    gte: Number | None = None
    lt: Number | None = None
    lte: Number | None = None


@attrs.frozen(eq=False)
class Regexp:
    """The field is a string in which the RE2 pattern is found. `flags` is a sorted subset of "ims"; `instructions`
    is how large its program is, and no part of what it means."""

    field: str
    pattern: str
    flags: str
    instructions: int


@attrs.frozen(eq=False)
class ObjectPattern:
    """An object with at least these members."""

    members: tuple[tuple[str, Pattern], ...]


@attrs.frozen(eq=False)
class ArrayPattern:
    """An array in which each of these finds a partner of its own, in this order and greedily."""

    elements: tuple[Pattern, ...]


Pattern: TypeAlias = Scalar | ObjectPattern | ArrayPattern


@attrs.frozen(eq=False)
class Match:
    """The document has at least these fields; the first level names them by their paths."""

    fields: tuple[tuple[str, Pattern], ...]


@attrs.frozen(eq=False)
class Select:
    """The field is an array whose element at the index (negative: from the end) satisfies the query, as `value`."""

    field: str
    index: int
    query: Node


# -- places --


@attrs.frozen(eq=False)
class BoundingBox:
    """The field is a point within the box, edges included."""

    field: str
    top: float
    left: float
    bottom: float
    right: float


@attrs.frozen(eq=False)
class Distance:
    """The field is a point at most so many metres from the centre."""

    field: str
    center: Point
    metres: float


@attrs.frozen(eq=False)
class DistanceRange:
    """The field is a point at least `nearest` and at most `farthest` metres from the centre."""

    field: str
    center: Point
    nearest: float
    farthest: float


@attrs.frozen(eq=False)
class Polygon:
    """The field is a point within the polygon, border included; the last corner is joined to the first."""

    field: str
    corners: tuple[Point, ...]


# -- operators --


@attrs.frozen(eq=False)
class And:
    """All of the children hold; there is at least one."""

    children: tuple[Node, ...]


@attrs.frozen(eq=False)
class Or:
    """At least one of the children holds; there is at least one."""

    children: tuple[Node, ...]


@attrs.frozen(eq=False)
class Not:
    """The child does not hold."""

    child: Node


Term: TypeAlias = Everything | Nothing | Equals | Exists | Contains | Range | Regexp | Match | Select
Place: TypeAlias = BoundingBox | Distance | DistanceRange | Polygon
Condition: TypeAlias = Term | Place
"""Holds or not, and has no parts that could be combined differently. `In` is not one: it is an `Or` of `Equals`."""

Node: TypeAlias = Condition | In | And | Or | Not
