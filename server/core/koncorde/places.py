"""The clauses about places: from JSON to nodes.

One function per keyword; `PLACES` lists them. What a point or a distance looks like is known elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from server.core.koncorde.distance import to_metres
from server.core.koncorde.errors import FilterError, joined, kind, shown
from server.core.koncorde.fields import as_field, as_object, one_member, only_members
from server.core.koncorde.geo import to_degrees, to_point
from server.core.koncorde.limits import MAX_POLYGON_POINTS
from server.core.koncorde.nodes import BoundingBox, Distance, DistanceRange, Node, Point, Polygon

_A_POINT = 'a point such as {"lat": 48.85, "lon": 2.35}, [48.85, 2.35], "48.85, 2.35" or a geohash'


def _geo_bounding_box(value: object, path: str) -> Node:
    field, asked = one_member(value, path, '{"position": {"top": 49, "left": 2, "bottom": 48, "right": 3}}')
    path = joined(path, field)
    box = as_object(
        asked, path, "an object with top, left, bottom and right, or with topLeft and bottomRight"
    )
    top, left, bottom, right = _edges(box, path)
    if bottom >= top or left >= right:
        raise FilterError(
            path,
            "bottom must be below top and left must be less than right; "
            'a box across the antimeridian is two boxes combined with "or"',
        )
    return BoundingBox(field, top, left, bottom, right)


def _edges(box: dict[str, object], path: str) -> tuple[float, float, float, float]:
    top, left, bottom, right = (to_degrees(box.get(edge)) for edge in ("top", "left", "bottom", "right"))
    if top is not None and left is not None and bottom is not None and right is not None:
        return top, left, bottom, right
    top_left = to_point(box.get("topLeft", box.get("top_left")))
    bottom_right = to_point(box.get("bottomRight", box.get("bottom_right")))
    if top_left is None or bottom_right is None:
        raise FilterError(
            path, f"needs top, left, bottom and right in degrees, or topLeft and bottomRight, each {_A_POINT}"
        )
    return top_left.lat, top_left.lon, bottom_right.lat, bottom_right.lon


def _geo_distance(value: object, path: str) -> Node:
    members, field = _around(value, path, ["distance"], '{"position": [48.85, 2.35], "distance": "10km"}')
    metres = _metres(members["distance"], joined(path, "distance"))
    return Distance(field, _center(members[field], joined(path, field)), metres)


def _geo_distance_range(value: object, path: str) -> Node:
    example = '{"position": [48.85, 2.35], "from": "1km", "to": "10km"}'
    members, field = _around(value, path, ["from", "to"], example)
    nearest, farthest = (
        _metres(members["from"], joined(path, "from")),
        _metres(members["to"], joined(path, "to")),
    )
    center = _center(members[field], joined(path, field))
    if nearest >= farthest:
        raise FilterError(path, f'"from" must be less than "to", got {nearest:g} m and {farthest:g} m')
    return DistanceRange(field, center, nearest, farthest)


def _around(value: object, path: str, radii: list[str], example: str) -> tuple[dict[str, object], str]:
    members = as_object(value, path, f"an object such as {example}")
    fields = [name for name in members if name not in radii]
    if len(fields) != 1 or len(members) != 1 + len(radii):
        raise FilterError(path, f"needs one field and {_and(radii)}, such as {example}")
    return members, as_field(fields[0], path)


def _metres(value: object, path: str) -> float:
    if not isinstance(value, str):
        raise FilterError(path, f'must be a string with a unit, such as "10km", got {kind(value)}')
    metres = to_metres(value)
    if metres is None:
        raise FilterError(
            path,
            f'must be a number and a unit (m, km, cm, ft, in, yd, miles…), such as "10km", got "{shown(value)}"',
        )
    return metres


def _center(value: object, path: str) -> Point:
    center = to_point(value)
    if center is None:
        raise FilterError(path, f"must be {_A_POINT}")
    if not -90 <= center.lat <= 90:
        raise FilterError(
            path, f"latitudes are between -90 and 90, got {center.lat:g}; a point is latitude first"
        )
    return center


def _geo_polygon(value: object, path: str) -> Node:
    field, asked = one_member(value, path, '{"position": {"points": [[0, 0], [0, 1], [1, 0]]}}')
    path = joined(path, field)
    members = as_object(asked, path, 'an object such as {"points": [[0, 0], [0, 1], [1, 0]]}')
    only_members(members, ["points"], path)
    points, path = members["points"], joined(path, "points")
    if not isinstance(points, list) or len(points) < 3:
        raise FilterError(path, "must be an array of at least 3 points")
    if len(points) > MAX_POLYGON_POINTS:
        raise FilterError(path, f"has {MAX_POLYGON_POINTS} points at most, got {len(points)}")
    return Polygon(field, tuple(_corner(point, at, path) for at, point in enumerate(points)))


def _corner(value: object, at: int, path: str) -> Point:
    corner = to_point(value)
    if corner is None:
        raise FilterError(path, f"number {at} must be {_A_POINT}")
    return corner


def _and(names: Iterable[str]) -> str:
    return " and ".join(f'"{name}"' for name in names)


PLACES: dict[str, Callable[[object, str], Node]] = {
    "geoBoundingBox": _geo_bounding_box,
    "geoDistance": _geo_distance,
    "geoDistanceRange": _geo_distance_range,
    "geoPolygon": _geo_polygon,
}
