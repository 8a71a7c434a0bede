"""Who has subscribed to what: rooms, their channels, their subscribers here and how many there are elsewhere.

    Room      an index, a collection and a filter: the same id on every node
    Channel   a room as one kind of subscriber wants it: which scope of changes, which news of users
    subscriber   a connection of this node; it counts once per room, whatever number of channels it has there

A room exists as long as a connection of this node or another node has it. It refuses to know how anything is sent:
a member of a channel is a function that takes a frame, and is called by the realtime engine.
No clock, no I/O. The laws (the tests hold them against a model): a connection is among a room's subscribers iff it is a
member of at least one of the room's channels; an empty channel is gone; a room that nobody has is gone.
"""

from collections.abc import Collection, Iterator, Mapping
from enum import IntEnum, StrEnum, unique
from hashlib import sha256
from typing import Any

import attrs

from server.core.filter_index import FilterIndex
from server.core.holds import LEFT_BEFORE_REPLY, Hold
from server.core.koncorde import Filter, parse
from server.core.session import Session, Write
from server.core.values import encode_json


@unique
class Scope(StrEnum):
    """Which changes of documents a subscriber wants: into its filter, out of it."""

    ALL = "all"
    IN = "in"
    OUT = "out"
    NONE = "none"


@unique
class Users(StrEnum):
    """Which news of other subscribers of the room a subscriber wants."""

    ALL = "all"
    IN = "in"
    OUT = "out"
    NONE = "none"


@unique
class Audience(IntEnum):
    """Which channels of a room a notification is for. The number is what nodes send each other."""

    DOCUMENT_IN = 0
    DOCUMENT_OUT = 1
    USER_IN = 2
    USER_OUT = 3


_SCOPE_DIGITS = {Scope.ALL: "1", Scope.IN: "2", Scope.OUT: "3", Scope.NONE: ""}
# Kuzzle writes 3 for `out` and for `none`, so that the two would share a channel: `out` is ours.
_USERS_DIGITS = {Users.ALL: "1", Users.IN: "2", Users.OUT: "4", Users.NONE: "3"}


@attrs.define(eq=False)
class Channel:
    """Those subscribers of a room who want the same of it."""

    name: str
    suffix: bytes
    """The end of every notification sent to it: `,"room":"<name>"}`."""
    scope: Scope
    users: Users
    members: dict[str, Write] = attrs.field(factory=dict)
    """By session id: where to write for it."""

    def is_for(self, audience: Audience) -> bool:
        """Tell whether it wants notifications of this kind."""
        match audience:
            case Audience.DOCUMENT_IN:
                return self.scope in (Scope.ALL, Scope.IN)
            case Audience.DOCUMENT_OUT:
                return self.scope in (Scope.ALL, Scope.OUT)
            case Audience.USER_IN:
                return self.users in (Users.ALL, Users.IN)
            case Audience.USER_OUT:
                return self.users in (Users.ALL, Users.OUT)


@attrs.define(eq=False)
class Subscription:
    """One connection in one room."""

    session: Session
    room: "Room"
    volatile: dict[str, Any] | None
    """What it gave with its first subscribe, repeated when it leaves."""
    channels: dict[str, Channel] = attrs.field(factory=dict)
    """By name."""
    holds: dict[str, Hold] = attrs.field(factory=dict)
    """By the name of the channel, where the reply to its first subscribe is still to come."""


@attrs.frozen
class RemoteShare:
    """What another node has of a room."""

    count: int
    """Subscribers there."""
    wants_users: bool
    """Whether any of them wants news of users."""
    is_away: bool = False
    """Whether that node does not answer now."""


@attrs.frozen
class RoomKey:
    """What makes a room the room that it is."""

    id: str
    index: str
    collection: str
    body: Mapping[str, Any]
    """The filter as the client wrote it."""
    filter: Filter | None
    """None matches everything."""


def filter_key(index: str, collection: str, body: Mapping[str, Any]) -> RoomKey:
    """Return the key of a filter's room, the same on every node for filters that mean the same.

    Raises `FilterError` for a filter that is none.
    """
    filter_ = parse(body) if body else None
    # A JSON array says where it ends, so no index, collection and filter can be read as another three.
    canonical = encode_json([index, collection]) + (b"" if filter_ is None else filter_.canonical)
    return RoomKey(sha256(canonical).hexdigest(), index, collection, body, filter_)


@attrs.define(eq=False)
class Room:
    """An index, a collection and a filter, and who has it."""

    key: RoomKey
    channels: dict[str, Channel] = attrs.field(factory=dict)
    """By name; only those with members."""
    subscribers: dict[str, Subscription] = attrs.field(factory=dict)
    """By session id."""
    remote: dict[str, RemoteShare] = attrs.field(factory=dict)
    """By node."""
    wants_users: bool = False
    """Whether a subscriber of this node wants, or since the room was opened here wanted, news of users."""
    announcements: int = 0
    """How often this node had something new to say of the room to its peers."""
    announcements_settled: int = 0
    """How many of them every live peer is known to have."""
    audiences: tuple[tuple[Channel, ...], ...] = ((), (), (), ())
    """The channels to write to, by `Audience`."""

    @property
    def id(self) -> str:
        """The same on every node."""
        return self.key.id

    @property
    def is_settled(self) -> bool:
        """Whether every live peer is known to have what this node says of the room."""
        return self.announcements == self.announcements_settled

    @property
    def count(self) -> int:
        """Subscribers on all nodes."""
        return len(self.subscribers) + sum(share.count for share in self.remote.values() if not share.is_away)

    def sort_channels(self) -> None:
        """Work out `audiences` anew, after a channel came or went."""
        self.audiences = tuple(
            tuple(channel for channel in self.channels.values() if channel.is_for(audience))
            for audience in Audience
        )


@unique
class Change(IntEnum):
    """What an entry or a departure means to the other nodes."""

    NONE = 0
    OPENED = 1
    """This node has the room now, or wants more of it than it said."""
    COUNTED = 2
    CLOSED = 3
    """Nobody on this node has it any more."""


@attrs.frozen
class Entered:
    """A connection is a member of a channel."""

    subscription: Subscription
    channel: Channel
    change: Change
    is_new: bool
    """Whether it had not been in the room before."""
    is_first: bool
    """Whether nobody on this node had been."""


@attrs.frozen
class Left:
    """A connection is in no channel of the room any more."""

    subscription: Subscription
    change: Change


class NotSubscribed(LookupError):
    """The connection is not in this room."""


@attrs.define(eq=False)
class Rooms:
    """All rooms that a node knows of."""

    local_count: int = 0
    """Rooms with subscribers on this node."""
    _by_id: dict[str, Room] = attrs.field(factory=dict)
    _places: dict[tuple[str, str], FilterIndex[Room]] = attrs.field(factory=dict)
    """By index and collection."""
    _of_node: dict[str, set[str]] = attrs.field(factory=dict)
    _of_session: dict[str, dict[str, Subscription]] = attrs.field(factory=dict)

    def __iter__(self) -> Iterator[Room]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, room_id: str) -> Room | None:
        """Return the room, if any node is known to have it."""
        return self._by_id.get(room_id)

    def of(self, session: Session) -> Collection[str]:
        """Return the ids of the rooms that a connection is in."""
        return self._of_session.get(session.id, {}).keys()

    def subscriptions(self, session: Session) -> Collection[Subscription]:
        """Return what a connection is subscribed to."""
        return self._of_session.get(session.id, {}).values()

    def matching(
        self, index: str, collection: str, content: Mapping[str, Any], document_id: str | None
    ) -> list[Room]:
        """Return the rooms of this collection whose filter the document matches. The hot path."""
        place = self._places.get((index, collection))
        return [] if place is None else place.matching(content, document_id)

    # -- Connections of this node --------------------------------------------------------------------------------

    def enter(
        self,
        session: Session,
        key: RoomKey,
        *,
        scope: Scope,
        users: Users,
        volatile: dict[str, Any] | None,
        hold: Hold,
    ) -> Entered:
        """Make a connection a member of a channel, written to through `hold`; one that is a member stays as it is."""
        room = self._open(key)
        is_first = not room.subscribers
        is_new = session.id not in room.subscribers
        if is_new:
            subscription = room.subscribers[session.id] = Subscription(session, room, volatile)
            self._of_session.setdefault(session.id, {})[room.id] = subscription
        else:
            subscription = room.subscribers[session.id]
        channel = self._channel(room, scope, users)
        if session.id not in channel.members:
            channel.members[session.id] = hold.write
            subscription.channels[channel.name] = channel
            subscription.holds[channel.name] = hold

        change = Change.COUNTED if is_new else Change.NONE
        if is_first:
            self.local_count += 1
            change = Change.OPENED
        if users is not Users.NONE and not room.wants_users:
            room.wants_users = True
            change = Change.OPENED
        if change is Change.OPENED:
            room.announcements += 1
        return Entered(subscription, channel, change, is_new, is_first)

    def leave(self, session: Session, room_id: str) -> Left:
        """Take a connection out of all channels of a room. Raises `NotSubscribed`."""
        subscriptions = self._of_session.get(session.id, {})
        if room_id not in subscriptions:
            raise NotSubscribed(room_id)
        subscription = subscriptions.pop(room_id)
        if not subscriptions:
            del self._of_session[session.id]
        room = subscription.room
        del room.subscribers[session.id]
        for hold in subscription.holds.values():
            hold.discard(LEFT_BEFORE_REPLY)
        subscription.holds.clear()
        emptied = False
        for channel in subscription.channels.values():
            del channel.members[session.id]
            if not channel.members:
                del room.channels[channel.name]
                emptied = True
        if emptied:
            room.sort_channels()
        if room.subscribers:
            return Left(subscription, Change.COUNTED)
        self.local_count -= 1
        room.wants_users = False
        self._close_unused(room)
        return Left(subscription, Change.CLOSED)

    def _channel(self, room: Room, scope: Scope, users: Users) -> Channel:
        name = f"{room.id}-{_USERS_DIGITS[users]}1{_SCOPE_DIGITS[scope]}"
        channel = room.channels.get(name)
        if channel is None:
            channel = room.channels[name] = Channel(name, b',"room":"%b"}' % name.encode(), scope, users)
            room.sort_channels()
        return channel

    def release(self, subscription: Subscription, channel: Channel) -> None:
        """The reply is out: send what was held for this member, and write to it directly from now on."""
        hold = subscription.holds.pop(channel.name, None)
        if hold is not None:
            channel.members[subscription.session.id] = subscription.session.write
            hold.release()

    # -- Other nodes ---------------------------------------------------------------------------------------------

    def remote_opened(self, node: str, key: RoomKey, share: RemoteShare) -> None:
        """Another node has a room; said again, what it said before is replaced."""
        self._open(key).remote[node] = share
        self._of_node.setdefault(node, set()).add(key.id)

    def remote_counted(self, node: str, room_id: str, count: int) -> None:
        """Another node has another number of subscribers. Nothing if it never opened the room."""
        room = self._by_id.get(room_id)
        share = None if room is None else room.remote.get(node)
        if room is not None and share is not None:
            room.remote[node] = attrs.evolve(share, count=count)

    def remote_closed(self, node: str, room_id: str) -> None:
        """Another node does not have a room any more. Nothing if it never opened it."""
        rooms = self._of_node.get(node)
        if rooms is None or room_id not in rooms:
            return
        rooms.remove(room_id)
        if not rooms:
            del self._of_node[node]
        room = self._by_id[room_id]
        del room.remote[node]
        self._close_unused(room)

    def remote_away(self, node: str, *, is_away: bool) -> None:
        """Another node does not answer: its subscribers count no more, but they may come back for what they missed."""
        for room_id in self._of_node.get(node, ()):
            remote = self._by_id[room_id].remote
            remote[node] = attrs.evolve(remote[node], is_away=is_away)

    def remote_gone(self, node: str) -> None:
        """Another node is gone, with all its rooms."""
        for room_id in self._of_node.pop(node, ()):
            room = self._by_id[room_id]
            del room.remote[node]
            self._close_unused(room)

    # -- Rooms ---------------------------------------------------------------------------------------------------

    def _open(self, key: RoomKey) -> Room:
        room = self._by_id.get(key.id)
        if room is None:
            room = self._by_id[key.id] = Room(key)
            place = self._places.setdefault((key.index, key.collection), FilterIndex())
            place.add(key.id, key.filter, room)
        return room

    def _close_unused(self, room: Room) -> None:
        if room.subscribers or room.remote:
            return
        key = room.key
        del self._by_id[key.id]
        place = self._places[key.index, key.collection]
        place.remove(key.id, key.filter)
        if not place:
            del self._places[key.index, key.collection]
