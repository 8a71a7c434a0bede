"""The workloads: how many deliveries a second, and how late, next to the bare limit and to others.

    make peers               once: installs the others
    make bench               measures; writes docs/reference/performance.md, its plots, and the same as JSON
    make bench ONLY=W1,W3    only these; the rest of the page stays

Nothing here fails for being slow. A run fails only when what was measured is not what it says: a delivery is missing,
or a server ends. BENCH_RUNS and BENCH_SECONDS make it shorter or longer.
"""

import sys
from pathlib import Path

import pytest

from server.cli.children import open_child
from support.bench_compare import compare
from support.bench_contenders import SHOAL
from support.bench_machine import LOAD_CORE, busy_shares, pinned
from support.bench_peers import PEERS, zmq_sink
from support.bench_report import Measurement, Report
from support.bench_runs import CPU, P50, P99, RATE, RUNS, SECONDS
from support.bench_workloads import FILTERS, LATENCIES, LOCKED, RATES, WORKERS

pytestmark = pytest.mark.bench

MESSAGE_BYTES = 200


@pytest.mark.parametrize("workload", [*RATES, *LATENCIES])
async def test_workload(workload: str, report: Report, folder: Path) -> None:
    asked = (RATES | LATENCIES)[workload]
    units = (RATE, CPU) if workload in RATES else (P50, P99, CPU)
    rows = {contender.name: (contender, asked.task) for contender in asked.contenders}
    await compare(workload, rows, units, report, folder, title=asked.title)


@pytest.mark.workload("filters")
@pytest.mark.parametrize("base", FILTERS)
async def test_filters(base: str, report: Report, folder: Path) -> None:
    rows = {f"{base}, {variant}": (SHOAL, task) for variant, task in FILTERS[base].items()}
    await compare("filters", rows, (RATE, CPU), report, folder)


@pytest.mark.workload("workers")
@pytest.mark.parametrize("base", WORKERS)
async def test_workers(base: str, report: Report, folder: Path) -> None:
    rows = {f"{base}, {variant}": (SHOAL, task) for variant, task in WORKERS[base].items()}
    await compare("workers", rows, (RATE, CPU), report, folder)


@pytest.mark.workload("locked")
@pytest.mark.parametrize("base", LOCKED)
async def test_locked(base: str, report: Report, folder: Path) -> None:
    rows = {f"{base}, {variant}": (SHOAL, task) for variant, task in LOCKED[base].items()}
    await compare("locked", rows, (P50, P99, CPU) if base == "W2" else (RATE, CPU), report, folder)


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
