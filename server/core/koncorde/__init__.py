"""The Koncorde filter language: which documents a client wants to hear of.

Pure, and safe against strangers: `parse` takes whatever JSON a client sent and answers a `Filter` within known limits
or raises `FilterError`; a `Filter` then tests any document without raising. The language is described in
docs/reference/filters.md. Whether a filter holds is asked one filter at a time; which of many are worth asking can be
looked up by their `anchors` and the `key_of` a document's values.
"""

from server.core.koncorde.anchors import key_of
from server.core.koncorde.document import Document
from server.core.koncorde.errors import FilterError
from server.core.koncorde.filter import Filter, parse

__all__ = ["Document", "Filter", "FilterError", "key_of", "parse"]
