"""How rates, latencies and costs change when one thing grows: subscribers, rooms, nodes, the payload, connections.

Each place of a curve has servers of its own, which are asked for as much as they can do, and then for one publish at a
time. The latency is then the time until the last subscriber has it. The places of a curve are measured in turn, so that
what is said of one next to another holds on a machine that is slower for a while.
"""

from pathlib import Path

import pytest
import trio

from support.bench_contenders import SHOAL, Contender, Task, running
from support.bench_load import attached_load
from support.bench_machine import memory_bytes
from support.bench_peers import SOCKETIO, WEBSOCKETS
from support.bench_report import Measurement, Report
from support.bench_runs import CPU, GROWTH_RUNS, RATE, Attached, all_attached, attached, measured_in_turn
from support.bench_workloads import CONNECTIONS_AT, GROWTH, NODES, Curve, one_of_many

pytestmark = pytest.mark.bench

IDLE_S = 2.0
"""For what nodes take when nothing is published: two beats of their hearts."""


def cases() -> list[object]:
    """Return (workload, curve, places that are measured in turn, contender) of all curves."""
    return [
        pytest.param(
            workload,
            curve,
            places,
            curve.contender,
            id=f"{workload}-{curve.label}-{'-'.join(map(str, places))}",
        )
        for workload, curves in GROWTH.items()
        for curve in curves
        for places in ([curve.at] if curve.is_in_turn else [(at,) for at in curve.at])
    ]


@pytest.mark.parametrize(("workload", "curve", "places", "contender"), cases())
async def test_growth(
    workload: str, curve: Curve, places: tuple[int, ...], contender: Contender, report: Report, folder: Path
) -> None:
    async with all_attached([(contender, curve.task(at)) for at in places], folder) as benches:
        at_once = await measured_in_turn(benches, GROWTH_RUNS)
        singly = await measured_in_turn(benches, GROWTH_RUNS, window=1)
    for measured, units in ((at_once, (RATE, CPU)), (singly, ("ms p50", "ms p99"))):
        for at, found in zip(places, measured, strict=True):
            for each in found.as_measurements(units, workload=workload, contender=curve.label, at=at):
                report.add(each)
            assert contender is not SHOAL or not found.missing


@pytest.mark.workload("one-of-many")
@pytest.mark.parametrize("nodes", NODES)
async def test_a_publish_with_subscribers_on_one_of_many_nodes(
    nodes: int, report: Report, folder: Path
) -> None:
    async with attached(SHOAL, one_of_many(nodes), folder) as bench:
        idle_share = await idle(bench)
        found = await bench.measured(GROWTH_RUNS)
        cost = [
            cpu_us - idle_share * 1e6 * run.seconds / (run.delivered + run.later)
            for cpu_us, run in zip(found.cpu_us, found.runs, strict=True)
        ]
        singly = await bench.measured(GROWTH_RUNS, window=1)
    name, workload = "Shoal", "one-of-many"
    for each in (
        *found.as_measurements([RATE], workload=workload, contender=name, at=nodes),
        Measurement(
            workload=workload, contender=name, unit=CPU, values=cost, at=nodes, busy_before=found.busy_before
        ),
        Measurement(
            workload=workload, contender=name, unit="% of a core, idle", values=[100 * idle_share], at=nodes
        ),
        *singly.as_measurements(["ms p50", "ms p99"], workload=workload, contender=name, at=nodes),
    ):
        report.add(each)
    assert not found.missing


async def idle(bench: Attached) -> float:
    """Return which share of a core the servers take when nothing is published."""
    before, begun = bench.cpu_seconds(), trio.current_time()
    await trio.sleep(IDLE_S)
    return (bench.cpu_seconds() - before) / (trio.current_time() - begun)


@pytest.mark.workload("connections")
@pytest.mark.parametrize("contender", [SHOAL, WEBSOCKETS, SOCKETIO], ids=lambda contender: contender.name)
async def test_memory_of_connections(contender: Contender, report: Report, folder: Path) -> None:
    for at in CONNECTIONS_AT:
        async with (
            running(contender, Task(at)) as server,
            attached_load(folder, server.script) as load,
        ):
            found = {"MB": memory_bytes(server.pids[-1]) / 1e6, "set up/s": at / load.attached_s}
        for unit, value in found.items():
            report.add(
                Measurement(
                    workload="connections", contender=contender.name, unit=unit, values=[value], at=at
                )
            )
