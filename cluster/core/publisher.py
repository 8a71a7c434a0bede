"""What this node says: its slice, its numbered streams, and the frames that carry them.

Changes and notifications of one turn of the embedder's loop are gathered, and numbered and framed together by
`flush`: one frame for the state stream, one for each peer, unless they grow over the batch bound.

Whatever is taken here can be said: what no frame can carry, or no receiver takes, is refused at once (`ValueError`),
and what has too many rooms for one notification is said in several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from cluster.core import messages
from cluster.core.effects import Effect, Publish
from cluster.core.identity import HIGHEST_NUMBER, Epoch, Me
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.messages import Change, Notification, Reply
from cluster.core.slices import OwnSlice
from cluster.core.streams import Outbound
from cluster.core.weights import (
    NOTIFICATION_OVERHEAD,
    change_weight,
    room_weight,
    rooms_apart,
    rooms_weight,
)

_Item = TypeVar("_Item")


class Publisher:
    """The voice of one node. It knows the links only to read their streams."""

    def __init__(self, me: Me, limits: Limits, links: Mapping[str, Link]) -> None:
        self._me = me
        self._limits = limits
        self._links = links
        self._slice = OwnSlice()
        self._state = self._new_state()
        self._changes: list[Change] = []
        self._pending: dict[str, tuple[list[Notification], list[int]]] = {}
        """For each peer: what it is to be told, and what that weighs."""
        self._most_rooms_bytes = min(limits.batch_bytes, messages.ROOMS_BYTES)
        self._canary_at = float("-inf")
        self.dropped: Counter[str] = Counter()
        """Notifications that were not sent, by reason."""

    @property
    def state_tail(self) -> int:
        """The number of the last change of the own slice, those included that are not flushed yet."""
        return self._state.tail + len(self._changes)

    @property
    def rooms(self) -> int:
        """How many rooms this node has subscribers in."""
        return len(self._slice)

    def open_room(self, room: str, description: bytes, count: int) -> None:
        """This node has subscribers in the room. Raises `ValueError` for a description that no frame can carry, and for
        what is no room id or count."""
        room_weight(room)
        _check_count(count)
        if len(description) > messages.PAYLOAD_BYTES:
            raise ValueError(
                f"a room's description of {len(description)} bytes; the mesh takes {messages.PAYLOAD_BYTES}"
            )
        self._say(self._slice.open(room, description, count, self.state_tail + 1))

    def count_room(self, room: str, count: int) -> None:
        """The number of subscribers changed. Raises `KeyError` for a room that was not opened, and `ValueError` for
        what is no count."""
        _check_count(count)
        self._say(self._slice.count(room, count))

    def close_room(self, room: str) -> None:
        """This node has no subscriber in the room any more."""
        self._say(self._slice.close(room))

    def notify(self, node: str, rooms: Sequence[str], payload: bytes) -> None:
        """A notification for a peer's rooms; one for very many rooms is said in several, each for some of them. Raises
        `ValueError` for a payload that no frame can carry, and for what is no room id."""
        size = len(payload)
        if size > messages.PAYLOAD_BYTES:
            raise ValueError(f"a notification of {size} bytes; the mesh takes {messages.PAYLOAD_BYTES}")
        size += NOTIFICATION_OVERHEAD
        weight = rooms_weight(rooms)
        items, weights = self._pending.get(node) or self._pending.setdefault(node, ([], []))
        if weight <= self._most_rooms_bytes:  # nearly always
            items.append(Notification(list(rooms), payload))
            weights.append(size + weight)
            return
        for part, part_weight in rooms_apart(rooms, self._most_rooms_bytes):
            items.append(Notification(list(part), payload))
            weights.append(size + part_weight)

    def unsent(self, node: str) -> Sequence[Notification]:
        """What the peer is told with the next flush: one for each number that is given out then."""
        return self._pending.get(node, ((), ()))[0]

    def flush(self, now: float, out: list[Effect]) -> None:
        """Number and publish what was said since the last flush."""
        if self._changes:
            changes, self._changes = self._changes, []
            weights = [change_weight(change) for change in changes]
            first = self._state.extend(changes, weights, now)
            for start, part in _batches(changes, weights, self._limits.batch_bytes):
                message = messages.State(self._me.id, self._me.epoch, first + start, part)
                out.append(Publish(messages.encode_published(messages.STATE_TOPIC, message)))
        if self._pending:
            pending, self._pending = self._pending, {}
            for node, (items, weights) in pending.items():
                self._publish_notifications(node, items, weights, now, out)

    def heartbeat(self, now: float, out: list[Effect]) -> None:
        """A sign of life with the tails of all streams; what was said before goes first."""
        self.flush(now, out)
        self._state.expire(now)
        beat = messages.Heartbeat(
            self._me.id,
            self._me.epoch,
            state_tail=self._state.tail,
            notify_tails=self._notify_tails(),
            links={link.id: link.report(now) for link in self._spoken_of()},
            takes_clients=self._me.takes_clients,
        )
        out.append(Publish(messages.encode_published(messages.HEARTBEAT_TOPIC, beat)))

    def canaries(self, now: float, out: list[Effect], *, is_in_doubt: bool = False) -> None:
        """If it is time to: say nothing to this node itself, and to each living peer that was told nothing lately. It
        arrives where and how a notification would. What was said before goes first. Who doubts that it hears and is
        heard tries each time."""
        if now < self._canary_at and not is_in_doubt:
            return
        self._canary_at = now + self._limits.canary_every - self._limits.heartbeat / 2
        self.flush(now, out)
        self._publish_canary(self._me.id, self._me.epoch, 1, out)
        lately = now - self._limits.canary_every / 2
        for link in self._links.values():
            if link.is_alive and link.hearing.said_at < lately:
                self._publish_canary(link.id, link.epoch, link.outgoing.tail + 1, out)

    def farewell(self, reason: str, now: float, out: list[Effect]) -> None:
        """The last word."""
        self.flush(now, out)
        message = messages.Farewell(self._me.id, self._me.epoch, reason[:200], self._notify_tails())
        out.append(Publish(messages.encode_published(messages.HEARTBEAT_TOPIC, message)))

    def rooms_unknown_to(self, applied: tuple[Epoch, int]) -> list[str]:
        """The rooms of this node that a peer which has applied that much of its slice does not know."""
        epoch, number = applied
        return self._slice.opened_after(number if epoch == self._me.epoch else -1)

    def restart_state(self) -> None:
        """A new epoch: the slice stays, its numbering begins anew."""
        self._slice.renumber()
        self._state = self._new_state()
        self._changes.clear()

    # -- answers --

    def pong(self, link: Link, nonce: int) -> Reply:
        """That this node is here, and the tails of what it published."""
        notify_tail = (link.epoch.boot, link.outgoing.tail)
        return messages.Pong(self._me.id, self._me.epoch, nonce, self._state.tail, notify_tail)

    def snapshot(self, nonce: int) -> Iterator[Reply]:
        """The own slice as it is now, in parts. The caller has flushed."""
        parts = list(self._slice.parts(self._limits.batch_bytes))
        for number, rooms in enumerate(parts):
            yield messages.Snapshot(
                self._me.id,
                self._me.epoch,
                nonce=nonce,
                state_tail=self._state.tail,
                part=number,
                is_last=number == len(parts) - 1,
                rooms=rooms,
            )

    def resend_state(self, question: messages.ResendState) -> Reply | None:
        """The changes asked for, as many as fit in a frame; None when there are none yet."""
        me, epoch = self._me.id, self._me.epoch
        if question.of != epoch:
            return messages.CutState(me, epoch, self._state.tail)
        changes = self._read(self._state, question.first, question.last)
        if changes is None:
            return messages.CutState(me, epoch, self._state.tail)
        return messages.ResentState(me, epoch, question.first, changes) if changes else None

    def resend_notifications(self, link: Link, question: messages.ResendNotify) -> Reply | None:
        """The notifications asked for, as many as fit in a frame; None when there are none of them."""
        me, epoch = self._me.id, self._me.epoch
        if question.boot != epoch.boot:
            return None
        items = self._read(link.outgoing, question.first, question.last)
        if items is None:
            rooms = link.outgoing.remains(
                question.first, question.last, messages.BATCH_ITEMS, self._limits.batch_bytes
            )
            return messages.CutNotify(me, epoch, question.first, rooms, link.outgoing.first_remains)
        return messages.ResentNotify(me, epoch, question.first, items) if items else None

    def _new_state(self) -> Outbound[Change, None]:
        return Outbound(
            self._limits.state_log_bytes, self._limits.log_age, lambda _change, _weight: (None, 0)
        )

    def _notify_tails(self) -> dict[str, tuple[int, int]]:
        return {
            link.id: (link.epoch.boot, link.outgoing.tail) for link in self._spoken_of() if link.outgoing.tail
        }

    def _spoken_of(self) -> Collection[Link]:
        """All peers; if they are more than a heartbeat can name, those that live come first."""
        links = self._links.values()
        if len(links) <= messages.LINKS_PER_HEARTBEAT:  # always, unless somebody invents them
            return links
        return sorted(links, key=lambda link: not link.is_alive)[: messages.LINKS_PER_HEARTBEAT]

    def _read(self, stream: Outbound[_Item, Any], first: int, last: int) -> list[_Item] | None:
        return stream.read(first, last, messages.BATCH_ITEMS, self._limits.batch_bytes)

    def _say(self, change: Change | None) -> None:
        if change is not None:
            self._changes.append(change)

    def _publish_notifications(
        self, node: str, items: list[Notification], weights: list[int], now: float, out: list[Effect]
    ) -> None:
        link = self._links.get(node)
        if link is None:
            self.dropped["peer gone"] += len(items)
            return
        link.hearing.said_at = now
        topic = messages.notify_topic(node, link.epoch.boot)
        first = link.outgoing.extend(items, weights, now)
        for start, part in _batches(items, weights, self._limits.batch_bytes):
            message = messages.Notify(self._me.id, self._me.epoch, first + start, part)
            out.append(Publish(messages.encode_published(topic, message)))

    def _publish_canary(self, node: str, epoch: Epoch, first: int, out: list[Effect]) -> None:
        nothing = messages.Notify(self._me.id, self._me.epoch, first, [])
        out.append(Publish(messages.encode_published(messages.notify_topic(node, epoch.boot), nothing)))


def _batches(items: list[_Item], weights: list[int], max_bytes: int) -> Iterable[tuple[int, list[_Item]]]:
    """The items in frames' worths, each with the offset of its first."""
    if len(items) <= messages.BATCH_ITEMS and sum(weights) <= max_bytes:  # nearly always
        yield 0, items
        return
    start = weight = 0
    for index, size in enumerate(weights):
        if index > start and (weight + size > max_bytes or index - start == messages.BATCH_ITEMS):
            yield start, items[start:index]
            start, weight = index, 0
        weight += size
    yield start, items[start:]


def _check_count(count: int) -> None:
    if not 0 <= count <= HIGHEST_NUMBER:
        raise ValueError(f"{count} subscribers: no such number can be said")
