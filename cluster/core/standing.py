"""Where a node stands in its cluster, in one word, and why, in words for an operator at night."""

from __future__ import annotations

from enum import Enum

import attrs


class Standing(Enum):
    """What a node is, or does. But for LIVE, each is a reason not to rely on it."""

    LIVE = "live"
    JOINING = "joining"  # reads what the others have, or has not found out yet who they are
    SYNCING = "syncing"  # stood still for so long that it reads it again
    WAITING = "waiting"  # for more nodes, without which it is not to be relied on
    DEAF = "deaf"  # what is published for it does not arrive
    MUTE = "mute"  # what it publishes does not arrive
    TWIN = "twin"  # another living node uses its name
    STALLED = "stalled"  # its own clock is not looked at
    DRAINING = "draining"
    LEAVING = "leaving"


@attrs.frozen
class NotReady:
    """One reason why a node must not be relied on now."""

    standing: Standing
    why: str
