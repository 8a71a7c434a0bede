"""Koncorde 4.7.0's own answers: every recorded filter, document and pair of filters.

Cases tagged `quirk` record defects of that engine. They are counted and shown, not held against us.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from server.core.koncorde import FilterError, parse

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "koncorde_vectors.json").read_text(encoding="utf-8")
)
CASES: list[dict[str, Any]] = VECTORS["cases"]
PLAIN = [case for case in CASES if "quirk" not in case["tags"]]
QUIRKS = [case for case in CASES if "quirk" in case["tags"]]


def outcome(case: dict[str, Any]) -> list[bool] | None:
    """What we make of a case: a match or not for each document, or None for a filter that is refused."""
    try:
        parsed = parse(case["filter"])
    except FilterError:
        return None
    return [parsed.matches(document) for document in case.get("documents", [])]


def test_every_filter_matches_the_recorded_documents() -> None:
    valid = [case for case in PLAIN if "expected" in case]
    assert len(valid) == 2_931
    assert [case["id"] for case in valid if outcome(case) != case["expected"]] == []


def test_every_invalid_filter_is_refused() -> None:
    invalid = [case for case in PLAIN if "error" in case]
    assert len(invalid) == 357
    assert [case["id"] for case in invalid if outcome(case) is not None] == []


def test_a_refusal_names_the_recorded_path_and_starts_with_it() -> None:
    wrong = []
    for case in PLAIN:
        if case.get("path") is not None:
            with pytest.raises(FilterError) as refusal:
                parse(case["filter"])
            if refusal.value.path != case["path"] or not str(refusal.value).startswith(f'"{case["path"]}": '):
                wrong.append((case["id"], case["path"], str(refusal.value)))
    assert wrong == []


def test_the_same_filters_are_one_room() -> None:
    pairs = VECTORS["equivalence"]
    assert len(pairs) == 97
    wrong = [pair for pair in pairs if (parse(pair["a"]) == parse(pair["b"])) != pair["same"]]
    assert wrong == []


def test_quirks_are_counted(record_property: Any) -> None:
    agreeing = [case["id"] for case in QUIRKS if outcome(case) == case.get("expected")]
    record_property("koncorde_quirks", len(QUIRKS))
    record_property("koncorde_quirks_that_agree", len(agreeing))
    print(f"of {len(QUIRKS)} recorded defects of upstream we share {len(agreeing)}: {agreeing}")
