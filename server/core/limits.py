"""Every bound of a node, by name, each with its reason.

Pure values; nothing here enforces a bound: who holds the queue, the buffer or the count does.
"""

from typing import Any

import attrs


def _bound(default: int, unit: str, reason: str) -> Any:
    """Return a field of at least 1: a bound of none would shut the node."""
    metadata = {"unit": unit, "help": reason}
    return attrs.field(default=default, validator=attrs.validators.ge(1), metadata=metadata)


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of one node."""

    connections: int = _bound(
        10_000,
        "connections",
        "Clients attached at once. Each costs a socket and a few dozen kilobytes; the process needs at least "
        "as many open files.",
    )
    outbox_bytes: int = _bound(
        1_048_576,
        "bytes",
        "What may wait for one slow client before it is closed: who is 1 MiB behind does not catch up.",
    )
    requests_in_flight: int = _bound(
        100,
        "requests",
        "Requests of one connection worked on at once; until one is answered no more are read from it.",
    )
    held_notifications: int = _bound(
        1_000,
        "notifications",
        "Notifications of a new room that wait for the reply to its subscribe, per subscription.",
    )
