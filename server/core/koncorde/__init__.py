"""The Koncorde filter language: which documents a client wants to hear of.

Pure, and safe against strangers: `parse` takes whatever JSON a client sent and answers a `Filter` within known limits
or raises `FilterError`; a `Filter` then tests any document without raising. The language is described in
docs/reference/filters.md. Which filters of a collection match a document is asked one filter at a time here; an index
over many filters may be built on `Filter.root`.
"""

from server.core.koncorde.document import Document
from server.core.koncorde.errors import FilterError
from server.core.koncorde.filter import Filter, parse

__all__ = ["Document", "Filter", "FilterError", "parse"]
