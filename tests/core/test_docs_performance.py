"""The page of measurements says what was measured."""

import json

from support.bench_report import IDLE, Measurement, page
from support.documents import ROOT

PAGE = ROOT / "docs" / "reference" / "performance.md"


def measured(contender: str, unit: str, values: list[float], busy: float) -> Measurement:
    return Measurement("W1", "fan-out", contender, unit, values, [busy, busy])


def rendered(measurements: list[Measurement]) -> str:
    found = [{name: getattr(each, name) for name in Measurement.__match_args__} for each in measurements]
    return page(
        {
            "measured": "now",
            "commit": "abc",
            "machine": {},
            "measurements": found,
            "skipped": {"x": "not there"},
        }
    )


def test_the_page_is_made_from_the_data_beside_it() -> None:
    assert PAGE.read_text() == page(json.loads(PAGE.with_suffix(".json").read_text()))


def test_medians_spread_and_ratios_are_shown() -> None:
    text = rendered([measured("Shoal", "x/s", [90, 200, 110], 0), measured("other", "x/s", [11, 22, 33], 0)])
    assert "| Shoal | 110 x/s | 90 … 200 | 1.00 |  |" in text
    assert "| other | 22 x/s | 11 … 33 | 0.20 |  |" in text
    assert "- x: not there" in text


def test_a_busy_machine_is_named() -> None:
    for busy, is_named in ((0.0, False), (IDLE, False), (0.5, True)):
        assert ("**The machine was busy" in rendered([measured("Shoal", "x/s", [1], busy)])) == is_named
