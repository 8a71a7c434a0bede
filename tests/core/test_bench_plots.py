"""Plots show the numbers that they are given, where a reader would look for them."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.bench_plots import Panel, Scale, Series, bars, curves, short

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.03, "0.03"), (7, "7"), (1500, "1.5k"), (2_480_000, "2.48M"), (3e9, "3G")],
)
def test_numbers_at_an_axis_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_scale_is_logarithmic_only_for_numbers_far_apart() -> None:
    near, far = Scale.of([30, 90], 0, 100), Scale.of([2, 900], 0, 90)
    assert (near.is_log, near(0), near(near.high)) == (False, 0, 100)
    assert near.ticks() == [0, 20, 40, 60, 80, 100]
    assert (far.is_log, far(1), far(10), far(1000)) == (True, 0, 30, 90)
    assert far.ticks() == [1, 10, 100, 1000]


@given(st.lists(st.floats(1e-3, 1e9), min_size=1), st.booleans())
def test_a_scale_has_room_for_all_and_keeps_their_order(values: list[float], is_log: bool) -> None:
    scale = Scale.of(values, 0, 1000, is_log=is_log)
    placed = [scale(value) for value in sorted(values)]
    assert placed == sorted(placed)
    assert placed[0] >= 0
    assert placed[-1] <= 1000.1
    assert 2 <= len(scale.ticks()) <= 9


def test_a_curve_goes_through_its_points() -> None:
    series = [Series("a < b", [(1, 10), (10, 20), (100, 5)]), Series("other", [(1, 1)])]
    root = ElementTree.fromstring(curves("x & y", [Panel("rate", "clients", series)]))
    line, _ = [each for each in root.iter(f"{SVG}path") if each.get("class") == "line"]
    points = [tuple(map(float, place.split())) for place in re.split("[ML]", line.get("d", ""))[1:]]
    across, up = zip(*points, strict=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2)
    assert up[1] < up[0] < up[2], "larger is higher up"
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert {"rate", "clients", "a < b", "other"} <= set(texts)


def test_a_line_has_one_colour_in_all_panels() -> None:
    first = Panel("", "", [Series("one", [(1, 1)]), Series("two", [(1, 1)])])
    second = Panel("", "", [Series("two", [(1, 1)])])
    root = ElementTree.fromstring(curves("", [first, second]))
    one, two, again = [each.get("stroke") for each in root.iter(f"{SVG}path") if each.get("class") == "line"]
    assert one != two == again


def test_bars_grow_by_decades() -> None:
    text = bars("", [("W1", [("Shoal", 1000.0), ("other", 10.0), ("least", 1.0)])], "a second")
    root = ElementTree.fromstring(text)
    widths = [float(each.get("width", "")) for each in root.iter(f"{SVG}rect") if each.get("x")]
    assert widths == [480, 160, 0]
