"""A small HTTP/1.1 client over trio and h11, one connection per request."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import attrs
import h11
import trio

TIMEOUT_S = 10.0
MAX_BYTES = 16 * 1024 * 1024


@attrs.frozen
class Reply:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    """Names in lower case; of a repeated header, the last."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def result(self) -> Any:
        """The envelope's result. Fails, with the error, when it was not a success."""
        envelope = self.json
        assert envelope["error"] is None, envelope["error"]
        return envelope["result"]


async def http(
    url: str,
    method: str = "GET",
    body: Any = None,
    headers: dict[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    open_stream: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream,
) -> Reply:
    """Send one request and return the reply. A body that is neither bytes nor None is sent as JSON.

    `open_stream` connects; a test whose nodes live in a network of their own has another one.
    """
    where = urlsplit(url)
    assert where.hostname is not None
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    head = {"host": where.netloc, "connection": "close"}
    if body is not None:
        head |= {"content-type": "application/json", "content-length": str(len(content))}
    head |= {name.lower(): value for name, value in (headers or {}).items()}
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_BYTES)
    request = h11.Request(method=method, target=target, headers=list(head.items()))
    sent = [connection.send(event) for event in (request, h11.Data(data=content), h11.EndOfMessage())]
    with trio.fail_after(timeout_s):
        async with await open_stream(where.hostname, where.port or 80) as stream:
            await stream.send_all(b"".join(part or b"" for part in sent))
            return await _reply(connection, stream)


async def _reply(connection: h11.Connection, stream: trio.abc.Stream) -> Reply:
    status, headers, body = 0, {}, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65_536)))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode().lower(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
            assert len(body) <= MAX_BYTES
        elif isinstance(event, h11.EndOfMessage):
            return Reply(status, headers, bytes(body))
