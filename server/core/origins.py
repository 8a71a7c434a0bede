"""From which web pages a node may be asked: the `Origin` that browsers send, and no page can change.

    "https://app.example"  --allows-->  yes or no

A browser opens a WebSocket to any server that a page names, and lends it the user's place in the network: a page of
strangers can so reach a node that strangers cannot (cross-site WebSocket hijacking). The list says whose pages may.
It refuses what only looks like an origin: a list with an entry that no browser sends would shut out who it is for.
Who is no browser sends any `Origin`, or none: that is not what this is for.
"""

import re
from collections.abc import Sequence
from typing import Final

EVERYTHING: Final = "*"
"""The entry that allows all pages."""

_ENTRY: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]*\*\.[a-z0-9._-]+|[a-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS: Final = {("http", "80"), ("https", "443")}
_ANY_NAMES: Final = r"[a-z0-9._-]+"


class AllowedOrigins:
    """The pages that may ask."""

    def __init__(self, entries: Sequence[str] = (EVERYTHING,)) -> None:
        """Take `*`, or origins such as `https://app.example` and `https://*.example.com`. Raises ValueError."""
        self.are_all = EVERYTHING in entries
        patterns = [_pattern(entry) for entry in entries if entry != EVERYTHING]
        self._allowed = re.compile("|".join(patterns)) if patterns else None

    def allows(self, origin: str) -> bool:
        """Tell whether a request with this header may be answered. Empty, which browsers never send, is none."""
        if self.are_all or not origin:
            return True
        return self._allowed is not None and self._allowed.fullmatch(origin) is not None


def _pattern(entry: str) -> str:
    found = _ENTRY.fullmatch(entry.lower())
    if found is None:
        raise ValueError(
            f"{entry!r} is no origin: write scheme, host and, if it is not the usual one, port, and no path, such as "
            "https://app.example or http://localhost:8080; in the host `*.` or `preview-*.` stands for any names "
            "before a dot; names in other letters than ASCII as browsers send them (xn--…); or `*` alone for all"
        )
    scheme, host, port = found["scheme"], found["host"], found["port"]
    shown = "" if port is None or (scheme, port) in _DEFAULT_PORTS else f":{port}"
    return re.escape(scheme + "://") + re.escape(host).replace(r"\*", _ANY_NAMES) + re.escape(shown)
