"""The machine that benchmarks run on: which cores are whose, how busy they were, and what a process took of it.

With two cores or more, servers run on the first and the load on the second. Where the system cannot do that,
everything runs where it likes, and the result says so.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import trio

from support.documents import ROOT

SERVER_CORE = 0
LOAD_CORE = 1

BUSY_SAMPLE_S = 0.3
"""How long the machine is looked at before a measurement. The counters step in hundredths of a second."""


def pinned(*cores: int) -> tuple[str, ...]:
    """Return the beginning of a command that runs the rest of it on these cores only; nothing where that cannot be."""
    return ("taskset", "-c", ",".join(map(str, cores))) if CAN_PIN else ()


def _can_pin() -> bool:
    if not hasattr(os, "sched_getaffinity") or shutil.which("taskset") is None:
        return False
    return {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


CAN_PIN = _can_pin()


def cores_for(count: int) -> tuple[int, ...]:
    """Return the cores for so many servers: the load's is among them only where there are no others left."""
    if not CAN_PIN:
        return ()
    others = [core for core in sorted(os.sched_getaffinity(0)) if core != LOAD_CORE]
    return tuple(others[:count]) if len(others) >= count else (*others, LOAD_CORE)


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


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the time that these processes have had a core for, all their threads together."""
    threads = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in threads) / 1e9


def family(pid: int) -> list[int]:
    """Return a process and all that it started, and those started."""
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]
    return [pid, *(member for child in children for member in family(child))]


def commit() -> str:
    """Return which state of the code is measured; `+` when files of it differ from the commit."""
    git = shutil.which("git")
    if git is None:
        return "unknown"

    def said(*words: str) -> str:
        ran = subprocess.run([git, *words], capture_output=True, text=True, check=False, cwd=ROOT)
        return ran.stdout.strip()

    changes = said("status", "--porcelain", "--untracked-files=no", "--", "server", "cluster", "plugins")
    return (said("rev-parse", "--short=12", "HEAD") or "unknown") + ("+" if changes else "")


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
