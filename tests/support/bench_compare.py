"""Several rows of one table, measured in turn and put on the report."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from support.bench_contenders import SHOAL, Contender, Task
from support.bench_peers import has_peers
from support.bench_report import Report
from support.bench_runs import all_attached, measured_in_turn

WHY_NOT = "not installed (`make peers`)"


async def compare(
    workload: str,
    rows: Mapping[str, tuple[Contender, Task]],
    units: Iterable[str],
    report: Report,
    folder: Path,
    *,
    title: str = "",
) -> None:
    """Measure who is asked what, in turn, and report it in these units under the names of the rows. Peers that are not
    installed are left out, and named. Raises `AssertionError` when Shoal lost something."""
    for name, (contender, _) in rows.items():
        if not is_there(contender):
            report.skip(workload, contender.name, WHY_NOT)
            print(f"{name}: {WHY_NOT}")
    there = {name: asked for name, asked in rows.items() if is_there(asked[0])}
    async with all_attached(there.values(), folder) as benches:
        found = await measured_in_turn(benches)
    lost = {}
    for (name, (contender, _)), measured in zip(there.items(), found, strict=True):
        for each in measured.as_measurements(units, workload=workload, contender=name, title=title):
            report.add(each)
        if contender is SHOAL and measured.missing:
            lost[name] = measured.missing
    assert not lost, lost


def is_there(contender: Contender) -> bool:
    """Tell whether the contender is installed."""
    return not contender.is_peer or has_peers()
