"""Slices: what a node alone decides, and what others know of it.

A node is the only writer of its slice, so there is nothing to merge and nothing to lock. A slice is its rooms; to
the mesh a room is an id, an opaque description and a subscriber count.
"""

from __future__ import annotations

from collections.abc import Iterator

from cluster.core import messages
from cluster.core.effects import (
    Effect,
    PeerAway,
    PeerBack,
    PeerGone,
    PeerRoom,
    PeerRoomClosed,
    PeerRoomCounted,
)
from cluster.core.limits import Limits
from cluster.core.messages import Change, RoomClosed, RoomCounted, RoomOpened
from cluster.core.weights import change_weight


class OwnSlice:
    """The rooms of this node. Each change is returned as it has to be told, or None when nothing changed."""

    def __init__(self) -> None:
        self._rooms: dict[str, tuple[bytes, int]] = {}
        self._opened_at: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def open(self, room: str, description: bytes, count: int, number: int) -> Change | None:
        """The room has `count` subscribers here. If that is a change, it will have this number."""
        known = self._rooms.get(room)
        self._rooms[room] = (description, count)
        if known is None or known[0] != description:
            self._opened_at[room] = number
            return RoomOpened(room, description, count)
        return RoomCounted(room, count) if known[1] != count else None

    def count(self, room: str, count: int) -> Change | None:
        """The room's number of subscribers. Raises `KeyError` for a room that is not open."""
        description, before = self._rooms[room]
        if before == count:
            return None
        self._rooms[room] = (description, count)
        return RoomCounted(room, count)

    def close(self, room: str) -> Change | None:
        """The room has no subscriber here any more."""
        if self._rooms.pop(room, None) is None:
            return None
        del self._opened_at[room]
        return RoomClosed(room)

    def opened_after(self, number: int) -> list[str]:
        """The rooms that who has applied the changes up to `number` does not know (as they are now)."""
        return [room for room, opened_at in self._opened_at.items() if opened_at > number]

    def renumber(self) -> None:
        """A new epoch begins: its changes are numbered anew, and none of what is here is one of them."""
        self._opened_at = dict.fromkeys(self._opened_at, 0)

    def parts(self, max_bytes: int) -> Iterator[list[RoomOpened]]:
        """The whole slice in parts of about `max_bytes`; one empty part when there is no room."""
        part: list[RoomOpened] = []
        weight = 0
        for room, (description, count) in self._rooms.items():
            opened = RoomOpened(room, description, count)
            size = change_weight(opened)
            if part and (weight + size > max_bytes or len(part) == messages.BATCH_ITEMS):
                yield part
                part, weight = [], 0
            part.append(opened)
            weight += size
        yield part


class PeerSlice:
    """What we hold of one peer's slice, within bounds; every method says what the embedder has to be told."""

    def __init__(self, node: str, limits: Limits) -> None:
        self._node = node
        self._rooms: dict[str, int] = {}
        """What each weighs."""
        self._snapshot: set[str] = set()
        self._is_away = False
        self._most_rooms = limits.slice_rooms
        self._most_bytes = limits.slice_bytes
        self.bytes = 0
        """What the rooms weigh."""
        self.is_overfull = False
        """Whether a room was refused since the last snapshot began, because it would have been too much."""

    def __len__(self) -> int:
        return len(self._rooms)

    def apply(self, change: Change, out: list[Effect]) -> None:
        """One change of the peer's state stream, in order."""
        match change:
            case RoomOpened(room, description, count):
                if self._takes(change):
                    out.append(PeerRoom(self._node, room, description, count))
            case RoomCounted(room, count):
                if room in self._rooms:
                    out.append(PeerRoomCounted(self._node, room, count))
            case RoomClosed(room):
                if room in self._rooms:
                    self.bytes -= self._rooms.pop(room)
                    out.append(PeerRoomClosed(self._node, room))

    def begin_snapshot(self) -> None:
        """The first part of a snapshot comes next; parts of an older one are forgotten."""
        self._snapshot = set()
        self.is_overfull = False

    def add_part(self, rooms: list[RoomOpened], out: list[Effect]) -> None:
        """One part of a snapshot. What is in it is true, so it need not wait for the rest."""
        for room in rooms:
            self.apply(room, out)
            if room.room in self._rooms:
                self._snapshot.add(room.room)

    def end_snapshot(self, out: list[Effect]) -> None:
        """The last part was added: whatever the snapshot did not name is no more."""
        for room in self._rooms.keys() - self._snapshot:
            self.apply(RoomClosed(room), out)
        self._snapshot = set()
        if self._is_away:
            self._is_away = False
            out.append(PeerBack(self._node))

    def away(self, out: list[Effect]) -> None:
        """The peer does not answer; what it has is kept in case it comes back."""
        self._is_away = True
        out.append(PeerAway(self._node))

    def drop(self, out: list[Effect]) -> None:
        """The peer is gone, and its slice with it."""
        self._rooms.clear()
        self._snapshot.clear()
        self.bytes = 0
        out.append(PeerGone(self._node))

    def _takes(self, opened: RoomOpened) -> bool:
        """Whether there is a place for the room, or for what is said of it now; then it is taken."""
        known = self._rooms.get(opened.room)
        weight = change_weight(opened)
        grown = self.bytes + weight - (known or 0)
        if grown > self._most_bytes or (known is None and len(self._rooms) >= self._most_rooms):
            self.is_overfull = True
            return False
        self._rooms[opened.room] = weight
        self.bytes = grown
        return True
