"""A node without a socket, for tests: of the node itself, and of plugins.

    async with open_test_node(plugins=[(Greeter, GreeterConfig())]) as node:
        alice = node.client()
        reply = await alice.call("realtime", "subscribe", index="i", collection="c", body={})
        ...
        assert alice.notifications == [...]

Everything but the listener is the real thing. `MemoryHub` joins several of them: a cluster without a network, in
which a test decides when a barrier opens.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import structlog
import trio

from server.cli.nursery import open_inner_nursery
from server.config import LoadedConfig, ServerConfig
from server.core.limits import Limits
from server.core.responses import Response
from server.core.routes import HttpCall
from server.core.session import Session
from server.core.values import decode_json, encode_json
from server.events import KuzzleStart, Shutdown
from server.loading import start_plugins
from server.node import Node, assemble
from server.plugin import Plugin
from server.realtime import Realtime

# -- One node --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_test_node(
    *,
    name: str = "test-node",
    plugins: Sequence[tuple[type[Plugin], Any]] = (),
    limits: Limits | None = None,
    anonymous: bool = True,
) -> AsyncIterator["TestNode"]:
    """Give a node that serves, until the end of the block.

    `plugins` are classes with their settings. Raises PluginError as a real node does.
    """
    config = LoadedConfig(
        server=ServerConfig(name=name, anonymous=anonymous, port=0),
        limits=limits or Limits(),
        plugins={cls.name: (cls, settings) for cls, settings in plugins},
    )
    log = Log()
    node = assemble(config, log.logger)
    async with open_inner_nursery() as nursery:
        nursery.start_soon(node.turn.run)
        await nursery.start(node.dispatch.run)
        await start_plugins(node.plugins, nursery, config.limits.plugin_start_s)
        node.app.execution.start()
        node.dispatch.emit(KuzzleStart(node.info))
        yield TestNode(node, log)
        node.app.execution.stop()
        node.dispatch.emit(Shutdown())


class Log:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        """Each with `event`, `level` and its fields."""
        self.logger: Any = structlog.wrap_logger(
            None, processors=[structlog.processors.add_log_level, self._keep]
        )

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of one event."""
        return [line for line in self.lines if line["event"] == event]

    def _keep(self, _logger: Any, _method: str, line: Any) -> Any:
        self.lines.append(dict(line))
        raise structlog.DropEvent


@attrs.frozen(eq=False)
class TestNode:
    """A node that serves, and how to talk to it."""

    __test__ = False  # pytest: not a test

    node: Node
    log: Log

    @property
    def realtime(self) -> Realtime:
        """Its realtime engine."""
        return self.node.realtime

    def client(self) -> "TestClient":
        """Attach a WebSocket client."""
        return TestClient(self)

    async def http(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Response, Any]:
        """Return the response to an HTTP request, and its decoded body. `target` is path and query.

        A `body` that is no bytes is sent as JSON.
        """
        path, _, query = target.partition("?")
        raw = body if isinstance(body, bytes) else b"" if body is None else encode_json(body)
        session = self.node.app.open_session("http", "test")
        answer = self.node.app.http(HttpCall(method, path, query, headers or {}, raw, "test"), session)
        response = answer if isinstance(answer, Response) else await answer
        self.node.app.close_session(session)
        return response, decode_json(response.envelope(room=False))


class TestClient:
    """A WebSocket client that reads everything at once."""

    __test__ = False  # pytest: not a test

    def __init__(self, node: TestNode) -> None:
        self._received: list[Any] = []
        self._closed: tuple[int, str] | None = None
        self.node = node.node
        self._app = node.node.app
        self.session: Session = self._app.open_session("websocket", "test", self._read, self._close)
        self._calls = 0

    @property
    def received(self) -> list[Any]:
        """Every message, in order: what it would have read at the end of the turn."""
        self.node.turn.flush()
        return self._received

    @property
    def closed(self) -> tuple[int, str] | None:
        """Code and reason, if the node has closed the connection by the end of the turn."""
        self.node.turn.flush()
        return self._closed

    @property
    def notifications(self) -> list[Any]:
        """What it received that is no reply."""
        return [message for message in self.received if "type" in message]

    async def call(self, controller: str, action: str, **members: Any) -> Any:
        """Return the envelope of the reply to a request."""
        self._calls += 1
        request = {"requestId": f"r{self._calls}", "controller": controller, "action": action, **members}
        return await self.send(encode_json(request))

    async def send(self, message: str | bytes) -> Any:
        """Send a message as it is and return the reply; None when there is none."""
        answer = self._app.receive_message(self.session, message)
        if answer is None:
            return None
        response = answer if isinstance(answer, Response) else await answer
        reply = decode_json(response.envelope(room=True))
        self._received.append(reply)
        if response.on_sent is not None:
            response.on_sent()
        return reply

    def leave(self) -> None:
        """Be gone."""
        self._app.close_session(self.session)

    def _read(self, *frames: bytes, joined: bytes = b"") -> None:  # noqa: ARG002 - frame by frame
        self._received += [decode_json(payload_of(frame)) for frame in frames]

    def _close(self, code: int, reason: str) -> None:
        self._closed = (code, reason)


def payload_of(frame: bytes) -> bytes:
    """Return the payload of an unmasked WebSocket text frame."""
    length = frame[1]
    start = {126: 4, 127: 10}.get(length, 2)
    return frame[start:]


# -- Several nodes ---------------------------------------------------------------------------------------------------


class MemoryHub:
    """Joins realtime engines of one process, as a cluster does: what one says, the others know."""

    def __init__(self) -> None:
        self.relays: dict[str, MemoryRelay] = {}

    def join(self, node: str, realtime: Realtime) -> "MemoryRelay":
        """Make an engine one of the cluster: it learns of the others' rooms, and they of its."""
        relay = MemoryRelay(self, node, realtime)
        for other in self.relays.values():
            for room_id, description, count in other.realtime.local_rooms():
                realtime.remote_room_opened(other.node, room_id, description, count)
        self.relays[node] = relay
        realtime.attach(relay)
        for room_id, description, count in realtime.local_rooms():
            relay.room_opened(room_id, description, count)
        return relay

    def leave(self, node: str) -> None:
        """Take a node out: the others drop what it had."""
        del self.relays[node]
        for other in self.relays.values():
            other.realtime.remote_node_gone(node)

    def others(self, node: str) -> list["MemoryRelay"]:
        """Return the relays of the other nodes."""
        return [relay for name, relay in self.relays.items() if name != node]


class MemoryRelay:
    """A `server.ports.Relay` that calls the other engines directly, in order.

    While `hold()` is in force, what it says is kept back, and `settled` waits: until `let_go()`, or `give_up()`.
    """

    def __init__(self, hub: MemoryHub, node: str, realtime: Realtime) -> None:
        self.hub = hub
        self.node = node
        self.realtime = realtime
        self.forwarded: list[tuple[str, tuple[str, ...], bytes]] = []
        """(node, room ids, payload) of every notification that went over it."""
        self.waiting = 0
        """Calls of `settled` that wait."""
        self._kept: list[Callable[[Realtime], None]] = []
        self._gate: trio.Event | None = None
        self._is_lost = False

    def room_opened(self, room_id: str, description: bytes, count: int) -> None:
        """Tell the others."""
        self._say(lambda realtime: realtime.remote_room_opened(self.node, room_id, description, count))

    def room_counted(self, room_id: str, count: int) -> None:
        """Tell the others."""
        self._say(lambda realtime: realtime.remote_room_counted(self.node, room_id, count))

    def room_closed(self, room_id: str) -> None:
        """Tell the others."""
        self._say(lambda realtime: realtime.remote_room_closed(self.node, room_id))

    async def settled(self) -> bool:
        """Return at once, unless held."""
        gate = self._gate
        if gate is None:
            return True
        self.waiting += 1
        try:
            await gate.wait()
        finally:
            self.waiting -= 1
        return not self._is_lost

    def forward(self, node: str, room_ids: Sequence[str], payload: bytes) -> None:
        """Give the notification to the other engine."""
        self.forwarded.append((node, tuple(room_ids), payload))
        self.hub.relays[node].realtime.deliver(room_ids, payload)

    def hold(self) -> None:
        """Keep back what is said from now on."""
        self._gate = trio.Event()
        self._is_lost = False

    def let_go(self) -> None:
        """Say what was kept back; those who wait for it go on."""
        self._open()
        for say in self._kept:
            self._say(say)
        self._kept.clear()

    def give_up(self) -> None:
        """Lose what was kept back; those who wait for it are told."""
        self._is_lost = True
        self._kept.clear()
        self._open()

    def _open(self) -> None:
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    def _say(self, say: Callable[[Realtime], None]) -> None:
        if self._gate is not None:
            self._kept.append(say)
            return
        for other in self.hub.others(self.node):
            say(other.realtime)
