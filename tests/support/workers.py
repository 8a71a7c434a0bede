"""Servers with several workers, for tests: real processes, and clients at each of them."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import structlog
import trio
from structlog.testing import LogCapture

from server.cli.children import PYTHON_M, ChildEnded, open_child
from server.cli.shared_directory import make_directory
from server.cli.workers import Supervisor
from server.config import load
from support.leftovers import environment
from support.processes import Node, running_node
from support.waiting import TIMEOUT_S, eventually
from support.websocket import Client, websocket

PLACE = {"index": "harbor", "collection": "boats"}

NO_REDIS = "redis://127.0.0.1:1"
"""Nobody listens at port 1."""


@asynccontextmanager
async def running_workers(
    count: int = 2,
    *,
    name: str = "a",
    redis: str = NO_REDIS,
    tmp: Path | None = None,
    settings: dict[str, Any] | None = None,
    open_stream: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream,
) -> AsyncIterator[Node]:
    """Run one server with so many workers on free ports; `id` and `pid` are the supervisor's."""
    own = {"server.workers": count, "log.format": "console"}
    env = environment(tmp) if tmp else None
    async with running_node(
        redis=redis, name=name, settings=own | (settings or {}), env=env, open_stream=open_stream
    ) as server:
        yield server


def workers_of(supervisor: int) -> dict[str, int]:
    """Return the process id of each worker that lives, by name."""
    found = {}
    for task in Path(f"/proc/{supervisor}/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except FileNotFoundError:
                continue
            if "--worker" in words:
                found[words[words.index("--worker") - 1]] = int(pid)
    return found


async def sees(server: Node, count: int) -> bool:
    reply = await server.get("/_plugin/cluster/status")
    return reply.status == 200 and reply.result["current"]["ready"] and reply.result["count"] == count


class Spread:
    """Clients of one server, at least one at each of its workers."""

    def __init__(self, server: Node, stack: AsyncExitStack) -> None:
        self._server = server
        self._stack = stack
        self.clients: list[tuple[str, Client]] = []
        """Each with the name of its worker."""

    async def attach(self) -> tuple[str, Client]:
        """Attach one more client."""
        client = await self._stack.enter_async_context(websocket(self._server.ws_url))
        worker = (await client.request("server", "now"))["node"]
        self.clients.append((worker, client))
        return worker, client

    def at(self, worker: str) -> list[Client]:
        """Return the clients of a worker."""
        return [client for name, client in self.clients if name == worker]


@asynccontextmanager
async def clients_at(server: Node, *workers: str) -> AsyncIterator[Spread]:
    """Attach clients until each of these workers has one: the kernel chooses."""
    async with AsyncExitStack() as stack:
        spread = Spread(server, stack)
        while not set(workers) <= {worker for worker, _ in spread.clients}:
            assert len(spread.clients) < 200, "connections spread"
            await spread.attach()
        yield spread


async def publish(client: Client, number: int) -> None:
    assert await client.result("realtime", "publish", body={"n": number}, **PLACE) == {"published": True}


class Load:
    """Publishes 1, 2, 3… as fast as it is answered, until it is stopped."""

    def __init__(self, client: Client) -> None:
        self.last = 0
        """The last that was answered."""
        self.stop = trio.Event()
        self.stopped = trio.Event()
        self._client = client

    async def run(self) -> None:
        """Publish until `stop` is set."""
        while not self.stop.is_set():
            await publish(self._client, self.last + 1)
            self.last += 1
        self.stopped.set()


def numbers(client: Client) -> list[int]:
    return [frame["result"]["_source"]["n"] for frame in client.received if frame.get("type") == "document"]


async def ended(*options: str, env: dict[str, str] | None = None, timeout_s: float = TIMEOUT_S) -> ChildEnded:
    """Run `shoal serve` to its end."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}
    command = [*PYTHON_M, "server", "serve", *options]
    async with open_child("serve", command, env=inherited | (env or {})) as child:
        with trio.fail_after(timeout_s):
            return await child.wait()


def said(server: Node, event: str) -> int:
    return sum(event in line for line in server.log)


@attrs.frozen
class InProcess:
    """A supervisor that runs in the test."""

    logged: LogCapture
    supervisor: Supervisor

    async def logs(self, event: str, **fields: object) -> None:
        """Wait until something is logged."""
        wanted = {"event": event, **fields}.items()
        await eventually(lambda: any(wanted <= entry.items() for entry in self.logged.entries), event)

    @property
    def url(self) -> str:
        """Where it listens."""
        return next(str(entry["url"]) for entry in self.logged.entries if entry["event"] == "workers serving")


@asynccontextmanager
async def in_process() -> AsyncIterator[InProcess]:
    """Run a server with two workers whose supervisor is here, so that its limits can be changed."""
    flags: dict[str, Any] = {"server.workers": 2, "server.port": 0, "cluster.redis": NO_REDIS}
    flags |= {f"cluster.bindings.{name}": "tcp://127.0.0.1:*" for name in ("pub", "router")}
    config, logged = load(None, {}, flags), LogCapture()
    words = [f"--redis={NO_REDIS}", "--pub=tcp://127.0.0.1:*", "--router=tcp://127.0.0.1:*"]
    with make_directory("shoal-test-") as directory:
        log = structlog.wrap_logger(None, [logged])
        supervisor = Supervisor(config, "a", [*PYTHON_M, "server", "serve", *words], directory, log)
        server = InProcess(logged, supervisor)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            await server.logs("workers serving")
            yield server
            nursery.cancel_scope.cancel()
