"""What it takes to ask a node in a cluster of three whether it may be relied on: balancers do it every second.

It is to stay under a millisecond, and to do no work; that it does not depend on the number of nodes is shown by
`tests/shell/test_mesh_honesty.py`.
"""

import statistics

import pytest
import trio

from support.bench_contenders import SHOAL, Task, running
from support.bench_health import PLUGIN, TIMING, ask_again_and_again
from support.bench_machine import busy_shares, cpu_seconds
from support.bench_report import Measurement, Report
from support.bench_runs import CPU, P50, P99, RUNS, SECONDS

pytestmark = [pytest.mark.bench, pytest.mark.workload("health")]


async def test_health(report: Report) -> None:
    async with running(SHOAL, Task(nodes=3, settings={"server.plugins": PLUGIN})) as server:
        node = server.nodes[0]
        busy = await busy_shares()
        found: dict[tuple[str, str], list[float]] = {}
        for _ in range(RUNS):
            before = cpu_seconds([node.pid])
            times_us = await trio.to_thread.run_sync(ask_again_and_again, node.port, SECONDS)
            core_us = 1e6 * (cpu_seconds([node.pid]) - before) / len(times_us)
            for unit, value in (
                (P50, statistics.median(times_us)),
                (P99, statistics.quantiles(times_us, n=100)[98]),
                (CPU, core_us),
            ):
                found.setdefault(("over HTTP, one connection", unit), []).append(value)
            itself = float((await node.get(TIMING)).result)
            found.setdefault(("the action itself", CPU), []).append(itself)
    for (what, unit), values in found.items():
        report.add(Measurement(workload="health", contender=what, unit=unit, values=values, busy_before=busy))
