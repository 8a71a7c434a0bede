"""What was measured, as JSON and as a page.

A workload is rendered as one table: each contender's median over its runs, the spread of the runs, and how many times
Shoal's that is. Numbers are only compared within one report, since they are made on one machine within minutes.
"""

import json
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs

from support.bench_machine import commit, machine

INTRODUCTION: Final = """\
# Performance

How fast Shoal is, next to what is possible at all and to others. Written by `make bench`; every number on this page is
of one session on one machine, and means little elsewhere: the ratios do. The servers (and Redis, where there is one)
share one core; the load has another. A message is a JSON object of 200 bytes; Shoal's subscribers get it as a
notification of about three times that size, the others' as it is. A number is the median of several runs, with the
slowest and the fastest run behind it.

"Bare" is the limit of the language: a Python loop that does nothing but write a prepared frame of that size into the
sockets, or move single ZeroMQ frames from one process to another. "Of Shoal" is how many times Shoal's number it is.
"µs of a core" is what a delivery cost the servers, without Redis, in time that they had a core for. Rates and latencies
suffer when other programs want the cores, too; this number suffers least.
"""

IDLE: Final = 0.2
"""Up to this share of the cores in use by others, rates are worth comparing."""

BUSY: Final = """\
**The machine was busy with other things meanwhile.** Rates are lower and latencies are longer than they are on an idle
one, for some contenders more than for others: compare what a delivery cost."""


@attrs.frozen
class Measurement:
    """One contender in one workload."""

    workload: str
    title: str
    contender: str
    unit: str
    """Of `values`, one for each run."""
    values: list[float]
    busy_before: list[float]
    """Which share of each core was busy just before, with other things."""
    remark: str = ""

    @property
    def median(self) -> float:
        """The number that counts."""
        return statistics.median(self.values)


class Report:
    """Collects measurements, in the order in which they are made."""

    def __init__(self) -> None:
        self.measurements: list[Measurement] = []
        self.skipped: dict[str, str] = {}
        """Workload: what was not measured, and why."""
        self._started = datetime.now(UTC)

    def add(self, measurement: Measurement) -> None:
        """Keep it, and show it."""
        self.measurements.append(measurement)
        what = f"{measurement.workload:6} {measurement.contender:24}"
        print(f"  {what} {_range(measurement)} {measurement.unit} {measurement.remark}")

    def write(self, to: Path) -> None:
        """Write the page, and the JSON that it is made from beside it."""
        data: dict[str, Any] = {
            "measured": f"{self._started:%Y-%m-%d %H:%M} UTC",
            "commit": commit(),
            "machine": machine(),
            "measurements": [attrs.asdict(each) for each in self.measurements],
            "skipped": self.skipped,
        }
        to.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
        to.write_text(page(data))


def page(data: dict[str, Any]) -> str:
    """Render the page from the JSON."""
    measurements = [Measurement(**each) for each in data["measurements"]]
    busy = [share for each in measurements for share in each.busy_before]
    conditions = {
        "Measured": data["measured"],
        "Commit": f"`{data['commit']}`" + (" and changes" if data["commit"].endswith("+") else ""),
        **{name.capitalize(): value for name, value in data["machine"].items()},
        "Cores busy with other things": f"{statistics.mean(busy):.0%} on average just before a measurement, "
        f"{max(busy):.0%} at the most"
        if busy
        else "not known",
    }
    lines = [INTRODUCTION, "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in conditions.items()]
    if busy and statistics.mean(busy) > IDLE:
        lines += ["", BUSY]
    for key in dict.fromkeys((each.workload, each.title) for each in measurements):
        lines += ["", *_table([each for each in measurements if (each.workload, each.title) == key])]
    if data["skipped"]:
        lines += ["", "## Not measured", ""]
        lines += [f"- {what}: {why}" for what, why in data["skipped"].items()]
    return "\n".join(lines) + "\n"


def _table(measurements: list[Measurement]) -> list[str]:
    first = measurements[0]
    lines = [
        f"## {first.workload}: {first.title}",
        "",
        "| | median | runs | of Shoal | |",
        "|---|---|---|---|---|",
    ]
    own = {each.unit: each.median for each in measurements if each.contender == "Shoal"}
    units = list(dict.fromkeys(each.unit for each in measurements))
    for each in sorted(measurements, key=lambda each: units.index(each.unit)):
        base = own.get(each.unit)
        ratio = f"{each.median / base:.2f}" if base else ""
        lines.append(
            f"| {each.contender} | {_number(each.median)} {each.unit} "
            f"| {_number(min(each.values))} … {_number(max(each.values))} | {ratio} | {each.remark} |"
        )
    return lines


def _range(measurement: Measurement) -> str:
    values = measurement.values
    return f"{_number(measurement.median):>10} ({_number(min(values))} … {_number(max(values))})"


def _number(value: float) -> str:
    """Write three digits that count."""
    if value >= 100:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"
