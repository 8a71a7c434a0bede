"""The workloads: how many deliveries a second, and how late, next to the bare limit and to others.

    make peers    once: installs the others
    make bench    measures; writes docs/reference/performance.md, and the same as JSON

Nothing here fails for being slow. A run fails only when what was measured is not what it says: a delivery is missing,
or a server ends. BENCH_RUNS and BENCH_SECONDS make it shorter or longer.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from server.cli.children import open_child
from support.bench_contenders import (
    BARE,
    MESSAGE_BYTES,
    PEERS,
    SHOAL,
    SOCKETIO,
    STARLETTE,
    WEBSOCKETS,
    Contender,
    Task,
    has_peers,
    running,
    zmq_sink,
)
from support.bench_machine import (
    LOAD_CORE,
    GeneratorMissing,
    Ran,
    attached_load,
    busy_shares,
    cpu_seconds,
    generator,
    memory_bytes,
    pinned,
)
from support.bench_report import Measurement, Report

pytestmark = pytest.mark.bench

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
"""Of one run."""
WARM_UP_S = 0.3

PAGE = os.environ.get("BENCH_PAGE")
"""Where to write the results; without it they are only shown."""

IDLE_CONNECTIONS = 2_000
"""For the memory of one: enough that what the process itself grows by does not count."""

CPU = "µs of a core"

RATES = {
    "W1": ("one node, 500 subscribers, window 16", Task(500, window=16), (SHOAL, BARE, WEBSOCKETS, SOCKETIO)),
    "W1w1": ("one node, 500 subscribers, window 1", Task(500), (SHOAL, BARE, WEBSOCKETS, SOCKETIO)),
    "W3": ("two nodes, 1 subscriber, window 256", Task(1, window=256, nodes=2), (SHOAL, STARLETTE, SOCKETIO)),
    "W4": (
        "two nodes, 500 subscribers, window 16",
        Task(500, window=16, nodes=2),
        (SHOAL, STARLETTE, SOCKETIO),
    ),
    "W6": (
        "one node, 1,000 rooms with one subscriber each, window 64",
        Task(1_000, rooms=1_000, window=64),
        (SHOAL, BARE, WEBSOCKETS, SOCKETIO),
    ),
}

LATENCIES = {
    "W2": ("two nodes, one publish at a time", Task(1, nodes=2), (SHOAL, STARLETTE, SOCKETIO)),
    "W2p": (
        "two nodes, 1,000 publishes a second",
        Task(1, pace=1_000, nodes=2),
        (SHOAL, STARLETTE, SOCKETIO),
    ),
}


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    report = Report()
    yield report
    if PAGE and report.measurements:
        report.write(Path(PAGE))


def cases(workloads: dict[str, tuple[str, Task, tuple[Contender, ...]]]) -> list[object]:
    """Return (workload, contender) of all: those of one workload follow each other."""
    return [
        pytest.param(name, contender, id=f"{name}-{contender.name}")
        for name, (_, _, contenders) in workloads.items()
        for contender in contenders
    ]


def installed(report: Report, contender: Contender) -> None:
    """Skip what is not there, and say so on the page."""
    if contender.is_peer and not has_peers():
        report.skipped[contender.name] = "not installed (`make peers`)"
        pytest.skip(f"{contender.name} is not installed: make peers")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    try:
        generator(folder)
    except GeneratorMissing as missing:
        pytest.skip(str(missing))
    return folder


@attrs.frozen
class Measured:
    """Several runs of one task."""

    runs: list[Ran]
    cpu_us: list[float]
    """What a delivery cost the servers, without Redis, in time that they had a core for."""
    busy: list[float]
    """How busy the cores were before."""

    @property
    def missing(self) -> str:
        """A remark, when not all that was due came."""
        missing = sum(run.missing for run in self.runs)
        return f"{missing} missing" if missing else ""


async def measured(contender: Contender, task: Task, folder: Path) -> Measured:
    """Run a task several times."""
    runs, cpu_us = [], []
    async with running(contender, task) as server, attached_load(folder, server.script) as load:
        await load.run(WARM_UP_S)
        busy = await busy_shares()
        for _ in range(RUNS):
            before = cpu_seconds(server.pids)
            runs.append(await load.run(SECONDS))
            assert runs[-1].delivered, f"nothing is delivered by {contender.name}"
            cpu_us.append((cpu_seconds(server.pids) - before) * 1e6 / runs[-1].delivered)
    return Measured(runs, cpu_us, busy)


@pytest.mark.parametrize(("workload", "contender"), cases(RATES))
async def test_deliveries(workload: str, contender: Contender, report: Report, folder: Path) -> None:
    installed(report, contender)
    title, task, _ = RATES[workload]
    found = await measured(contender, task, folder)
    rates = [run.delivered / run.seconds for run in found.runs]
    for unit, values in (("deliveries/s", rates), (CPU, found.cpu_us)):
        report.add(Measurement(workload, title, contender.name, unit, values, found.busy, found.missing))
    assert contender is not SHOAL or not found.missing


@pytest.mark.parametrize(("workload", "contender"), cases(LATENCIES))
async def test_latency(workload: str, contender: Contender, report: Report, folder: Path) -> None:
    installed(report, contender)
    title, task, _ = LATENCIES[workload]
    found = await measured(contender, task, folder)
    p50, p99 = [run.p50_us for run in found.runs], [run.p99_us for run in found.runs]
    for unit, values in (("µs p50", p50), ("µs p99", p99), (CPU, found.cpu_us)):
        report.add(Measurement(workload, title, contender.name, unit, values, found.busy, found.missing))
    assert contender is not SHOAL or not found.missing


@pytest.mark.parametrize("contender", [SHOAL, WEBSOCKETS, SOCKETIO], ids=lambda contender: contender.name)
async def test_idle_connections(contender: Contender, report: Report, folder: Path) -> None:
    installed(report, contender)
    title = f"one node, {IDLE_CONNECTIONS:,} idle connections subscribed to one room"
    task = Task(IDLE_CONNECTIONS)
    memory, rates = [], []
    busy = await busy_shares()
    for _ in range(RUNS):
        async with running(contender, task) as server:
            async with attached_load(folder, server.script | {"subscribers": ["1"]}):
                before = memory_bytes(server.pids[-1])
            async with attached_load(folder, server.script) as load:
                memory.append((memory_bytes(server.pids[-1]) - before) / IDLE_CONNECTIONS / 1000)
                rates.append(IDLE_CONNECTIONS / load.attached_s)
    report.add(Measurement("W5", title, contender.name, "kB each", memory, busy))
    report.add(Measurement("W5", title, contender.name, "set up/s", rates, busy))


async def test_the_bare_limit_between_two_nodes(report: Report) -> None:
    busy = await busy_shares()
    results = []
    for _ in range(RUNS):
        async with zmq_sink() as address:
            command = [sys.executable, str(PEERS / "zmq_one_way.py"), "load", address]
            numbers = [str(MESSAGE_BYTES), str(SECONDS / 2)]
            async with open_child("zmq load", [*pinned(LOAD_CORE), *command, *numbers]) as child:
                said = await child.line(r"^ran (.*)")
            results.append([float(word) for word in said[1].split()])
    name, title = "bare pyzmq, one way", "single ZeroMQ frames from one process to another, each on its core"
    for unit, values in zip(("messages/s", "µs p50", "µs p99"), zip(*results, strict=True), strict=True):
        report.add(Measurement("ZeroMQ", title, name, unit, list(values), busy))
