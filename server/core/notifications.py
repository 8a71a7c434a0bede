"""What subscribers are told, encoded once for all of them.

A notification is written in two parts: the *head*, which is the same for everyone and on every node, and the channel,
which is appended per channel. The head is a JSON object without its closing brace:

    {"type":"document", … ,"protocol":"websocket"      +      ,"room":"<channel>"}

Between nodes a notification travels as one byte that says which channels it is for, and its head. What nodes tell
each other of a room is its description: enough to test documents against its filter.
"""

from typing import Any, Final

import attrs
import msgspec

from server.core.koncorde import FilterError
from server.core.rooms import Audience, Room, RoomKey, filter_key
from server.core.values import encode_json


class DocumentNotification(msgspec.Struct, frozen=True, kw_only=True):
    """A document changed, or a message was published. A struct: made for each publish, at a fifth of the cost."""

    index: str
    collection: str
    action: str
    """As the client called it: `publish`, `create`, …"""
    scope: str
    """`in` when the document is in the filter after the change, `out` when it left."""
    event: str
    """`publish`, `write` or `delete`."""
    content: dict[str, Any]
    """What filters are tested on."""
    document_id: str | None
    result: dict[str, Any]
    """What subscribers read."""
    request_id: str
    timestamp: int
    """When the author's request was received, in milliseconds since 1970."""
    volatile: dict[str, Any] | None
    """Of the author's request: the SDK tells by it which notifications are its own."""
    controller: str
    protocol: str
    """Of the author."""


@attrs.frozen(kw_only=True)
class UserNotification:
    """A subscriber came to a room or left it."""

    direction: str
    """`in` or `out`."""
    count: int
    """Subscribers of the room on all nodes, afterwards."""
    action: str
    timestamp: int
    """Milliseconds since 1970."""
    volatile: dict[str, Any] | None
    index: str | None
    """None for a `join`, where the client did not name it."""
    collection: str | None
    protocol: str | None
    """None for one who left."""


LOSS_ROOM: Final = "shoal:notification:loss"
"""What a loss notification has as `room`: no channel's name, so an SDK that does not know it hands it to nobody."""


class RoomLoss(msgspec.Struct, frozen=True, rename={"room_id": "roomId"}):
    """What a client missed of one room: on which of its channels, and how many (None: nobody can know)."""

    room_id: str
    channels: list[str]
    count: int | None


class LossNotification(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="loss"):
    """Notifications from another node cannot be had any more: one message for each client concerned."""

    origin: str
    """The node that published them."""
    node: str
    timestamp: int
    """Milliseconds since 1970."""
    rooms: list[RoomLoss]
    message: str = "Notifications were lost between two nodes: fetch again what these rooms are about"
    status: int = 206
    room: str = LOSS_ROOM


class _DocumentHead(msgspec.Struct, rename={"request_id": "requestId"}, tag_field="type", tag="document"):
    status: int
    action: str
    scope: str
    result: dict[str, Any]
    node: str
    event: str
    request_id: str
    timestamp: int
    volatile: dict[str, Any] | None
    index: str
    collection: str
    controller: str
    protocol: str


class _UserHead(msgspec.Struct, tag_field="type", tag="user"):
    status: int
    user: str
    result: dict[str, int]
    node: str
    timestamp: int
    volatile: dict[str, Any] | None
    index: str | msgspec.UnsetType
    collection: str | msgspec.UnsetType
    controller: str
    action: str
    protocol: str | None


def document_head(notification: DocumentNotification, node: str) -> bytes:
    """Return the head; `node` is where the change was made."""
    told = notification
    return encode_json(
        _DocumentHead(
            200,
            told.action,
            told.scope,
            told.result,
            node,
            told.event,
            told.request_id,
            told.timestamp,
            told.volatile,
            told.index,
            told.collection,
            told.controller,
            told.protocol,
        )
    )[:-1]


def user_head(notification: UserNotification, node: str) -> bytes:
    """Return the head; `node` is where the subscriber is or was."""
    told = notification
    return encode_json(
        _UserHead(
            200,
            told.direction,
            {"count": told.count},
            node,
            told.timestamp,
            told.volatile,
            msgspec.UNSET if told.index is None else told.index,
            msgspec.UNSET if told.collection is None else told.collection,
            "realtime",
            told.action,
            told.protocol,
        )
    )[:-1]


def payload(audience: Audience, head: bytes) -> bytes:
    """Return what is sent to other nodes."""
    return bytes((audience,)) + head


def read_payload(received: bytes) -> tuple[Audience, bytes]:
    """Return audience and head. Raises ValueError when it is no payload."""
    if len(received) < 2:
        raise ValueError(f"a notification has at least 2 bytes, this one {len(received)}")
    audience = _AUDIENCES.get(received[0])
    if audience is None:
        raise ValueError(f"a notification for no audience that there is: {received[0]}")
    return audience, received[1:]


_AUDIENCES: Final = {audience.value: audience for audience in Audience}
"""Looked up for each notification from another node; the enum's own way takes three times as long."""


# -- Descriptions of rooms ---------------------------------------------------------------------------------------


class RoomDescriptionError(ValueError):
    """What another node said of a room cannot be used: it is of another version, or broken."""


class _Description(msgspec.Struct):
    index: str
    collection: str
    filter: dict[str, Any]
    users: bool


MAX_DESCRIPTION_BYTES: Final = 4 << 20
"""A room's index, collection and filter as JSON: what the mesh takes, and four times the default size of a client's
message. Only where `limits.request_bytes` is raised can a filter be larger."""

_read_description = msgspec.json.Decoder(_Description).decode


def describe(room: Room) -> bytes:
    """Return what other nodes have to know of a room that has subscribers on this one."""
    return _describe(room.key, room.wants_users)


def description_bytes(key: RoomKey) -> int:
    """Return the most that a description of a room with this key can take."""
    return len(_describe(key, wants_users=False))  # the longer word


def _describe(key: RoomKey, wants_users: bool) -> bytes:
    return encode_json(_Description(key.index, key.collection, dict(key.body), wants_users))


def read_description(room_id: str, description: bytes) -> tuple[RoomKey, bool]:
    """Return the room's key, and whether its subscribers want news of users. Raises `RoomDescriptionError`."""
    try:
        told = _read_description(description)
        key = filter_key(told.index, told.collection, told.filter)
    except (msgspec.DecodeError, UnicodeError, RecursionError, FilterError) as error:
        raise RoomDescriptionError(f"room {room_id}: {error}") from None
    # The id is the owner's to say. It would differ if its version found other filters equal than this one does.
    return attrs.evolve(key, id=room_id), told.users
