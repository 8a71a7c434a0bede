"""Programs that this process starts, listens to and ends again.

A child never outlives its parent: it is stopped when its context is left, and its standard input is a pipe that
nobody writes into, so a child that watches it learns of the parent's death even when that was SIGKILL. A program
that does not watch its input runs under `server.cli.guard`, which does.

Each child is in a process group of its own: Ctrl-C in the terminal reaches the parent only, which then ends its
children in order. What they print is kept within a bound, for the message when one fails.

A child is told to end by SIGTERM, or, if it watches its standard input, by closing that: who was told already by
somebody else (systemd tells every process of a service) would take a second signal for an order to end at once.
"""

import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from server.cli.nursery import open_inner_nursery

PYTHON_M = (sys.executable, "-P", "-m")
"""Runs a module of ours. Without -P, a folder `server` in the working directory would be taken for ours."""

LISTENING = r"^shoal (?P<id>\S+) listening on (?P<url>https?://\S+)$"
"""What a node prints once it serves."""

STOP_GRACE_S = 15.0
"""From SIGTERM to SIGKILL. A node says goodbye to its peers and to its clients, for which limits.stop_s gives 10 s."""

LAST_WORDS_S = 1.0
"""For reading what an ended child printed last: a program that it left behind may hold its output open for ever."""

KEPT_LINES = 200
"""Lines of output kept per child: a traceback and what led to it."""

MAX_LINE_BYTES = 65_536
"""A longer line is cut into several: no child can fill our memory by never ending a line."""


class ChildEnded(Exception):
    """A child ended that should have gone on; `tail` are its last lines."""

    def __init__(self, name: str, exit_code: int, tail: Sequence[str]) -> None:
        super().__init__(f"{name} {exit_reason(exit_code)}")
        self.name = name
        self.exit_code = exit_code
        self.tail = tuple(tail)


def exit_reason(exit_code: int) -> str:
    """Return in words how a process ended, from a code as `subprocess` gives it (negative: killed by a signal)."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:  # a realtime signal, which has no name
        return f"was ended by signal {-exit_code}"


@asynccontextmanager
async def open_child(
    name: str,
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    grace_s: float = STOP_GRACE_S,
    ends_with_stdin: bool = False,
    speaks_for_itself: bool = False,
    pass_fds: Sequence[int] = (),
    heard: Callable[[str], None] = lambda _line: None,
) -> AsyncIterator["Child"]:
    """Run `command` for as long as the context lasts; on leaving it is stopped, and killed after `grace_s`.

    `env` replaces the environment; `ends_with_stdin` says that it is to be stopped that way; if it
    `speaks_for_itself`, its standard error is ours, and not kept; it inherits `pass_fds`; `heard` is given each line.
    Raises OSError when the program cannot be started. Cancellation stops the child.
    """
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if speaks_for_itself else subprocess.PIPE,
        env=env,
        process_group=0,
        pass_fds=pass_fds,
    )
    child = Child(name, process, ends_with_stdin=ends_with_stdin, heard=heard)
    async with open_inner_nursery() as nursery:
        nursery.start_soon(child.run)
        try:
            yield child
        finally:
            with trio.CancelScope(shield=True):
                await child.stop(grace_s)


def guarded(command: Sequence[str], directory: str | None = None) -> list[str]:
    """Return the command that runs `command` and ends it when its standard input closes.

    A `directory` is held meanwhile, as one that is shared (`server.cli.shared_directory`)."""
    hold = [] if directory is None else ["--hold", directory]
    return [*PYTHON_M, "server.cli.guard", *hold, *command]


class Child:
    """A running program: its output and its end. Made by `open_child`."""

    def __init__(
        self, name: str, process: trio.Process, *, ends_with_stdin: bool, heard: Callable[[str], None]
    ) -> None:
        self.name = name
        self.process = process
        self._ends_with_stdin = ends_with_stdin
        self._heard = heard
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        """The last lines of standard output and standard error, as they came."""
        self._changed = trio.Event()
        self._ended = trio.Event()
        # Shielded, so that what a child says while it is stopped is read even when all around is cancelled.
        self._reading = trio.CancelScope(shield=True)

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """How the process ended, as `subprocess` says it; None while it runs."""
        return self.process.poll()

    async def run(self) -> None:
        """Read the child's output until it ended and everything was read; ended by `stop` only, not by cancellation."""
        with self._reading:
            async with trio.open_nursery() as nursery:
                for stream in (self.process.stdout, self.process.stderr):
                    if stream is not None:
                        nursery.start_soon(self._read, stream)
            await self.process.wait()
        self._ended.set()
        self._changed.set()

    async def line(self, pattern: str) -> re.Match[str]:
        """Return the first kept line that matches, waiting for it. Raises ChildEnded when the child ends first."""
        while True:
            changed, has_ended = self._changed, self._ended.is_set()
            for line in self.lines:
                if match := re.search(pattern, line):
                    return match
            if has_ended:
                raise self.ended()
            await changed.wait()

    async def wait(self) -> "ChildEnded":
        """Wait for the end of the child; return how it ended, with everything it printed last."""
        await self._ended.wait()
        return self.ended()

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Ask the child to end, and end it when it has not after `grace_s` seconds."""
        if self._ends_with_stdin and self.process.stdin is not None:
            await self.process.stdin.aclose()
        else:
            self.terminate()
        with trio.move_on_after(grace_s):
            await self.process.wait()
        self.kill()
        await self.process.wait()
        with trio.move_on_after(LAST_WORDS_S):
            await self._ended.wait()
        self._reading.cancel()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the child has ended."""
        if self.exit_code is None:
            self.process.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM, unless the child has ended."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless the child has ended."""
        self.send(signal.SIGKILL)

    def ended(self) -> ChildEnded:
        """Return the error that says how the child ended."""
        return ChildEnded(self.name, self.process.returncode or 0, tuple(self.lines))

    async def _read(self, stream: trio.abc.ReceiveStream) -> None:
        partial = b""
        async for data in stream:
            *whole, partial = (partial + data).split(b"\n")
            if len(partial) > MAX_LINE_BYTES:
                whole, partial = [*whole, partial], b""
            self._keep(whole)
        if partial:
            self._keep([partial])

    def _keep(self, lines: Sequence[bytes]) -> None:
        for data in lines:
            line = data.decode(errors="replace").rstrip("\r")
            self.lines.append(line)
            self._heard(line)
        changed, self._changed = self._changed, trio.Event()
        changed.set()
