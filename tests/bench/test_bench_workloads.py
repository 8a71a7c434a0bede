"""The workloads: how many deliveries a second, and how late, next to the bare limit and to others.

    make peers               once: installs the others
    make bench               measures; writes docs/reference/performance.md, its plots, and the same as JSON
    make bench ONLY=W1,W3    only these; the rest of the page stays

Nothing here fails for being slow. A run fails only when what was measured is not what it says: a delivery is missing,
or a server ends. BENCH_RUNS and BENCH_SECONDS make it shorter or longer.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from server.cli.children import open_child
from support.bench_contenders import SHOAL, Contender, Task
from support.bench_machine import LOAD_CORE, busy_shares, pinned
from support.bench_peers import PEERS, zmq_sink
from support.bench_report import Measurement, Report
from support.bench_runs import CPU, P50, P99, RATE, RUNS, SECONDS, attached
from support.bench_workloads import FILTERS, LATENCIES, LOCKED, RATES, WORKERS, Workload

pytestmark = pytest.mark.bench

MESSAGE_BYTES = 200


def cases(workloads: Mapping[str, Workload]) -> list[object]:
    """Return (workload, contender) of all: those of one workload follow each other."""
    return [
        pytest.param(name, contender, id=f"{name}-{contender.name}")
        for name, workload in workloads.items()
        for contender in workload.contenders
    ]


@pytest.mark.parametrize(("workload", "contender"), [*cases(RATES), *cases(LATENCIES)])
async def test_workload(workload: str, contender: Contender, report: Report, folder: Path) -> None:
    asked = (RATES | LATENCIES)[workload]
    async with attached(contender, asked.task, folder) as bench:
        found = await bench.measured()
    units = (RATE, CPU) if workload in RATES else (P50, P99, CPU)
    for each in found.as_measurements(units, workload=workload, contender=contender.name, title=asked.title):
        report.add(each)
    assert contender is not SHOAL or not found.missing


@pytest.mark.workload("filters")
@pytest.mark.parametrize(
    ("base", "variant", "task"),
    [
        pytest.param(base, name, task, id=f"{base}-{name}")
        for base, variants in FILTERS.items()
        for name, task in variants.items()
    ],
)
async def test_filters(base: str, variant: str, task: Task, report: Report, folder: Path) -> None:
    async with attached(SHOAL, task, folder) as bench:
        found = await bench.measured()
    for each in found.as_measurements((RATE, CPU), workload="filters", contender=f"{base}, {variant}"):
        report.add(each)
    assert not found.missing


@pytest.mark.workload("workers")
@pytest.mark.parametrize("name", WORKERS)
async def test_workers(name: str, report: Report, folder: Path) -> None:
    async with attached(SHOAL, WORKERS[name], folder) as bench:
        found = await bench.measured()
    for each in found.as_measurements((RATE, CPU), workload="workers", contender=name):
        report.add(each)
    assert not found.missing


@pytest.mark.workload("locked")
@pytest.mark.parametrize("name", LOCKED)
async def test_locked(name: str, report: Report, folder: Path) -> None:
    async with attached(SHOAL, LOCKED[name], folder) as bench:
        found = await bench.measured()
    units = (P50, P99, CPU) if name.startswith("W2") else (RATE, CPU)
    for each in found.as_measurements(units, workload="locked", contender=name):
        report.add(each)
    assert not found.missing


@pytest.mark.workload("ZeroMQ")
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
    for unit, values in zip(("messages/s", P50, P99), zip(*results, strict=True), strict=True):
        report.add(
            Measurement(
                workload="ZeroMQ",
                contender="bare pyzmq, one way",
                unit=unit,
                values=list(values),
                title="single ZeroMQ frames from one process to another, each on its core",
                busy_before=busy,
            )
        )
