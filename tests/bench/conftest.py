"""What all benchmarks share: the report, which of them are run, and how far the run is.

A benchmark has a parameter or a mark `workload`, the name by which it is chosen with BENCH_ONLY.
"""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bench_compare import WHY_NOT, is_there
from support.bench_contenders import Contender
from support.bench_load import GeneratorMissing, generator
from support.bench_page import update_page
from support.bench_report import Report

PAGE = os.environ.get("BENCH_PAGE")
"""Where to write the results; without it they are only shown."""

ONLY = os.environ.get("BENCH_ONLY", "").replace(",", " ").split()
"""The workloads to run; all, when there is none."""

BEGUN = time.monotonic()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "workload(name): by which a benchmark is chosen with BENCH_ONLY")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what was asked for."""
    here = [
        item
        for item in items
        if item.get_closest_marker("bench") and Path(__file__).parent in item.path.parents
    ]
    names = {workload(item): None for item in here}
    if unknown := [name for name in ONLY if name not in names]:
        raise pytest.UsageError(f"there is no workload {', '.join(unknown)}; there are: {', '.join(names)}")
    if not ONLY:
        return
    left_out = [item for item in here if workload(item) not in ONLY]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def workload(item: pytest.Item) -> str:
    """Return the name by which a benchmark is chosen."""
    if "workload" in parameters(item):
        return str(parameters(item)["workload"])
    mark = item.get_closest_marker("workload")
    assert mark is not None, f"{item.name} has no workload"
    return str(mark.args[0])


def parameters(item: pytest.Item) -> dict[str, object]:
    """Return the parameters of one benchmark."""
    return item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Print no dot for what is measured: its numbers say that it is done."""
    is_ours = report.nodeid.startswith("tests/bench/") and report.when == "call"
    return (report.outcome, "", "") if is_ours and report.passed else None


@pytest.fixture(autouse=True)
def _progress(request: pytest.FixtureRequest) -> None:
    """Say what is measured now."""
    items = request.session.items
    minutes, seconds = divmod(int(time.monotonic() - BEGUN), 60)
    place = f"{items.index(request.node) + 1}/{len(items)}"
    print(f"\n{minutes}:{seconds:02} [{place}] {request.node.name}")


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest, report: Report) -> None:
    """Skip what is not there, and say so on the page."""
    contender = parameters(request.node).get("contender")
    if isinstance(contender, Contender) and not is_there(contender):
        report.skip(workload(request.node), contender.name, WHY_NOT)
        pytest.skip(f"{contender.name} is {WHY_NOT}")


@pytest.fixture(scope="session", autouse=True)
def _open_files() -> None:
    """Let the servers have as many open files as this process may give them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """Where measurements go; on the page at the end, also of a run that was broken off."""
    report = Report()
    yield report
    results = report.results()
    if PAGE and results.measurements:
        update_page(Path(PAGE), results)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the compiled load generator; skip where it cannot be made."""
    folder = tmp_path_factory.mktemp("bench")
    try:
        generator(folder)
    except GeneratorMissing as missing:
        pytest.skip(str(missing))
    return folder
