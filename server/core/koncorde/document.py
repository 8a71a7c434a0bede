"""A document as filters see it: fields by path, each worked out once however many filters ask.

A path names a field by the keys that lead to it, joined by dots. A key that contains dots itself is reached by the
same text, and where two fields have one path, the later one in the document counts. Arrays are not descended.

The document is deliberately not flattened as a whole: one long key above many short ones would make a flattened copy
thousands of times larger than the document. A path is looked up when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")


class _Missing:
    """What a document has at a path that leads nowhere; null is a value and is not this."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


class Document(dict[str, object]):
    """A prepared document: `document[path]` is the field's value, or `MISSING`.

    It is a dict so that a path asked for before costs one dict lookup: it starts as the document's first level, and
    `__missing__` adds what is asked for. It is for reading by path only; its keys and length mean nothing. The source
    must not change while it is in use.
    """

    __slots__ = ("_derived", "_source")

    def __init__(self, source: Mapping[str, Any], document_id: str | None = None) -> None:
        """Prepare the document; an id, when given, is its field `_id`, in place of one that the source may have."""
        if document_id is not None:
            source = {**source, "_id": document_id}
        super().__init__(source)
        self._source = source
        self._derived: dict[tuple[Callable[[object], object], str], Any] = {}
        if "." in "".join(source):
            # Whether a key with a dot wins over a nested field of the same path is for `_find` to say.
            for key in [key for key in self if "." in key]:
                del self[key]

    def __missing__(self, path: str) -> object:
        value = self[path] = _find(self._source, path, 0) if "." in path else MISSING
        return value

    def derive(self, function: Callable[[object], T], path: str) -> T:
        """Return what the pure function makes of the field's value, asking it once per document and path."""
        key = (function, path)
        try:
            derived: T = self._derived[key]
        except KeyError:
            derived = self._derived[key] = function(self[path])
        return derived


def _find(fields: Mapping[str, Any], path: str, start: int) -> object:
    """Return the value at `path[start:]` below an object, or `MISSING`.

    Every way to cut the path into keys is tried. Each object of the document is visited at most once, since there is
    one way to it only, so a lookup is linear in the document even when all of its keys are made of dots.
    """
    found: dict[str, object] = {}
    dot = path.find(".", start)
    while dot != -1:
        key = path[start:dot]
        child = fields.get(key)
        if child.__class__ is dict:
            value = _find(child, path, dot + 1)
            if value is not MISSING:
                found[key] = value
        dot = path.find(".", dot + 1)
    rest = path[start:]
    if rest in fields:
        found[rest] = fields[rest]
    if len(found) > 1:
        return next(found[key] for key in reversed(list(fields)) if key in found)
    return next(iter(found.values()), MISSING)
