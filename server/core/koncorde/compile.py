"""From nodes to functions that test a prepared document.

What can be decided once is decided here, not per test: which comparison a value needs, which bounds a range has, the
compiled pattern. Closures rather than methods, because this is the hottest path of a node: every change is tested
against the filters of its collection.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from server.core.koncorde.document import MISSING, Document
from server.core.koncorde.geo import is_at_distance, is_inside, to_point
from server.core.koncorde.limits import REGEXP_SEARCH_STEPS
from server.core.koncorde.nodes import (
    And,
    ArrayPattern,
    BoundingBox,
    Contains,
    Distance,
    DistanceRange,
    Equals,
    Everything,
    Exists,
    In,
    Match,
    Node,
    Not,
    Nothing,
    ObjectPattern,
    Or,
    Pattern,
    Point,
    Polygon,
    Range,
    Regexp,
    Scalar,
    Select,
)
from server.core.koncorde.regexp import compiled, to_utf8

Predicate: TypeAlias = Callable[[Document], bool]


def compile_tree(root: Node) -> Predicate:
    """Return the function that tells whether a document satisfies the tree. It never raises."""
    instructions = sum(regexp.instructions for regexp in _regexps(root))
    return _compiled(root, REGEXP_SEARCH_STEPS // max(instructions, 1))


def _regexps(node: Node) -> Iterator[Regexp]:
    match node:
        case Regexp():
            yield node
        case And(children) | Or(children):
            for child in children:
                yield from _regexps(child)
        case Not(child) | Select(_, _, child):
            yield from _regexps(child)
        case _:
            pass


def _compiled(node: Node, reach: int) -> Predicate:  # noqa: PLR0911, PLR0912  # one case for each type of node
    """`reach` is how many bytes of a text its regular expressions look at."""
    match node:
        case Everything():
            return lambda _: True
        case Nothing():
            return lambda _: False
        case Equals(field, value):
            return _equals(field, value)
        case In(field, values):
            return _in(field, values)
        case Exists(field):
            return lambda document: document[field] is not MISSING
        case Contains(field, value):
            element = _set_key(value)
            return lambda document: element in document.derive(_scalars, field)
        case Range():
            return _range(node)
        case Regexp(field, pattern, flags):
            return _regexp(field, compiled(pattern, flags).search, reach)
        case Match(fields):
            return _all_of([_on_field(field, _pattern(pattern)) for field, pattern in fields])
        case Select(field, index, query):
            return _select(field, index, _compiled(query, reach))
        case BoundingBox(field, top, left, bottom, right):
            return _on_point(field, lambda point: bottom <= point.lat <= top and left <= point.lon <= right)
        case Distance(field, center, metres):
            return _on_point(field, lambda point: is_at_distance(center, 0, metres, point))
        case DistanceRange(field, center, nearest, farthest):
            return _on_point(field, lambda point: is_at_distance(center, nearest, farthest, point))
        case Polygon(field, corners):
            return _on_point(field, lambda point: is_inside(corners, point))
        case And(children):
            return _all_of([_compiled(child, reach) for child in children])
        case Or(children):
            return _any_of([_compiled(child, reach) for child in children])
        case Not(child):  # pragma: no branch  # the union is closed
            return _negation(_compiled(child, reach))


# -- operators --


def _all_of(parts: list[Predicate]) -> Predicate:
    def accepts(document: Document) -> bool:
        for part in parts:  # a loop: `all` would make a generator for each test  # noqa: SIM110
            if not part(document):
                return False
        return True

    return accepts


def _any_of(parts: list[Predicate]) -> Predicate:
    def accepts(document: Document) -> bool:
        for part in parts:  # as above  # noqa: SIM110
            if part(document):
                return True
        return False

    return accepts


def _negation(part: Predicate) -> Predicate:
    return lambda document: not part(document)


# -- terms --


def _equals(field: str, value: Scalar) -> Predicate:
    if isinstance(value, str):  # the commonest filter of all: one call, and none within
        return lambda document: document[field] == value
    return _on_field(field, _same(value))


def _in(field: str, values: tuple[str, ...]) -> Predicate:
    strings = frozenset(values)

    def accepts(document: Document) -> bool:
        value = document[field]
        return value.__class__ is str and value in strings

    return accepts


def _range(node: Range) -> Predicate:
    field = node.field
    low, is_above = (node.gt, operator.gt) if node.gt is not None else (node.gte, operator.ge)
    high, is_below = (node.lt, operator.lt) if node.lt is not None else (node.lte, operator.le)
    low = -math.inf if low is None else low
    high = math.inf if high is None else high

    def accepts(document: Document) -> bool:
        value: Any = document[field]
        kind = value.__class__
        return (kind is int or kind is float) and is_above(value, low) and is_below(value, high)

    return accepts


def _regexp(field: str, search: Callable[[bytes], Any], reach: int) -> Predicate:
    def accepts(document: Document) -> bool:
        text = document.derive(to_utf8, field)
        return text is not None and search(text if len(text) <= reach else text[:reach]) is not None

    return accepts


def _select(field: str, index: int, query: Predicate) -> Predicate:
    def accepts(document: Document) -> bool:
        value = document[field]
        if not isinstance(value, list) or not -len(value) <= index < len(value):
            return False
        return query(Document({"value": value[index]}))

    return accepts


def _on_point(field: str, accepts: Callable[[Point], bool]) -> Predicate:
    def accepts_document(document: Document) -> bool:
        point = document.derive(to_point, field)
        return point is not None and accepts(point)

    return accepts_document


def _on_field(field: str, accepts: Callable[[object], bool]) -> Predicate:
    return lambda document: accepts(document[field])


# -- values: 1 is 1.0, and neither is true --


def _same(expected: Scalar) -> Callable[[object], bool]:
    if expected is None or isinstance(expected, bool):
        return lambda value: value is expected
    if isinstance(expected, str):
        return lambda value: value == expected
    return lambda value: value == expected and value.__class__ is not bool


def _set_key(value: object) -> object:
    return (value,) if value.__class__ is bool else value


def _scalars(value: object) -> frozenset[object]:
    if not isinstance(value, list):
        return frozenset()
    return frozenset(_set_key(element) for element in value if not isinstance(element, (list, dict)))


def _pattern(pattern: Pattern) -> Callable[[object], bool]:
    match pattern:
        case ObjectPattern(members):
            return _object([(name, _pattern(member)) for name, member in members])
        case ArrayPattern(elements):
            return _array([_pattern(element) for element in elements])
        case _:
            return _same(pattern)


def _object(members: list[tuple[str, Callable[[object], bool]]]) -> Callable[[object], bool]:
    def accepts(value: object) -> bool:
        if not isinstance(value, dict):
            return False
        for name, is_member in members:  # as above  # noqa: SIM110
            if not is_member(value.get(name, MISSING)):
                return False
        return True

    return accepts


def _array(patterns: list[Callable[[object], bool]]) -> Callable[[object], bool]:
    def accepts(value: object) -> bool:
        if not isinstance(value, list) or len(value) < len(patterns):
            return False
        unpaired = list(value)
        for is_partner in patterns:
            at = next((at for at, element in enumerate(unpaired) if is_partner(element)), None)
            if at is None:
                return False
            del unpaired[at]
        return True

    return accepts
