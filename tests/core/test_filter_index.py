"""The index finds what asking every filter would find."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.filter_index import FilterIndex
from server.core.koncorde import Document, key_of, parse
from server.core.koncorde.limits import MAX_ANCHORS
from support.filters import DOCUMENTS, FILTERS


@given(
    filters=st.lists(FILTERS, min_size=1, max_size=8), documents=st.lists(DOCUMENTS, min_size=1, max_size=4)
)
def test_it_finds_what_asking_each_would_find(filters: list[Any], documents: list[dict[str, Any]]) -> None:
    index: FilterIndex[int] = FilterIndex()
    parsed = [parse(each) if each else None for each in filters]
    for number, wanted in enumerate(parsed):
        index.add(str(number), wanted, number)
    for keep in (range(len(parsed)), range(0, len(parsed), 2)):
        for number, wanted in enumerate(parsed):
            if number not in keep and len(index) > len(keep):
                index.remove(str(number), wanted)
        assert len(index) == len(keep)
        for document in documents:
            matching = [number for number in keep if (w := parsed[number]) is None or w.matches(document)]
            assert sorted(index.matching(document, None)) == matching
    for number in keep:
        index.remove(str(number), parsed[number])
    assert not index
    assert index.matching({}, None) == []


@given(filter_=FILTERS, document=DOCUMENTS)
def test_a_filter_holds_for_no_document_without_one_of_its_anchors(
    filter_: Any, document: dict[str, Any]
) -> None:
    wanted = parse(filter_)
    if wanted.anchors is not None and wanted.matches(document):
        prepared = Document(document)
        assert any(key_of(prepared[field]) == key for field, key in wanted.anchors)


ANCHORED = {
    "a field and a value": ({"equals": {"city": "Oslo"}}, {("city", "Oslo")}),
    "a nested field": ({"equals": {"place.city": 1}}, {("place.city", 1)}),
    "one of several": ({"in": {"city": ["Oslo", "Rome"]}}, {("city", "Oslo"), ("city", "Rome")}),
    "the shortest of those that must hold": (
        {"and": [{"in": {"city": ["Oslo", "Rome"]}}, {"exists": "x"}, {"equals": {"up": True}}]},
        {("up", (True,))},
    ),
    "any of those that may": (
        {"or": [{"equals": {"city": None}}, {"match": {"n": 2, "list": [1]}}]},
        {("city", (None,)), ("n", 2)},
    ),
    "one that never holds": ({"nothing": {}}, set()),
    "a place is none": ({"exists": "city"}, None),
    "nor what must not be": ({"not": {"equals": {"city": "Oslo"}}}, None),
    "nor where one alternative has none": ({"or": [{"equals": {"city": "Oslo"}}, {"exists": "x"}]}, None),
    "nor an object": ({"match": {"a": {"b": 1}}}, None),
    "nor too many": ({"in": {"n": [str(n) for n in range(MAX_ANCHORS + 1)]}}, None),
}


@pytest.mark.parametrize(("filter_", "anchors"), ANCHORED.values(), ids=ANCHORED)
def test_anchors(filter_: Any, anchors: set[object] | None) -> None:
    found = parse(filter_).anchors
    assert (None if found is None else set(found)) == anchors


def test_what_shares_a_field_or_a_value_with_others_goes_alone() -> None:
    index: FilterIndex[str] = FilterIndex()
    filters = {
        "one": parse({"equals": {"n": 1}}),
        "same": parse({"and": [{"equals": {"n": 1}}, {"exists": "m"}]}),
        "other": parse({"equals": {"n": 2}}),
    }
    for name, wanted in filters.items():
        index.add(name, wanted, name)
    assert index.matching({"n": 1, "m": 0}, None) == ["one", "same"]
    assert index.matching({"n": 1}, None) == ["one"], "who is found is still asked"
    assert index.matching({"n": 3}, None) == index.matching({"m": 0}, None) == []
    index.remove("one", filters["one"])
    assert index.matching({"n": 1, "m": 0}, None) == ["same"]
    index.remove("same", filters["same"])
    assert index.matching({"n": 1, "m": 0}, None) == []
    assert index.matching({"n": 2}, None) == ["other"]


def test_few_are_asked() -> None:
    asked: list[int] = []

    def counted(number: int) -> Any:
        wanted = parse({"equals": {"n": number}})
        return type(wanted)(
            wanted.root,
            wanted.canonical,
            lambda d: not asked.append(number) and wanted.accepts(d),
            wanted.anchors,
        )

    index: FilterIndex[int] = FilterIndex()
    for number in range(1_000):
        index.add(str(number), counted(number), number)
    assert index.matching({"n": 7}, None) == [7]
    assert asked == [7]
