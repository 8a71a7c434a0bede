"""Shows that a cluster works: a client subscribed on one node is told of what is published on another, and how soon.

The time is what a program on this machine sees: from the moment when the HTTP request is handed to the system until the
notification came out of the WebSocket, over connections that are open already.
"""

import json
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import attrs
import h11
import trio
import trio_websocket

from server.cli.nursery import open_inner_nursery

PUBLISHES = 20
"""Enough for a median that one hiccup of the machine does not move; they take milliseconds together."""

TIMEOUT_S = 5.0
"""For the whole proof."""

_SUBSCRIBE = {
    "controller": "realtime",
    "action": "subscribe",
    "index": "shoal",
    "collection": "proof",
    "body": {"equals": {"kind": "proof"}},
}


class ProofFailed(Exception):
    """The cluster did not do what it is for; the message says how."""


@attrs.frozen
class Proof:
    """What was seen."""

    publishes: int
    median_ms: float
    slowest_ms: float


async def prove(subscriber_url: str, publisher_url: str, publishes: int = PUBLISHES) -> Proof:
    """Subscribe on one node, publish on another, and return how long notifications took. Raises ProofFailed."""
    try:
        with trio.fail_after(TIMEOUT_S):
            times_ms = [
                1000 * seconds for seconds in await _times_s(subscriber_url, publisher_url, publishes)
            ]
    except trio.TooSlowError as error:
        raise ProofFailed(f"not all of {publishes} changes arrived within {TIMEOUT_S:g} s") from error
    except trio_websocket.ConnectionClosed as error:
        raise ProofFailed(f"{subscriber_url} closed the subscriber's connection: {error.reason}") from error
    except (OSError, trio_websocket.HandshakeError, trio.BrokenResourceError, h11.ProtocolError) as error:
        raise ProofFailed(f"a connection failed: {error or type(error).__name__}") from error
    return Proof(publishes=publishes, median_ms=statistics.median(times_ms), slowest_ms=max(times_ms))


async def _times_s(subscriber_url: str, publisher_url: str, publishes: int) -> list[float]:
    async with (
        _subscriber(subscriber_url) as subscriber,
        _publisher(publisher_url) as publisher,
    ):
        await subscriber.send_message(json.dumps(_SUBSCRIBE))
        reply = json.loads(await subscriber.get_message())
        if reply.get("error"):
            raise ProofFailed(f"{subscriber_url} refused to subscribe: {reply['error'].get('message')}")
        times_s = []
        for number in range(publishes):
            start = trio.current_time()
            await publisher.publish({"kind": "proof", "number": number})
            notification = json.loads(await subscriber.get_message())
            times_s.append(trio.current_time() - start)
            came = notification.get("result", {}).get("_source", {}).get("number")
            if came != number:
                raise ProofFailed(f"change number {number} was expected, and {came} came")
            await publisher.published()
        return times_s


@asynccontextmanager
async def _subscriber(url: str) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    async with open_inner_nursery() as nursery:
        connection = await trio_websocket.connect_websocket_url(nursery, "ws" + url.removeprefix("http"))
        yield connection
        await connection.aclose()


@asynccontextmanager
async def _publisher(url: str) -> AsyncIterator["_Publisher"]:
    where = urlsplit(url)
    async with await trio.open_tcp_stream(where.hostname or "", where.port or 80) as stream:
        yield _Publisher(stream, where.netloc)


class _Publisher:
    """Publishes over one HTTP connection, one change after the other."""

    def __init__(self, stream: trio.SocketStream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._http = h11.Connection(h11.CLIENT)

    async def publish(self, content: dict[str, object]) -> None:
        """Send a change."""
        body = json.dumps(content).encode()
        headers = [
            ("host", self._host),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        ]
        request = h11.Request(method="POST", target="/shoal/proof/_publish", headers=headers)
        parts = [self._http.send(event) for event in (request, h11.Data(data=body), h11.EndOfMessage())]
        await self._stream.send_all(b"".join(part or b"" for part in parts))

    async def published(self) -> None:
        """Take the answer to the last change. Raises ProofFailed when it was not a success."""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(bytes(await self._stream.receive_some(65_536)))
            elif isinstance(event, h11.Response) and event.status_code != 200:
                raise ProofFailed(f"publishing was answered with HTTP status {event.status_code}")
            elif isinstance(event, h11.EndOfMessage):
                self._http.start_next_cycle()
                return
