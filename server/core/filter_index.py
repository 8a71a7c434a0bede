"""Which of many filters a document matches, without asking them all.

    Everything                        no evaluation at all
    a filter with anchors             found by the values of the document, then asked
    any other filter                  asked every time

With 10,000 filters on the same field a document is tested against those few that name its value. What the index maps
to is for its owner to say; each entry has a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from server.core.koncorde import Document, Filter, key_of

T = TypeVar("T")
Accepts: TypeAlias = Callable[[Document], bool]


class FilterIndex(Generic[T]):
    """Entries by filter; None stands for the filter that every document matches."""

    __slots__ = ("_anchored", "_searched", "_size", "_unfiltered")

    def __init__(self) -> None:
        self._size = 0
        self._unfiltered: dict[str, T] = {}
        self._searched: dict[str, tuple[Accepts, T]] = {}
        """Filters that have to be asked every time."""
        self._anchored: dict[str, dict[object, dict[str, tuple[Accepts, T]]]] = {}
        """The same for those that are found by field and value."""

    def __len__(self) -> int:
        return self._size

    def add(self, name: str, wanted: Filter | None, entry: T) -> None:
        """Add an entry under a name that is not there yet."""
        self._size += 1
        if wanted is None:
            self._unfiltered[name] = entry
        elif wanted.anchors is None:
            self._searched[name] = (wanted.accepts, entry)
        else:
            for field, key in wanted.anchors:
                by_value = self._anchored.setdefault(field, {})
                by_value.setdefault(key, {})[name] = (wanted.accepts, entry)

    def remove(self, name: str, wanted: Filter | None) -> None:
        """Remove the entry that was added under this name with this filter."""
        self._size -= 1
        if wanted is None:
            del self._unfiltered[name]
        elif wanted.anchors is None:
            del self._searched[name]
        else:
            for field, key in wanted.anchors:
                by_value = self._anchored[field]
                del by_value[key][name]
                if not by_value[key]:
                    del by_value[key]
                if not by_value:
                    del self._anchored[field]

    def matching(self, content: Mapping[str, Any], document_id: str | None) -> list[T]:
        """Return the entries whose filter the document matches, each once. The hot path."""
        matching = list(self._unfiltered.values())
        if self._searched or self._anchored:
            matching += dict(self._accepting(Document(content, document_id))).values()
        return matching

    def _accepting(self, document: Document) -> Iterator[tuple[str, T]]:
        """Yield names and entries; one that is found by several values, as often."""
        for name, (accepts, entry) in self._searched.items():
            if accepts(document):
                yield name, entry
        for field, by_value in self._anchored.items():
            key = key_of(document[field])
            if key is not None and (found := by_value.get(key)) is not None:
                for name, (accepts, entry) in found.items():
                    if accepts(document):
                        yield name, entry
