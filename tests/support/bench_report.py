"""What was measured, as JSON: the page is made from it alone.

A part of the suite can be measured anew: what it says of a workload takes the place of all that was said of it before,
so the numbers of one workload are always of one session, on one state of the code. Numbers of another machine are
dropped.
"""

import json
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import attrs

from support.bench_machine import commit, machine


@attrs.frozen(kw_only=True)
class Measurement:
    """One number of one contender in one workload, from several runs."""

    workload: str
    contender: str
    unit: str
    """Of `values`, one for each run."""
    values: list[float]
    title: str = ""
    """Of the workload."""
    at: float | None = None
    """The place on a curve of growth: subscribers, bytes, …"""
    busy_before: list[float] = attrs.field(factory=list)
    """Which share of each core was busy just before, with other things."""
    load_share: float = 0.0
    """Of its core, at most taken by the load generator in a run."""
    missing: int = 0
    """Deliveries that were due and never came."""
    session: str = ""
    """When the session began that measured it; set by the report."""

    @property
    def median(self) -> float:
        """The number that counts."""
        return statistics.median(self.values)


@attrs.frozen(kw_only=True)
class Skipped:
    """What was not measured, and why."""

    workload: str
    contender: str
    why: str


@attrs.frozen(kw_only=True)
class Results:
    """All that is known: what the page shows."""

    machine: dict[str, str] = attrs.field(factory=dict)
    sessions: dict[str, str] = attrs.field(factory=dict)
    """The commit that was measured, by the time at which the session began."""
    measurements: list[Measurement] = attrs.field(factory=list)
    skipped: list[Skipped] = attrs.field(factory=list)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote; nothing, where there is no such file."""
        if not path.exists():
            return cls()
        data: dict[str, Any] = json.loads(path.read_text())
        return cls(
            machine=data["machine"],
            sessions=data["sessions"],
            measurements=[Measurement(**each) for each in data["measurements"]],
            skipped=[Skipped(**each) for each in data["skipped"]],
        )

    def write(self, path: Path) -> None:
        """Write it as JSON, one measurement a line, so that a change of one is a change of one line."""
        data = attrs.asdict(self)
        rows = ",\n".join(f"  {json.dumps(each)}" for each in data.pop("measurements"))
        rest = json.dumps(data, indent=1).removesuffix("\n}")
        path.write_text(f'{rest},\n "measurements": [\n{rows}\n ]\n}}\n')

    def merged(self, newer: "Results") -> "Results":
        """Return this with what a newer session found instead of what is here on the same workloads."""
        if self.machine != newer.machine:
            return newer
        again = {each.workload for each in newer.measurements} | {each.workload for each in newer.skipped}
        measurements = [each for each in self.measurements if each.workload not in again]
        measurements += newer.measurements
        skipped = [each for each in self.skipped if each.workload not in again] + newer.skipped
        sessions = self.sessions | newer.sessions
        shown = {each.session for each in measurements}
        return Results(
            machine=newer.machine,
            sessions={begun: sessions[begun] for begun in sessions if begun in shown},
            measurements=measurements,
            skipped=skipped,
        )

    def of(self, workload: str) -> list[Measurement]:
        """Return what was measured of a workload."""
        return [each for each in self.measurements if each.workload == workload]

    def find(self, workload: str, contender: str, unit: str, at: float | None = None) -> Measurement | None:
        """Return one measurement."""
        for each in self.of(workload):
            if (each.contender, each.unit, each.at) == (contender, unit, at):
                return each
        return None


class Report:
    """Collects the measurements of one session."""

    def __init__(self) -> None:
        self._session = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        self._commit = commit()
        self._measurements: list[Measurement] = []
        self._skipped: list[Skipped] = []

    def add(self, measurement: Measurement) -> None:
        """Keep it, and show it."""
        self._measurements.append(attrs.evolve(measurement, session=self._session))
        where = "" if measurement.at is None else f" at {measurement.at:,g}"
        missing = f", {measurement.missing:,} missing" if measurement.missing else ""
        print(f"      {measurement.contender}{where}: {spread(measurement)} {measurement.unit}{missing}")

    def skip(self, workload: str, contender: str, why: str) -> None:
        """Note that something cannot be measured here."""
        self._skipped.append(Skipped(workload=workload, contender=contender, why=why))

    def results(self) -> Results:
        """Return what there is so far."""
        return Results(
            machine=machine(),
            sessions={self._session: self._commit},
            measurements=list(self._measurements),
            skipped=list(self._skipped),
        )


def spread(measurement: Measurement) -> str:
    """Write the median and the range of the runs."""
    median, low, high = (number(value) for value in _summary(measurement.values))
    return median if low == high else f"{median} ({low} … {high})"


def _summary(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def number(value: float) -> str:
    """Write three digits that count."""
    if abs(value) >= 100:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"
