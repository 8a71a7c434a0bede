"""What a node takes when little happens: memory of connections, the time to start, the idle core."""

from pathlib import Path

import pytest
import trio

from support.bench_contenders import SHOAL, Contender, Task, running
from support.bench_load import attached_load
from support.bench_machine import SERVER_CORE, busy_shares, cpu_seconds, memory_bytes, pinned
from support.bench_peers import SOCKETIO, WEBSOCKETS
from support.bench_report import Measurement, Report
from support.bench_runs import RUNS
from support.processes import running_node

IDLE_CONNECTIONS = 2_000
"""For the memory of one: enough that what the process itself grows by does not count."""

MANY_CONNECTIONS = 5_000

IDLE_S = 3.0
"""To watch an idle node: several beats of every clock that it has."""

pytestmark = pytest.mark.bench


@pytest.mark.workload("W5")
@pytest.mark.parametrize("contender", [SHOAL, WEBSOCKETS, SOCKETIO], ids=lambda contender: contender.name)
async def test_idle_connections(contender: Contender, report: Report, folder: Path) -> None:
    task = Task(IDLE_CONNECTIONS)
    memory, rates = [], []
    busy = await busy_shares()
    for _ in range(RUNS):
        async with running(contender, task) as server:
            async with attached_load(folder, {**server.script, "subscribers": [1]}):
                before = memory_bytes(server.pids[-1])
            async with attached_load(folder, server.script) as load:
                memory.append((memory_bytes(server.pids[-1]) - before) / IDLE_CONNECTIONS / 1000)
                rates.append(IDLE_CONNECTIONS / load.attached_s)
    for unit, values in (("kB each", memory), ("set up/s", rates)):
        report.add(
            Measurement(
                workload="W5",
                contender=contender.name,
                unit=unit,
                values=values,
                title=f"one node, {IDLE_CONNECTIONS:,} idle connections subscribed to one room",
                busy_before=busy,
            )
        )


@pytest.mark.workload("rest")
async def test_a_node_at_rest(report: Report, folder: Path) -> None:
    starts, memory, idle = [], [], []
    for _ in range(RUNS):
        begun = trio.current_time()
        async with running_node(name="node", prefix=pinned(SERVER_CORE)) as node:
            starts.append(trio.current_time() - begun)
            memory.append(memory_bytes(node.pid) / 1e6)
            idle.append(await idle_percent(node.pid))
    for unit, values in (("s to start", starts), ("MB", memory), ("% of a core", idle)):
        report.add(Measurement(workload="rest", contender="a node alone", unit=unit, values=values))


@pytest.mark.workload("rest")
async def test_a_node_with_idle_clients(report: Report, folder: Path) -> None:
    async with (
        running(SHOAL, Task(MANY_CONNECTIONS)) as server,
        attached_load(folder, server.script),
    ):
        memory = [memory_bytes(server.pids[0]) / 1e6]
        idle = [await idle_percent(server.pids[0]) for _ in range(RUNS)]
    for unit, values in (("MB", memory), ("% of a core", idle)):
        name = f"a node with {MANY_CONNECTIONS:,} idle clients"
        report.add(Measurement(workload="rest", contender=name, unit=unit, values=values))


@pytest.mark.workload("rest")
@pytest.mark.parametrize("nodes", [2, 8])
async def test_a_node_of_an_idle_cluster(nodes: int, report: Report) -> None:
    async with running(SHOAL, Task(nodes=nodes)) as server:
        memory = [memory_bytes(server.pids[0]) / 1e6]
        idle = [await idle_percent(server.pids[0]) for _ in range(RUNS)]
    for unit, values in (("MB", memory), ("% of a core", idle)):
        name = f"a node of an idle cluster of {nodes}"
        report.add(Measurement(workload="rest", contender=name, unit=unit, values=values))


async def idle_percent(pid: int) -> float:
    """Return what a process takes of a core while nothing is asked of it."""
    before, begun = cpu_seconds([pid]), trio.current_time()
    await trio.sleep(IDLE_S)
    return 100 * (cpu_seconds([pid]) - before) / (trio.current_time() - begun)
