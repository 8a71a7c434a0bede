"""What the core wants done: a closed union. The shell does the first group on its sockets and gives the second to
whoever embeds the mesh, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.core.identity import Card
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


class AskAt(_Effect, frozen=True):
    """Send the frame to the ROUTER at the address, which need not be a known node's; what it answers is told under the
    address."""

    address: str
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


class PeerAway(_Effect, frozen=True):
    """The node does not answer: its subscribers do not count any more. It may come back, so what is published for its
    rooms is still to be sent to it: it is kept for repair. `PeerBack` or `PeerGone` settles it."""

    node: str


class PeerBack(_Effect, frozen=True):
    """The node that was away answers again, and its rooms have been told anew: they count."""

    node: str


class PeerGone(_Effect, frozen=True):
    """The node's slice is dropped as a whole: it left, it is given up on, or a new life of it began."""

    node: str


class Deliver(_Effect, frozen=True):
    """Notifications from the node for rooms of this one, in the order in which they were published."""

    node: str
    items: Sequence[Notification]


class Lost(_Effect, frozen=True):
    """Notifications from the node cannot be had any more.

    `rooms` are the rooms concerned, each with how many of them were for it (0 when nobody can know); None is every
    room of this node. `count` is how many there were in all, or None when nobody can know."""

    node: str
    count: int | None
    rooms: dict[str, int] | None


class Belief(_Effect, frozen=True):
    """Something that this node now believes and did not before: one line for the log. One that is repeated comes and
    goes for a reason that was said already."""

    event: str
    fields: dict[str, Any]
    is_warning: bool = False
    is_repeated: bool = False


Effect = (
    Publish
    | Ask
    | AskAt
    | Answer
    | Connect
    | Disconnect
    | Announce
    | MoveTopic
    | PeerRoom
    | PeerRoomCounted
    | PeerRoomClosed
    | PeerAway
    | PeerBack
    | PeerGone
    | Deliver
    | Lost
    | Belief
)
