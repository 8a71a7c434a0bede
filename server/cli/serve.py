"""`shoal serve`: one node, from its configuration to its end.

The first SIGTERM or SIGINT stops the node in order, the second ends it at once. The exit code is 0 after an orderly
stop, 1 when the node cannot run here (its port is taken, a plugin fails), 2 when its configuration cannot be used.
"""

import gc
import os
import resource
import signal
import traceback
from pathlib import Path
from typing import Any

import click
import trio

from server.adapters.listening import ListenError
from server.cli.children import STOP_GRACE_S
from server.cli.failure import FAILED, MISUSED, fail
from server.cli.nursery import open_inner_nursery
from server.config import ConfigError, LoadedConfig, load
from server.loading import find_plugin
from server.node import run_node
from server.plugin import PluginError

YOUNG_OBJECTS = 10_000
"""Made since the garbage collector last looked, and still there. Python's 700 were chosen for programs that are done
soon: at 60,000 messages a second it would look a hundred times a second, for nothing."""

SPARE_FILES = 200
"""Open files besides the clients': the mesh's sockets to its peers, Redis, the log, what libraries hold."""

TARGETS = {
    "host": "server.host",
    "port": "server.port",
    "name": "server.name",
    "redis": "cluster.redis",
    "pub": "cluster.bindings.pub",
    "router": "cluster.bindings.router",
}
"""Which setting each flag sets."""


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="SHOAL_CONFIG",
    help="TOML file with the configuration; also as SHOAL_CONFIG.",
)
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="TCP port for HTTP and WebSocket; 0 takes any free one.")
@click.option("--name", help="Id of the node; without one it is given a new one at each start.")
@click.option("--redis", metavar="URL", help="Redis in which the nodes of the cluster find each other.")
@click.option(
    "--pub", metavar="ADDR", help="Where the node publishes to its peers, such as tcp://127.0.0.1:7511."
)
@click.option("--router", metavar="ADDR", help="Where it answers its peers, such as tcp://127.0.0.1:7510.")
@click.option("--stop-with-stdin", is_flag=True, hidden=True, help="Stop when standard input closes.")
def serve(file: Path | None, stop_with_stdin: bool, **flags: Any) -> None:
    """Run one node until it is told to stop."""
    try:
        given = {TARGETS[name]: value for name, value in flags.items()}
        config = load(file, os.environ, given, find_plugin)
    except ConfigError as error:
        fail(
            "The configuration cannot be used:\n" + "\n".join(f"  {line}" for line in error.problems), MISUSED
        )
    _allow_open_files(config.limits.connections + SPARE_FILES)
    _spare_the_garbage_collector()
    try:
        trio.run(_serve, config, stop_with_stdin)
    except ListenError as error:
        fail(str(error), FAILED)
    except PluginError as error:
        if error.__cause__ is not None and config.log.level == "debug":
            traceback.print_exception(error.__cause__)
        hint = " (SHOAL_LOG_LEVEL=debug shows where.)" if error.__cause__ else ""
        fail(f"{error}{hint}", FAILED)


async def _serve(config: LoadedConfig, stop_with_stdin: bool) -> None:
    async with open_inner_nursery() as nursery:
        serving = trio.CancelScope()
        nursery.start_soon(_stop_at_signal, serving)
        if stop_with_stdin:
            nursery.start_soon(_stop_with_stdin, serving)
        with serving:
            await run_node(config)


async def _stop_at_signal(serving: trio.CancelScope) -> None:
    """Stop at the first signal; from then on the system's own reaction counts, which nothing in here can delay."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            break
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    serving.cancel()


async def _stop_with_stdin(serving: trio.CancelScope) -> None:
    """Stop when whoever started us, and holds the other end of standard input, is gone."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        async for _ in stdin:
            pass
    # Nobody is left who would end a stop that does not end. The system does it, whatever hangs in here.
    signal.alarm(int(STOP_GRACE_S))
    serving.cancel()


def _spare_the_garbage_collector() -> None:
    """Do not let it look again and again at what stays for good, and look less often at what is new: hardly anything
    here is garbage that only it could find."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


def _allow_open_files(wanted: int) -> None:
    """Raise the soft limit on open files, often 1,024 for old programs' sake, as far as is needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        click.echo(
            f"shoal: only {allowed} files may be open here, so fewer clients than limits.connections will fit. "
            f"Raise the limit (ulimit -Hn {wanted}), or lower limits.connections.",
            err=True,
        )
