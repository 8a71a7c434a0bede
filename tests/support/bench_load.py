"""The load generator of the benchmarks, a C program compiled on the spot, and what it reports.

It runs on the load's core. How much of that core it took is reported with every run: at all of it, what was measured is
the load and not the server.
"""

import platform
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from itertools import count
from pathlib import Path

import attrs
import trio

from server.cli.children import Child, ChildEnded, open_child
from support.bench_machine import LOAD_CORE, cpu_seconds, pinned

GENERATOR = Path(__file__).parents[1] / "bench" / "generator.c"

ATTACH_S = 90.0
"""For all clients to attach: 10,000 at the 300 a second of a slow peer take a third of it."""

LATE_S = 10.0
"""For a run to end after its time: the generator waits 5 s for what is still on its way."""

Script = Mapping[str, Sequence[str | int]]
"""See `read_script` in generator.c; a key may have several values."""


class GeneratorMissing(Exception):
    """There is no C compiler, or not the system that the generator is written for."""


@cache
def generator(directory: Path) -> Path:
    """Compile the load generator into a directory and return it. Raises `GeneratorMissing`."""
    compiler = shutil.which("cc")
    if compiler is None or platform.system() != "Linux":
        raise GeneratorMissing("the load generator needs Linux and a C compiler (cc)")
    program = directory / "generator"
    subprocess.run([compiler, "-O2", "-o", str(program), str(GENERATOR)], check=True)
    return program


class GeneratorFailed(Exception):
    """It ended in the middle, and says why: what it was told by a server, or not told."""


@attrs.frozen
class Ran:
    """What came of one run of the load."""

    published: int
    delivered: int
    """While it ran; without subscribers, the answers."""
    later: int
    """Of what was on its way at the end."""
    missing: int
    """Due, but not there some time after the end."""
    seconds: float
    p50_us: float
    """From a publish to its last delivery, or from a question to its answer, where that is known; else 0."""
    p99_us: float
    load_share: float
    """Of a core, taken by the generator."""


class Load:
    """A running generator, all clients attached."""

    def __init__(self, child: Child, attached_s: float) -> None:
        self._child = child
        self.attached_s = attached_s
        self._runs = 0

    async def run(self, seconds: float, window: int) -> Ran:
        """Publish for some seconds, with so many publishes under way at once."""
        self._runs += 1
        assert self._child.process.stdin is not None
        before = cpu_seconds([self._child.pid])
        await self._child.process.stdin.send_all(f"{seconds} {window}\n".encode())
        with trio.fail_after(seconds + LATE_S):
            said = await _heard(self._child, rf"^ran {self._runs} (.*)")
        cpu_s = cpu_seconds([self._child.pid]) - before
        return ran(said[1], cpu_s)


def ran(said: str, cpu_s: float) -> Ran:
    """Read what the generator says of one run."""
    published, delivered, later, missing, took, p50, p99 = said.split()
    return Ran(
        published=int(published),
        delivered=int(delivered),
        later=int(later),
        missing=int(missing),
        seconds=float(took),
        p50_us=float(p50),
        p99_us=float(p99),
        load_share=round(cpu_s / float(took), 2),
    )


async def _heard(child: Child, pattern: str) -> re.Match[str]:
    try:
        return await child.line(pattern)
    except ChildEnded as ended:
        raise GeneratorFailed("; ".join(ended.tail)) from ended


_scripts = count(1)


@asynccontextmanager
async def attached_load(directory: Path, script: Script) -> AsyncIterator[Load]:
    """Run the generator with a script; give it when all its clients are attached."""
    path = directory / f"script-{next(_scripts)}"
    path.write_text("".join(f"{key} {value}\n" for key, values in script.items() for value in values))
    command = [*pinned(LOAD_CORE), str(generator(directory)), str(path)]
    async with open_child("generator", command) as child:
        with trio.fail_after(ATTACH_S):
            ready = await _heard(child, r"^ready ([\d.]+)")
        yield Load(child, float(ready[1]))
