"""Which documents satisfy a filter, beyond what the recorded vectors ask: paths, prepared documents, odd values."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.koncorde import Document, parse
from server.core.koncorde.document import MISSING

# -- paths --

KEYS = st.sampled_from(["a", "b", "a.b", "b.a", "a.b.a", "", "."])
NESTED = st.recursive(
    st.integers(0, 9) | st.lists(st.dictionaries(KEYS, st.integers(0, 9), max_size=2), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
SOURCES = st.dictionaries(KEYS, NESTED, max_size=5)


def flattened(source: dict[str, Any], above: str = "") -> dict[str, Any]:
    """The definition: every object's member under its path, later ones in place of earlier ones."""
    fields: dict[str, Any] = {}
    for key, value in source.items():
        fields[above + key] = value
        if isinstance(value, dict):
            fields |= flattened(value, f"{above}{key}.")
    return fields


@settings(deadline=None)
@given(SOURCES)
def test_a_path_leads_where_flattening_the_document_would(source: dict[str, Any]) -> None:
    fields = flattened(source)
    document = Document(source)
    for path in [*fields, "a.a", "b.b.b", "a.b.c", "nowhere"]:
        assert document[path] == fields.get(path, MISSING), path


def test_an_id_is_the_field_in_place_of_the_documents_own() -> None:
    source = {"_id": {"inner": 1}, "a": 1}
    document = Document(source, "id-1")
    assert document["_id"] == "id-1"
    assert document["_id.inner"] is MISSING
    assert source["_id"] == {"inner": 1}
    assert Document({"_id": "own"})["_id"] == "own"


def test_what_is_missing_says_so() -> None:
    assert repr(Document({})["nowhere"]) == "MISSING"


def test_a_hostile_document_is_not_flattened() -> None:
    long_key, members = "x" * 500_000, {str(number): number for number in range(50_000)}
    document = Document({long_key: {long_key: members}, "a": {"b": 1}})
    assert document["a.b"] == 1  # flattened, the paths alone would take 50 GB


def test_a_document_is_prepared_once_for_many_filters() -> None:
    asked: list[str] = []

    class Source(dict[str, Any]):
        def get(self, key: str, default: object = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    document = Document(Source({"a": {"b": [1, "x"], "p": [0, 0]}, "n": 1}))
    filters = [
        {"exists": 'a.b["x"]'},
        {"exists": "a.b[1]"},
        {"equals": {"a.b": 1}},
        {"geoDistance": {"a.p": [0, 0], "distance": "1km"}},
        {"geoDistance": {"a.p": [0, 1], "distance": "1km"}},
    ]
    answers = [parse(filter_).accepts(document) for filter_ in filters]
    assert answers == [True, True, False, True, False]
    assert asked == ["a", "a"]


# -- values --


@pytest.mark.parametrize(
    ("filter_", "matching", "other"),
    [
        ({"equals": {"a": 1}}, [1, 1.0], [True, "1", [1], {"1": 1}, None]),
        ({"equals": {"a": 0.0}}, [0, -0.0], [False, "", []]),
        ({"equals": {"a": None}}, [None], [0, False, "null"]),
        ({"equals": {"a": True}}, [True], [1, 1.0, "true"]),
        ({"in": {"a": ["x", "y"]}}, ["x", "y"], ["z", ["x"], {"x": 1}, None, 1]),
        ({"exists": "a[1]"}, [[1], [2, 1.0]], [[True], ["1"], [[1]], 1, "1", {"1": 1}]),
        ({"exists": "a[true]"}, [[True]], [[1], [False]]),
        ({"exists": "a[null]"}, [[None]], [[], [0], None]),
        ({"missing": "a[[1]]"}, [[[1]], [1], None], []),
        ({"range": {"a": {"gte": 1, "lt": 2}}}, [1, 1.5, 1.0], [2, 0.99, True, "1", [1], None]),
        ({"range": {"a": {"gt": 1, "lte": 2}}}, [2, 1.5], [1, 2.1]),
        ({"range": {"a": {"gt": 1700000000000}}}, [1700000000001], [1700000000000]),
        ({"regexp": {"a": {"value": "É.", "flags": "gius"}}}, ["é\n"], ["e\n", 1]),
        ({"regexp": {"a": {"value": "x", "flags": None}}}, ["x"], ["X"]),
        ({"regexp": {"a": "^.$"}}, ["😀", "\ud800"], ["ab", ""]),
        (
            {"match": {"a": [1, [], {"b": None}]}},
            [[{"b": None}, [2], 1.0]],
            [[True, [], {}], [1, []], {"0": 1}, None],
        ),
        ({"match": {"a": {}}}, [{}, {"b": 1}], [[], None]),
        (
            {"select": {"field": "a", "index": -1.0, "query": {"exists": "value.b"}}},
            [[1, {"b": 2}]],
            [[{"b": 2}, 1], [], "b"],
        ),
    ],
)
def test_values_are_compared_with_their_types(filter_: Any, matching: list[Any], other: list[Any]) -> None:
    parsed = parse(filter_)
    assert [value for value in matching if not parsed.matches({"a": value})] == []
    assert [value for value in other if parsed.matches({"a": value})] == []


def test_a_hostile_pattern_takes_linear_time() -> None:
    text = "a" * 100_000
    assert not parse({"regexp": {"a": "(a+)+$|(a|aa)+b"}}).matches({"a": text + "!"})
    assert parse({"regexp": {"a": "(x+x+)+y|(a|aa)+$"}}).matches({"a": text})


def test_everything_and_nothing() -> None:
    assert parse({}).matches({})
    assert not parse({"nothing": {}}).matches({})
    assert parse({"not": {"nothing": True}}).matches({"a": 1}, "id-1")


def test_filters_of_one_room_are_equal_and_others_are_not() -> None:
    first, same, other = (
        parse(filter_) for filter_ in ({"ids": {"values": ["a"]}}, {"equals": {"_id": "a"}}, {})
    )
    assert {first, same, other} == {same, other}
    assert first.matches({}, "a")
