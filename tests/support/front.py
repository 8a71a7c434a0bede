"""A node's front door alone, for tests: the real listener before the real App, with a few actions made for testing.

Clients here speak bytes, since most of what is tested are bytes that a well-made client never sends.
"""

import itertools
import json
import os
import re
import ssl
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import attrs
import structlog
import trio
from structlog.testing import CapturingLogger

from server.adapters.certificates import Certificates
from server.adapters.listener import serve
from server.adapters.turn import Turn
from server.app import App
from server.cli.nursery import open_inner_nursery
from server.config import LoadedConfig, ServerConfig
from server.controllers.realtime import RealtimeController
from server.core.actions import ActionTable, action
from server.core.errors import PluginApiError
from server.core.limits import Limits
from server.core.outbox import OutboxCounters
from server.core.refusals import RefusalCounters
from server.core.requests import Request
from server.core.session import Session
from server.dispatch import Dispatch
from server.events import ConnectionClosed, ConnectionOpened, hook, listeners_of
from server.realtime import Realtime

TIMEOUT_S = 20.0
"""For what takes milliseconds. Test machines are busy."""


@attrs.define(eq=False)
class ProbeController:
    """Actions that show what arrived, wait, or send a lot."""

    name: str = "probe"
    gate: trio.Event = attrs.field(factory=trio.Event)
    """What `wait` waits for."""
    echoed: list[str] = attrs.field(factory=list)
    """Ids of the requests for `echo`, in the order in which they were worked on."""
    big_answers: int = 0
    waiting: int = 0
    was_sent: trio.Event = attrs.field(factory=trio.Event)
    sessions: list[Session] = attrs.field(factory=list)
    """Those that called `attach`."""
    attached: list[str] = attrs.field(factory=list)
    """Ids of all sessions that there are, as the app's events tell."""
    outlived: list[str] = attrs.field(factory=list)
    """Ids of sessions that ended before a request of theirs did."""

    def _fail(self) -> None:
        raise RuntimeError("a fault behind the answer")

    @hook(ConnectionOpened)
    def _opened(self, event: ConnectionOpened) -> None:
        self.attached.append(event.session.id)

    @hook(ConnectionClosed)
    def _closed(self, event: ConnectionClosed) -> None:
        self.attached.remove(event.session.id)

    @action(http=[("GET", "/probe/who")])
    def who(self, request: Request) -> dict[str, Any]:
        """Tell who asks, as far as the node knows."""
        session = request.session
        return {
            "id": session.id,
            "remote": session.remote,
            "address": session.address,
            "is_forwarded": session.is_forwarded,
            "is_from_page": session.is_from_page,
        }

    @action(http=[("GET", "/probe"), ("POST", "/probe"), ("PUT", "/probe")])
    def echo(self, request: Request) -> dict[str, Any]:
        self.echoed.append(request.id)
        return {"body": request.body, "args": request.args}

    @action(http=[("GET", "/probe/wait")])
    async def wait(self, request: Request) -> dict[str, Any]:
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        return {"waited": True}

    @action()
    async def linger(self, request: Request) -> dict[str, Any]:
        """Wait without heeding that it is cancelled, then remember whether who asked is still there."""
        self.waiting += 1
        with trio.CancelScope(shield=True):
            await self.gate.wait()
        self.outlived += [request.session.id] * (request.session.id not in self.attached)
        self.waiting -= 1
        return {}

    @action(http=[("GET", "/probe/big")])
    def big(self, request: Request) -> str:
        self.big_answers += 1
        return "x" * request.integer("size")

    @action()
    def attach(self, request: Request) -> dict[str, Any]:
        """Remember who asks, so that a test can write to it."""
        self.sessions.append(request.session)
        return {}

    @action(http=[("GET", "/probe/sent")])
    def sent(self, request: Request) -> dict[str, Any]:
        """Set the event `sent` as soon as the answer is on its way; ask `fail=` to fail there instead."""
        request.on_sent = self._fail if request.boolean("fail") else self.was_sent.set
        return {}

    @action(http=[("GET", "/probe/odd")])
    def odd(self, request: Request) -> dict[str, Any]:
        """Refuse with a status that HTTP has no name for."""
        raise PluginApiError("probe.odd.status", "odd", status=499)

    @action(http=[("GET", "/probe/headers")])
    def headers(self, request: Request) -> dict[str, Any]:
        """Set headers, among them some that are not its business."""
        request.set_header("X-Probe", "yes")
        request.set_header("Content-Length", "3")
        request.set_header("Connection", "upgrade")
        request.set_header("content-type", "text/x-probe")
        request.set_header("Access-Control-Allow-Credentials", "false")
        return {}


@attrs.define(eq=False)
class Front:
    """A running front door."""

    addresses: list[tuple[str, int]]
    host: str
    port: int
    app: App
    probe: ProbeController
    turn: Turn
    counters: OutboxCounters
    refused: RefusalCounters
    limits: Limits
    log: CapturingLogger
    stopping: trio.Event
    stopped: trio.Event
    trust: ssl.SSLContext | None = None
    """How its clients speak TLS; None for plain text."""

    @property
    def ws_url(self) -> str:
        return f"{'ws' if self.trust is None else 'wss'}://{self.host}:{self.port}/"

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return what was logged under this name."""
        return [call.kwargs for call in self.log.calls if call.kwargs.get("event") == event]


@attrs.frozen
class Tls:
    """What a front door shows, and how its clients look at it."""

    certificates: Certificates
    trust: ssl.SSLContext


class Usual:
    """What counts where a test does not say anything else."""

    tls: Tls | None = None
    """Set by the fixture `plain_and_tls` (tests/shell/conftest.py)."""


@asynccontextmanager
async def open_front(
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    *,
    compression: bool = False,
    server: Mapping[str, Any] = MappingProxyType({}),
    app_type: type[App] = App,
    timeout_s: float = TIMEOUT_S,
    tls: Tls | None = None,
    is_plain: bool = False,
    **limits: Any,
) -> AsyncIterator[Front]:
    """Run a front door with these limits for as long as the context lasts, which is `timeout_s` at the most.

    `clock` is what a turn is timed by; `server` are more settings of the table [server]. With `tls` it speaks that, and
    so do its clients; `is_plain` is for tests that need a bare socket wherever they run.
    """
    tls = None if is_plain else tls or Usual.tls
    ids = itertools.count(1)
    log = CapturingLogger()
    bound = structlog.wrap_logger(log, processors=[])
    config = LoadedConfig(
        server=ServerConfig(host=host, port=port, compression=compression, **server), limits=Limits(**limits)
    )
    refused = RefusalCounters()
    counters, turn, probe, actions = OutboxCounters(), Turn(clock), ProbeController(), ActionTable()
    actions.add(probe)
    dispatch = Dispatch(config.limits, bound)
    dispatch.add(listeners_of(probe.name, probe))
    realtime = Realtime(
        node_id="test-node", limits=config.limits, now_ms=lambda: 1, emit=dispatch.emit, turn=turn
    )
    actions.add(RealtimeController(realtime))
    app = app_type(
        node_id="test-node",
        actions=actions,
        dispatch=dispatch,
        realtime=realtime,
        new_id=lambda: f"id-{next(ids)}",
        now_ms=lambda: 1,
        log=bound,
    )
    app.execution.start()
    stopping, stopped = trio.Event(), trio.Event()

    async def run(*, task_status: trio.TaskStatus[list[tuple[str, int]]]) -> None:
        await serve(
            app,
            config,
            turn,
            certificates=tls.certificates if tls else None,
            stopping=stopping,
            counters=counters,
            refused=refused,
            log=bound,
            task_status=task_status,
        )
        stopped.set()

    async with open_inner_nursery() as nursery:
        nursery.start_soon(turn.run)
        addresses = await nursery.start(run)
        host, port = addresses[0]
        front = Front(
            addresses,
            host,
            port,
            app,
            probe,
            turn,
            counters,
            refused,
            config.limits,
            log,
            stopping,
            stopped,
            tls.trust if tls else None,
        )
        with trio.fail_after(timeout_s):
            yield front
        nursery.cancel_scope.cancel()


class RawClient:
    """A client that sends what it is told to, and keeps what it got."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.stream: trio.abc.Stream = stream
        self.raw = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        """The socket, under TLS or not."""
        self.received = bytearray()
        self.is_deflated = False
        """Whether compression was agreed to."""
        self.frames_deflated = 0
        """Of those that it read."""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def end(self) -> None:
        """Send nothing more, and go on reading. TLS has a word for it, but trio's none that does not end it all."""
        await self.raw.send_eof()

    async def until(self, part: bytes, times: int = 1) -> bytes:
        """Read until `part` has come so many times; return everything since the last call, up to its end."""
        while self.received.count(part) < times:
            await self._more()
        end = 0
        for _ in range(times):
            end = self.received.index(part, end) + len(part)
        return self._taken(end)

    async def exactly(self, count: int) -> bytes:
        while len(self.received) < count:
            await self._more()
        return self._taken(count)

    async def rest(self) -> bytes:
        """Read until the server ends the connection; a reset fails the test."""
        while data := await self.stream.receive_some(65_536):
            self.received += data
        return self._taken(len(self.received))

    async def _more(self) -> None:
        data = await self.stream.receive_some(65_536)
        assert data, f"the server ended the connection after {bytes(self.received[-300:])!r}"
        self.received += data

    def _taken(self, end: int) -> bytes:
        taken = bytes(self.received[:end])
        del self.received[:end]
        return taken

    # -- HTTP -----------------------------------------------------------------------------------------------------

    async def ask(self, request: bytes) -> "Answer":
        """Send one request and read one answer."""
        await self.send(request)
        return await self.answer(is_head=request.startswith(b"HEAD"))

    async def answer(self, *, is_head: bool = False) -> "Answer":
        """Read one answer with a Content-Length; 100 Continue is passed over."""
        while True:
            head = await self.until(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 100 "):
                break
        first, *lines = head.decode().rstrip("\r\n").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            lower = name.lower()
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
        body = b"" if is_head else await self.exactly(int(headers["content-length"]))
        return Answer(int(first.split()[1]), headers, body)

    # -- WebSocket ------------------------------------------------------------------------------------------------

    async def upgrade(self, trailing: bytes = b"", offer: str = "") -> str:
        """Do the handshake; `trailing` goes into the same write. Return the extensions that were agreed to."""
        extra = [f"Sec-WebSocket-Extensions: {offer}"] if offer else []
        await self.send(handshake(*extra) + trailing)
        head = await self.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        agreed = re.search(rb"\r\nSec-WebSocket-Extensions: (.*?)\r\n", head)
        self.is_deflated = agreed is not None
        return agreed[1].decode() if agreed is not None else ""

    async def frame(self) -> tuple[int, bytes]:
        """Read one frame: opcode and payload, inflated. The server's are neither masked nor fragmented."""
        first, second = await self.exactly(2)
        is_deflated = bool(first & RSV1)
        assert first & 0xF0 == (0x80 | RSV1 if is_deflated else 0x80)
        assert self.is_deflated or not is_deflated
        length = second
        if second == 126:
            length = int.from_bytes(await self.exactly(2), "big")
        elif second == 127:
            length = int.from_bytes(await self.exactly(8), "big")
        payload = await self.exactly(length)
        self.frames_deflated += is_deflated
        return first & 0x0F, inflated(payload) if is_deflated else payload

    async def message(self) -> Any:
        """Read one text frame, and the JSON in it."""
        opcode, payload = await self.frame()
        assert opcode == TEXT, (opcode, payload)
        return json.loads(payload)

    async def close_code(self) -> tuple[int, str]:
        """Read one close frame: code and reason."""
        opcode, payload = await self.frame()
        assert opcode == CLOSE, (opcode, payload)
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()


@attrs.frozen
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def raw_client(front: Front, receive_buffer: int = 0) -> AsyncIterator[RawClient]:
    """Connect a client; a small `receive_buffer` makes the server's writes block early."""
    family = trio.socket.AF_INET6 if ":" in front.host else trio.socket.AF_INET
    with trio.socket.socket(family) as sock:
        if receive_buffer:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
        await sock.connect((front.host, front.port))
        async with trio.SocketStream(sock) as stream:
            if front.trust is None:
                yield RawClient(stream)
            else:
                yield RawClient(await inside_tls(stream, front.trust))


async def inside_tls(
    stream: trio.SocketStream, trust: ssl.SSLContext, host: str = "localhost"
) -> trio.SSLStream[trio.SocketStream]:
    """Shake hands. The stream's end must be said in TLS's words: a connection that is only closed fails a test."""
    tls = trio.SSLStream(stream, trust, server_hostname=host)
    await tls.do_handshake()
    return tls


TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0
RSV1 = 0x40

SYNC = b"\x00\x00\xff\xff"
"""What RFC 7692 cuts off the end of each message."""


def deflated(message: bytes, level: int = -1, window: int = 15) -> bytes:
    """Return a message as a client compresses it that keeps nothing from one to the next."""
    compressor = zlib.compressobj(level, wbits=-window)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(SYNC)


def inflated(message: bytes, window: int = 15) -> bytes:
    """Return a message that was compressed for itself."""
    return zlib.decompressobj(-window).decompress(message + SYNC)


def handshake(*extra: str, key: str = "dGhlIHNhbXBsZSBub25jZQ==", version: str = "13") -> bytes:
    """Return a WebSocket handshake."""
    lines = (
        "GET /any/path HTTP/1.1",
        "Host: x",
        "Connection: keep-alive, Upgrade",
        "Upgrade: WebSocket",
        f"Sec-WebSocket-Version: {version}",
        f"Sec-WebSocket-Key: {key}",
        *extra,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def masked(payload: bytes, opcode: int = TEXT, *, is_final: bool = True) -> bytes:
    """Return a client's frame."""
    length = len(payload)
    first = opcode | (0x80 if is_final else 0)
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 0x10000:
        head = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, length)
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))


def call(action_name: str, controller: str = "probe", **arguments: Any) -> bytes:
    """Return the JSON of one API request."""
    return json.dumps({"controller": controller, "action": action_name, **arguments}).encode()


def get(path: str = "/probe", *headers: str, method: str = "GET") -> bytes:
    """Return an HTTP request without a body."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *headers, "", "")).encode("latin-1")


def post(body: bytes, *headers: str, path: str = "/probe") -> bytes:
    """Return an HTTP request with a body."""
    return get(path, f"Content-Length: {len(body)}", *headers, method="POST") + body
