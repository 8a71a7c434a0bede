"""`shoal serve` with several workers: opens the port once, runs a node for each worker at it, and keeps them running.

A worker that ends, for whatever reason, is started again: at once, and ever more slowly when it keeps ending soon.
While the server starts, a worker that ends stops the whole, with the reason that it gave. The workers end with this
process, in order when it is told to stop, and also when it is killed: each watches its standard input, whose other end
is here. A worker that hangs is given no more clients until it goes on; it is not ended for that.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import attrs
import msgspec
import trio

from server.adapters.listening import ListenError, Listening, open_listening
from server.cli.children import LISTENING, Child, ChildEnded, exit_reason, open_child
from server.cli.failure import FAILED
from server.cli.nursery import open_inner_nursery
from server.config import LoadedConfig

LONG_LIFE_S = 60.0
"""A worker that lived this long did not end because it was started: that it ended before is forgotten."""

LONGEST_PAUSE_S = 30.0
"""Before a worker that keeps ending soon is started again: often enough to be back soon when the cause is gone."""

HOPELESS = 5
"""Short lives in a row of a worker, while no other serves, after which the whole server ends: 7 seconds of trying.
Whoever supervises us should know, and may do what we cannot."""

PULSE_S = 1.0
"""Between two signs of life of a worker."""

SILENT_S = 10.0
"""Without a sign of life from a worker, its share of the port is given to the others: longer than what an overloaded
machine or a large collection of garbage holds up, shorter than clients are patient."""

LONGEST_DIRECTORY = 90
"""Characters of the path of the workers' directory: a Unix socket's path ends at 107."""

SAYS = "shoal: "
"""Before each line in which a worker says why it ends; anything else that it prints is a plugin's."""


class WorkersFailed(Exception):
    """The workers cannot start, or none is left; the message says why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told of its place, as JSON on its command line."""

    number: int
    of: int
    directory: str
    sockets: list[int]
    """Descriptors that it inherits, at which it accepts clients."""
    is_shared: bool
    pulse: int
    """Descriptor of a pipe into which it writes a byte every `PULSE_S`."""


def restart_pause(short_lives: int) -> float:
    """Return the seconds before a worker is started again whose last `short_lives` lives were short, the last included.

    0 for the first: who died once is back before its clients are.
    """
    if short_lives <= 1:
        return 0.0
    return min(2.0 ** min(short_lives - 2, 10), LONGEST_PAUSE_S)  # 10 doublings are beyond any sensible pause


@attrs.define(eq=False)
class Place:
    """One place in the server, taken by one process after the other."""

    number: int
    name: str
    listening: Listening
    child: Child | None = None
    is_serving: bool = False
    is_listening: bool = True
    """False while the worker hangs, and others are given its clients."""
    url: str = ""
    short_lives: int = 0
    has_missed_sighup: bool = False
    """Whether it was to read its certificate anew while it started: it may have read the former one, and did not
    listen for that yet."""


class Supervisor:
    """The workers of one server."""

    def __init__(
        self, config: LoadedConfig, name: str, command: Sequence[str], directory: str, log: Any
    ) -> None:
        """`command` runs a node; to it are added the name and the place of each."""
        self._config = config
        self._name = name
        self._command = command
        self._directory = directory
        self._log = log
        self._places: list[Place] = []
        self._is_up = False
        self._changed = trio.Event()
        self._failure: WorkersFailed | None = None

    async def run(self) -> NoReturn:
        """Run the workers until cancelled, and end them then. Raises ListenError, and WorkersFailed."""
        begun = trio.current_time()
        count = self._config.server.workers
        listening = await open_listening(self._config.server.host, self._config.server.port)
        try:
            shares = listening.shared_among(count)
            if shares[0].is_shared:
                self._log.warning("connections may spread unevenly", workers=count, platform=sys.platform)
            self._places = [
                Place(number, f"{self._name}-{number}", share) for number, share in enumerate(shares, 1)
            ]
            async with open_inner_nursery() as nursery:
                for place in self._places:
                    nursery.start_soon(self._keep, place)
                await self._until(lambda: all(place.is_serving for place in self._places))
                self._is_up = True
                url = self._places[0].url
                took_s = round(trio.current_time() - begun, 1)
                self._log.info("workers serving", server=self._name, workers=count, url=url, took_s=took_s)
                _print(f"shoal {self._name} listening on {url}")
                await self._until(lambda: False)
        finally:
            for place in self._places:
                place.listening.close()
            listening.close()
        raise AssertionError("the workers run until this is cancelled or fails")

    def did_end_well(self) -> bool:
        """Whether the last process of each worker ended with exit code 0."""
        return not any(place.child.exit_code for place in self._places if place.child is not None)

    def kill(self) -> None:
        """End all workers at once."""
        for place in self._places:
            if place.child is not None:
                place.child.kill()

    def read_anew(self) -> None:
        """Let all workers read their certificate anew; those that start do so as soon as they serve."""
        for place in self._places:
            place.has_missed_sighup = True
            self._tell_to_read_anew(place)

    def _tell_to_read_anew(self, place: Place) -> None:
        if place.has_missed_sighup and place.is_serving and place.child is not None:
            place.has_missed_sighup = False
            place.child.send(signal.SIGHUP)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._failure is not None:
                raise self._failure
            await self._changed.wait()

    def _does_any_serve(self) -> bool:
        return any(place.is_serving for place in self._places)

    def _tell(self, failure: WorkersFailed | None = None) -> None:
        self._failure = self._failure or failure
        self._changed.set()
        self._changed = trio.Event()

    # -- One worker -------------------------------------------------------------------------------------------------

    async def _keep(self, place: Place) -> None:
        """Run a process at the place, again and again, until cancelled or until there is no hope."""
        while self._failure is None:
            begun = trio.current_time()
            self._listen(place)
            ended = await self._run(place)
            lived_s = trio.current_time() - begun
            place.short_lives = 1 if lived_s >= LONG_LIFE_S else place.short_lives + 1
            if not self._is_up or (place.short_lives >= HOPELESS and not self._does_any_serve()):
                self._tell(_did_not_start(ended))
            else:
                await self._pause(place, ended, lived_s)

    def _listen(self, place: Place) -> None:
        try:
            place.listening.resume()
        except ListenError as error:  # while nobody listened, somebody else took the port
            self._tell(WorkersFailed(str(error), FAILED))
        place.is_listening = True

    async def _run(self, place: Place) -> ChildEnded:
        try:
            felt, pulse = os.pipe()
            async with trio.lowlevel.FdStream(felt) as stream, open_inner_nursery() as nursery:
                try:
                    nursery.start_soon(self._feel, place, stream)
                    return await self._run_process(place, pulse)
                finally:
                    os.close(pulse)
        except OSError as error:  # the machine has no process, file or memory to spare at the moment
            return ChildEnded(place.name, FAILED, [f"{SAYS}the worker cannot be started: {error}"])

    async def _run_process(self, place: Place, pulse: int) -> ChildEnded:
        post = Post(
            number=place.number,
            of=len(self._places),
            directory=self._directory,
            sockets=[sock.fileno() for sock in place.listening.sockets],
            is_shared=place.listening.is_shared,
            pulse=pulse,
        )
        words = ["--name", place.name, "--worker", msgspec.json.encode(post).decode()]
        try:
            async with open_child(
                place.name,
                [*self._command, *words],
                grace_s=stop_grace_s(self._config.limits.stop_s),
                ends_with_stdin=True,
                speaks_for_itself=True,
                pass_fds=[*post.sockets, pulse],
                heard=_pass_on,
            ) as child:
                place.child = child
                with suppress(ChildEnded):
                    place.url = (await child.line(LISTENING))["url"]
                    place.is_serving = True
                    self._tell_to_read_anew(place)
                    if self._is_up:
                        self._log.info("worker serving again", worker=place.name, pid=child.pid)
                    self._tell()
                ended = await child.wait()
                place.child = None  # how it ended is known here; what counts at the stop is who lives then
                return ended
        finally:
            place.is_serving = False

    async def _feel(self, place: Place, stream: trio.abc.ReceiveStream) -> None:
        """Take the share of the port from a worker that hangs, unless nobody else would have it; give it back when the
        worker goes on. Runs until cancelled."""
        silent_for = 0
        while True:
            with trio.move_on_after(SILENT_S / 2) as patience:
                await stream.receive_some()
            # Twice: had this process been held up itself, the second time it would find what was written meanwhile.
            silent_for = silent_for + 1 if patience.cancelled_caught else 0
            if silent_for >= 2 and place.is_serving and place.is_listening and self._do_others_listen(place):
                place.is_listening = False
                place.listening.pause()
                self._log.warning("worker hangs", worker=place.name, silent_s=SILENT_S)
            elif silent_for == 0 and not place.is_listening:
                self._listen(place)
                self._log.info("worker goes on", worker=place.name)

    def _do_others_listen(self, place: Place) -> bool:
        return any(other.is_serving and other.is_listening for other in self._places if other is not place)

    async def _pause(self, place: Place, ended: ChildEnded, lived_s: float) -> None:
        pause_s = restart_pause(place.short_lives)
        self._log.warning(
            "worker ended",
            worker=place.name,
            reason=exit_reason(ended.exit_code),
            said=_said(ended),
            lived_s=round(lived_s, 1),
            again_in_s=pause_s,
        )
        if pause_s:
            place.listening.pause()
            await trio.sleep(pause_s)


def stop_grace_s(stop_s: float) -> float:
    """Return how long a node may take to stop before it is ended: `limits.stop_s` twice, and 5 s to spare."""
    return 2 * stop_s + 5


def _pass_on(line: str) -> None:
    """Print what a plugin printed."""
    if not line.startswith(SAYS) and not re.match(LISTENING, line):
        _print(line)


def _print(line: str) -> None:
    with suppress(BrokenPipeError):  # nobody reads it: no reason to end
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _did_not_start(ended: ChildEnded) -> WorkersFailed:
    said = _said(ended) or f"The worker {ended}, before it served. What it logged may say why."
    return WorkersFailed(said, ended.exit_code if ended.exit_code > 0 else FAILED)


def _said(ended: ChildEnded) -> str:
    """Return why the worker ended, as far as it said so."""
    return "\n".join(line.removeprefix(SAYS) for line in ended.tail if line.startswith(SAYS))
