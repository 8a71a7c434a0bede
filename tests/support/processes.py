"""Real processes for tests: a Redis, a node, a cluster; each ends with its context, whatever happens.

    async with redis_server() as redis, running_cluster(3, redis=redis.url) as nodes:
        reply = await nodes[0].get("/_plugin/cluster/status")

What the processes printed is shown with a test that fails.
"""

import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from server.cli.children import LISTENING, PYTHON_M, Child, ChildEnded, open_child
from server.cli.embedded_redis import open_redis
from server.cli.nursery import open_inner_nursery
from support.http import Reply, http
from support.waiting import TIMEOUT_S, eventually

SHOWN_LINES = 60
"""Of each process, with a failed test."""


@attrs.define(eq=False)
class RedisServer:
    """A Redis for a test. It can be ended and started again at the same URL, which makes it an empty one."""

    directory: Path
    url: str
    nursery: trio.Nursery
    _running: trio.CancelScope | None = None
    _ended: trio.Event = attrs.field(factory=trio.Event)

    async def start(self) -> None:
        """Start it; return when it answers."""
        assert self._running is None, "it is running"
        self._ended = trio.Event()
        self._running = await self.nursery.start(self._run)

    async def stop(self) -> None:
        """End it, with all that it holds; return when it is gone."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
            await self._ended.wait()

    async def command(self, words: str) -> str:
        """Send a command, and return the first part of the answer as it comes."""
        with trio.fail_after(TIMEOUT_S):
            async with await trio.open_unix_socket(self.url.removeprefix("unix://")) as stream:
                await stream.send_all(f"{words}\r\n".encode())
                return bytes(await stream.receive_some(65_536)).decode()

    async def pid(self) -> int:
        """Its process id. (Its parent is a process of ours that sees to it that it ends.)"""
        found = re.search(r"process_id:(\d+)", await self.command("INFO server"))
        assert found is not None
        return int(found[1])

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """It is stopped where it is (SIGSTOP), for as long as the context lasts."""
        pid = await self.pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def kill(self) -> None:
        """End it without a goodbye (SIGKILL); return when it is gone."""
        os.kill(await self.pid(), signal.SIGKILL)
        await self.stop()

    async def _run(self, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with open_redis(self.directory) as redis:
                assert redis.url == self.url
                task_status.started(scope)
                await trio.sleep_forever()
        self._ended.set()


@asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    """Run a Redis without persistence on a private Unix socket; give its `url`."""
    with tempfile.TemporaryDirectory(prefix="shoal-test-") as name:
        directory = Path(name)
        async with open_inner_nursery() as nursery:
            redis = RedisServer(directory, f"unix://{directory / 'redis.sock'}", nursery)
            await redis.start()
            yield redis


@attrs.frozen(eq=False)
class Node:
    """A running node process."""

    id: str
    url: str
    child: Child
    open_stream: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream
    """How to connect to it."""

    @property
    def ws_url(self) -> str:
        """Where a WebSocket client connects."""
        return "ws" + self.url.removeprefix("http")

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    @property
    def log(self) -> Sequence[str]:
        """The last lines it printed."""
        return tuple(self.child.lines)

    async def get(self, path: str, **options: Any) -> Reply:
        """Send a GET to the node."""
        return await http(self.url + path, open_stream=self.open_stream, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        """Send a POST to the node; a body that is not bytes goes as JSON."""
        return await http(self.url + path, "POST", body, open_stream=self.open_stream, **options)

    async def ready(self, count: int = 1, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the node says that it is ready in a cluster of `count` nodes."""

        async def sees_all() -> bool:
            if self.child.exit_code is not None:
                return True
            try:
                reply = await self.get("/_plugin/cluster/status")
            except OSError:
                return False
            status = reply.result if reply.status == 200 else None
            return status is not None and status["current"]["ready"] and status["count"] == count

        await eventually(sees_all, f"{self.id} is ready in a cluster of {count}", timeout_s)
        if self.child.exit_code is not None:
            raise self.child.ended()

    def terminate(self) -> None:
        """Ask it to stop in order (SIGTERM)."""
        self.child.terminate()

    def kill(self) -> None:
        """End it without a goodbye (SIGKILL)."""
        self.child.kill()

    def pause(self) -> None:
        """Stop the process where it is (SIGSTOP), like a machine that sleeps."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def ended(self, timeout_s: float = TIMEOUT_S) -> ChildEnded:
        """Wait for the end of the process; return how it ended."""
        with trio.fail_after(timeout_s):
            return await self.child.wait()


@asynccontextmanager
async def running_node(
    *,
    redis: str | None = None,
    name: str = "",
    ready: int = 0,
    settings: dict[str, Any] | None = None,
    prefix: Sequence[str] = (),
    open_stream: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Node]:
    """Run `shoal serve` on a free port of 127.0.0.1 until the context ends.

    Without a `redis` URL the node runs alone, without the cluster plugin. `settings` are values by `table.key`
    (`{"cluster.timers.heartbeat": 200}`), given through the environment. With `ready` it is first awaited that the node
    is ready in a cluster of that many nodes. The node gets SIGTERM at the end, and SIGKILL when that does not help.

    `prefix` is a command that the node is run by, and that has to become it (`ip netns exec …`); `open_stream` then
    connects to where it listens; `env` is added to the environment. Plugins of a test are found as `support.…`.
    """
    defaults: dict[str, Any] = {"server.port": 0, "server.host": "127.0.0.1", "server.name": name}
    if redis is None:
        defaults["server.plugins"] = ()
    else:
        defaults["cluster.redis"] = redis
        # Any free loopback ports: nodes of several tests share this machine.
        defaults |= {f"cluster.bindings.{socket}": "tcp://127.0.0.1:0" for socket in ("pub", "router")}
    environment = _inherited() | _as_environment(defaults | (settings or {}))
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1])} | dict(env or {})
    command = [*prefix, *PYTHON_M, "server", "serve", "--stop-with-stdin"]
    async with open_child(name or "node", command, env=environment) as child:
        try:
            with trio.fail_after(TIMEOUT_S):
                said = await child.line(LISTENING)
            child.name = said["id"]
            node = Node(id=said["id"], url=said["url"], child=child, open_stream=open_stream)
            if ready:
                await node.ready(ready)
            yield node
        except BaseException:
            _show(child)
            raise
        finally:
            if child.exit_code is None:
                os.kill(child.pid, signal.SIGCONT)  # a process that a test has paused would not hear SIGTERM


@asynccontextmanager
async def running_cluster(
    size: int,
    *,
    redis: str | None = None,
    settings: dict[str, Any] | None = None,
    open_stream: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream,
) -> AsyncIterator[list[Node]]:
    """Run `size` nodes until the context ends; give them when each is ready and sees all.

    Without a `redis` URL they get a Redis of their own. `settings` count for every node.
    """
    async with AsyncExitStack() as stack:
        if redis is None:
            redis = (await stack.enter_async_context(redis_server())).url
        # One after the other is how contexts nest; a node is waited for only until it listens, which is quick.
        nodes = [
            await stack.enter_async_context(
                running_node(redis=redis, name=f"node-{n}", settings=settings, open_stream=open_stream)
            )
            for n in range(1, size + 1)
        ]
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(node.ready, size)
        yield nodes


def _inherited() -> dict[str, str]:
    """Return this process's environment without settings: a developer's own must not reach a test."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}


def _as_environment(settings: dict[str, Any]) -> dict[str, str]:
    return {
        f"SHOAL_{re.sub('[^A-Z0-9]', '_', key.upper())}": _as_text(value) for key, value in settings.items()
    }


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _show(child: Child) -> None:
    """Print what a process said; pytest shows it with the test that fails."""
    state = "is running" if child.exit_code is None else f"ended with {child.exit_code}"
    print(f"--- {child.name} (pid {child.pid}) {state}; its last lines:", file=sys.stderr)
    for line in list(child.lines)[-SHOWN_LINES:]:
        print(f"    {line}", file=sys.stderr)
