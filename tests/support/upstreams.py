"""HTTP servers that do one thing, for a proxy in front of them: answer with fixed bytes, or hang up."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from server.cli.nursery import open_inner_nursery

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@attrs.define
class Upstream:
    """A server that reads a request and answers with fixed bytes; with none it closes the connection."""

    answer: bytes
    host: str = "127.0.0.1"
    port: int = 0
    seen: Counter[str] = attrs.field(factory=Counter)
    """Requests received, by method."""
    paths: list[str] = attrs.field(factory=list)
    """Their targets, in order."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer the requests of one connection."""
        received = b""
        while data := await stream.receive_some(65_536):
            received += data
            while b"\r\n\r\n" in received:
                head, _, received = received.partition(b"\r\n\r\n")
                method, target, _ = head.decode().split(" ", 2)
                self.seen[method] += 1
                self.paths.append(target)
                if method == "POST" or not self.answer:
                    # Its body is not read, so the connection cannot be used again.
                    await stream.send_all(self.answer)
                    return
                await stream.send_all(self.answer)


@asynccontextmanager
async def open_upstreams(*servers: Upstream) -> AsyncIterator[None]:
    """Run servers until the block ends; one whose port is 0 gets a free one."""
    async with open_inner_nursery() as nursery:
        for server in servers:
            [listener] = await trio.open_tcp_listeners(server.port, host=server.host)
            server.port = listener.socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        yield
