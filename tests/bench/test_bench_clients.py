"""Other ways to be a client: one who asks while others flood the server, and one who publishes over HTTP."""

from pathlib import Path

import attrs
import pytest
import trio

from support.bench_compare import compare
from support.bench_contenders import SHOAL, Task, asking_script
from support.bench_load import Load, Ran, attached_load
from support.bench_machine import busy_shares
from support.bench_peers import STARLETTE
from support.bench_report import Report
from support.bench_runs import CPU, RATE, RUNS, SECONDS, WARM_UP_S, Measured, attached
from support.bench_workloads import W1, W3

pytestmark = pytest.mark.bench

QUESTIONS_PER_S = 200
ASKED_AT_ONCE = 100
"""At the most: a stall of half a second is seen by all that were asked in it."""

ASKED = {
    "nothing else going on": (None, W1, 0),
    "during W1": (W1.window, W1, 0),
    "the same with 10,000 subscribers": (W1.window, attrs.evolve(W1, subscribers=10_000), 0),
    "during W3, the publisher's node": (W3.window, W3, 0),
    "during W3, the subscriber's node": (W3.window, W3, 1),
}
"""By name: the window of the flood, its task, and the number of the node that is asked."""

PUBLISHED = {
    "one at a time": Task(1),
    "16 under way": Task(1, window=16),
    "16 under way, 500 subscribers": Task(500, window=16),
}


@pytest.mark.workload("fairness")
@pytest.mark.parametrize("name", ASKED)
async def test_an_answer_during_a_flood(name: str, report: Report, folder: Path) -> None:
    window, task, number = ASKED[name]
    async with attached(SHOAL, task, folder) as bench:
        script = asking_script(bench.server.nodes[number], QUESTIONS_PER_S, ASKED_AT_ONCE)
        async with attached_load(folder, script) as asking:
            await asking.run(WARM_UP_S, ASKED_AT_ONCE)
            busy = await busy_shares()
            runs = [await asked(asking, bench.load, window) for _ in range(RUNS)]
    found = Measured(runs, [], busy)
    for each in found.as_measurements(("ms p50", "ms p99"), workload="fairness", contender=name):
        report.add(each)
    assert not found.missing


async def asked(asking: Load, flood: Load, window: int | None) -> Ran:
    """Ask while the flood lasts."""
    answers: list[Ran] = []

    async def ask() -> None:
        answers.append(await asking.run(SECONDS, ASKED_AT_ONCE))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        if window is not None:
            # A little longer, so that nothing is asked when it is over.
            flooded = await flood.run(SECONDS + 0.1, window)
            assert flooded.delivered
            assert not flooded.missing
    return answers[0]


@pytest.mark.workload("http")
@pytest.mark.parametrize("name", PUBLISHED)
async def test_publishing(name: str, report: Report, folder: Path) -> None:
    task = PUBLISHED[name]
    over_http = attrs.evolve(task, http=True)
    rows = {
        f"{SHOAL.name}, WebSocket, {name}": (SHOAL, task),
        f"{SHOAL.name}, HTTP, {name}": (SHOAL, over_http),
    }
    if task.subscribers == 1:
        # Else deliveries are missing, and it closes the connection while they are waited for.
        rows[f"{STARLETTE.name}, HTTP, {name}"] = (STARLETTE, over_http)
    await compare("http", rows, ("publishes/s", RATE, CPU), report, folder)
