"""The fuzzer's loop: inputs are made of inputs, and those that take a new way through the product are kept.

    corpus -> choose one -> mutate -> check: the law of the target -> a new edge: it joins the corpus
                                                                 `-> any exception: made smaller, and told

As in AFL (Zalewski 2013) and libFuzzer (Serebryany 2015), small: all inputs are tried in one process, with bounds for
what one of them takes. It refuses to go on after a fault.
"""

from __future__ import annotations

import importlib
import mmap
import resource
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from time import monotonic
from types import FrameType
from typing import Final

import attrs

from support.documents import ROOT
from support.fuzz_coverage import Coverage
from support.fuzz_mutations import Dice, Mutate, several

CORPUS: Final = ROOT / "tests" / "fuzz" / "corpus"
BUILD: Final = ROOT / "build" / "fuzz"

TARGETS: Final = (
    "cards",
    "connections",
    "filters",
    "http_bodies",
    "http_heads",
    "mesh_frames",
    "mesh_nodes",
    "requests",
    "websocket_deflate",
    "websocket_lane",
)
"""The modules of `tests/fuzz`."""

INPUT_S: Final = 1.0
"""Of a core, which another program cannot take away. One input of a few kilobytes takes some milliseconds at most; a
hundred times that is a lever for strangers."""

MEMORY_BYTES: Final = 2 << 30
"""Of the process. One input has some kilobytes, and what it makes the product hold is bounded: this is a bomb."""

LESSONS: Final = 3_000
"""Attempts to make an input smaller: a few seconds."""


@attrs.frozen
class Target:
    """One way in for what strangers send."""

    check: Callable[[bytes], None]
    """Raises for an input with which the product breaks a law, and only for that."""
    seeds: Callable[[], Iterable[bytes]]
    """What well-made clients and nodes send."""
    mutate: Mutate


def load(name: str) -> Target:
    """Return the target in the module of this name."""
    target: Target = importlib.import_module(f"fuzz.{name}").TARGET
    return target


def corpus_of(name: str) -> list[Path]:
    """Return the files of a target's corpus."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())


class TooSlow(BaseException):
    """An input took too long. No `Exception`, which the product may have a use for."""


@contextmanager
def bounded() -> Iterator[None]:
    """Bound what one input may take: memory, and with a timer that is set for each, time. For a process of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, hard))
    before = signal.signal(signal.SIGPROF, _too_slow)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlow(f"one input took more than {INPUT_S:g} s of a core")


@attrs.frozen
class Fault:
    """What was found."""

    data: bytes
    found: bytes
    """The same before it was made smaller."""
    report: str
    """The traceback."""


@attrs.define
class Session:
    """Fuzzing one target for some time."""

    target: Target
    coverage: Coverage
    random: Random
    running: mmap.mmap | None = None
    """Has the present input, in case the process does not survive it."""
    corpus: list[bytes] = attrs.field(factory=list)
    news: list[bytes] = attrs.field(factory=list)
    """Those of the corpus that were found."""
    runs: int = 0
    seconds: float = 0.0

    def run(self, corpus: Iterable[bytes], seconds: float) -> Fault | None:
        """Try the corpus, then what can be made of it, for so long; return the first fault."""
        began = monotonic()
        try:
            for data in corpus:
                if (fault := self._tried(data)) is not None:
                    return fault
                self.corpus.append(data)
            dice = Dice(self.random, sorted(self.coverage.tokens), self.corpus)
            mutate = several(self.target.mutate)
            while monotonic() - began < seconds:
                known = len(self.coverage.edges)
                data = mutate(self._chosen(), dice)
                if (fault := self._tried(data)) is not None:
                    return fault
                if len(self.coverage.edges) > known:
                    self.corpus.append(data)
                    self.news.append(data)
            return None
        finally:
            self.seconds = monotonic() - began

    def _chosen(self) -> bytes:
        # What was found last is where something new was.
        if self.news and self.random.random() < 0.3:
            return self.random.choice(self.news[-20:])
        return self.random.choice(self.corpus)

    def _tried(self, data: bytes) -> Fault | None:
        self.runs += 1
        error = self._error(data)
        return None if error is None else self._fault(data, error)

    def _error(self, data: bytes) -> BaseException | None:
        if self.running is not None:
            self.running[: 4 + len(data)] = len(data).to_bytes(4, "big") + data
        self.coverage.begin()
        signal.setitimer(signal.ITIMER_PROF, INPUT_S)
        try:
            self.target.check(data)
        except (Exception, TooSlow) as error:
            return error
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return None

    # -- Making it smaller ----------------------------------------------------------------------------------------

    def _fault(self, found: bytes, error: BaseException) -> Fault:
        """Leave out whatever does not matter (delta debugging; Zeller, Hildebrandt 2002)."""
        wanted, best, tries = _place(error), found, 0
        is_slow = isinstance(error, TooSlow)
        size = 0 if is_slow else max(1, len(best) // 2)
        while size and tries < LESSONS:
            at = 0
            while at < len(best) and tries < LESSONS:
                shorter = best[:at] + best[at + size :]
                tries += 1
                smaller = self._error(shorter)
                if smaller is not None and _place(smaller) == wanted:
                    best, error = shorter, smaller
                else:
                    at += size
            size //= 2
        return Fault(best, found, "".join(traceback.format_exception(error)))


def _place(error: BaseException) -> tuple[type[BaseException], str, int | None]:
    """Return what makes two faults the same: kind and place."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return type(error), last.filename, last.lineno


def fewest(target: Target, coverage: Coverage, known: Iterable[bytes], found: Iterable[bytes]) -> list[bytes]:
    """Return few of the found inputs that together take every way that all of them take, beside those known."""
    covered: set[int] = set()
    for data in known:
        covered |= _edges(target, coverage, data)
    ways = {data: _edges(target, coverage, data) - covered for data in found}
    kept: list[bytes] = []
    while ways:
        best = max(ways, key=lambda data: (len(ways[data]) / (len(data) + 50), data))
        added = ways.pop(best)
        if not added:
            break
        kept.append(best)
        ways = {data: edges - added for data, edges in ways.items() if not edges <= added}
    return kept


def _edges(target: Target, coverage: Coverage, data: bytes) -> set[int]:
    everything, coverage.edges = coverage.edges, set()
    coverage.begin()
    target.check(data)
    taken, coverage.edges = coverage.edges, everything
    return taken
