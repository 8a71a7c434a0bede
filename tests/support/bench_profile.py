"""Where the time of a workload goes: a flame graph of each of Shoal's nodes at work.

    make profile ONLY=W3        (or, with the folder tests on PYTHONPATH: python -m support.bench_profile W3)

py-spy looks at the nodes from outside, 500 times a second, while the load runs; it comes with `make peers`. Where the
system does not let one process look at another, it says so: then as root.
"""

import sys
import tempfile
from pathlib import Path

import trio

from support.bench_contenders import SHOAL, Task
from support.bench_machine import LOAD_CORE, pinned
from support.bench_peers import PEERS_PYTHON
from support.bench_runs import attached
from support.bench_workloads import LATENCIES, RATES
from support.documents import ROOT
from support.processes import Node

SECONDS = 10
LATER_S = 2
"""For py-spy to come and to write: the load runs longer than it looks."""

FOLDER = ROOT / "build" / "profile"


async def profile(task: Task, name: str) -> None:
    """Run a task for some seconds and write a flame graph for each node."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with attached(SHOAL, task, Path(folder)) as bench, trio.open_nursery() as nursery:
            nursery.start_soon(bench.load.run, SECONDS + LATER_S, task.window)
            for node in bench.server.nodes:
                nursery.start_soon(look, node, FOLDER / f"{name}-{node.id}.svg")


async def look(node: Node, to: Path) -> None:
    """Write the flame graph of one node."""
    options = ["--pid", str(node.pid), "--duration", str(SECONDS), "--rate", "500", "--output", str(to)]
    command = [*pinned(LOAD_CORE), str(PEERS_PYTHON.with_name("py-spy")), "record", *options]
    ran = await trio.run_process(command, check=False, capture_stderr=True)
    if ran.returncode:
        print(f"py-spy could not look at {node.id}: {ran.stderr.decode().strip()}")
    else:
        print(f"written: {to.relative_to(ROOT)}")


if __name__ == "__main__":
    tasks = {name: workload.task for name, workload in (RATES | LATENCIES).items()}
    wanted = sys.argv[1]
    if wanted not in tasks:
        sys.exit(f"there is no workload {wanted}; there are: {', '.join(tasks)}")
    trio.run(profile, tasks[wanted], wanted)
