"""The canonical form of a filter: bytes that are equal for filters which are one room.

Two filters are one room when these steps make the same of them:

1. every keyword is brought down to `and`, `or`, `not` of plain conditions; `not` goes down to the conditions by De
   Morgan's laws, and two of them cancel out; `in` and `ids` are an `or` of `equals`;
2. an `and` in an `and`, or an `or` in an `or`, is flattened; one with a single member is that member;
3. `and` is distributed over `or`, so that the outermost level is a list of alternatives;
4. the conditions of an alternative are sorted by keyword and the alternatives by length, both stably.

The order in which a filter names conditions of one keyword does count, and so do duplicates, as they do upstream: two
rooms instead of one cost a little, and clients do not depend on it. Different meanings are never one room.

Step 3 may grow exponentially and is left out where it would exceed `MAX_DISTRIBUTED_LITERALS`; such filters are still
one room when the other steps agree. All else is linear in the filter, as are the bytes: a condition is written once,
and the alternatives refer to it by number.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs

from server.core.koncorde.limits import MAX_DISTRIBUTED_LITERALS
from server.core.koncorde.nodes import (
    And,
    ArrayPattern,
    BoundingBox,
    Condition,
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
    Number,
    ObjectPattern,
    Or,
    Pattern,
    Polygon,
    Range,
    Regexp,
    Select,
)


def canonical_form(node: Node) -> bytes:
    """Return the canonical form as ASCII JSON, the same in every process and on every node."""
    return _json_text(_described(node)).encode("ascii")


def _described(node: Node) -> list[Any]:
    form = _form(node, negated=False)
    if form.literals <= MAX_DISTRIBUTED_LITERALS:
        terms = sorted(_distributed(form), key=len)
        form = _any_of([_all_of(term) for term in terms])
    conditions: dict[str, tuple[int, list[Any]]] = {}
    return [_numbered(form, conditions), [condition for _, condition in conditions.values()]]


# -- the form: conditions, flattened and with `not` at the conditions only --


@attrs.frozen(eq=False)
class _Literal:
    """A condition, or its negation."""

    condition: list[Any]
    text: str
    is_negated: bool
    terms: int = 1
    literals: int = 1

    @property
    def keyword(self) -> str:
        keyword: str = self.condition[0]
        return keyword


@attrs.frozen(eq=False)
class _AllOf:
    parts: tuple[_Form, ...]
    terms: int
    """How many alternatives distributing it would give, and how many literals they would have together."""
    literals: int


@attrs.frozen(eq=False)
class _AnyOf:
    parts: tuple[_Form, ...]
    terms: int
    literals: int


_Form: TypeAlias = _Literal | _AllOf | _AnyOf


def _form(node: Node, negated: bool) -> _Form:
    match node:
        case And(children):
            parts = [_form(child, negated) for child in children]
            return _any_of(parts) if negated else _all_of(parts)
        case Or(children):
            parts = [_form(child, negated) for child in children]
            return _all_of(parts) if negated else _any_of(parts)
        case Not(child):
            return _form(child, not negated)
        case In(field, values):
            equals = [_literal(Equals(field, value), negated) for value in values]
            # One value is a choice still, and takes its place among the choices.
            return _all_of(equals) if negated else _AnyOf(tuple(equals), len(equals), len(equals))
        case _:
            return _literal(node, negated)


def _literal(node: Condition, negated: bool) -> _Literal:
    condition = _condition(node)
    return _Literal(condition, _json_text(condition), negated)


def _all_of(parts: Sequence[_Form]) -> _Form:
    """Return the conjunction: conditions first, by keyword, then the choices, those with fewer alternatives first."""
    if len(parts) == 1:
        return parts[0]
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, _AllOf) else (part,))]
    conditions = [part for part in flat if isinstance(part, _Literal)]
    choices = [part for part in flat if not isinstance(part, _Literal)]
    conditions.sort(key=lambda part: part.keyword)
    choices.sort(key=lambda part: part.terms)
    terms, literals = 1, len(conditions)
    for choice in choices:
        terms, literals = terms * choice.terms, literals * choice.terms + choice.literals * terms
    return _AllOf((*conditions, *choices), terms, literals)


def _any_of(parts: Sequence[_Form]) -> _Form:
    if len(parts) == 1:
        return parts[0]
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, _AnyOf) else (part,))]
    return _AnyOf(tuple(flat), sum(part.terms for part in flat), sum(part.literals for part in flat))


def _distributed(form: _Form) -> list[list[_Literal]]:
    """Return the alternatives, each a list of literals."""
    match form:
        case _Literal():
            return [[form]]
        case _AnyOf(parts):
            return [term for part in parts for term in _distributed(part)]
        case _AllOf(parts):  # pragma: no branch  # the union is closed
            combinations = itertools.product(*(_distributed(part) for part in parts))
            return [list(itertools.chain.from_iterable(combination)) for combination in combinations]


def _numbered(form: _Form, conditions: dict[str, tuple[int, list[Any]]]) -> Any:
    """Return the form as JSON, its conditions replaced by their numbers in the table, which grows as needed."""
    match form:
        case _Literal(condition, text, is_negated):
            number, _ = conditions.setdefault(text, (len(conditions), condition))
            return ["not", number] if is_negated else number
        case _AllOf(parts):
            return ["and", *(_numbered(part, conditions) for part in parts)]
        case _AnyOf(parts):  # pragma: no branch  # the union is closed
            return ["or", *(_numbered(part, conditions) for part in parts)]


# -- conditions: keyword first, then the field where there is one --


def _condition(node: Condition) -> list[Any]:  # noqa: PLR0911, PLR0912  # one case for each type
    match node:
        case Everything():
            return ["everything"]
        case Nothing():
            return ["nothing"]
        case Equals(field, value):
            return ["equals", field, _json(value)]
        case Exists(field):
            return ["exists", field]
        case Contains(field, value):
            return ["exists", field, _json(value)]
        case Range(field, gt, gte, lt, lte):
            bounds = {"gt": gt, "gte": gte, "lt": lt, "lte": lte}
            return [
                "range",
                field,
                {name: _number(bound) for name, bound in bounds.items() if bound is not None},
            ]
        case Regexp(field, pattern, flags):
            return ["regexp", field, pattern, flags]
        case Match(fields):
            return ["match", {field: _json(pattern) for field, pattern in fields}]
        case Select(field, index, query):
            return ["select", field, index, _described(query)]
        case BoundingBox(field, top, left, bottom, right):
            return ["geoBoundingBox", field, *map(_number, (top, left, bottom, right))]
        case Distance(field, center, metres):
            return ["geoDistance", field, *map(_number, (*center, metres))]
        case DistanceRange(field, center, nearest, farthest):
            return ["geoDistanceRange", field, *map(_number, (*center, nearest, farthest))]
        case Polygon(field, corners):  # pragma: no branch  # the union is closed
            return ["geoPolygon", field, [_number(degrees) for corner in corners for degrees in corner]]


def _json_text(value: list[Any]) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)


def _json(pattern: Pattern) -> Any:
    match pattern:
        case ObjectPattern(members):
            return {name: _json(member) for name, member in members}
        case ArrayPattern(elements):
            return [_json(element) for element in elements]
        case bool() | str() | None:
            return pattern
        case _:
            return _number(pattern)


def _number(value: Number) -> Number:
    """Return one notation for one number: 1.0 is 1, and -0.0 is 0."""
    return int(value) if value == int(value) else value
