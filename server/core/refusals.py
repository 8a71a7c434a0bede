"""Why clients are turned away at the front door, and how many were.

It refuses to remember who they were: the log says so, at the 1st, 2nd, 4th, 8th… time, so that a flood does not fill
it.
"""

from enum import Enum, unique

import attrs


@unique
class Refusal(Enum):
    """Why."""

    NODE_FULL = "node_full"
    """The node has as many clients as it may (503)."""
    ADDRESS_FULL = "address_full"
    """The address has as many connections as it may (429)."""
    REQUESTS = "too_many_requests"
    """The address asks for more in a second than it may (429). The connection stays."""
    ORIGIN = "unauthorized_origin"
    """A page asks that may not (401)."""
    PROXY_HEADER = "no_proxy_header"
    """A trusted proxy began its connection with something else, or nothing (closed)."""


@attrs.define(eq=False)
class RefusalCounters:
    """How often each happened, on one node."""

    by_reason: dict[Refusal, int] = attrs.field(factory=lambda: dict.fromkeys(Refusal, 0))

    def count(self, reason: Refusal) -> bool:
        """Count one more; tell whether to say so."""
        self.by_reason[reason] += 1
        times = self.by_reason[reason]
        return times & (times - 1) == 0
