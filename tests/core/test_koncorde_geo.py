"""Places: notations, distances and shapes, beyond what the recorded vectors ask."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.koncorde import parse
from server.core.koncorde.distance import to_metres
from server.core.koncorde.geo import geodesic, is_at_distance, is_inside, to_degrees, to_point
from server.core.koncorde.nodes import Point

LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-180, 180)
POINTS = st.builds(Point, LATITUDES, LONGITUDES)


# -- notations --


@pytest.mark.parametrize(
    "value",
    [
        [48.85, 2.35],
        ["48.85", "2.35"],
        ["48.85 N", " 2.35°"],
        "48.85,2.35",
        " +48.85 , 2.35 ",
        {"lat": 48.85, "lon": 2.35, "alt": 35},
        {"lat": "48.85", "lon": "2.35"},
        {"latLon": [48.85, 2.35]},
        {"lat_lon": "48.85, 2.35"},
        {"latLon": {"lat": 48.85, "lon": 2.35}},
    ],
)
def test_the_notations_of_a_point(value: object) -> None:
    assert to_point(value) == Point(48.85, 2.35)


def test_a_geohash_is_the_middle_of_its_cell() -> None:
    point = to_point("ezs42")  # the example of the geohash article: Léon in Spain
    assert point is not None
    assert point == pytest.approx((42.605, -5.603), abs=0.001)
    precise = to_point("u09tunqu" * 8)
    assert precise is not None
    assert precise == pytest.approx(to_point("u09tunquu09tunquu09tunqu"), abs=0)
    assert to_point({"latLon": "ezs42"}) == point


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        "",
        "ezs",
        "paris",  # a and i are no digits of a geohash
        "EZS42",
        "48.85",
        "48.,2.35",
        "1,2,3",
        "٤٨,٢",
        "1" * 1_000_000,
        [],
        [48.85],
        [48.85, 2.35, 35],
        [True, False],
        [None, 2.35],
        ["north", "2.35"],
        ["1" * 1_000_000, "2"],
        ["1e400", "0"],
        [math.nan, 0],
        [10**400, 0],
        [-361, 0],
        {},
        {"lat": 48.85},
        {"lat": {}, "lon": []},
        {"latLon": None},
        {"latLon": {"lat": 48.85}},
        {"latLon": {"latLon": [48.85, 2.35]}},
    ],
)
def test_anything_else_is_no_point(value: object) -> None:
    assert to_point(value) is None
    assert not parse({"geoDistance": {"a": [0, 0], "distance": "30000km"}}).matches({"a": value})


def test_a_coordinate_may_be_text_that_starts_with_a_number() -> None:
    assert [to_degrees(text) for text in ("48.85", " 1e1x", ".5", "-7.", "x1", "")] == [
        48.85,
        10.0,
        0.5,
        -7.0,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("1km", 1_000),
        ("1 093,6132983377079 yd", 1_000),
        ("-5m", 5),
        (".5 Kilometers", 500),
        ("10 hm", 1_000),
        ("1dam", 10),
        ("3 dm", 0.3),
        ("100 MILLIMETERS", 0.1),
        ("0.001 megameter", 1_000),
        ("1 gm", 1e9),
        ("1 um", 1e-6),
        ("2.3km", 2_300),
        ("1 mile", 1_609.34),
        ("3 feet", 0.9144),
        ("1in", 0.0254),
        ("1 000 km", 1_000_000),
        ("1000", None),
        ("km", None),
        ("", None),
        ("1 foo", None),
        ("1 foot", None),
        ("1e3 m", None),
        ("1.2.3 km", None),
        ("1. km", None),
        ("\N{ARABIC-INDIC DIGIT ONE}km", None),
        ("1" * 1_000_000 + "km", None),
    ],
)
def test_the_notations_of_a_distance(text: str, metres: float | None) -> None:
    assert to_metres(text) == (None if metres is None else pytest.approx(metres, rel=1e-12, abs=0))


# -- distances --


@settings(deadline=None)
@given(POINTS, POINTS, st.floats(0.9, 1.1))
def test_the_shortcut_by_the_sphere_never_changes_an_answer(
    center: Point, point: Point, share: float
) -> None:
    exact = geodesic(center, point)
    bound = exact * share
    assert is_at_distance(center, 0, bound, point) == (exact <= bound)
    assert is_at_distance(center, bound, math.inf, point) == (exact >= bound)


@settings(deadline=None)
@given(POINTS, POINTS)
def test_distances_include_both_bounds(center: Point, point: Point) -> None:
    exact = geodesic(center, point)
    assert is_at_distance(center, exact, exact, point)


def test_distances_wrap_around_the_globe_and_over_the_poles() -> None:
    def near(center: list[float], point: list[float]) -> bool:
        return parse({"geoDistance": {"p": center, "distance": "50km"}}).matches({"p": point})

    assert near([0, 179.9], [0, -179.95])
    assert near([89.9, 0], [89.9, 180])
    assert not near([0, 179.9], [0, 179])
    assert not near([89.9, 0], [91, 0])  # beyond the pole is nowhere


@settings(deadline=None)
@given(st.floats(-360, 360), st.floats(-360, 360), st.floats(-360, 360))
def test_no_place_makes_a_test_raise(lat: float, lon: float, center_lon: float) -> None:
    for filter_ in (
        {"geoDistanceRange": {"p": [0, center_lon], "from": "1m", "to": "5000km"}},
        {"geoPolygon": {"p": {"points": [[0, center_lon], [0, center_lon], [lat, 0]]}}},
    ):
        assert parse(filter_).matches({"p": [lat, lon]}) in (True, False)


# -- shapes --


def test_a_box_includes_its_edges() -> None:
    box = parse({"geoBoundingBox": {"p": {"topLeft": [44.6, 2.88], "bottom_right": "42.6, 4.88"}}})
    assert [box.matches({"p": point}) for point in ([44.6, 2.88], [42.6, 4.88], [43, 3])] == [True] * 3
    assert [box.matches({"p": point}) for point in ([44.7, 3], [42.5, 3], [43, 2.8], [43, 4.9])] == [
        False
    ] * 4


SQUARE = [Point(0, 0), Point(0, 10), Point(10, 10), Point(10, 0)]


@settings(deadline=None)
@given(st.floats(-5, 15), st.floats(-5, 15), st.integers(0, 3), st.booleans())
def test_a_polygon_is_the_same_whatever_its_first_corner_and_winding(
    lat: float, lon: float, by: int, back: bool
) -> None:
    corners = SQUARE[by:] + SQUARE[:by]
    if back:
        corners.reverse()
    assert is_inside(corners, Point(lat, lon)) == (0 <= lat <= 10 and 0 <= lon <= 10)


def test_a_polygon_may_be_concave_and_includes_corners_and_edges() -> None:
    arrow: Any = {"geoPolygon": {"p": {"points": [[0, 0], [10, 5], [0, 10], [3, 5]]}}}
    inside = [[0, 0], [10, 5], [3, 5], [5, 2.5], [5, 7.5], [4, 5], [1.5, 2.5]]
    outside = [[1, 5], [10, 4], [0, 5], [-1, 5], [11, 5]]
    parsed = parse(arrow)
    assert [point for point in inside if not parsed.matches({"p": point})] == []
    assert [point for point in outside if parsed.matches({"p": point})] == []
