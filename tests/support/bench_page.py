"""The page about performance, and its plots: rendered from the results alone.

python -m support.bench_page        writes them anew, as `make docs` does, when only their looks have changed
"""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from support.bench_goals import goals_table
from support.bench_plots import Panel, Series, bars, curves
from support.bench_report import Measurement, Results, spread
from support.bench_runs import RATE
from support.bench_text import (
    BUSY,
    FIGURES,
    GOALS,
    GROWTH,
    INTRODUCTION,
    MEASURED,
    MORE,
    SECTIONS,
    WORKLOADS,
    Growing,
)
from support.documents import ROOT

PAGE: Final = ROOT / "docs" / "reference" / "performance.md"

IDLE: Final = 0.2
"""Up to this share of the cores in use by others, rates are worth comparing."""

LOAD_LIMIT: Final = 0.95
"""From this share of its core on, the load had no time left."""


def update_page(path: Path, newer: Results) -> None:
    """Put new results into the JSON beside the page, and write the page and its plots anew."""
    data = path.with_suffix(".json")
    results = Results.read(data).merged(newer)
    results.write(data)
    write_page(path, results)


def write_page(path: Path, results: Results) -> None:
    """Write the page, and its plots in a folder of its name."""
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name, text in plots(results).items():
        (folder / name).write_text(text)
    path.write_text(page(results))


def page(results: Results) -> str:
    """Render the page."""
    lines = [INTRODUCTION.format(when=_when(results), machine=_machine(results))]
    busy = [share for each in results.measurements for share in each.busy_before]
    if busy and statistics.mean(busy) > IDLE:
        lines += [BUSY, ""]
    lines += [GOALS, *goals_table(results), "", WORKLOADS]
    if "workloads.svg" in plots(results):
        lines += ["![Deliveries a second of each contender](performance/workloads.svg)"]
    known = dict.fromkeys(each.workload for each in results.measurements)
    for name in sorted(each for each in known if each not in FIGURES and each not in SECTIONS):
        found = results.of(name)
        lines += ["", f"### {name}: {found[0].title}", "", *_table(found)]
    lines += ["", GROWTH.rstrip()]
    for name, figure in FIGURES.items():
        if found := results.of(name):
            lines += ["", f"### {figure.heading}", "", figure.about, ""]
            lines += [f"![{figure.heading}](performance/{name}.svg)", "", *_numbers(figure, found)]
    lines += ["", MORE.rstrip()]
    for name, (heading, about) in SECTIONS.items():
        if found := results.of(name):
            lines += ["", f"### {heading}", "", about, "", *_table(found)]
    lines += ["", MEASURED, *_conditions(results, busy)]
    return "\n".join(lines) + "\n"


def plots(results: Results) -> dict[str, str]:
    """Draw what there are numbers for: SVG by file name."""
    drawn = {}
    groups = [
        (f"{name}: {found[0].title}", [(each.contender, each.median) for each in found])
        for name in ("W1", "W1w1", "W3", "W4", "W6")
        if (found := [each for each in results.of(name) if each.unit == RATE])
    ]
    if groups:
        drawn["workloads.svg"] = bars("Deliveries a second of each contender, by workload", groups, RATE)
    for name, figure in FIGURES.items():
        if found := results.of(name):
            panels = [_panel(figure, unit, found) for unit in figure.panels]
            drawn[f"{name}.svg"] = curves(figure.heading, panels)
    return drawn


def _panel(figure: Growing, unit: str, found: list[Measurement]) -> Panel:
    series = [
        Series(
            contender,
            sorted(
                (each.at, each.median)
                for each in found
                if (each.contender, each.unit) == (contender, unit) and each.at is not None
            ),
        )
        for contender in dict.fromkeys(each.contender for each in found)
    ]
    return Panel(figure.panels[unit], figure.across, [each for each in series if each.points])


# -- Tables --------------------------------------------------------------------------------------------------------


def _table(found: list[Measurement]) -> list[str]:
    """One line for each contender; next to each unit how many times Shoal's it is, where Shoal is one of several."""
    units = list(dict.fromkeys(each.unit for each in found))
    contenders = list(dict.fromkeys(each.contender for each in found))
    own = {each.unit: each.median for each in found if each.contender == "Shoal" and len(contenders) > 1}
    heads = [head for unit in units for head in ([unit, "of Shoal"] if unit in own else [unit])]
    rows = []
    for contender in contenders:
        cells = [contender]
        for unit in units:
            values = [each for each in found if (each.contender, each.unit) == (contender, unit)]
            cells.append(spread(values[0]) if values else "")
            if unit in own:
                cells.append(f"{values[0].median / own[unit]:.2f}" if values and own[unit] else "")
        rows.append(cells)
    return [*_rows(["", *heads], rows), *_remarks(found)]


def _numbers(figure: Growing, found: list[Measurement]) -> list[str]:
    """The numbers of a figure, folded away."""
    units = list(dict.fromkeys(each.unit for each in found))
    contenders = list(dict.fromkeys(each.contender for each in found))
    by_place = {(each.contender, each.at, each.unit): each for each in found}
    places = sorted({each.at for each in found if each.at is not None})
    rows = [
        [
            contender,
            f"{at:,g}",
            *(
                spread(by_place[contender, at, unit]) if (contender, at, unit) in by_place else ""
                for unit in units
            ),
        ]
        for contender in contenders
        for at in places
        if any((contender, at, unit) in by_place for unit in units)
    ]
    table = _rows(["", figure.across, *units], rows)
    return ["<details><summary>Numbers</summary>", "", *table, *_remarks(found), "", "</details>"]


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(heads)} |",
        f"|---|{'---:|' * (len(heads) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _remarks(found: list[Measurement]) -> list[str]:
    missing: dict[str, int] = {}
    at_limit: dict[str, None] = {}
    for each in found:
        where = each.contender if each.at is None else f"{each.contender} at {each.at:,g}"
        if each.missing:
            missing[where] = max(each.missing, missing.get(where, 0))
        if each.load_share >= LOAD_LIMIT:
            at_limit[where] = None
    remarks = [f"Missing: {count:,} deliveries of {where}." for where, count in missing.items()]
    if at_limit:
        remarks.append(f"The load had no time left: {'; '.join(at_limit)}.")
    return ["", *remarks] if remarks else []


# -- Conditions ----------------------------------------------------------------------------------------------------


def _when(results: Results) -> str:
    states = list(dict.fromkeys(results.sessions.values()))
    when = max(results.sessions, default="no session")[:16]
    return f"{when} UTC, commit {_commit(states[-1])}" if len(states) == 1 else f"{when} UTC and before"


def _commit(described: str) -> str:
    return f"`{described.removesuffix('+')}`" + (" and changes" if described.endswith("+") else "")


def _machine(results: Results) -> str:
    machine = results.machine
    return f"{machine['cores']} cores of {machine['processor']}" if machine else "no machine"


def _conditions(results: Results, busy: list[float]) -> list[str]:
    rows = [[name.capitalize(), value] for name, value in results.machine.items()]
    for begun, commit in results.sessions.items():
        workloads = dict.fromkeys(each.workload for each in results.measurements if each.session == begun)
        what = "everything" if len(results.sessions) == 1 else ", ".join(workloads)
        rows.append([f"Measured {begun}", f"{_commit(commit)}: {what}"])
    if busy:
        often = (
            f"{statistics.mean(busy):.0%} on average just before a measurement, {max(busy):.0%} at the most"
        )
        rows.append(["Cores busy with other things", often])
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    if results.skipped:
        lines += ["", "Not measured:", ""]
        lines += [f"- {each.workload}, {each.contender}: {each.why}" for each in results.skipped]
    return lines


if __name__ == "__main__":
    write_page(PAGE, Results.read(PAGE.with_suffix(".json")))
