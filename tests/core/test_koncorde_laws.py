"""Laws of the language, tried on arbitrary filters and documents."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.core.koncorde import Document, Filter, FilterError, parse

# -- arbitrary filters and documents, over few fields so that they meet --

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


def matches(filter_: object, document: dict[str, Any]) -> bool:
    return parse(filter_).matches(document)


# -- Boolean algebra --


@settings(deadline=None)
@given(FILTERS, DOCUMENTS)
def test_a_negation_matches_the_others(filter_: object, document: dict[str, Any]) -> None:
    assert matches({"not": filter_}, document) is not matches(filter_, document)


@settings(deadline=None)
@given(FILTERS, FILTERS, DOCUMENTS)
def test_and_or_and_bool_are_what_they_say(one: object, other: object, document: dict[str, Any]) -> None:
    first, second = matches(one, document), matches(other, document)
    assert matches({"and": [one, other]}, document) == (first and second)
    assert matches({"or": [one, other]}, document) == (first or second)
    assert matches({"bool": {"must": [one], "must_not": [other]}}, document) == (first and not second)
    assert matches({"bool": {"should": [one, other]}}, document) == (first or second)
    assert matches({"bool": {"should_not": [one, other]}}, document) == (not (first and second))


# -- one room --


@settings(deadline=None)
@given(FILTERS, FILTERS, FILTERS)
def test_laws_that_keep_the_room(one: Any, other: Any, third: Any) -> None:
    def same(left: object, right: object) -> bool:
        return parse(left) == parse(right)

    assert same(one, {"not": {"not": one}})
    assert same(one, {"and": [one]})
    assert same(one, {"or": [one]})
    assert same({"not": {"and": [one, other]}}, {"or": [{"not": one}, {"not": other}]})
    assert same({"not": {"or": [one, other]}}, {"and": [{"not": one}, {"not": other}]})
    assert same({"and": [one, {"and": [other, third]}]}, {"and": [{"and": [one, other]}, third]})
    assert same({"or": [one, {"or": [other, third]}]}, {"or": [one, other, third]})
    assert same({"bool": {"must": [one], "should": [other, third]}}, {"and": [one, {"or": [other, third]}]})


def meaning(form: Any, holds: list[bool]) -> bool:
    """What a canonical form says, given which of its conditions hold: written anew, for comparison."""
    match form:
        case int(number):
            return holds[number]
        case ["not", inner]:
            return not meaning(inner, holds)
        case ["and", *parts]:
            return all(meaning(part, holds) for part in parts)
        case ["or", *parts]:
            return any(meaning(part, holds) for part in parts)
        case _:
            raise AssertionError(form)


LITERALS = st.builds(
    lambda field, value: {"equals": {field: value}}, st.sampled_from("abcd"), st.sampled_from("xy")
)
FORMULAS = st.recursive(
    LITERALS | st.builds(lambda field: {"in": {field: ["x", "y"]}}, st.sampled_from("abcd")),
    lambda inner: st.one_of([CONTAINERS[name](inner) for name in ("not", "and", "or", "bool")]),
    max_leaves=30,
)


@settings(deadline=None)
@given(FORMULAS, st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz")))
@example(
    {"and": [{"or": [{"equals": {"a": str(n)}}, {"equals": {"b": str(n)}}]} for n in range(20)]},
    {"a": "1", "b": "2"},
)
def test_a_canonical_form_says_what_the_filter_means(filter_: Any, document: dict[str, Any]) -> None:
    """So filters of one room match the same documents: the form alone decides which."""
    parsed = parse(filter_)
    form, conditions = json.loads(parsed.canonical)
    holds = [document.get(field) == value for _, field, value in conditions]
    assert meaning(form, holds) == parsed.matches(document)


@settings(deadline=None)
@given(FILTERS, FILTERS, st.lists(DOCUMENTS, min_size=1, max_size=5))
def test_filters_of_one_room_match_the_same_documents(
    one: Any, other: Any, documents: list[dict[str, Any]]
) -> None:
    first, second = parse(one), parse(other)
    for source in documents:
        document = Document(source)
        if first == second:
            assert first.accepts(document) == second.accepts(document)


# -- strangers --

KEYWORDS = st.sampled_from(
    [
        *("and", "or", "not", "bool", "must", "must_not", "should", "should_not"),
        *("equals", "in", "ids", "values", "exists", "missing", "nothing", "match"),
        *("range", "gt", "lt", "regexp", "value", "flags", "select", "field", "index", "query"),
        *(
            "geoDistance",
            "distance",
            "geoDistanceRange",
            "from",
            "to",
            "geoPolygon",
            "points",
            "geoBoundingBox",
        ),
    ]
)
TEXTS = KEYWORDS | st.sampled_from(["a[1]", "1km", "spfb", "(", "\ud800", "a[", "."]) | st.text(max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=15,
)


@settings(deadline=None, max_examples=300)
@given(JSON | st.dictionaries(KEYWORDS, JSON, min_size=1, max_size=1), JSON)
def test_whatever_arrives_is_a_filter_or_a_filter_error(value: object, content: object) -> None:
    try:
        parsed = parse(value)
    except FilterError:
        return
    assert isinstance(parsed, Filter)
    assert parsed.matches({"a": content, "value": content}) in (True, False)


@settings(deadline=None, max_examples=300)
@given(FILTERS, st.dictionaries(FIELDS, JSON, max_size=4))
def test_no_document_makes_a_test_raise(filter_: object, document: dict[str, Any]) -> None:
    assert matches(filter_, document) in (True, False)
