"""`shoal serve`: one node, or several workers at one port, from its configuration to its end.

The first SIGTERM, SIGINT or SIGHUP stops it in order, the second ends it at once; with TLS, SIGHUP makes it read its
certificate anew (server/cli/hangup.py). The exit code is 0 after an orderly stop, 1 when it cannot run here (its port
is taken, a plugin fails), 2 when its configuration cannot be used, which includes the files with the certificate.
"""

import math
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec
import trio

import __main__
from server.adapters.certificates import CertificateError, Certificates
from server.adapters.listening import ListenError, Listening
from server.cli import collector
from server.cli.children import PYTHON_M
from server.cli.failure import FAILED, MISUSED, fail
from server.cli.hangup import Hangup
from server.cli.nursery import open_inner_nursery
from server.cli.shared_directory import hold_directory, make_directory
from server.cli.workers import LONGEST_DIRECTORY, PULSE_S, SAYS, Post, Supervisor, WorkersFailed, stop_grace_s
from server.config import ConfigError, LoadedConfig, load
from server.core.identity import Worker
from server.core.names import ENTROPY_BYTES, readable_id
from server.loading import find_plugin
from server.logs import open_log
from server.node import run_node
from server.plugin import PluginError

SPARE_FILES = 200
"""Open files besides the clients': the mesh's sockets to its peers, Redis, the log, what libraries hold."""

FILES_PER_WORKER = 8
"""Open files that a worker has for each of its siblings: its own connections to it, and those from it."""

ORPHAN_SPARE_S = 5
"""More than whoever supervises us would give us to stop: it does not end its workers while they still may."""

TARGETS = {
    "host": "server.host",
    "port": "server.port",
    "name": "server.name",
    "workers": "server.workers",
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
@click.option("--workers", type=int, help="Processes that share the port, each a node: one for each core.")
@click.option("--redis", metavar="URL", help="Redis in which the nodes of the cluster find each other.")
@click.option(
    "--pub", metavar="ADDR", help="Where the node publishes to its peers, such as tcp://127.0.0.1:7511."
)
@click.option("--router", metavar="ADDR", help="Where it answers its peers, such as tcp://127.0.0.1:7510.")
@click.option("--stop-with-stdin", is_flag=True, hidden=True, help="Stop when standard input closes.")
@click.option("--worker", hidden=True, help="This process's place among several workers.")
def serve(file: Path | None, stop_with_stdin: bool, worker: str | None, **flags: Any) -> None:
    """Run one node, or several workers that share a port, until it is told to stop."""
    refuse = fail if worker is None else _tell_supervisor
    try:
        given = {TARGETS[name]: value for name, value in flags.items()}
        config = load(file, os.environ, given, find_plugin)
        _refuse_lonely_workers(config)
        certificates = _certificates(config)
    except ConfigError as error:
        refuse(
            "The configuration cannot be used:\n" + "\n".join(f"  {line}" for line in error.problems), MISUSED
        )
    try:
        if worker is not None:
            _run_worker(config, msgspec.json.decode(worker, type=Post), certificates)
        elif config.server.workers > 1:
            _allow_open_files(
                config.limits.connections + SPARE_FILES + FILES_PER_WORKER * config.server.workers
            )
            _run_workers(config, [*_this_program(), *_words(file, flags)], stop_with_stdin)
        else:
            _allow_open_files(config.limits.connections + SPARE_FILES)
            trio.run(partial(_serve, config, stop_with_stdin, certificates=certificates))
    except ListenError as error:
        refuse(str(error), FAILED)
    except WorkersFailed as error:
        refuse(str(error), error.exit_code)
    except PluginError as error:
        if error.__cause__ is not None and config.log.level == "debug":
            traceback.print_exception(error.__cause__)
        hint = " (SHOAL_LOG_LEVEL=debug shows where.)" if error.__cause__ else ""
        refuse(f"{error}{hint}", FAILED)


# -- One node --------------------------------------------------------------------------------------------------------


async def _serve(
    config: LoadedConfig,
    stop_with_stdin: bool,
    *,
    certificates: Certificates | None = None,
    worker: Worker | None = None,
    listening: Listening | None = None,
    pulse: int | None = None,
) -> None:
    collector.spare()
    async with open_inner_nursery() as nursery:
        serving = trio.CancelScope()
        if pulse is not None:
            nursery.start_soon(_show_pulse, pulse)
        nursery.start_soon(_heed_signals, serving, certificates)
        if stop_with_stdin:
            nursery.start_soon(_stop_with_stdin, serving, stop_grace_s(config.limits.stop_s))
        with serving:
            await run_node(config, worker=worker, listening=listening, certificates=certificates)


def _certificates(config: LoadedConfig) -> Certificates | None:
    """Read what the configuration names; None without TLS. Raises ConfigError when it cannot be used."""
    if not config.server.tls_certificate:
        return None
    try:
        return Certificates(config.server.tls_certificate, config.server.tls_key)
    except CertificateError as error:
        raise ConfigError([str(error)]) from error


async def _heed_signals(serving: trio.CancelScope, certificates: Certificates | None) -> None:
    """Stop at the first signal; from then on the system's own reaction counts, which nothing in here can delay."""
    hangup = Hangup(reads_anew=certificates is not None)
    with trio.open_signal_receiver(*hangup.signals()) as signals:
        async for number in signals:
            if certificates is None or not hangup.means_to_read_anew(number):
                break
            certificates.read_anew()
    for number, reaction in hangup.reactions():
        signal.signal(number, reaction)
    serving.cancel()


async def _stop_with_stdin(serving: trio.CancelScope, grace_s: float) -> None:
    """Stop when whoever started us, and holds the other end of standard input, is gone or has closed it."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        async for _ in stdin:
            pass
    # Maybe nobody is left who would end a stop that does not end. The system does it, whatever hangs in here.
    signal.alarm(math.ceil(grace_s))
    serving.cancel()


# -- Several workers -------------------------------------------------------------------------------------------------


def _refuse_lonely_workers(config: LoadedConfig) -> None:
    """Raise ConfigError when the plugins that are configured cannot be in several workers."""
    if config.server.workers == 1:
        return
    number = f"server.workers is {config.server.workers} ({config.origins['server.workers']})"
    plugins = {name: plugin for name, (plugin, _) in config.plugins.items()}
    problems = [
        f'{number}, but the plugin "{name}" runs in one process only: leave it out, or set workers = 1'
        for name, plugin in plugins.items()
        if plugin.runs_alone
    ]
    if not any(plugin.connects_nodes for plugin in plugins.values()):
        problems.append(
            f"{number}, but no plugin in server.plugins connects them: clients of one worker would not hear those of "
            'another. Add "cluster", or set workers = 1'
        )
    if problems:
        raise ConfigError(problems)


def _run_workers(config: LoadedConfig, command: list[str], stop_with_stdin: bool) -> None:
    log = open_log(config.log, sys.stderr)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if config.server.workers > cores:
        log.warning("more workers than cores", workers=config.server.workers, cores=cores)
    name = config.server.name or readable_id(os.urandom(ENTROPY_BYTES))
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(make_directory("shoal-"))
        except OSError as error:
            fail(
                f"The workers need a place for their sockets: {error}. Set TMPDIR to a directory to write in."
            )
        if len(directory) > LONGEST_DIRECTORY:
            fail(f"The path {directory} is too long for sockets in it. Set TMPDIR to a shorter one.")
        supervisor = Supervisor(config, name, command, directory, log)
        ended_by = trio.run(_supervise, supervisor, config, log, stop_with_stdin)
    if ended_by is not None:  # a second signal: as it would have ended a single node
        signal.signal(ended_by, signal.SIG_DFL)
        signal.raise_signal(ended_by)
    if not supervisor.did_end_well():
        fail("Not all workers ended in order; the log may say why.")
    log.info("workers stopped", server=name)


async def _supervise(
    supervisor: Supervisor, config: LoadedConfig, log: Any, stop_with_stdin: bool
) -> int | None:
    """Run the workers until a signal stops them; return the second signal, if one came while they stopped."""
    ended_by: int | None = None
    serving = trio.CancelScope()
    hangup = Hangup(reads_anew=bool(config.server.tls_certificate))

    async def heed_signals() -> None:
        nonlocal ended_by
        with trio.open_signal_receiver(*hangup.signals()) as signals:
            async for number in signals:
                if hangup.means_to_read_anew(number):
                    supervisor.read_anew()
                elif serving.cancel_called:
                    ended_by = number
                    supervisor.kill()
                else:
                    log.info("workers stopping", signal=signal.Signals(number).name)
                    serving.cancel()

    async with open_inner_nursery() as nursery:
        nursery.start_soon(heed_signals)
        if stop_with_stdin:
            grace_s = stop_grace_s(config.limits.stop_s) + ORPHAN_SPARE_S
            nursery.start_soon(_stop_with_stdin, serving, grace_s)
        with serving:
            await supervisor.run()
    return ended_by


def _run_worker(config: LoadedConfig, post: Post, certificates: Certificates | None) -> None:
    sockets = [socket.socket(fileno=descriptor) for descriptor in post.sockets]
    worker = Worker(number=post.number, of=post.of, directory=post.directory)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_directory(post.directory))
        except FileNotFoundError:
            return  # the server ended, with all others, before we began
        listening = Listening(sockets, is_shared=post.is_shared)
        run = partial(_serve, config, True, certificates=certificates, worker=worker)
        trio.run(partial(run, listening=listening, pulse=post.pulse))


async def _show_pulse(descriptor: int) -> None:
    """Tell the supervisor, again and again, that this worker's loop turns."""
    os.set_blocking(descriptor, False)
    while True:
        with suppress(
            BlockingIOError, BrokenPipeError
        ):  # it is held up, or gone: standard input tells of that
            os.write(descriptor, b".")
        await trio.sleep(PULSE_S)


def _this_program() -> list[str]:
    """Return the command that runs what runs here: with the working directory among the places of modules, if so."""
    spec = getattr(__main__, "__spec__", None)
    finds_here = spec is not None and not sys.flags.safe_path
    return [sys.executable, "-m", "server"] if finds_here else [*PYTHON_M, "server"]


def _words(file: Path | None, flags: dict[str, Any]) -> Iterable[str]:
    """Yield the words of the command line that say again what this process was told."""
    yield "serve"
    if file is not None:
        yield f"--config={file}"
    yield from (f"--{name}={value}" for name, value in flags.items() if value is not None)


def _tell_supervisor(message: str, exit_code: int) -> NoReturn:
    """End a worker with a message that its supervisor reads."""
    for line in message.splitlines():
        click.echo(SAYS + line)
    raise SystemExit(exit_code)


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
