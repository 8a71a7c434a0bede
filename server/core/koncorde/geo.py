"""Points on Earth: their many notations, and how they lie to each other.

Distances are geodesics on the WGS84 ellipsoid (Karney 2013, by geographiclib); polygons and boxes are plane, in
degrees, and do not cross the antimeridian. Total functions: what is no point is None, and no input raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from geographiclib.geodesic import Geodesic  # type: ignore[import-untyped]  # the library ships no types

from server.core.koncorde.limits import MAX_POINT_CHARACTERS
from server.core.koncorde.nodes import Point

# -- notations --

_PLAIN_NUMBER = r"([-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+))"
_TWO_NUMBERS = re.compile(rf"\s*{_PLAIN_NUMBER}\s*,\s*{_PLAIN_NUMBER}\s*")
_LEADING_NUMBER = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)")

_WHOLE_TURN = (
    360  # degrees; longitudes beyond 180 are accepted as upstream does, beyond a turn they are no place
)

_GEOHASH_DIGITS = {digit: value for value, digit in enumerate("0123456789bcdefghjkmnpqrstuvwxyz")}
_GEOHASH_SHORTEST = 4  # shorter ones are cells of more than 100 km: more likely a word than a place
_GEOHASH_COUNTED = 24  # 120 bits: more than the two doubles can hold


def to_point(value: object) -> Point | None:
    """Return the point that a value of a filter or a document stands for, or None.

    `[lat, lon]`, `"lat, lon"`, a geohash, `{"lat": …, "lon": …}`, or one of these as `latLon` or `lat_lon`.
    """
    if not isinstance(value, dict):
        return _bare_point(value)
    if "lat" in value and "lon" in value:
        return _point(value["lat"], value["lon"])
    inner = value.get("latLon", value.get("lat_lon"))
    if not isinstance(inner, dict):
        return _bare_point(inner)
    return _point(inner.get("lat"), inner.get("lon"))


def to_degrees(value: object) -> float | None:
    """Return a coordinate given as a number, or as text that starts with one, or None."""
    degrees: float
    if isinstance(value, str) and len(value) <= MAX_POINT_CHARACTERS:
        number = _LEADING_NUMBER.match(value)
        if number is None:
            return None
        degrees = float(number[1])
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        degrees = value
    else:
        return None
    return float(degrees) if -_WHOLE_TURN <= degrees <= _WHOLE_TURN else None


def _bare_point(value: object) -> Point | None:
    if isinstance(value, list):
        return _point(*value) if len(value) == 2 else None
    if not isinstance(value, str) or len(value) > MAX_POINT_CHARACTERS:
        return None
    numbers = _TWO_NUMBERS.fullmatch(value)
    if numbers is not None:
        return _point(numbers[1], numbers[2])
    return _decode_geohash(value)


def _point(lat: object, lon: object) -> Point | None:
    lat_degrees, lon_degrees = to_degrees(lat), to_degrees(lon)
    return None if lat_degrees is None or lon_degrees is None else Point(lat_degrees, lon_degrees)


def _decode_geohash(text: str) -> Point | None:
    """Return the middle of the geohash's cell (Niemeyer 2008): bits halve longitude and latitude in turn."""
    if len(text) < _GEOHASH_SHORTEST or not all(digit in _GEOHASH_DIGITS for digit in text):
        return None
    bounds = [[-180.0, 180.0], [-90.0, 90.0]]
    axis = 0
    for digit in text[:_GEOHASH_COUNTED]:
        for bit in (16, 8, 4, 2, 1):
            low, high = bounds[axis]
            bounds[axis][0 if _GEOHASH_DIGITS[digit] & bit else 1] = (low + high) / 2
            axis = 1 - axis
    (west, east), (south, north) = bounds
    return Point((south + north) / 2, (west + east) / 2)


# -- distances --

_MEAN_RADIUS_M = 6_371_008.8  # IUGG R1
_SPHERE_SHORTEST, _SPHERE_LONGEST = 0.9944, 1.0045
"""Bounds of a geodesic's length, divided by that of the great circle through the same coordinates.

The ellipsoid's radii of curvature lie between 6,335.4 km (along the meridian, at the equator) and 6,399.6 km (at the
poles), so the length of any path differs from that on the mean sphere by a factor between these two.
"""
_ROUNDING_M = 1e-6
"""More than either distance is rounded by: 15 nm for the geodesic, less for the great circle of near points."""


def is_at_distance(center: Point, nearest_m: float, farthest_m: float, point: Point) -> bool:
    """Tell whether the point is that far from the centre, bounds included; a latitude beyond a pole is nowhere.

    The exact distance takes 30 µs; the sphere's decides in 1 µs unless the point is within 0.6 % of a bound.
    """
    if not -90 <= point.lat <= 90:
        return False
    sphere = _great_circle(center, point)
    shortest, longest = sphere * _SPHERE_SHORTEST - _ROUNDING_M, sphere * _SPHERE_LONGEST + _ROUNDING_M
    if shortest > farthest_m or longest < nearest_m:
        return False
    if shortest >= nearest_m and longest <= farthest_m:
        return True
    return nearest_m <= geodesic(center, point) <= farthest_m


def geodesic(start: Point, end: Point) -> float:
    """Return the shortest distance on the WGS84 ellipsoid, in metres; latitudes must be within ±90."""
    line = Geodesic.WGS84.Inverse(start.lat, start.lon, end.lat, end.lon, Geodesic.DISTANCE)
    distance: float = line["s12"]
    return distance


def _great_circle(start: Point, end: Point) -> float:
    lat1, lat2 = math.radians(start.lat), math.radians(end.lat)
    half_lat, half_lon = (lat2 - lat1) / 2, math.radians(end.lon - start.lon) / 2
    haversine = math.sin(half_lat) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(half_lon) ** 2
    return 2 * _MEAN_RADIUS_M * math.asin(min(1.0, math.sqrt(haversine)))


# -- polygons --


def is_inside(corners: Sequence[Point], point: Point) -> bool:
    """Tell whether the point is in the polygon or on its border, by the even-odd rule; winding does not count."""
    inside = False
    previous = corners[-1]
    for corner in corners:
        if _is_on_edge(previous, corner, point):
            return True
        if (corner.lat > point.lat) != (previous.lat > point.lat):
            share = (point.lat - corner.lat) / (previous.lat - corner.lat)
            if point.lon < corner.lon + share * (previous.lon - corner.lon):
                inside = not inside
        previous = corner
    return inside


def _is_on_edge(start: Point, end: Point, point: Point) -> bool:
    if not min(start.lat, end.lat) <= point.lat <= max(start.lat, end.lat):
        return False
    if not min(start.lon, end.lon) <= point.lon <= max(start.lon, end.lon):
        return False
    along, across = (end.lat - start.lat, end.lon - start.lon), (point.lat - start.lat, point.lon - start.lon)
    return along[0] * across[1] == along[1] * across[0]
