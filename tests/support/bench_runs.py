"""Contenders at work on their tasks, in turn, and what is taken down of them."""

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs

from support.bench_contenders import Contender, Running, Task, running
from support.bench_load import Load, Ran, attached_load
from support.bench_machine import busy_shares, cpu_seconds, family
from support.bench_report import Measurement

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
"""Of one run."""

GROWTH_RUNS = min(RUNS, 3)
"""At one place of a curve: there are many of them, and a curve shows by itself how much its places scatter."""

WARM_UP_S = 0.3

RATE = "deliveries/s"
CPU = "µs of a core"
P50 = "µs p50"
P99 = "µs p99"


@attrs.frozen
class Measured:
    """Several runs of one task."""

    runs: list[Ran]
    cpu_us: list[float]
    """What a delivery cost the servers, without Redis, in time that they had a core for."""
    busy_before: list[float]
    """How busy the cores were before."""

    def as_measurements(
        self, units: Iterable[str], *, workload: str, contender: str, title: str = "", at: float | None = None
    ) -> list[Measurement]:
        """Return these units of it."""
        values = {
            RATE: [run.delivered / run.seconds for run in self.runs],
            "publishes/s": [run.published / run.seconds for run in self.runs],
            CPU: self.cpu_us,
            P50: [run.p50_us for run in self.runs],
            P99: [run.p99_us for run in self.runs],
            "ms p50": [run.p50_us / 1000 for run in self.runs],
            "ms p99": [run.p99_us / 1000 for run in self.runs],
        }
        return [
            Measurement(
                workload=workload,
                contender=contender,
                unit=unit,
                values=values[unit],
                title=title,
                at=at,
                busy_before=self.busy_before,
                load_share=max(run.load_share for run in self.runs),
                missing=self.missing,
            )
            for unit in units
        ]

    @property
    def missing(self) -> int:
        """Deliveries that were due and never came."""
        return sum(run.missing for run in self.runs)


@attrs.frozen
class Attached:
    """A contender with the clients of its task."""

    server: Running
    load: Load
    task: Task

    def cpu_seconds(self) -> float:
        """Return the time that the servers have had a core for."""
        return cpu_seconds(pid for root in self.server.pids for pid in family(root))

    async def measured(self, runs: int = RUNS, window: int = 0) -> Measured:
        """Run the task several times, with the window of the task or a smaller one."""
        (found,) = await measured_in_turn([self], runs, window)
        return found

    async def ran(self, window: int) -> tuple[Ran, float]:
        """Run the task once; return what came of it, and what a delivery cost in microseconds."""
        before = self.cpu_seconds()
        ran = await self.load.run(SECONDS, window or self.task.window)
        assert ran.delivered, "nothing is delivered"
        return ran, (self.cpu_seconds() - before) * 1e6 / (ran.delivered + ran.later)


async def measured_in_turn(benches: Sequence[Attached], runs: int = RUNS, window: int = 0) -> list[Measured]:
    """Run each task once, then each again, and so on: a machine that is slower for a while is so for all of them, and
    what is said of one next to another holds."""
    for bench in benches:
        await bench.load.run(WARM_UP_S, window or bench.task.window)
    busy = await busy_shares()
    rounds = [[await bench.ran(window) for bench in benches] for _ in range(runs)]
    return [
        Measured([ran for ran, _ in found], [cpu_us for _, cpu_us in found], busy)
        for found in zip(*rounds, strict=True)
    ]


@asynccontextmanager
async def attached(contender: Contender, task: Task, folder: Path) -> AsyncIterator[Attached]:
    """Run a contender, and attach the clients of the task to it."""
    async with running(contender, task) as server, attached_load(folder, server.script) as load:
        yield Attached(server, load, task)


@asynccontextmanager
async def all_attached(
    asked: Iterable[tuple[Contender, Task]], folder: Path
) -> AsyncIterator[list[Attached]]:
    """Run several contenders beside each other, each with the clients of its task; who is not asked is idle."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(attached(*each, folder)) for each in asked]
