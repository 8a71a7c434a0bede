"""From JSON to the tree of nodes: keywords, operators, and `select`, which holds a filter itself.

A filter is an object with one keyword. Whatever arrives, the outcome is a tree within the limits or a FilterError
with the path to the first fault. The path is the one that Kuzzle reports: a fault in `must_not` is at
`bool.and.not.or`.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from server.core.koncorde.errors import FilterError, joined, kind, shown
from server.core.koncorde.fields import as_field, as_number, as_object, only_members
from server.core.koncorde.limits import MAX_CONDITIONS, MAX_DEPTH, MAX_REGEXP_INSTRUCTIONS
from server.core.koncorde.nodes import And, Everything, In, Node, Not, Or, Regexp, Select
from server.core.koncorde.places import PLACES
from server.core.koncorde.terms import TERMS

_LEAVES = TERMS | PLACES


def parse_tree(value: object) -> Node:
    """Return the tree of a filter; raises FilterError, and nothing else, when it is not one."""
    if value == {}:
        return Everything()
    return _Parser().clause(value, at="", depth=1)


class _Parser:
    """Parses one filter, and counts its conditions while it does."""

    def __init__(self) -> None:
        self._conditions = 0
        self._instructions = 0

    def clause(self, value: object, at: str, depth: int) -> Node:
        """Parse an object with one keyword; `at` is the path of what holds it."""
        if depth > MAX_DEPTH:
            raise FilterError(at, f"is nested more than {MAX_DEPTH} levels deep")
        members = as_object(value, at, 'a non-empty filter such as {"equals": {"city": "Paris"}}')
        if len(members) > 1:
            first, second, *_ = map(shown, members)
            raise FilterError(
                at, f'a filter has one keyword, got "{first}" and "{second}"; combine them with "and"'
            )
        [(keyword, asked)] = members.items()
        path = joined(at, keyword)
        container = _CONTAINERS.get(keyword)
        if container is not None:
            return container(self, asked, path, depth)
        leaf = _LEAVES.get(keyword)
        if leaf is None:
            raise FilterError(path, f"is no keyword; {_known_like(keyword)}")
        node = leaf(asked, path)
        self._count(len(node.values) if isinstance(node, In) else 1, path)
        if isinstance(node, Regexp):
            self._count_instructions(node.instructions, path)
        return node

    def _count_instructions(self, instructions: int, path: str) -> None:
        self._instructions += instructions
        if self._instructions > MAX_REGEXP_INSTRUCTIONS:
            raise FilterError(
                path,
                f"the patterns of the filter are {self._instructions} instructions of RE2, and may be "
                f"{MAX_REGEXP_INSTRUCTIONS}; repetitions such as {{0,900}} and classes such as \\p{{L}} are large",
            )

    def _count(self, conditions: int, path: str) -> None:
        self._conditions += conditions
        if self._conditions > MAX_CONDITIONS:
            raise FilterError(
                path,
                f"the filter has more than {MAX_CONDITIONS} conditions (each value of in and ids is one)",
            )

    # -- operators --

    def _and(self, value: object, path: str, depth: int) -> Node:
        return And(self._clauses(value, path, depth))

    def _or(self, value: object, path: str, depth: int) -> Node:
        return Or(self._clauses(value, path, depth))

    def _not(self, value: object, path: str, depth: int) -> Node:
        return Not(self.clause(value, path, depth + 1))

    def _bool(self, value: object, path: str, depth: int) -> Node:
        """Expand to an `and` of at most four parts, in the same order whatever the order of the members."""
        members = as_object(value, path, f"an object with any of: {', '.join(_BOOL_MEMBERS)}")
        only_members(members, _BOOL_MEMBERS, path)
        path = joined(path, "and")
        parts: list[Node] = []
        if "must" in members:
            must = members["must"]
            parts += self._clauses([must] if isinstance(must, dict) else must, path, depth, "must")
        if "must_not" in members:
            unwanted = self._clauses(members["must_not"], joined(path, "not", "or"), depth, "must_not")
            parts.append(Not(Or(unwanted)))
        if "should" in members:
            wanted = self._clauses(members["should"], joined(path, "or"), depth, "should")
            parts.append(Or(wanted))
        if "should_not" in members:
            unwanted = self._clauses(members["should_not"], joined(path, "not", "and"), depth, "should_not")
            parts.append(Not(And(unwanted)))
        return And(tuple(parts))

    def _clauses(self, value: object, path: str, depth: int, member: str = "") -> tuple[Node, ...]:
        if not isinstance(value, list) or not value:
            subject = f'"{member}" ' if member else ""
            raise FilterError(path, f"{subject}must be a non-empty array of filters, got {kind(value)}")
        return tuple(self.clause(element, path, depth + 1) for element in value)

    # -- a filter on one element --

    def _select(self, value: object, path: str, depth: int) -> Node:
        example = '{"field": "tags", "index": 0, "query": {"equals": {"value": "new"}}}'
        members = as_object(value, path, f"an object such as {example}")
        only_members(members, _SELECT_MEMBERS, path)
        if len(members) < len(_SELECT_MEMBERS):
            raise FilterError(path, f"needs field, index and query, such as {example}")
        field = members["field"]
        if not isinstance(field, str) or not field:
            raise FilterError(joined(path, "field"), f"must be the path of an array, got {kind(field)}")
        index = as_number(members["index"], joined(path, "index"))
        if index != int(index):
            raise FilterError(
                joined(path, "index"), f"must be a whole number, negative from the end, got {index}"
            )
        query = self.clause(members["query"], joined(path, "query"), depth + 1)
        return Select(as_field(field, joined(path, "field")), int(index), query)


def _known_like(keyword: str) -> str:
    # Likeness is quadratic in the length, so a long text is not compared.
    is_comparable = len(keyword) <= _LONGEST_MISSPELT
    close = get_close_matches(keyword, KEYWORDS, n=1, cutoff=0.5) if is_comparable else []
    return f'did you mean "{close[0]}"?' if close else f"known are: {', '.join(sorted(KEYWORDS))}"


_CONTAINERS: dict[str, Callable[[_Parser, object, str, int], Node]] = {
    "and": _Parser._and,
    "or": _Parser._or,
    "not": _Parser._not,
    "bool": _Parser._bool,
    "select": _Parser._select,
}
KEYWORDS = (*_CONTAINERS, *_LEAVES)
_BOOL_MEMBERS = ("must", "must_not", "should", "should_not")
_SELECT_MEMBERS = ("field", "index", "query")
_LONGEST_MISSPELT = 30
