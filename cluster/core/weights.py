"""What things weigh, bytes: never less than they take in a frame, and about what they take in memory.

Logs, frames, and what is held back are bounded by these. An id weighs at least what Python needs for the shortest text;
one of Shoal's, 64 hexadecimal digits, weighs just as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster.core import messages
from cluster.core.messages import Change, Notification, RoomOpened

NOTIFICATION_OVERHEAD = 50
"""Besides its rooms and payload: a few bytes in a frame, the rest in Python."""

CHANGE_OVERHEAD = 16
"""Besides its room and description: at the most in a frame."""

_ID_OVERHEAD = 6
_ID_AT_LEAST = 64


def room_weight(room: str) -> int:
    """A room's id. Raises `ValueError` for a text that is none."""
    length = len(room)
    if 0 < length <= _ID_AT_LEAST and room.isascii():  # nearly always
        return _ID_OVERHEAD + _ID_AT_LEAST
    if not 0 < length <= messages.ROOM_ID_CHARACTERS:
        raise ValueError(f"a room id of {length} characters: it must have 1 to {messages.ROOM_ID_CHARACTERS}")
    return _ID_OVERHEAD + max(_ID_AT_LEAST, len(room.encode()))


def rooms_weight(rooms: Sequence[str]) -> int:
    """A list of room ids. Raises `ValueError` if one is none."""
    if len(rooms) == 1:  # nearly always
        return room_weight(rooms[0])
    return sum(map(room_weight, rooms))


def notification_weight(item: Notification) -> int:
    """A notification, with the rooms that it names."""
    return NOTIFICATION_OVERHEAD + len(item.payload) + rooms_weight(item.rooms)


def remains_of(item: Notification, weight: int) -> tuple[list[str], int]:
    """What is left of a notification that weighs so much when its payload is gone, and what that weighs."""
    return item.rooms, weight - len(item.payload)


def change_weight(change: Change) -> int:
    """A change of a slice, or a room in a snapshot."""
    description = len(change.description) if isinstance(change, RoomOpened) else 0
    return CHANGE_OVERHEAD + room_weight(change.room) + description


def rooms_apart(rooms: Sequence[str], max_bytes: int) -> Iterator[tuple[Sequence[str], int]]:
    """The rooms in parts within the bound, each with its weight; a single room may weigh more."""
    start = weight = 0
    for index, room in enumerate(rooms):
        size = room_weight(room)
        if index > start and weight + size > max_bytes:
            yield rooms[start:index], weight
            start, weight = index, 0
        weight += size
    yield rooms[start:], weight
