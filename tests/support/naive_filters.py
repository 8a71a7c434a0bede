"""Filters as docs/reference/filters.md describes them, evaluated in the most obvious way: for comparison.

Nothing is prepared, shared or looked up; a filter is read anew for each document. It refuses to judge what is no
filter: give it only what the server took for one. How a point, a distance and a polygon are read is the server's; that
a point is in a circle is worked out exactly each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import re2  # type: ignore[import-untyped]  # the library ships no types

from server.core.koncorde.distance import to_metres
from server.core.koncorde.geo import geodesic, is_inside, to_degrees, to_point
from server.core.koncorde.nodes import Point

NOWHERE = object()
"""The value of a field that is not there."""

Fields = dict[str, Any]


def holds(query: Any, document: dict[str, Any]) -> bool:
    """Tell whether a document satisfies a filter."""
    return query == {} or _holds(query, fields_of(document))


def fields_of(document: dict[str, Any], prefix: str = "") -> Fields:
    """Return all fields by path; of two with one path, the later one counts."""
    fields: Fields = {}
    for key, value in document.items():
        fields[prefix + key] = value
        if isinstance(value, dict):
            fields |= fields_of(value, f"{prefix}{key}.")
    return fields


def _holds(query: Any, fields: Fields) -> bool:
    [(keyword, asked)] = query.items()
    return _KEYWORDS[keyword](asked, fields)


# -- operators --


def _and(asked: Any, fields: Fields) -> bool:
    return all(_holds(each, fields) for each in asked)


def _or(asked: Any, fields: Fields) -> bool:
    return any(_holds(each, fields) for each in asked)


def _bool(asked: Any, fields: Fields) -> bool:
    must = asked.get("must", [])
    return (
        _and([must] if isinstance(must, dict) else must, fields)
        and not _or(asked.get("must_not", []), fields)
        and ("should" not in asked or _or(asked["should"], fields))
        and ("should_not" not in asked or not _and(asked["should_not"], fields))
    )


def _select(asked: Any, fields: Fields) -> bool:
    values, index = fields.get(asked["field"]), int(asked["index"])
    if not isinstance(values, list) or not (0 <= index < len(values) or 0 < -index <= len(values)):
        return False
    return _holds(asked["query"], fields_of({"value": values[index]}))


# -- terms --


def _same(one: Any, other: Any) -> bool:
    """JSON's equality of scalars: a number is never a boolean."""
    return isinstance(one, bool) is isinstance(other, bool) and one == other


def _equals(asked: Any, fields: Fields) -> bool:
    [(field, value)] = asked.items()
    return _same(fields.get(field, NOWHERE), value)


def _in(asked: Any, fields: Fields) -> bool:
    [(field, values)] = asked.items()
    return any(_same(fields.get(field, NOWHERE), value) for value in values)


def _ids(asked: Any, fields: Fields) -> bool:
    return _in({"_id": asked["values"]}, fields)


def _exists(asked: Any, fields: Fields) -> bool:
    text = asked if isinstance(asked, str) else asked["field"]
    for at in range(1, len(text)):
        if text[at] == "[" and text[at - 1] != "\\" and text.endswith("]"):
            values, element = fields.get(_unescaped(text[:at])), json.loads(text[at + 1 : -1])
            is_scalar = not isinstance(element, (list, dict))
            return is_scalar and isinstance(values, list) and any(_same(element, value) for value in values)
    return _unescaped(text) in fields


def _unescaped(text: str) -> str:
    return text.replace("\\[", "[").replace("\\]", "]")


def _range(asked: Any, fields: Fields) -> bool:
    [(field, bounds)] = asked.items()
    value = fields.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (
        ("gt" not in bounds or value > bounds["gt"])
        and ("gte" not in bounds or value >= bounds["gte"])
        and ("lt" not in bounds or value < bounds["lt"])
        and ("lte" not in bounds or value <= bounds["lte"])
    )


def _regexp(asked: Any, fields: Fields) -> bool:
    [(field, wanted)] = asked.items()
    value = fields.get(field)
    pattern, flags = (wanted, "") if isinstance(wanted, str) else (wanted["value"], wanted.get("flags") or "")
    flags = "".join(sorted(set(flags) & set("ims")))
    if not isinstance(value, str):
        return False
    return re2.search(f"(?{flags})(?:{pattern})" if flags else pattern, value) is not None


def _match(asked: Any, fields: Fields) -> bool:
    return all(_fits(pattern, fields.get(field, NOWHERE)) for field, pattern in asked.items())


def _fits(pattern: Any, value: Any) -> bool:
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            _fits(inner, value.get(name, NOWHERE)) for name, inner in pattern.items()
        )
    if isinstance(pattern, list):
        return isinstance(value, list) and _all_paired(pattern, list(value))
    return not isinstance(value, dict | list) and _same(value, pattern)


def _all_paired(patterns: list[Any], values: list[Any]) -> bool:
    for pattern in patterns:
        fitting = [at for at, value in enumerate(values) if _fits(pattern, value)]
        if not fitting:
            return False
        del values[fitting[0]]
    return True


# -- places --


def _box(asked: Any, fields: Fields) -> bool:
    [(field, box)] = asked.items()
    point = to_point(fields.get(field))
    edges = [to_degrees(box.get(name)) for name in ("top", "left", "bottom", "right")]
    if None in edges:
        north_west = to_point(box.get("topLeft", box.get("top_left")))
        south_east = to_point(box.get("bottomRight", box.get("bottom_right")))
        assert north_west is not None
        assert south_east is not None
        edges = [*north_west, *south_east]
    if point is None:
        return False
    top, left, bottom, right = edges
    return bool(bottom <= point.lat <= top and left <= point.lon <= right)  # type: ignore[operator]


def _distance(asked: Any, fields: Fields) -> bool:
    return _within(asked, fields, ("distance",), lambda metres, radii: metres <= radii[0])


def _distance_range(asked: Any, fields: Fields) -> bool:
    return _within(asked, fields, ("from", "to"), lambda metres, radii: radii[0] <= metres <= radii[1])


def _within(
    asked: Any, fields: Fields, names: tuple[str, ...], fits: Callable[[float, list[float]], bool]
) -> bool:
    [field] = asked.keys() - set(names)
    center, point = to_point(asked[field]), to_point(fields.get(field))
    assert center is not None
    radii = [to_metres(asked[name]) for name in names]
    if point is None or not -90 <= point.lat <= 90:
        return False
    return fits(geodesic(center, point), [radius for radius in radii if radius is not None])


def _polygon(asked: Any, fields: Fields) -> bool:
    [(field, shape)] = asked.items()
    point = to_point(fields.get(field))
    corners: list[Point] = [corner for each in shape["points"] if (corner := to_point(each)) is not None]
    return point is not None and is_inside(corners, point)


_KEYWORDS: dict[str, Callable[[Any, Fields], bool]] = {
    "and": _and,
    "or": _or,
    "not": lambda asked, fields: not _holds(asked, fields),
    "bool": _bool,
    "select": _select,
    "equals": _equals,
    "in": _in,
    "ids": _ids,
    "exists": _exists,
    "missing": lambda asked, fields: not _exists(asked, fields),
    "nothing": lambda _asked, _fields: False,
    "range": _range,
    "regexp": _regexp,
    "match": _match,
    "geoBoundingBox": _box,
    "geoDistance": _distance,
    "geoDistanceRange": _distance_range,
    "geoPolygon": _polygon,
}
