"""The clauses that look at one value, or at some: from JSON to nodes.

One function per keyword, each given what stands behind the keyword and the path to it; `TERMS` lists them. Operators
and `select`, which hold filters themselves, are read elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from server.core.koncorde.errors import FilterError, joined, kind, shown
from server.core.koncorde.fields import (
    as_existing,
    as_field,
    as_number,
    as_object,
    as_strings,
    one_member,
    only_members,
)
from server.core.koncorde.limits import MAX_DEPTH, MAX_MATCH_VALUES, MAX_PATTERN_CHARACTERS
from server.core.koncorde.nodes import (
    ArrayPattern,
    Contains,
    Equals,
    Exists,
    In,
    Match,
    Node,
    Not,
    Nothing,
    ObjectPattern,
    Pattern,
    Range,
    Regexp,
    Scalar,
)
from server.core.koncorde.regexp import FLAGS, IDLE_FLAGS, compiled


def _equals(value: object, path: str) -> Node:
    field, expected = one_member(value, path, '{"city": "Paris"}')
    return Equals(field, _scalar(expected, joined(path, field), "to look into objects and arrays use match"))


def _in(value: object, path: str) -> Node:
    field, values = one_member(value, path, '{"city": ["Paris", "Lyon"]}')
    return In(field, as_strings(values, joined(path, field)))


def _ids(value: object, path: str) -> Node:
    members = as_object(value, path, 'an object such as {"values": ["id-1", "id-2"]}')
    only_members(members, ["values"], path)
    return In("_id", as_strings(members["values"], joined(path, "values")))


def _exists(value: object, path: str) -> Exists | Contains | Nothing:
    if isinstance(value, str):
        return as_existing(value, path)
    members = as_object(value, path, 'the path of a field, or {"field": <path>}')
    only_members(members, ["field"], path)
    field, path = members["field"], joined(path, "field")
    if not isinstance(field, str):
        raise FilterError(path, f"must be the path of a field, got {kind(field)}")
    return as_existing(field, path)


def _missing(value: object, path: str) -> Node:
    return Not(_exists(value, path))


def _nothing(_value: object, _path: str) -> Node:
    return Nothing()


def _range(value: object, path: str) -> Node:
    field, asked = one_member(value, path, '{"age": {"gte": 18, "lt": 30}}')
    path = joined(path, field)
    members = as_object(asked, path, 'an object of bounds such as {"gte": 18, "lt": 30}')
    only_members(members, ["gt", "gte", "lt", "lte"], path)
    for including, excluding in (("gte", "gt"), ("lte", "lt")):
        if including in members and excluding in members:
            raise FilterError(path, f'takes either "{including}" or "{excluding}", not both')
    bounds = {name: as_number(bound, joined(path, name)) for name, bound in members.items()}
    lower, upper = bounds.get("gt", bounds.get("gte")), bounds.get("lt", bounds.get("lte"))
    if lower is not None and upper is not None and lower >= upper:
        raise FilterError(path, f"the lower bound must be below the upper one, got {lower} and {upper}")
    return Range(field, **bounds)


def _regexp(value: object, path: str) -> Node:
    field, asked = one_member(value, path, '{"city": "^Par"}')
    path = joined(path, field)
    flags = ""
    if not isinstance(asked, str):
        members = as_object(asked, path, 'a pattern or {"value": <pattern>, "flags": "i"}')
        only_members(members, ["value", "flags"], path)
        flags = _flags(members.get("flags"), joined(path, "flags"))
        asked = members.get("value")
        if not isinstance(asked, str):
            raise FilterError(path, 'needs a pattern as "value", which is a string')
    if len(asked) > MAX_PATTERN_CHARACTERS:
        raise FilterError(
            path, f"a pattern has {MAX_PATTERN_CHARACTERS} characters at most, got {len(asked)}"
        )
    try:
        program = compiled(asked, flags)
    except ValueError as error:
        raise FilterError(
            path, f"is not a pattern that RE2 accepts ({shown(str(error))}): {shown(asked)}"
        ) from error
    return Regexp(field, asked, flags, program.instructions)


def _flags(value: object, path: str) -> str:
    """Return the flags that have an effect, in one order."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FilterError(path, f'must be a string such as "i", got {kind(value)}')
    for flag in value:
        if flag not in FLAGS + IDLE_FLAGS:
            raise FilterError(path, f'has an unknown flag "{flag}"; known are: {", ".join(FLAGS)}')
    return "".join(flag for flag in FLAGS if flag in value)


# -- match --


def _match(value: object, path: str) -> Node:
    members = as_object(value, path, 'an object such as {"user": {"name": "Ada"}}')
    budget = _Budget(path)
    return Match(
        tuple(
            (as_field(field, path), _pattern(asked, joined(path, field), 1, budget))
            for field, asked in members.items()
        )
    )


class _Budget:
    """Counts the values of one `match`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._left = MAX_MATCH_VALUES

    def take(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise FilterError(self._path, f"has more than {MAX_MATCH_VALUES} values, nested ones included")


def _pattern(value: object, path: str, depth: int, budget: _Budget) -> Pattern:
    if depth > MAX_DEPTH:
        raise FilterError(path, f"is nested more than {MAX_DEPTH} levels deep")
    budget.take()
    match value:
        case dict():
            members = as_object(value, path, "an object") if value else {}
            return ObjectPattern(
                tuple(
                    (name, _pattern(asked, joined(path, name), depth + 1, budget))
                    for name, asked in members.items()
                )
            )
        case list():
            return ArrayPattern(tuple(_pattern(element, path, depth + 1, budget) for element in value))
        case _:
            return _scalar(value, path, "a pattern is made of JSON values")


def _scalar(value: object, path: str, otherwise: str) -> Scalar:
    match value:
        case str() | bool() | None:
            return value
        case int() | float():
            return as_number(value, path)
        case _:
            raise FilterError(
                path, f"must be a string, a number, a boolean or null, got {kind(value)}; {otherwise}"
            )


TERMS: dict[str, Callable[[object, str], Node]] = {
    "equals": _equals,
    "in": _in,
    "ids": _ids,
    "exists": _exists,
    "missing": _missing,
    "nothing": _nothing,
    "range": _range,
    "regexp": _regexp,
    "match": _match,
}
