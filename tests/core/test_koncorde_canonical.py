"""The canonical form: the same for one room in every process, different for different meanings, never large."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from server.core.koncorde import parse
from server.core.koncorde.limits import MAX_DISTRIBUTED_LITERALS


def canonical(filter_: object) -> bytes:
    return parse(filter_).canonical


def equals(value: object) -> dict[str, Any]:
    return {"equals": {"a": value}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (equals(1), equals(1.0)),
        (equals(0), equals(-0.0)),
        (equals(10**22), equals(1e22)),
        ({"range": {"a": {"gt": 1}}}, {"range": {"a": {"gt": 1.0}}}),
        ({"exists": "a[1]"}, {"exists": {"field": "a[1.0]"}}),
        ({"missing": "a[[1]]"}, {"not": {"nothing": 1}}),
        ({"match": {"a": {"x": 1, "y": [2.0, None]}}}, {"match": {"a": {"y": [2, None], "x": 1}}}),
        (
            {"regexp": {"a": {"value": "x", "flags": "mi"}}},
            {"regexp": {"a": {"value": "x", "flags": "gimu"}}},
        ),
        (
            {"geoDistance": {"p": "43.6,3.88", "distance": "2.3km"}},
            {"geoDistance": {"p": {"lat": "43.6", "lon": "3.88"}, "distance": "2 300 m"}},
        ),
        (
            {"geoDistanceRange": {"p": [0, 0], "from": "1m", "to": "1km"}},
            {"geoDistanceRange": {"p": [0.0, 0], "to": "100000 cm", "from": "100cm"}},
        ),
        (
            {"geoPolygon": {"p": {"points": [[0, 0], [0, 1], [1, 0]]}}},
            {"geoPolygon": {"p": {"points": ["0,0", {"lat": 0, "lon": 1}, [1, "0"]]}}},
        ),
        (
            {"select": {"field": "a", "index": 1, "query": {"missing": "value"}}},
            {"select": {"query": {"not": {"exists": "value"}}, "index": 1.0, "field": "a"}},
        ),
        ({"bool": {"must": equals(1)}}, {"bool": {"must": [equals(1)]}}),
        ({"not": {"ids": {"values": ["x"]}}}, {"not": {"equals": {"_id": "x"}}}),
    ],
)
def test_notations_of_one_meaning_are_one_room(one: object, other: object) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (equals(1), equals(True)),
        (equals(0), equals(False)),
        (equals(None), {"exists": "a[null]"}),
        (equals("1"), equals(1)),
        (equals(2**53), equals(2**53 + 1)),
        ({"exists": "a"}, {"exists": "a[null]"}),
        ({"match": {"a": []}}, {"match": {"a": {}}}),
        ({"match": {"a.b": 1}}, {"match": {"a": {"b": 1}}}),
        ({"regexp": {"a": "(?i)x"}}, {"regexp": {"a": "x"}}),
        (
            {"geoDistance": {"p": [0, 0], "distance": "1m"}},
            {"geoDistanceRange": {"p": [0, 0], "from": "0m", "to": "1m"}},
        ),
        (
            {"select": {"field": "a", "index": 0, "query": equals(1)}},
            {"select": {"field": "a", "index": -1, "query": equals(1)}},
        ),
        (
            {"and": [equals(1), {"or": [equals(2), equals(3)]}]},
            {"or": [{"and": [equals(1), equals(2)]}, equals(3)]},
        ),
    ],
)
def test_different_meanings_are_different_rooms(one: object, other: object) -> None:
    assert canonical(one) != canonical(other)


def test_it_reads_as_alternatives_of_numbered_conditions() -> None:
    form, conditions = json.loads(canonical({"and": [{"missing": "b"}, {"in": {"a": ["x", "y"]}}]}))
    assert form == ["or", ["and", 0, ["not", 1]], ["and", 2, ["not", 1]]]
    assert conditions == [["equals", "a", "x"], ["exists", "b"], ["equals", "a", "y"]]


def choices(count: int, of: int) -> dict[str, Any]:
    """An `and` of so many choices: distributed, `of ** count` alternatives."""
    return {"and": [{"in": {f"field-{n}": [str(v) for v in range(of)]}} for n in range(count)]}


def test_what_would_grow_exponentially_keeps_its_nesting() -> None:
    form, conditions = json.loads(canonical(choices(50, of=2)))
    assert form[0] == "and"
    assert len(conditions) == 100
    assert len(canonical(choices(50, of=2))) < 5_000
    nested: dict[str, Any] = {"equals": {"a": "0"}}
    for number in range(24):
        nested = {"not": {"and": [nested, {"or": [equals(number), equals(-number)]}]}}
    assert len(canonical(nested)) < 5_000


def test_beyond_the_bound_a_room_is_still_found_by_the_other_rules() -> None:
    bounded = choices(50, of=2)
    unfolded = {
        "and": [
            {"or": [{"equals": {f: v}} for v in values]}
            for part in bounded["and"]
            for f, values in part["in"].items()
        ]
    }
    assert canonical(bounded) == canonical({"not": {"not": {"bool": {"must": [unfolded]}}}})
    reordered = {"and": [{"exists": "z"}, *bounded["and"][:49]]}
    assert canonical(reordered) == canonical({"and": [*bounded["and"][:49], {"exists": "z"}]})


def test_the_bound_itself_is_still_distributed() -> None:
    # 10 * 10 alternatives of 2 literals each, times 5: 500 alternatives of 3 would be 1,500.
    assert MAX_DISTRIBUTED_LITERALS == 1_000
    within = {"and": [*choices(2, of=10)["and"]]}
    beyond = {"and": [*within["and"], {"or": [equals(number) for number in range(5)]}]}
    assert json.loads(canonical(within))[0][0] == "or"
    assert json.loads(canonical(beyond))[0][0] == "and"


def test_a_long_value_is_written_once() -> None:
    long = "x" * 40_000
    filter_ = {"and": [equals(long), {"exists": "b"}, *choices(2, of=15)["and"]]}
    assert len(canonical(filter_)) < len(long) + 20_000


def test_it_is_the_same_in_every_process() -> None:
    filter_ = {"or": [equals("é"), {"match": {"b": {"y": 1, "x": [True]}}}, {"in": {"c": ["q", "p"]}}]}
    program = f"from server.core.koncorde import parse; print(parse({filter_!r}).canonical.decode())"
    for seed in ("1", "2"):
        output = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert output.strip().encode() == canonical(filter_)
