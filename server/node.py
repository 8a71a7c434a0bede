"""One node, put together: the only place that knows all of its parts.

    background   the turn's flusher, the hooks that wait
    listening    the listener and its clients
    plugins      each plugin's life

Started from the top to the bottom. When a node stops, it first says so (503), then its WebSocket clients are closed
with "service restart", little by little, while all else works on; then it does not listen any more, then its plugins
leave (the cluster says goodbye), then it is gone. So whoever is attached misses nothing, and is refused nothing, until
it is told to go.
"""

import os
import socket
import sys
import time
import uuid
from functools import partial
from importlib.metadata import version
from typing import Any

import attrs
import trio

from server.adapters.certificates import Certificates
from server.adapters.listener import serve
from server.adapters.listening import ListenError, Listening
from server.adapters.turn import Turn
from server.app import App
from server.config import LoadedConfig
from server.controllers.auth import AuthController
from server.controllers.realtime import RealtimeController
from server.controllers.server import ServerController
from server.core.actions import ActionTable
from server.core.identity import NodeInfo, Worker
from server.core.names import ENTROPY_BYTES, readable_id
from server.core.outbox import OutboxCounters
from server.core.refusals import RefusalCounters
from server.dispatch import Dispatch
from server.events import KuzzleStart, Shutdown
from server.loading import LoadedPlugin, PluginCrash, load_plugins, start_plugins
from server.logs import open_log
from server.plugin import Context, Core, Plugin, PluginError
from server.realtime import Realtime


async def run_node(
    config: LoadedConfig,
    *,
    worker: Worker | None = None,
    listening: Listening | None = None,
    certificates: Certificates | None = None,
    task_status: trio.TaskStatus[NodeInfo] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be one node until cancelled, then stop in order: up to `limits.drain_s`, and twice `limits.stop_s`.

    It may be one `worker` of several; `listening` is where it accepts clients, if that is open already, `certificates`
    are what it shows them, if they are read already. `started` is told who the node is, when it serves; one line on
    standard output says so too. Raises CertificateError when they cannot be used, ListenError when it cannot listen
    where it was told to, and PluginError when a plugin fails.
    """
    server = config.server
    if certificates is None and server.tls_certificate:
        certificates = Certificates(server.tls_certificate, server.tls_key)
    log = open_log(config.log, sys.stderr)
    if worker is not None:
        log = log.bind(worker=server.name)
    try:
        await _run(assemble(config, log, worker, certificates), listening, task_status)
    except PluginCrash as error:
        # The message is for whoever runs the node, this for whoever wrote the plugin.
        log.error("plugin failed", exc_info=error.__cause__)
        raise


@attrs.define(eq=False)
class Bound:
    """Where the listener is, once it is."""

    scheme: str
    host: str
    port: int


@attrs.frozen(eq=False)
class Node:
    """The parts of one node."""

    config: LoadedConfig
    info: NodeInfo
    log: Any
    bound: Bound
    turn: Turn
    outbox: OutboxCounters
    refused: RefusalCounters
    realtime: Realtime
    dispatch: Dispatch
    app: App
    plugins: list[LoadedPlugin]
    certificates: Certificates | None


async def _run(node: Node, listening: Listening | None, task_status: trio.TaskStatus[NodeInfo]) -> None:
    stopping = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            info = await nursery.start(_live, node, listening, stopping)
            task_status.started(info)
            try:
                await trio.sleep_forever()
            finally:
                stopping.set()
    except BaseExceptionGroup as group:
        sole = _sole(group)
        if isinstance(sole, ListenError | PluginError):
            raise sole from sole.__cause__
        raise


def assemble(
    config: LoadedConfig, log: Any, worker: Worker | None = None, certificates: Certificates | None = None
) -> Node:
    """Make all parts and give each what it needs; nothing runs yet. Raises PluginError."""
    bound = Bound("http" if certificates is None else "https", config.server.host, config.server.port)
    info = NodeInfo(
        id=config.server.name or readable_id(os.urandom(ENTROPY_BYTES)),
        version=version("shoal"),
        host=socket.gethostname(),
        started_at=_now_ms(),
        url=lambda: config.server.url or _url(bound.scheme, _reachable(bound.host), bound.port),
        worker=worker,
        listens_at=config.server.host,
        names_proxies=bool(config.server.trusted_proxies),
    )
    turn, outbox, refused = Turn(), OutboxCounters(), RefusalCounters()
    dispatch = Dispatch(config.limits, log)
    realtime = Realtime(node_id=info.id, limits=config.limits, now_ms=_now_ms, emit=dispatch.emit, turn=turn)
    actions = ActionTable()
    app = App(
        node_id=info.id,
        actions=actions,
        dispatch=dispatch,
        realtime=realtime,
        new_id=_new_id,
        now_ms=_now_ms,
        log=log,
        is_open=config.server.anonymous,
    )
    told_of_plugins: dict[str, dict[str, Any]] = {}
    actions.add(AuthController())
    actions.add(RealtimeController(realtime))
    actions.add(ServerController(info, actions, told_of_plugins, _now_ms, app.why_not_ready))

    core = Core(
        realtime=realtime,
        turn=turn,
        app=app,
        outbox=outbox,
        refused=refused,
        add_readiness=app.add_readiness,
        gate=app.gate,
    )

    def context_for(plugin: type[Plugin]) -> Context:
        return Context(
            plugin=plugin.name,
            node=info,
            log=log.bind(plugin=plugin.name),
            execute=app.execution.execute_inside,
            core=core if plugin.privileged else None,
        )

    plugins = load_plugins(config.plugins, context_for, dispatch, actions)
    for loaded in plugins:
        told_of_plugins[loaded.name] = {
            "privileged": loaded.plugin.privileged,
            "controllers": list(loaded.controllers),
        }
    dispatch.warn_of_unheard([(entry.controller, entry.name) for entry in actions])
    return Node(
        config, info, log, bound, turn, outbox, refused, realtime, dispatch, app, plugins, certificates
    )


async def _live(
    node: Node,
    listening_at: Listening | None,
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[NodeInfo],
) -> None:
    leaving, gone = trio.Event(), trio.Event()
    listen = partial(_listen, node, listening_at, leaving, gone)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as background:
            background.start_soon(node.turn.run)
            await background.start(node.dispatch.run)
            if node.certificates is not None:
                background.start_soon(node.certificates.run, node.log)
            async with trio.open_nursery() as listening:
                addresses = await listening.start(listen)
                node.bound.host, node.bound.port = addresses[0]
                async with trio.open_nursery() as plugins:
                    await start_plugins(node.plugins, plugins, node.config.limits.plugin_start_s)
                    _start_serving(node)
                    # From here on being cancelled means to stop in order.
                    scope.shield = True
                    task_status.started(node.info)
                    await stopping.wait()
                    leaving.set()
                    node.dispatch.emit(Shutdown())
                    await gone.wait()
                    node.app.execution.stop()
                    background.start_soon(_watch_plugins, node)
                    plugins.cancel_scope.cancel()
            background.cancel_scope.cancel()
    node.log.info("stopped", node=node.info.id)


async def _listen(
    node: Node,
    listening: Listening | None,
    leaving: trio.Event,
    gone: trio.Event,
    *,
    task_status: trio.TaskStatus[list[tuple[str, int]]],
) -> None:
    try:
        await serve(
            node.app,
            node.config,
            node.turn,
            listening=listening,
            certificates=node.certificates,
            stopping=leaving,
            counters=node.outbox,
            refused=node.refused,
            log=node.log,
            task_status=task_status,
        )
    finally:
        gone.set()


async def _watch_plugins(node: Node) -> None:
    """Say so when a plugin does not come to an end."""
    await trio.sleep(node.config.limits.stop_s)
    node.log.warning("plugins slow to leave", stop_s=node.config.limits.stop_s)


def _start_serving(node: Node) -> None:
    node.app.execution.start()
    node.dispatch.emit(KuzzleStart(node.info))
    url = _url(node.bound.scheme, _local(node.bound.host), node.bound.port)
    node.log.info("serving", node=node.info.id, url=url, version=node.info.version)
    sys.stdout.write(f"shoal {node.info.id} listening on {url}\n")
    sys.stdout.flush()


def _sole(error: BaseException) -> BaseException | None:
    """Return the one exception in nested groups; None when there are several."""
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return None
        error = error.exceptions[0]
    return error


# -- Addresses -------------------------------------------------------------------------------------------------------

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


def _reachable(host: str) -> str:
    """Return a name under which other machines may reach an address that is listened on."""
    return socket.gethostname() if host in _WILDCARDS else host


def _local(host: str) -> str:
    return "127.0.0.1" if host in _WILDCARDS else host


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return str(uuid.uuid4())
