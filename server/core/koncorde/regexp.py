"""Regular expressions by RE2: linear in the text whatever the pattern, so a stranger's pattern is harmless.

Patterns and texts are handed over as UTF-8, which spares RE2's wrapper a second pass over the offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import attrs
import re2  # type: ignore[import-untyped]  # the library ships no types

from server.core.koncorde.limits import REGEXP_MEMORY_BYTES

FLAGS = "ims"
"""Case-insensitive; ^ and $ at every line; dot also for a newline."""

IDLE_FLAGS = "gu"
"""JavaScript's "all matches" and "Unicode", accepted without effect: a test stops at one match, and RE2 is Unicode."""


@attrs.frozen
class Program:
    """A pattern, compiled."""

    search: Callable[[bytes], Any]
    """Tells whether it is found in a UTF-8 text, by a result that is true or None."""
    instructions: int
    """How large it is: a search costs at worst so many steps for each byte."""


@lru_cache(maxsize=256)  # a filter is compiled right after it was parsed, and many rooms share a pattern
def compiled(pattern: str, flags: str) -> Program:
    """Return the program of a pattern.

    Raises ValueError, with RE2's own words, when it is no RE2 pattern or needs more memory than allowed.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = REGEXP_MEMORY_BYTES
    inline = f"(?{flags})" if flags else ""
    try:
        program = re2.compile(f"{inline}{pattern}".encode(), options)
    except (re2.error, UnicodeEncodeError) as error:
        raise ValueError(_words_of(error)) from error
    return Program(program.search, program.programsize)


def to_utf8(value: object) -> bytes | None:
    """Return the text to search when the value is a string, or None."""
    return value.encode(errors="surrogatepass") if isinstance(value, str) else None


def _words_of(error: Exception) -> str:
    reason = error.args[0]
    return reason.decode(errors="replace") if isinstance(reason, bytes) else "it has half of a surrogate pair"
