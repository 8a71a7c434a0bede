"""Filters and documents (JSON: `{"filters": […], "documents": […]}`). A filter is taken or a `FilterError`:

- a filter that is taken matches what the plainest evaluation of the same JSON matches, alone and in an index;
- it never raises, whatever the document;
- filters of one room (of one canonical form) match the same documents, and other rooms have other forms;
- a filter, its form, and what is said of one that is none, are bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from server.core.filter_index import FilterIndex
from server.core.koncorde import Filter, FilterError, parse
from server.core.koncorde.limits import MAX_FILTER_BYTES
from server.core.values import JsonError, decode_json, encode_json
from support.documents import ROOT, blocks
from support.fuzz_engine import Target
from support.fuzz_mutations import Dice, change_bytes, change_json
from support.naive_filters import holds

MOST = 5
"""Filters and documents of one input."""

SAID_CHARACTERS = 8_000
"""The longest message: a path of as many members as filters are deep, each cut at 60 characters, and its reason."""


def check(data: bytes) -> None:
    """Try each filter on each document."""
    try:
        tried = decode_json(data)
    except JsonError:
        return
    if not isinstance(tried, dict):
        return
    filters, documents = (
        _list(tried, "filters"),
        [d for d in _list(tried, "documents") if isinstance(d, dict)],
    )
    index: FilterIndex[int] = FilterIndex()
    taken: dict[int, Filter] = {}
    for number, query in enumerate(filters):
        try:
            taken[number] = parse(query)
        except FilterError as error:
            assert len(str(error)) <= SAID_CHARACTERS
            encode_json(str(error))
            continue
        index.add(str(number), taken[number], number)
        assert len(taken[number].canonical) <= MAX_FILTER_BYTES
        json.loads(taken[number].canonical)
    for document in documents:
        matching = [number for number, each in taken.items() if each.matches(document)]
        assert matching == [number for number in taken if holds(filters[number], document)]
        assert sorted(index.matching(document, None)) == matching
        by_form: dict[bytes, bool] = {}
        for number, each in taken.items():
            assert by_form.setdefault(each.canonical, number in matching) is (number in matching)
    for number, each in taken.items():
        index.remove(str(number), each)
        assert parse({"not": {"not": filters[number]}}) == each if filters[number] else True
    assert not index


def _list(tried: dict[str, Any], name: str) -> list[Any]:
    found = tried.get(name)
    return found[:MOST] if isinstance(found, list) else []


def seeds() -> Iterator[bytes]:
    """The examples of the documentation, and some of what was recorded of Koncorde."""
    for block in blocks(ROOT / "docs" / "reference" / "filters.md"):
        if block.language == "json":
            yield encode_json({"filters": [json.loads(block.text)], "documents": DOCUMENTS})
    vectors = json.loads((ROOT / "tests" / "vectors" / "koncorde_vectors.json").read_text())["cases"]
    for case in vectors[:: max(1, len(vectors) // VECTORS)]:
        yield encode_json({"filters": [case["filter"]], "documents": case.get("documents", [])})


VECTORS = 100
"""Of some thousand that were recorded, evenly."""

DOCUMENTS: list[Any] = [
    {"a": 1, "b": {"c": [1, "x", None, True, {"d": 2}]}, "_id": "order-1"},
    {"city": "Paris", "position": "48.85, 2.35", "age": 18, "address": {"city": "Oslo"}, "tags": ["new", 0]},
    {"position": {"lat": 48.8, "lon": 2.4}, "address.city": "Rome", "value": 1.5},
]


def change_filters(data: bytes, dice: Dice) -> bytes:
    """Change one thing, in the JSON most often."""
    return (change_bytes if dice.random.random() < 0.05 else change_json)(data, dice)


TARGET = Target(check, seeds, change_filters)
