"""What the core wants done: a closed union. The shell does the first group on its sockets and gives the second to
whoever embeds the mesh, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.core.identity import Card, Epoch
from cluster.core.messages import Notification


class _Effect(msgspec.Struct, frozen=True, gc=False):
    pass


# -- on the sockets --


class Publish(_Effect, frozen=True):
    """Send the frame on the PUB socket."""

    frame: bytes


class Ask(_Effect, frozen=True):
    """Send the frame on the DEALER that is connected to the node."""

    node: str
    frame: bytes


class Answer(_Effect, frozen=True):
    """Send the frame on the ROUTER, to whoever asked under this identity."""

    identity: bytes
    frame: bytes


class Connect(_Effect, frozen=True):
    """Connect the SUB and a DEALER to the node; replaces what was connected to it."""

    card: Card


class Disconnect(_Effect, frozen=True):
    """Disconnect from the node."""

    node: str


class Announce(_Effect, frozen=True):
    """This node's epoch changed: renew its card in the pool."""

    epoch: Epoch


class MoveTopic(_Effect, frozen=True):
    """This node began a new life: subscribe to its notify topic, and not to the former one any more."""

    former: bytes
    topic: bytes


# -- to the embedder --


class PeerRoom(_Effect, frozen=True):
    """The node has `count` subscribers in the room; may be said again."""

    node: str
    room: str
    description: bytes
    count: int


class PeerRoomCounted(_Effect, frozen=True):
    """The number of the node's subscribers in a room that was told of before."""

    node: str
    room: str
    count: int


class PeerRoomClosed(_Effect, frozen=True):
    """The node has no subscriber in the room any more."""

    node: str
    room: str


class PeerGone(_Effect, frozen=True):
    """The node's slice is dropped as a whole: it left, it is down, or a new life of it began."""

    node: str


class Deliver(_Effect, frozen=True):
    """Notifications from the node for rooms of this one, in the order in which they were published."""

    node: str
    items: Sequence[Notification]


class Lost(_Effect, frozen=True):
    """This many notifications from the node cannot be had any more."""

    node: str
    count: int


class Belief(_Effect, frozen=True):
    """Something that this node now believes and did not before: one line for the log."""

    event: str
    fields: dict[str, Any]
    is_warning: bool = False


Effect = (
    Publish
    | Ask
    | Answer
    | Connect
    | Disconnect
    | Announce
    | MoveTopic
    | PeerRoom
    | PeerRoomCounted
    | PeerRoomClosed
    | PeerGone
    | Deliver
    | Lost
    | Belief
)
