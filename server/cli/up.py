"""`shoal up`: a cluster on this machine, for trying out. A Redis, some nodes, a proof that they work, what to try next.

Everything that it starts ends with it: in order on Ctrl-C, SIGTERM or a closed terminal, at once on a second Ctrl-C,
and also when it is killed. A node that dies while the cluster starts stops the whole. Later the other nodes go on, as a
cluster does, until the last one is gone: to kill one and watch the others is what many will want to try.
"""

import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import click
import trio

from server.cli.children import LISTENING, PYTHON_M, Child, ChildEnded, exit_reason, open_child
from server.cli.client import NoAnswer, ask
from server.cli.embedded_redis import NoRedis, open_redis
from server.cli.failure import FAILED, MISUSED, fail
from server.cli.nursery import open_inner_nursery
from server.cli.proof import ProofFailed, prove
from server.cli.shared_directory import make_directory
from server.cli.up_screen import NodeView, Screen
from server.config import PORT
from server.settings import without_password

HOST = "127.0.0.1"
"""The cluster has no password and no encryption: it is for this machine only."""

ANY_ADDRESS = f"tcp://{HOST}:0"
"""For the mesh: any free port, which the nodes tell each other."""

MAX_NODES = 16
"""A node takes some 50 MB; more of them on one machine show nothing new."""

READY_TIMEOUT_S = 30.0
"""For all nodes to be ready. It takes about two seconds; a small or busy machine may take ten."""

LOOK_INTERVAL_S = 0.2
"""Between two looks at the nodes while they start, and between two looks for a child that died."""

SETTLED_INTERVAL_S = 1.0
"""Between two looks once they are ready."""

ANSWER_TIMEOUT_S = 1.0
"""For a node on this machine to say how it is; one that takes longer is shown as not answering."""

SHOWN_LINES = 12
"""Of what a node that died said last: a traceback's end."""

FEW_LINES = 3
"""Of what a node that was killed said last."""


class ClusterFailed(Exception):
    """The cluster did not come up, or no node is left; the message says why, and what to do."""


@attrs.frozen
class Options:
    """What was asked for."""

    nodes: int
    port: int
    redis: str | None
    serve: Sequence[str] = (*PYTHON_M, "server", "serve")
    """The command that runs a node."""


@click.command()
@click.option(
    "--nodes", type=click.IntRange(1, MAX_NODES), default=3, show_default=True, help="How many nodes."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=PORT,
    show_default=True,
    help="Port of the first node; the others take the next ones.",
)
@click.option("--redis", metavar="URL", help="Use this Redis, and start none.")
def up(nodes: int, port: int, redis: str | None) -> None:
    """Run a cluster on this machine, to try it out."""
    if port + nodes - 1 > 65_535:
        fail(f"{nodes} nodes need the ports {port} to {port + nodes - 1}, and 65535 is the last.", MISUSED)
    try:
        trio.run(run_up, Options(nodes=nodes, port=port, redis=redis), Screen())
    except ClusterFailed as error:
        fail(str(error), FAILED)


async def run_up(options: Options, screen: Screen) -> None:
    """Run the cluster until a signal stops it. Raises ClusterFailed."""
    check_ports(options)
    running = trio.CancelScope()
    cluster = _Cluster(options, screen)

    def stop(signals: int) -> None:
        if signals == 1:
            screen.say("", "Stopping. Ctrl-C once more ends it at once.")
            running.cancel()
        else:
            cluster.kill()

    async with open_inner_nursery() as nursery:
        await nursery.start(_call_at_signals, stop)
        with running, screen:
            await cluster.run()
    screen.say("Everything that was started has ended.")


def check_ports(options: Options) -> None:
    """Raise ClusterFailed when a port is taken: it is better found before anything is started."""
    for number in range(options.nodes):
        port = options.port + number
        if not _is_free(port):
            free = free_ports_from(port + 1, options.nodes) or free_ports_from(1024, options.nodes)
            raise ClusterFailed(
                f"Port {port} is taken, and node {number + 1} of {options.nodes} needs it. "
                "Stop what uses it (is another `shoal up` running?), or take other ports: "
                f"{_program()} up --port {free}"
            )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the node's own listener does: a port that connections were just closed on can be had.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports_from(start: int, number: int) -> int:
    """Return the first of `number` free ports in a row, from `start` on; 0 when the numbers end before."""
    for first in range(start, 65_536 - number):
        if all(_is_free(port) for port in range(first, first + number)):
            return first
    return 0


async def _call_at_signals(
    stop: Callable[[int], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Call `stop` at each signal that ends a program, with how many there have been."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        number = 0
        async for _ in signals:
            number += 1
            stop(number)


class _Cluster:
    """The Redis and the nodes of one `shoal up`."""

    def __init__(self, options: Options, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._views = [NodeView(number=n + 1, port=options.port + n) for n in range(options.nodes)]
        self._children: dict[int, Child] = {}
        self._mourned: set[str] = set()

    async def run(self) -> None:
        """Bring the cluster up and keep it until this is cancelled. Raises ClusterFailed."""
        begun = trio.current_time()
        async with self._redis() as (url, redis), open_inner_nursery() as nursery:
            for view in self._views:
                nursery.start_soon(self._run_node, view, url)
            await self._come_up()
            self._screen.good(f"{_nodes(len(self._views))} ready after {trio.current_time() - begun:.1f} s.")
            await self._prove()
            self._say_what_next()
            await self._watch(redis)

    def kill(self) -> None:
        """End all nodes at once; the Redis follows when they are gone."""
        for child in self._children.values():
            child.kill()

    @asynccontextmanager
    async def _redis(self) -> AsyncIterator[tuple[str, Child | None]]:
        if self._options.redis is not None:
            self._headline(f"the Redis at {without_password(self._options.redis)}")
            yield self._options.redis, None
            return
        try:
            with make_directory("shoal-up-") as directory:
                async with open_redis(Path(directory), is_shared=True) as redis:
                    self._headline(f"a Redis of their own ({redis.program.name})")
                    yield redis.url, redis.child
        except NoRedis as error:
            raise ClusterFailed(str(error)) from error

    def _headline(self, redis: str) -> None:
        number = len(self._views)
        self._screen.head(f"Shoal: {_nodes(number)} on this machine, and {redis}.")
        self._screen.say("")

    async def _run_node(self, view: NodeView, redis: str) -> None:
        flags = {"host": HOST, "port": view.port, "redis": redis, "pub": ANY_ADDRESS, "router": ANY_ADDRESS}
        # One name for all would be a cluster of one: whatever is configured, each node is given its own.
        own = {"name": "", "workers": 1}
        words = [word for name, value in {**flags, **own}.items() for word in (f"--{name}", str(value))]
        command = [*self._options.serve, *words, "--stop-with-stdin"]
        # What a node said last is shown to people when it dies. TLS is for others, and its certificate for their names.
        no_tls = {"SHOAL_SERVER_TLS_CERTIFICATE": "", "SHOAL_SERVER_TLS_KEY": ""}
        environment = {"SHOAL_LOG_FORMAT": "console"} | os.environ | no_tls
        async with open_child(view.name, command, env=environment) as child:
            self._children[view.number] = child
            view.pid = child.pid
            with suppress(ChildEnded):
                said = await child.line(LISTENING)
                view.id = child.name = said["id"]
                view.url, view.state = said["url"], "joining"
            ended = await child.wait()
            view.state, view.reason = "ended", exit_reason(ended.exit_code)

    async def _come_up(self) -> None:
        with trio.move_on_after(READY_TIMEOUT_S):
            while True:
                await self._look()
                if dead := [view for view in self._views if view.state == "ended"]:
                    raise ClusterFailed(f"{self._obituary(dead[0])}\nSo the cluster cannot come up.")
                if all(view.state == "ready" and view.count >= len(self._views) for view in self._views):
                    return
                await trio.sleep(LOOK_INTERVAL_S)
        late = [view for view in self._views if view.state != "ready" or view.count < len(self._views)]
        reasons = "".join(
            f"\n  {view.name}: {view.state}, {view.reason or _nodes(view.count)}" for view in late
        )
        raise ClusterFailed(
            f"Not all nodes were ready within {READY_TIMEOUT_S:g} s:{reasons}\n{self._last_lines(late[0])}"
        )

    async def _prove(self) -> None:
        first, last = self._views[0], self._views[-1]
        try:
            proof = await prove(first.url, last.url)
        except ProofFailed as error:
            raise ClusterFailed(
                f"The nodes are ready, but what is published does not arrive: {error}."
            ) from error
        self._screen.good(f"{proof.publishes} changes published on {last.id} all arrived, in order, at")
        self._screen.say(
            f"  a client of {first.id}: median {proof.median_ms:.1f} ms, slowest {proof.slowest_ms:.1f} ms.",
            "",
        )

    def _say_what_next(self) -> None:
        first, last = self._views[0], self._views[-1]
        subscribe = (
            '{"controller":"realtime","action":"subscribe","index":"harbor","collection":"boats","body":{}}'
        )
        screen = self._screen
        screen.head("Try it, in other terminals")
        screen.say("")
        screen.hint(
            "subscribe on one node: in a browser's console, or in `node` (22 or newer)",
            f"ws = new WebSocket('ws{first.url.removeprefix('http')}'); ws.onmessage = m => console.log(m.data); "
            f"ws.onclose = e => console.log('closed', e.code, e.reason); ws.onopen = () => {{ ws.send('{subscribe}'); "
            # A connection on which nothing happens for a minute is closed.
            "setInterval(() => ws.send('{\"p\":1}'), 30000) }",
        )
        screen.hint(
            "publish on another",
            f"curl {last.url}/harbor/boats/_publish -H 'Content-Type: application/json' -d '{{\"name\": \"Argo\"}}'",
        )
        screen.hint(
            "see the cluster", f"{_program()} status" + ("" if first.port == PORT else f" --url {first.url}")
        )
        if len(self._views) > 2:  # so that the two above still work
            screen.hint(
                "end a node without a goodbye, and see the others notice", f"kill -9 {self._views[1].pid}"
            )

    async def _watch(self, redis: Child | None) -> None:
        """Follow the nodes, and tell of each child that dies, until no node is left."""
        while any(view.state != "ended" for view in self._views):
            await self._look()
            for view in self._views:
                if view.state == "ended" and view.name not in self._mourned:
                    self._mourned.add(view.name)
                    self._screen.say(self._obituary(view))
                    if any(other.state != "ended" for other in self._views):
                        self._screen.say("The others go on.", "")
            if redis and redis.exit_code is not None and redis.name not in self._mourned:
                self._mourned.add(redis.name)
                self._screen.say(
                    f"Redis {exit_reason(redis.exit_code)}. The nodes go on: it is for finding each other."
                )
            await trio.sleep(SETTLED_INTERVAL_S)
        raise ClusterFailed("No node is left.")

    async def _look(self) -> None:
        """Ask each node that listens how it is, and show it."""
        async with trio.open_nursery() as nursery:
            for view in self._views:
                if view.url and view.state != "ended":
                    nursery.start_soon(_ask, view)
        self._screen.show(self._views)
        if self._screen.is_gone:
            raise ClusterFailed("Nobody reads what is said here any more.")

    def _obituary(self, view: NodeView) -> str:
        return f"{view.name} (port {view.port}) {view.reason}. {self._last_lines(view)}"

    def _last_lines(self, view: NodeView) -> str:
        child = self._children[view.number]
        # Who was killed from outside has little to say about it.
        number = SHOWN_LINES if (child.exit_code or 0) >= 0 else FEW_LINES
        lines = list(child.lines)[-number:]
        return "\n".join(["It said last:", *(f"  {line}" for line in lines)]) if lines else "It said nothing."


async def _ask(view: NodeView) -> None:
    try:
        answer = await trio.to_thread.run_sync(
            ask, view.url, "/_plugin/cluster/status", "GET", ANSWER_TIMEOUT_S, abandon_on_cancel=True
        )
    except NoAnswer:
        state, reason = "not ready", "it does not answer"
    else:
        state, reason = "not ready", answer.reason
        if answer.status == 200:
            current = answer.result["current"]
            view.count, view.rooms = answer.result["count"], current["rooms"]
            state, reason = ("ready" if current["ready"] else "not ready"), "; ".join(current["reasons"])
    if view.state == "ended":  # while it was asked
        return
    if state == "not ready" and view.state == "joining":
        state = "joining"
    view.state, view.reason = state, reason


def _program() -> str:
    """Return how this person calls `shoal`: it is not on the path of who came here by `make up`."""
    called = Path(sys.argv[0])
    if called.name != "shoal":
        return "python -m server"
    found = shutil.which("shoal")
    return "shoal" if found and Path(found).resolve() == called.resolve() else str(called)


def _nodes(number: int) -> str:
    return f"{number} node{'s' if number != 1 else ''}"
