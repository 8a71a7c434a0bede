"""The realtime engine: who is in which room, and who is told of what.

    publish ─ match the rooms of all nodes ─┬─ members here: one frame per channel, into each member's outbox
                                            └─ other nodes: one payload each, through the relay

Nothing here waits, but `settled`. A notification is encoded once; no task, lock or queue per message or member. How the
members of a channel get it is told in server/telling.py.

Guarantee 1, "subscribe means subscribed": when this node has something new to say of a room, the room is *settled* once
every live peer has said that it knows. `subscribe` makes the member at once and tells whether the reply has to wait
for `settled`; what arrives for the new member before the reply is held, and follows it.

It refuses to lose a notification in silence: each is delivered, held, forwarded, or dropped and counted by reason.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import attrs

from server.core.errors import ApiError
from server.core.holds import NO_ROOM, UNREADABLE, DeliveryCounters, Hold
from server.core.koncorde import FilterError
from server.core.limits import Limits
from server.core.notifications import (
    MAX_DESCRIPTION_BYTES,
    DocumentNotification,
    UserNotification,
    describe,
    description_bytes,
    document_head,
    payload,
    read_description,
    read_payload,
    user_head,
)
from server.core.rooms import (
    Audience,
    Change,
    Entered,
    NotSubscribed,
    RemoteShare,
    Room,
    RoomKey,
    Rooms,
    Scope,
    Users,
    filter_key,
)
from server.core.session import Session
from server.events import Event, RoomClosed, RoomOpened
from server.ports import Relay, Turn
from server.telling import Telling


class Realtime:
    """The rooms of this node and what happens in them. One per node."""

    def __init__(
        self,
        *,
        node_id: str,
        limits: Limits,
        now_ms: Callable[[], int],
        emit: Callable[[Event], None],
        turn: Turn,
    ) -> None:
        """Only remember."""
        self.counters = DeliveryCounters()
        self._node_id = node_id
        self._limits = limits
        self._now_ms = now_ms
        self._emit = emit
        self._rooms = Rooms()
        self._telling = Telling(self._rooms, turn, self.counters, node_id=node_id, now_ms=now_ms)
        self._relay: Relay | None = None

    # -- Subscribing ---------------------------------------------------------------------------------------------

    def subscribe(
        self, session: Session, index: str, collection: str, body: Mapping[str, Any], wish: "Wish"
    ) -> "Subscribed":
        """Put a connection into the room of a filter.

        Unless the result `is_settled`, `settled` has to be awaited before the reply; right after the reply, `release`
        is to be called. Raises ApiError for a filter that is none, and when a limit is reached.
        """
        try:
            key = filter_key(index, collection, body)
        except FilterError as error:
            raise ApiError("api.assert.koncorde_dsl_error", str(error)) from None
        return self._enter(session, key, wish, "subscribe")

    def join(self, session: Session, room_id: str, wish: "Wish") -> "Subscribed":
        """Put a connection into a room that any node has; as `subscribe`. Raises ApiError `room_not_found`."""
        room = self._rooms.find(room_id)
        if room is None:
            raise ApiError("core.realtime.room_not_found", room_id)
        return self._enter(session, room.key, wish, "join")

    def unsubscribe(self, session: Session, room_id: str) -> None:
        """Take a connection out of a room. Raises ApiError `not_subscribed`."""
        try:
            self._leave(session, room_id)
        except NotSubscribed:
            raise ApiError("core.realtime.not_subscribed", session.id, room_id) from None

    def leave_all(self, session: Session) -> None:
        """Take a connection out of all its rooms."""
        for room_id in tuple(self._rooms.of(session)):
            self._leave(session, room_id)

    def _enter(self, session: Session, key: RoomKey, wish: "Wish", action: str) -> "Subscribed":
        self._check_limits(session, key)
        self._telling.tell_all()
        entered = self._rooms.enter(
            session,
            key,
            scope=wish.scope,
            users=wish.users,
            volatile=wish.volatile,
            hold=Hold(session, self._limits.held_notifications, self.counters),
        )
        room = entered.subscription.room
        self._say(room, entered.change)
        if entered.is_new:
            is_named = (
                action == "subscribe"
            )  # a join names the room only, and Kuzzle tells no more than was named
            told = UserNotification(
                direction="in",
                count=room.count,
                action=action,
                timestamp=self._now_ms(),
                volatile=wish.volatile,
                index=key.index if is_named else None,
                collection=key.collection if is_named else None,
                protocol=session.protocol,
            )
            self._tell_users(room, Audience.USER_IN, told)
        if entered.is_first:
            self._emit(RoomOpened(room.id, key.index, key.collection))
        return Subscribed(self, self._rooms, entered)

    def _check_limits(self, session: Session, key: RoomKey) -> None:
        rooms = self._rooms.of(session)
        if key.id in rooms:
            return
        allowed = self._limits.subscriptions
        if len(rooms) >= allowed:
            raise ApiError("core.realtime.too_many_subscriptions", str(allowed))
        room = self._rooms.find(key.id)
        if room is not None and room.subscribers:
            return
        if self._rooms.local_count >= self._limits.rooms:
            raise ApiError("core.realtime.too_many_rooms")
        size = description_bytes(key)
        if size > MAX_DESCRIPTION_BYTES:
            raise ApiError("core.realtime.filter_too_large", str(size), str(MAX_DESCRIPTION_BYTES))

    def _leave(self, session: Session, room_id: str) -> None:
        self._telling.tell_all()
        left = self._rooms.leave(session, room_id)
        room = left.subscription.room
        self._say(room, left.change)
        told = UserNotification(
            direction="out",
            count=room.count,
            action="unsubscribe",
            timestamp=self._now_ms(),
            volatile=left.subscription.volatile,
            index=room.key.index,
            collection=room.key.collection,
            protocol=None,
        )
        self._tell_users(room, Audience.USER_OUT, told)
        if left.change is Change.CLOSED:
            self._emit(RoomClosed(room.id, room.key.index, room.key.collection))

    def _say(self, room: Room, change: Change) -> None:
        """Tell the other nodes."""
        relay = self._relay
        if relay is None:
            return
        match change:
            case Change.NONE:
                pass
            case Change.OPENED:
                relay.room_opened(room.id, describe(room), len(room.subscribers))
            case Change.COUNTED:
                relay.room_counted(room.id, len(room.subscribers))
            case Change.CLOSED:
                relay.room_closed(room.id)

    async def settled(self, room: Room) -> bool:
        """Return when every live peer knows what this node says of a room; False when one did not answer in time."""
        relay = self._relay
        if relay is None or room.is_settled:
            return True
        said = room.announcements
        settled = await relay.settled()
        # What was said meanwhile, or has to be said again to another relay, is not covered by this answer.
        if settled and relay is self._relay:
            room.announcements_settled = max(room.announcements_settled, said)
        return settled

    def is_settled(self, room: Room) -> bool:
        """Tell whether `settled` would return at once."""
        return self._relay is None or room.is_settled

    @property
    def most_rooms(self) -> int:
        """How many rooms this node may have."""
        return self._limits.rooms

    # -- Asking --------------------------------------------------------------------------------------------------

    def of(self, session: Session) -> Collection[str]:
        """Return the ids of the rooms that a connection is in."""
        return self._rooms.of(session)

    def count(self, room_id: str) -> int:
        """Return how many connections of all nodes are in a room; 0 for one that nobody has."""
        room = self._rooms.find(room_id)
        return 0 if room is None else room.count

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the counts of all rooms of all nodes: by index, collection and room id."""
        listed: dict[str, dict[str, dict[str, int]]] = {}
        for room in self._rooms:
            if (count := room.count) > 0:  # a node that is away may be the only one that has it
                key = room.key
                listed.setdefault(key.index, {}).setdefault(key.collection, {})[key.id] = count
        return listed

    # -- Telling -------------------------------------------------------------------------------------------------

    def publish(self, notification: DocumentNotification, audience: Audience = Audience.DOCUMENT_IN) -> None:
        """Tell all subscribers, on all nodes, whose filter the notification's content matches. The hot path."""
        self.counters.published += 1
        told = notification
        rooms = self._rooms.matching(told.index, told.collection, told.content, told.document_id)
        if not rooms:
            return
        head = document_head(told, self._node_id)
        elsewhere: dict[str, list[str]] = {}
        for room in rooms:
            if room.subscribers:
                self._telling.deliver(room.audiences[audience], head)
            for node in room.remote:
                elsewhere.setdefault(node, []).append(room.key.id)
        if elsewhere:
            self._forward(elsewhere, audience, head)

    def _tell_users(self, room: Room, audience: Audience, notification: UserNotification) -> None:
        elsewhere = {node: [room.id] for node, share in room.remote.items() if share.wants_users}
        here = room.audiences[audience]
        if not elsewhere and not here:
            return
        self.counters.published += 1
        head = user_head(notification, self._node_id)
        self._telling.deliver(here, head)
        self._forward(elsewhere, audience, head)

    def _forward(self, elsewhere: Mapping[str, list[str]], audience: Audience, head: bytes) -> None:
        relay = self._relay
        if relay is None:
            return
        sent = payload(audience, head)
        for node, room_ids in elsewhere.items():
            self.counters.forwarded += len(room_ids)
            relay.forward(node, room_ids, sent)

    def tell_all(self) -> None:
        """Tell everybody here now of all that was published, before somebody is sent away."""
        self._telling.tell_all()

    # -- The other nodes, called by the plugin that knows them -----------------------------------------------------

    def attach(self, relay: Relay) -> None:
        """Let a relay carry rooms and notifications from now on. It has to tell the others of `local_rooms` itself."""
        self._relay = relay
        for room in self._rooms:
            room.announcements += 1

    def detach(self) -> None:
        """Be a node on its own again. What the others had is forgotten by `remote_node_gone`, per node."""
        self._relay = None

    def local_rooms(self) -> Iterator[tuple[str, bytes, int]]:
        """Yield (room id, description, subscribers) of each room that has subscribers on this node."""
        for room in self._rooms:
            if room.subscribers:
                yield room.id, describe(room), len(room.subscribers)

    def remote_room_opened(self, node: str, room_id: str, description: bytes, count: int) -> None:
        """Another node has a room; said again, it replaces what was said. Raises `RoomDescriptionError`."""
        key, wants_users = read_description(room_id, description)
        self._rooms.remote_opened(node, key, RemoteShare(count, wants_users))

    def remote_room_counted(self, node: str, room_id: str, count: int) -> None:
        """Another node has another number of subscribers in a room; nothing if it never opened it."""
        self._rooms.remote_counted(node, room_id, count)

    def remote_room_closed(self, node: str, room_id: str) -> None:
        """Another node has no subscriber in a room any more; nothing if it never opened it."""
        self._rooms.remote_closed(node, room_id)

    def remote_node_away(self, node: str) -> None:
        """Another node does not answer: its subscribers count no more. What is published for them is still
        forwarded, for the relay to keep until the node is back."""
        self._rooms.remote_away(node, is_away=True)

    def remote_node_back(self, node: str) -> None:
        """The node that was away answers again."""
        self._rooms.remote_away(node, is_away=False)

    def remote_node_gone(self, node: str) -> None:
        """Another node is gone, with all it had."""
        self._rooms.remote_gone(node)

    def deliver(self, room_ids: Iterable[str], received: bytes) -> None:
        """Tell the subscribers of these rooms on this node of a notification from another node. Never raises."""
        try:
            audience, head = read_payload(received)
        except ValueError:
            self.counters.dropped[UNREADABLE] += 1
            return
        for room_id in room_ids:
            self.counters.received += 1
            room = self._rooms.find(room_id)
            if room is None or not room.subscribers:
                self.counters.dropped[NO_ROOM] += 1
                continue
            self._telling.deliver(room.audiences[audience], head)

    def announce_loss(self, node: str, count: int | None, room_ids: Mapping[str, int] | None) -> None:
        """Notifications from another node are lost: tell each client concerned, in one message, so that it fetches
        again. To tell very many is left to later turns, in slices.

        `room_ids` says how many were for each room (0: nobody can know); None is every room that has subscribers
        here."""
        concerned = room_ids if room_ids is not None else {room.id: 0 for room in self._rooms}
        self.counters.lost += count or 0
        self._telling.announce_loss(node, concerned)


@attrs.frozen(kw_only=True)
class Wish:
    """What a subscriber wants of a room."""

    scope: Scope = Scope.ALL
    users: Users = Users.NONE
    volatile: dict[str, Any] | None = None


@attrs.frozen(eq=False)
class Subscribed:
    """A connection is in a room, and its reply is still to come."""

    _realtime: Realtime
    _rooms: Rooms
    _entered: Entered

    @property
    def room_id(self) -> str:
        """The room's id."""
        return self._entered.subscription.room.id

    @property
    def channel(self) -> str:
        """The name of the channel: what its notifications have as `room`."""
        return self._entered.channel.name

    @property
    def is_settled(self) -> bool:
        """Whether the reply need not wait."""
        return self._realtime.is_settled(self._entered.subscription.room)

    async def settled(self) -> bool:
        """Return when the reply may be sent; False when a peer did not answer in time."""
        return await self._realtime.settled(self._entered.subscription.room)

    def release(self) -> None:
        """The reply is out: send what was held. Calling it again, or after the connection left, does nothing."""
        self._rooms.release(self._entered.subscription, self._entered.channel)
