"""What is a filter and what is not; what a refusal teaches; that a stranger's filter stays within the limits."""

import math
from typing import Any

import pytest

from server.core.koncorde import FilterError, parse
from server.core.koncorde.limits import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_FIELD_CHARACTERS,
    MAX_FIELD_PARTS,
    MAX_MATCH_VALUES,
    MAX_PATTERN_CHARACTERS,
    MAX_POLYGON_POINTS,
)


def refusal(filter_: object) -> str:
    with pytest.raises(FilterError) as refused:
        parse(filter_)
    assert len(str(refused.value)) < 1_000
    return str(refused.value)


@pytest.mark.parametrize(
    ("filter_", "message"),
    [
        (None, 'must be a non-empty filter such as {"equals": {"city": "Paris"}}, got null'),
        (True, "got a boolean"),
        ([], "got an empty array"),
        ("equals", "got a string"),
        (
            {"equals": {"a": 1}, "exists": "b"},
            'a filter has one keyword, got "equals" and "exists"; combine them with',
        ),
        ({1: 2}, "the names of members must be strings, got a number"),
        ({"equal": {"a": 1}}, '"equal": is no keyword; did you mean "equals"?'),
        (
            {"constructor": {}},
            '"constructor": is no keyword; known are: and, bool, equals, exists, geoBoundingBox,',
        ),
        (
            {"and": [{"equals": {"a": [1]}}]},
            '"and.equals.a": must be a string, a number, a boolean or null, got an array',
        ),
        (
            {"equals": {"a": 1, "b": 2}},
            '"equals": must have one field only, got "a", "b"; combine clauses with "and"',
        ),
        ({"equals": {"a": b"bytes"}}, "got a value of the type bytes"),
        ({"and": {}}, '"and": must be a non-empty array of filters, got an empty object'),
        (
            {"bool": {"must_not": "x"}},
            '"bool.and.not.or": "must_not" must be a non-empty array of filters, got a string',
        ),
        (
            {"bool": {"filter": []}},
            '"bool": has no member "filter"; allowed: "must", "must_not", "should", "should_not"',
        ),
        ({"in": {"a": ["x", 1]}}, '"in.a": must contain strings only, got a number in it'),
        ({"ids": {"value": ["x"]}}, '"ids": has no member "value"; allowed: "values"'),
        (
            {"exists": "tags[x]"},
            '"exists": needs a JSON value within its brackets, such as tags["new"] or tags[1]',
        ),
        ({"exists": "tags[\ud800]"}, "needs a JSON value within its brackets"),
        ({"exists": "tags[" + "[" * 100_000 + "]"}, "needs a JSON value within its brackets"),
        ({"range": {"a": {"gt": 1, "gte": 1}}}, '"range.a": takes either "gte" or "gt", not both'),
        ({"range": {"a": {"gt": 2, "lt": 1}}}, "the lower bound must be below the upper one, got 2 and 1"),
        ({"range": {"a": {"gt": math.inf}}}, '"range.a.gt": must be a finite number'),
        ({"equals": {"a": math.nan}}, "must be a finite number"),
        ({"equals": {"a": 10**400}}, "must be a finite number within the range of a double"),
        (
            {"regexp": {"a": "(?=x)"}},
            '"regexp.a": is not a pattern that RE2 accepts (invalid perl operator: (?=): (?=x)',
        ),
        ({"regexp": {"a": "\ud800"}}, "is not a pattern that RE2 accepts (it has half of a surrogate pair)"),
        ({"regexp": {"a": r"\pL{999}"}}, "is not a pattern that RE2 accepts (pattern too large"),
        (
            {"regexp": {"a": {"value": "x", "flags": "x"}}},
            '"regexp.a.flags": has an unknown flag "x"; known are: i, m, s',
        ),
        ({"match": {"a": {1: 2}}}, '"match.a": the names of members must be strings'),
        (
            {"match": {"a": {"b": {1}}}},
            '"match.a.b": must be a string, a number, a boolean or null, got a value of the',
        ),
        (
            {"select": {"field": "a", "index": 0}},
            '"select": needs field, index and query, such as {"field": "tags"',
        ),
        (
            {"select": {"field": "a", "index": 0.5, "query": {}}},
            '"select.index": must be a whole number, negative from',
        ),
        (
            {"select": {"field": "", "index": 0, "query": {}}},
            '"select.field": must be the path of an array, got an empty',
        ),
        (
            {"geoDistance": {"p": [0, 0], "distance": "1"}},
            '"geoDistance.distance": must be a number and a unit (m, km,',
        ),
        (
            {"geoDistance": {"p": [91, 0], "distance": "1m"}},
            '"geoDistance.p": latitudes are between -90 and 90, got 91;',
        ),
        (
            {"geoDistance": {"distance": "1m"}},
            '"geoDistance": needs one field and "distance", such as {"position"',
        ),
        (
            {"geoDistanceRange": {"p": [0, 0], "from": "2m", "to": "1m"}},
            '"from" must be less than "to", got 2 m and 1 m',
        ),
        (
            {"geoBoundingBox": {"p": {"top": 1, "left": 179, "bottom": 0, "right": -179}}},
            "a box across the antimeridian is",
        ),
        (
            {"geoPolygon": {"p": {"points": [[0, 0], [1, 1], [2]]}}},
            '"geoPolygon.p.points": number 2 must be a point such',
        ),
    ],
)
def test_a_refusal_says_where_what_and_what_instead(filter_: object, message: str) -> None:
    assert message in refusal(filter_)


@pytest.mark.parametrize(
    "filter_",
    [
        {"x" * 1_000_000: {}},
        {"equals": {"x" * 1_000_000: []}},
        {"equals": {f"{number:0100}": 1 for number in range(1_000)}},
        {"regexp": {"a": "(" * MAX_PATTERN_CHARACTERS}},
        {"geoDistance": {"a": [0, 0], "distance": "9" * 1_000_000 + "km"}},
        {"geoDistance": {"a": "1" * 1_000_000, "distance": "1km"}},
        {"match": {"x" * 512: {"y" * 1_000_000: {"z" * 1_000_000: object()}}}},
    ],
    ids=["keyword", "field", "fields", "pattern", "distance", "point", "members"],
)
def test_a_refusal_does_not_repeat_a_long_text(filter_: object) -> None:
    refusal(filter_)


def test_a_refusal_at_the_filter_itself_has_no_path() -> None:
    with pytest.raises(FilterError) as refused:
        parse([])
    assert refused.value.path == ""
    assert not str(refused.value).startswith('"')


# -- limits --


def equal(count: int) -> list[object]:
    return [{"equals": {"a": number}} for number in range(count)]


@pytest.mark.parametrize(
    "with_conditions",
    [
        lambda count: {"or": equal(count)},
        lambda count: {"in": {"a": [str(number) for number in range(count)]}},
        lambda count: {"and": [{"ids": {"values": ["a"] * (count - 1)}}, {"not": {"exists": "b"}}]},
        lambda count: {"bool": {"must": equal(count - 3), "should_not": equal(2), "should": equal(1)}},
        lambda count: {"select": {"field": "a", "index": 0, "query": {"and": equal(count)}}},
    ],
    ids=["or", "in", "ids", "bool", "select"],
)
def test_a_filter_has_a_hundred_conditions_at_most(with_conditions: Any) -> None:
    parse(with_conditions(MAX_CONDITIONS))
    assert "the filter has more than 100 conditions" in refusal(with_conditions(MAX_CONDITIONS + 1))


def nested(wrap: Any, inner: Any, levels: int) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: {"not": inner},
        lambda inner: {"and": [inner]},
        lambda inner: {"bool": {"should_not": [inner]}},
        lambda inner: {"select": {"field": "a", "index": 0, "query": inner}},
    ],
    ids=["not", "and", "bool", "select"],
)
def test_nesting_is_bounded(wrap: Any) -> None:
    deepest = nested(wrap, {"equals": {"value": 1}}, MAX_DEPTH - 1)
    assert parse(deepest).matches({}) in (True, False)
    assert "is nested more than 50 levels deep" in refusal(wrap(deepest))
    assert "is nested more than 50 levels deep" in refusal(nested(wrap, deepest, 100_000))


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"b": inner}], ids=["array", "object"])
def test_nesting_of_a_match_is_bounded(wrap: Any) -> None:
    deepest = nested(wrap, 1, MAX_DEPTH - 1)
    assert parse({"match": {"a": deepest}}).matches({"a": deepest})
    assert "is nested more than 50 levels deep" in refusal({"match": {"a": wrap(deepest)}})
    assert "is nested more than 50 levels deep" in refusal({"match": {"a": nested(wrap, 1, 100_000)}})


def test_a_match_has_a_hundred_values_at_most() -> None:
    parse({"match": {"a": ["x"] * (MAX_MATCH_VALUES - 1)}})
    assert "has more than 100 values" in refusal({"match": {"a": ["x"] * MAX_MATCH_VALUES}})


def test_the_path_of_a_field_is_bounded() -> None:
    parse({"exists": "x" * MAX_FIELD_CHARACTERS})
    assert "has 512 characters at most, got 513" in refusal({"exists": "x" * (MAX_FIELD_CHARACTERS + 1)})
    parse({"exists": ".".join("x" * MAX_FIELD_PARTS)})
    assert "has 20 parts at most, got 21" in refusal({"match": {".".join("x" * (MAX_FIELD_PARTS + 1)): 1}})


def test_a_pattern_has_a_thousand_characters_at_most() -> None:
    parse({"regexp": {"a": "x" * MAX_PATTERN_CHARACTERS}})
    assert "a pattern has 1000 characters at most, got 1001" in refusal(
        {"regexp": {"a": {"value": "x" * (MAX_PATTERN_CHARACTERS + 1)}}}
    )


def test_a_polygon_has_a_thousand_points_at_most() -> None:
    corners = [[0, 0], [0, 1], [1, 1]]
    parse({"geoPolygon": {"p": {"points": corners + corners[:1] * (MAX_POLYGON_POINTS - 3)}}})
    assert "has 1000 points at most, got 1001" in refusal(
        {"geoPolygon": {"p": {"points": corners + corners[:1] * (MAX_POLYGON_POINTS - 2)}}}
    )


class TestRegexpCost:
    def test_patterns_that_are_large_together_are_refused(self) -> None:
        for filter_ in (
            {"regexp": {"a": "[^x]{0,900}y"}},
            {"or": [{"regexp": {"a": rf"\p{{L}}{n}"}} for n in range(3)]},
        ):
            with pytest.raises(FilterError, match="instructions of RE2"):
                parse(filter_)
        parse({"or": [{"regexp": {"a": rf"\p{{L}}{n}"}} for n in range(2)]})

    def test_a_large_pattern_looks_at_the_beginning_of_a_long_text_only(self) -> None:
        large = parse({"and": [{"not": {"regexp": {"b": r"a[ab]{900}y"}}}, {"regexp": {"a": "needle"}}]})
        small = parse({"regexp": {"a": "needle"}})
        late = {"a": "x" * 900_000 + "needle"}
        assert small.matches(late)
        assert not large.matches(late)
        assert large.matches({"a": "needle" + "x" * 900_000})


def test_a_filter_that_is_too_long_to_be_kept_is_refused() -> None:
    with pytest.raises(FilterError, match="bytes long"):
        parse({"equals": {"a": "x" * 65_536}})
    parse({"equals": {"a": "x" * 60_000}})
