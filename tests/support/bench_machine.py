"""The machine that benchmarks run on: which cores are whose, how busy they were, and the load generator.

With two cores or more, servers run on the first and the load on the second. Where the system cannot do that,
everything runs where it likes, and the result says so.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import attrs
import trio

from server.cli.children import Child, open_child

SERVER_CORE = 0
LOAD_CORE = 1

GENERATOR = Path(__file__).parents[1] / "bench" / "generator.c"

ATTACH_S = 60.0
"""For all clients to attach: 10,000 at the 300 a second of a slow peer would take half of it."""

LATE_S = 10.0
"""For a run to end after its time: the generator waits 2 s for what is still on its way."""

BUSY_SAMPLE_S = 0.3
"""How long the machine is looked at before a measurement. The counters step in hundredths of a second."""


def pinned(core: int) -> tuple[str, ...]:
    """Return the beginning of a command that runs the rest of it on this core only; nothing where that cannot be."""
    return ("taskset", "-c", str(core)) if CAN_PIN else ()


def _can_pin() -> bool:
    if not hasattr(os, "sched_getaffinity") or shutil.which("taskset") is None:
        return False
    return {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


CAN_PIN = _can_pin()


async def busy_shares() -> list[float]:
    """Return for each core which share of a moment it was busy: what others do while nothing is measured."""
    before = _core_times()
    await trio.sleep(BUSY_SAMPLE_S)
    return [
        round((busy - busy_before) / max(1, total - total_before), 2)
        for (busy, total), (busy_before, total_before) in zip(_core_times(), before, strict=True)
    ]


def _core_times() -> list[tuple[int, int]]:
    """Return (busy, total) per core in clock ticks; nothing where the system has no such file."""
    source = Path("/proc/stat")
    if not source.exists():
        return []
    times = []
    for line in source.read_text().splitlines():
        if line.startswith("cpu") and line[3].isdigit():
            ticks = [int(value) for value in line.split()[1:9]]
            times.append((sum(ticks) - ticks[3] - ticks[4], sum(ticks)))  # less idle and waiting for a disk
    return times


def memory_bytes(pid: int) -> int:
    """Return the memory that a process has for itself: its resident pages, less those of files."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the time that these processes have had a core for, all their threads together."""
    threads = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in threads) / 1e9


def commit() -> str:
    """Return which state of the code is measured; `+` when files differ from it."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "describe", "--always", "--abbrev=12", "--dirty=+"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=GENERATOR.parent)
    return ran.stdout.strip() or "unknown"


def machine() -> dict[str, str]:
    """Return what is worth knowing of the machine."""
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else ())
        if line.startswith("model name")
    ]
    return {
        "cores": str(os.cpu_count()),
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "pinned": f"servers on core {SERVER_CORE}, load on core {LOAD_CORE}" if CAN_PIN else "no",
    }


# -- The load ------------------------------------------------------------------------------------------------------


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


@attrs.frozen
class Ran:
    """What came of one run of the load."""

    published: int
    delivered: int
    missing: int
    """Due, but not there some time after the end."""
    seconds: float
    p50_us: float
    """From a publish to its delivery, when there is only one at a time; else 0."""
    p99_us: float


class Load:
    """A running generator, all clients attached."""

    def __init__(self, child: Child, attached_s: float) -> None:
        self._child = child
        self.attached_s = attached_s
        self._runs = 0

    async def run(self, seconds: float) -> Ran:
        """Publish for some seconds."""
        self._runs += 1
        assert self._child.process.stdin is not None
        await self._child.process.stdin.send_all(f"{seconds}\n".encode())
        with trio.fail_after(seconds + LATE_S):
            said = await self._child.line(rf"^ran {self._runs} (.*)")
        published, delivered, missing, took, p50, p99 = said[1].split()
        return Ran(int(published), int(delivered), int(missing), float(took), float(p50), float(p99))


@asynccontextmanager
async def attached_load(directory: Path, script: dict[str, list[str]]) -> AsyncIterator[Load]:
    """Run the generator with a script (see generator.c); give it when all its clients are attached."""
    path = directory / "script"
    path.write_text("".join(f"{key} {value}\n" for key, values in script.items() for value in values))
    command = [*pinned(LOAD_CORE), str(generator(directory)), str(path)]
    async with open_child("generator", command) as child:
        with trio.fail_after(ATTACH_S):
            ready = await child.line(r"^ready ([\d.]+)")
        yield Load(child, float(ready[1]))
