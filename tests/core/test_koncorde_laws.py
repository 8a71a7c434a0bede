"""Laws of the language, tried on arbitrary filters and documents."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.core.koncorde import Document, Filter, FilterError, parse
from support.filters import CONTAINERS, DOCUMENTS, FIELDS, FILTERS


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
