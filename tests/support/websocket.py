"""A small client of the API over WebSocket: requests matched by `room`, everything else kept for `notification()`."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

import trio
import trio_websocket

from server.cli.nursery import open_inner_nursery

T = TypeVar("T")

TIMEOUT_S = 10.0
KEPT = 100_000
"""Frames kept that nobody asked for yet; a test that leaves more behind is wrong."""


class Client:
    """One attached client. Made by `websocket`."""

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self.connection = connection
        self.received: list[dict[str, Any]] = []
        """Every frame that was not the reply to a request, in the order in which they came."""
        self.closed: trio_websocket.CloseReason | None = None
        """Why the connection ended, once it has."""
        self._replies: dict[str, dict[str, Any]] = {}
        self._taken = 0
        self._changed = trio.Event()
        self._ids = count(1)

    async def request(self, controller: str, action: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and return the whole reply, whether it is a success or an error."""
        request_id = f"request-{next(self._ids)}"
        await self.send({"controller": controller, "action": action, "requestId": request_id} | arguments)
        return await self._until(lambda: self._replies.pop(request_id, None), f"the reply to {action}")

    async def result(self, controller: str, action: str, **arguments: Any) -> Any:
        """Send a request and return its result. Fails, with the error, when it was not a success."""
        reply = await self.request(controller, action, **arguments)
        assert reply["error"] is None, reply["error"]
        return reply["result"]

    async def subscribe(
        self, index: str, collection: str, query: Any = None, **arguments: Any
    ) -> dict[str, Any]:
        """Subscribe and return the result: `roomId`, `channel`."""
        body = {} if query is None else query
        found: dict[str, Any] = await self.result(
            "realtime", "subscribe", index=index, collection=collection, body=body, **arguments
        )
        return found

    async def notification(self, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Return the next frame that is not a reply, waiting for it."""
        return await self._until(self._take, "a notification", timeout_s)

    async def notifications(self, number: int, timeout_s: float = TIMEOUT_S) -> list[dict[str, Any]]:
        """Return the next `number` frames that are not replies, waiting for them."""
        return [await self.notification(timeout_s) for _ in range(number)]

    async def send(self, message: Any) -> None:
        """Send text as it is, anything else as JSON."""
        await self.connection.send_message(
            message if isinstance(message, str | bytes) else json.dumps(message)
        )

    async def ended(self, timeout_s: float = TIMEOUT_S) -> trio_websocket.CloseReason:
        """Wait until the connection ended; return why."""
        return await self._until(lambda: self.closed, "the end of the connection", timeout_s)

    async def run(self) -> None:
        """Read frames until the connection ends."""
        try:
            while True:
                frame = json.loads(await self.connection.get_message())
                room = frame.get("room") if isinstance(frame, dict) else None
                if room is not None and str(room).startswith("request-"):
                    self._replies[room] = frame
                else:
                    self.received.append(frame)
                    assert len(self.received) <= KEPT
                self._wake()
        except trio_websocket.ConnectionClosed as closed:
            self.closed = closed.reason
            self._wake()
            # As real clients do when the server has ended its side. The library leaves that to the end of its context.
            await trio.aclose_forcefully(self.connection._stream)

    def _take(self) -> dict[str, Any] | None:
        if self._taken == len(self.received):
            return None
        self._taken += 1
        return self.received[self._taken - 1]

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _until(self, look: Callable[[], T | None], what: str, timeout_s: float = TIMEOUT_S) -> T:
        with trio.move_on_after(timeout_s):
            while True:
                found = look()
                if found is not None:
                    return found
                assert self.closed is None, f"the connection ended ({self.closed}) before {what} came"
                await self._changed.wait()
        raise AssertionError(f"{what} did not come within {timeout_s:g} s")


@asynccontextmanager
async def websocket(
    url: str,
    open_stream: Callable[[str, int], Awaitable[Any]] = trio.open_tcp_stream,
    **options: Any,
) -> AsyncIterator[Client]:
    """Attach a client for as long as the context lasts. `options` go to `trio_websocket.wrap_client_stream`."""
    where = urlsplit(url)
    assert where.hostname is not None
    # A stream of our own: trio-websocket leaves the socket open when it was the server who closed.
    async with (
        await open_stream(where.hostname, where.port or 80) as stream,
        open_inner_nursery() as nursery,
    ):
        with trio.fail_after(TIMEOUT_S):
            resource = (where.path or "/") + (f"?{where.query}" if where.query else "")
            connection = await trio_websocket.wrap_client_stream(
                nursery, stream, where.netloc, resource, **options
            )
        client = Client(connection)
        nursery.start_soon(client.run)
        try:
            yield client
        finally:
            with trio.move_on_after(1, shield=True):
                await connection.aclose()
