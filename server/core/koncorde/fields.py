"""What the members of a clause have in common: the objects they must be, the fields they name, the numbers they hold.

Every function takes the path to what it looks at and raises FilterError there. No clause is known here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from itertools import islice

import msgspec

from server.core.koncorde.errors import FilterError, kind, shown
from server.core.koncorde.limits import MAX_FIELD_CHARACTERS, MAX_FIELD_PARTS
from server.core.koncorde.nodes import Contains, Exists, Nothing, Number

_LISTED = 8
"""How many names a message lists before it stops."""


def as_object(value: object, path: str, expected: str) -> dict[str, object]:
    """Return the non-empty object that the value must be; `expected` describes it in the message."""
    if not isinstance(value, dict) or not value:
        raise FilterError(path, f"must be {expected}, got {kind(value)}")
    for key in value:
        if not isinstance(key, str):
            raise FilterError(path, f"the names of members must be strings, got {kind(key)}")
    return value


def one_member(value: object, path: str, example: str) -> tuple[str, object]:
    """Return name and value of the only member of an object, which is a field's path and what is asked of it."""
    members = as_object(value, path, f"an object with one field, such as {example}")
    if len(members) > 1:
        raise FilterError(
            path, f'must have one field only, got {_listed(members)}; combine clauses with "and"'
        )
    [(field, asked)] = members.items()
    return as_field(field, path), asked


def only_members(members: Iterable[str], allowed: Iterable[str], path: str) -> None:
    """Refuse any member that is not allowed."""
    allowed = list(allowed)
    for name in members:
        if name not in allowed:
            raise FilterError(path, f'has no member "{shown(name)}"; allowed: {_listed(allowed)}')


def as_field(field: str, path: str) -> str:
    """Return the path of a field when it is within the limits."""
    if len(field) > MAX_FIELD_CHARACTERS:
        raise FilterError(
            path, f"the path of a field has {MAX_FIELD_CHARACTERS} characters at most, got {len(field)}"
        )
    if field.count(".") >= MAX_FIELD_PARTS:
        raise FilterError(
            path, f"the path of a field has {MAX_FIELD_PARTS} parts at most, got {field.count('.') + 1}"
        )
    return field


def as_number(value: object, path: str) -> Number:
    """Return the number that the value must be, within what JSON's readers agree on (a double's range)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FilterError(path, f"must be a number, got {kind(value)}")
    if not -sys.float_info.max <= value <= sys.float_info.max:
        raise FilterError(path, "must be a finite number within the range of a double")
    return value


def as_strings(value: object, path: str) -> tuple[str, ...]:
    """Return the strings of a non-empty array of strings only."""
    if not isinstance(value, list) or not value:
        raise FilterError(path, f"must be a non-empty array of strings, got {kind(value)}")
    for element in value:
        if not isinstance(element, str):
            raise FilterError(path, f"must contain strings only, got {kind(element)} in it")
    return tuple(value)


# -- what `exists` and `missing` name --

_WITH_ELEMENT = re.compile(r"(.*?[^\\])\[(.*)\]", re.DOTALL)
_ESCAPED_BRACKET = re.compile(r"\\([\[\]])")


def as_existing(text: str, path: str) -> Exists | Contains | Nothing:
    """Return what `"path"` or `"path[<JSON scalar>]"` asks for; brackets of the field's own name are escaped."""
    if not text:
        raise FilterError(path, 'must name a field, such as "address.city", got an empty string')
    with_element = _WITH_ELEMENT.fullmatch(text)
    if with_element is None:
        return Exists(_unescaped(text, path))
    field, element = _unescaped(with_element[1], path), with_element[2]
    try:
        value = msgspec.json.decode(element.encode())
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise FilterError(
            path,
            f'needs a JSON value within its brackets, such as tags["new"] or tags[1], got [{shown(element)}]',
        ) from error
    if isinstance(value, (list, dict)):
        return Nothing()  # elements are compared as scalars: no array contains an array or an object
    return Contains(field, value if isinstance(value, str | bool | None) else as_number(value, path))


def _unescaped(text: str, path: str) -> str:
    return as_field(_ESCAPED_BRACKET.sub(r"\1", text), path)


def _listed(names: Iterable[str]) -> str:
    few = [f'"{shown(name)}"' for name in islice(names, _LISTED + 1)]
    return ", ".join(few[:_LISTED]) + (", …" if len(few) > _LISTED else "")
