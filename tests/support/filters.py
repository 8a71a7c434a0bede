"""Arbitrary filters and documents, over few fields so that they meet."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

FIELDS = st.sampled_from(["a", "b", "a.b", "_id"])
SCALARS = st.sampled_from([None, True, False, 0, 1, 1.5, "", "x", "y", "1"])
ARRAYS = st.lists(SCALARS, max_size=3)
POINTS = st.sampled_from([[0, 0], "1,1", {"lat": 1, "lon": 2}, "s000"])
VALUES = SCALARS | ARRAYS | POINTS | st.dictionaries(FIELDS, SCALARS | ARRAYS, max_size=2)
DOCUMENTS = st.dictionaries(FIELDS, VALUES, max_size=4)

CLAUSES = st.one_of(
    st.builds(lambda field, value: {"equals": {field: value}}, FIELDS, SCALARS),
    st.builds(
        lambda field, values: {"in": {field: values}},
        FIELDS,
        st.lists(st.sampled_from("xy"), min_size=1, max_size=3),
    ),
    st.builds(lambda field: {"exists": field}, FIELDS),
    st.builds(lambda field, value: {"missing": f"{field}[{json.dumps(value)}]"}, FIELDS, SCALARS),
    st.builds(lambda field, low: {"range": {field: {"gte": low, "lt": low + 1}}}, FIELDS, st.integers(-1, 2)),
    st.builds(
        lambda field, pattern: {"regexp": {field: pattern}}, FIELDS, st.sampled_from(["x", "^$", "[^x]"])
    ),
    st.builds(lambda field, value: {"match": {field: value}}, FIELDS, VALUES),
    st.builds(
        lambda field, point: {"geoDistance": {field: point, "distance": "160km"}},
        FIELDS.filter(lambda f: f),
        POINTS,
    ),
    st.just({"nothing": {}}),
)
CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "not": lambda inner: inner.map(lambda clause: {"not": clause}),
    "and": lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda clauses: {"and": clauses}),
    "or": lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda clauses: {"or": clauses}),
    "bool": lambda inner: st.dictionaries(
        st.sampled_from(["must", "must_not", "should", "should_not"]),
        st.lists(inner, min_size=1, max_size=2),
        min_size=1,
    ).map(lambda members: {"bool": members}),
    "select": lambda inner: st.builds(
        lambda field, index, query: {"select": {"field": field, "index": index, "query": query}},
        FIELDS,
        st.integers(-2, 2),
        inner,
    ),
}
FILTERS = st.recursive(
    CLAUSES, lambda inner: st.one_of([wrap(inner) for wrap in CONTAINERS.values()]), max_leaves=12
)
