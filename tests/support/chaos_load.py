"""Clients that publish and subscribe while things go wrong, and write down what they did and saw."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs
import msgspec
import trio

from support.chaos_record import Author, Record, Subscriber
from support.chaos_socket import LeanSocket, OpenStream, client_frame, open_lean_socket
from support.chaos_views import Told
from support.processes import Node

INDEX: Final = "chaos"
LOSS_ROOM: Final = "shoal:notification:loss"

TICK_S: Final = 0.01
"""A load of so many a second is sent in portions, so often. Finer ticks would cost more than the messages."""

WINDOW: Final = 2_000
"""Messages of one author that may be unanswered: a node that is paused is not fed without end."""

REPLY_S: Final = 20.0
"""For a reply that takes milliseconds when nothing is wrong."""


class _Source(msgspec.Struct):
    author: str
    number: int


class _Result(msgspec.Struct, rename={"source": "_source", "room_id": "roomId"}):
    source: _Source | None = None
    room_id: str = ""
    synced: bool = True


class _RoomLoss(msgspec.Struct, rename={"room_id": "roomId"}):
    room_id: str
    channels: list[str]
    count: int | None


class Frame(msgspec.Struct, rename={"request_id": "requestId"}):
    """What a server sends, as far as it is looked at."""

    room: str = ""
    type: str = ""
    node: str = ""
    origin: str = ""
    status: int = 0
    request_id: str = ""
    error: Any = None
    result: _Result | None = None
    rooms: list[_RoomLoss] = []


_decode = msgspec.json.Decoder(Frame).decode


def _request(action: str, request_id: str, topic: str, body: Any) -> bytes:
    message = {
        "controller": "realtime",
        "action": action,
        "requestId": request_id,
        "index": INDEX,
        "collection": topic,
        "body": body,
    }
    return client_frame(json.dumps(message).encode())


@attrs.define(eq=False)
class AuthorClient:
    """A client that publishes."""

    author: Author
    node: Node
    _socket: LeanSocket
    padding: str = ""
    """In each message, to make it as large as that."""
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        """Take acknowledgements until the connection ends."""
        try:
            while texts := await self._socket.receive():
                now = trio.current_time()
                for text in texts:
                    self._answered(_decode(text), now)
                self._wake()
        finally:
            await self.aclose()

    def _answered(self, frame: Frame, now: float) -> None:
        number = int(frame.request_id)
        if frame.status == 200:
            self.author.got_acknowledged(number, now)
        else:
            assert frame.error["id"] == "api.process.shutting_down", frame
            self.author.refused.add(number)

    @property
    def closed(self) -> str | None:
        """Why its connection ended, once it has."""
        return self._socket.closed

    async def publish(self, count: int = 1) -> bool:
        """Send so many messages at once; False when the connection is over."""
        now = trio.current_time()
        author = self.author
        frames = []
        for _ in range(count):
            number = author.sends(now)
            body = {"author": author.name, "number": number, "padding": self.padding}
            frames.append(_request("publish", str(number), author.topic, body))
        return await self._socket.send(b"".join(frames))

    async def publish_at(
        self, rate: float, until: trio.Event | None = None, total: int | None = None
    ) -> None:
        """Publish `rate` messages a second until told to stop, or until there were `total`, or the connection ends.

        Over `WINDOW` unanswered ones it waits."""
        author = self.author
        began, due = trio.current_time(), 0
        first = author.sent
        tick = max(TICK_S, 1 / rate)
        while author.is_attached and not (until is not None and until.is_set()):
            due += 1
            await trio.sleep_until(began + due * tick)
            if author.unanswered > WINDOW:
                await self._changes()
                continue
            wanted = round((trio.current_time() - began) * rate)
            if total is not None:
                wanted = min(wanted, total)
            count = min(wanted - (author.sent - first), WINDOW)
            if count > 0 and not await self.publish(count):
                return
            if total is not None and author.sent - first >= total:
                return

    async def all_acknowledged(self, timeout_s: float = REPLY_S) -> None:
        """Return when everything sent was answered. Fails when the connection ends before."""
        with trio.fail_after(timeout_s):
            while self.author.unanswered:
                assert self.author.is_attached, f"{self.author.name}: {self.closed}"
                await self._changes()

    async def aclose(self) -> None:
        """Break off."""
        self.author.is_attached = False
        self._wake()
        await self._socket.aclose()

    async def _changes(self) -> None:
        await self._changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


@attrs.define(eq=False)
class SubscriberClient:
    """A client in one room."""

    subscriber: Subscriber
    room_id: str
    node: Node
    _socket: LeanSocket
    _unrecorded: Sequence[Frame] = ()
    """What arrived for a subscribe that was taken back because not all nodes knew of it."""
    losses: list[Frame] = attrs.field(factory=list)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    @property
    def closed(self) -> str | None:
        """Why its connection ended, once it has."""
        return self._socket.closed

    async def run(self, early: Iterable[bytes]) -> None:
        """Take notifications until the connection ends."""
        try:
            self._take(early)
            while texts := await self._socket.receive():
                self._take(texts)
        finally:
            await self.aclose()

    async def until_seen(self, count: int, timeout_s: float = REPLY_S) -> None:
        """Return when so many messages were seen in all."""
        with trio.fail_after(timeout_s):
            while self.subscriber.seen < count:
                assert self.closed is None, f"{self.subscriber.name}: {self.closed}"
                await self._changed.wait()

    @property
    def delivered(self) -> int:
        """How many notifications arrived at it, recorded or not."""
        return self.subscriber.seen + sum(frame.room != LOSS_ROOM for frame in self._unrecorded)

    @property
    def told_of_losses(self) -> int:
        """How many announcements of losses arrived at it, recorded or not."""
        return len(self.losses) + sum(frame.room == LOSS_ROOM for frame in self._unrecorded)

    async def until_told_of_loss(self, timeout_s: float = REPLY_S) -> Frame:
        """Return the first announcement of a loss, waiting for it."""
        with trio.fail_after(timeout_s):
            while not self.losses:
                assert self.closed is None, f"{self.subscriber.name}: {self.closed}"
                await self._changed.wait()
        return self.losses[0]

    async def aclose(self) -> None:
        """Break off."""
        self.subscriber.is_attached = False
        self._wake()
        await self._socket.aclose()

    def _take(self, texts: Iterable[bytes]) -> None:
        now = trio.current_time()
        saw = self.subscriber.saw
        for text in texts:
            frame = _decode(text)
            if frame.room == LOSS_ROOM:
                self._take_loss(frame, now)
            elif frame.result is not None and (source := frame.result.source) is not None:
                saw(source.author, source.number, frame.node, now)
            else:
                self.subscriber.faults.append(f"{self.subscriber.name}: not a notification: {text!r}")
        self._wake()

    def _take_loss(self, frame: Frame, now: float) -> None:
        self.losses.append(frame)
        concerned = [loss for loss in frame.rooms if loss.room_id == self.room_id]
        if (frame.type, frame.status, len(concerned)) != ("loss", 206, 1) or not concerned[0].channels:
            self.subscriber.faults.append(f"{self.subscriber.name}: a loss that does not concern it: {frame}")
            return
        self.subscriber.told_of_loss(frame.origin, concerned[0].count, now)

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


@attrs.define(eq=False)
class Load:
    """Makes the clients of one test; they end with its nursery."""

    nursery: trio.Nursery
    open_stream: OpenStream = trio.open_tcp_stream
    record: Record = attrs.field(factory=Record)
    authors: list[AuthorClient] = attrs.field(factory=list)
    subscribers: list[SubscriberClient] = attrs.field(factory=list)

    async def author(self, node: Node, topic: str = "boats", padding: int = 0) -> AuthorClient:
        """Attach a client that will publish, messages with so many characters of padding."""
        socket = await open_lean_socket(node.ws_url, self.open_stream)
        client = AuthorClient(self.record.author(node.id, topic), node, socket, "x" * padding)
        self.nursery.start_soon(client.run)
        self.authors.append(client)
        return client

    async def subscriber(self, node: Node, topic: str = "boats") -> SubscriberClient:
        """Attach a client and subscribe it; return when its node says that all nodes know of it."""
        socket = await open_lean_socket(node.ws_url, self.open_stream)
        early: list[bytes] = []
        unrecorded: list[Frame] = []
        with trio.fail_after(REPLY_S):
            reply = await self._call(socket, "subscribe", topic, {}, early)
            while not reply.synced:  # a node that did not answer in time: guarantee 1 says less then
                await self._call(socket, "unsubscribe", topic, {"roomId": reply.room_id}, early)
                unrecorded += map(_decode, early)
                early.clear()
                reply = await self._call(socket, "subscribe", topic, {}, early)
        subscriber = self.record.subscriber(node.id, topic)
        client = SubscriberClient(subscriber, reply.room_id, node, socket, unrecorded)
        self.nursery.start_soon(client.run, early)
        self.subscribers.append(client)
        return client

    def clients(self) -> Iterator[AuthorClient | SubscriberClient]:
        """All that were ever made."""
        yield from self.authors
        yield from self.subscribers

    def told(self, node: Node) -> Told:
        """What became of the clients of a running node."""
        authors = [client for client in self.authors if client.node is node]
        subscribers = [client for client in self.subscribers if client.node is node]
        return Told(
            attached=sum(client.closed is None for client in self.clients() if client.node is node),
            published=sum(client.author.acknowledged for client in authors),
            delivered=sum(client.delivered for client in subscribers),
            losses=sum(client.told_of_losses for client in subscribers),
        )

    async def _call(
        self, socket: LeanSocket, action: str, topic: str, body: Any, others: list[bytes]
    ) -> _Result:
        """The result of a request; what comes beside its reply is added to `others`."""
        await socket.send(_request(action, action, topic, body))
        while texts := await socket.receive():
            for index, text in enumerate(texts):
                frame = _decode(text)
                if frame.request_id == action and frame.room == action:
                    assert frame.status == 200, text
                    assert frame.result is not None
                    others += texts[index + 1 :]
                    return frame.result
                others.append(text)
        raise ConnectionResetError(f"the connection ended before the reply to {action}: {socket.closed}")
