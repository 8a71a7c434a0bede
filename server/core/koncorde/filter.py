"""A filter, ready to use: what it means, which room it is, and whether a document satisfies it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from server.core.koncorde.anchors import Anchor, anchors_of
from server.core.koncorde.canonical import canonical_form
from server.core.koncorde.compile import Predicate, compile_tree
from server.core.koncorde.document import Document
from server.core.koncorde.errors import FilterError
from server.core.koncorde.limits import MAX_FILTER_BYTES
from server.core.koncorde.nodes import Node
from server.core.koncorde.parse import parse_tree


@attrs.frozen(order=False)
class Filter:
    """A parsed filter; two are equal, and hash equally, when they are the same room.

    `canonical` is the same in every process for the same room, and different for filters of different meanings.
    `accepts` tests a prepared document and is what the hot path calls. A document that has none of the `anchors` need
    not be tested; None: every document has to be.
    """

    root: Node = attrs.field(eq=False)
    canonical: bytes = attrs.field(repr=False)
    accepts: Predicate = attrs.field(eq=False, repr=False)
    anchors: tuple[Anchor, ...] | None = attrs.field(eq=False, repr=False)

    def matches(self, document: Mapping[str, Any], document_id: str | None = None) -> bool:
        """Tell whether a document, with the id as its `_id` if one is given, satisfies the filter.

        Whoever tests one document against several filters prepares it once: `filter.accepts(Document(source, id))`.
        """
        return self.accepts(Document(document, document_id))


def parse(filter: object) -> Filter:
    """Return the filter that a decoded JSON value is. Raises FilterError, and nothing else, when it is not one."""
    root = parse_tree(filter)
    canonical = canonical_form(root)
    if len(canonical) > MAX_FILTER_BYTES:
        raise FilterError("", f"the filter is {len(canonical)} bytes long, and may be {MAX_FILTER_BYTES}")
    return Filter(root, canonical, compile_tree(root), anchors_of(root))
