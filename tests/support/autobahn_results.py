"""What the Autobahn suite found, judged: which cases passed, which are known not to, and whether that is still so.

`JUDGED` is what a run must show, case for case; the tables in docs/reference/websocket.md are made from it, so a green
run is what makes them true. It refuses to be lenient: a case that is not named there passes without a reservation, and
one that is named but passes is a fault as well, since then the page tells what is no longer so.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, unique
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import attrs

PASSED = "OK"
"""What the suite says of a case, and of how its connection ended, when all is as it should be."""


@unique
class Verdict(Enum):
    """What a case counts as."""

    PASSED = "passed"
    NON_STRICT = "non-strict"
    INFORMATIONAL = "informational"
    EXCEPTED = "excepted"
    FAILED = "failed"


@attrs.frozen
class Result:
    """What the suite saw in one case."""

    case: str
    behavior: str = PASSED
    """`OK`, `NON-STRICT`, `INFORMATIONAL`, `UNIMPLEMENTED` or `FAILED`."""
    closing: str = PASSED
    """Of the end of the connection: `OK`, `INFORMATIONAL`, `WRONG CODE`, `UNCLEAN`, `FAILED BY CLIENT` or `FAILED`."""
    close_code: int | None = 1000
    """That of the server's close frame, if it had one."""
    was_closed_by_suite: bool = True
    """Whether it was the suite that began to close."""

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> "Result":
        """Read the suite's report of one case."""
        return cls(
            case=str(report["id"]),
            behavior=report["behavior"],
            closing=report["behaviorClose"],
            close_code=report["remoteCloseCode"],
            was_closed_by_suite=report["closedByMe"],
        )

    @property
    def section(self) -> int:
        """The first number of the case."""
        return int(self.case.partition(".")[0])

    @property
    def ended(self) -> str:
        """How it ended, for people."""
        end = self.behavior if self.closing == self.behavior else f"{self.behavior}, closing {self.closing}"
        return end + ("" if self.close_code is None else f", closed with {self.close_code}")


@attrs.frozen
class Section:
    """A chapter of the suite."""

    number: int
    title: str
    cases: int


@attrs.frozen
class Known:
    """Cases that do not simply pass, and why that is right."""

    cases: str
    """A case, or all of a section: `12.*`."""
    behavior: str
    close_code: int
    reason: str

    @property
    def verdict(self) -> Verdict:
        """What they count as."""
        match self.behavior:
            case "NON-STRICT":
                return Verdict.NON_STRICT
            case "INFORMATIONAL":
                return Verdict.INFORMATIONAL
            case _:
                return Verdict.EXCEPTED

    def covers(self, case: str) -> bool:
        """Tell whether the case is one of them."""
        return fnmatch(case, self.cases)

    def is_so(self, result: Result) -> bool:
        """Tell whether the case ended as it is known to."""
        closing = "INFORMATIONAL" if self.behavior == "INFORMATIONAL" else PASSED
        return (result.behavior, result.closing, result.close_code) == (
            self.behavior,
            closing,
            self.close_code,
        )


@attrs.frozen
class Judgement:
    """What a run is held to."""

    sections: Sequence[Section]
    known: Sequence[Known]
    codeless: Sequence[str] = ()
    """Cases in which the suite closes without a code, and so must we."""


JUDGED = Judgement(
    sections=(
        Section(1, "Framing: text and binary, empty to 64 KiB", 16),
        Section(2, "Pings and pongs", 11),
        Section(3, "Reserved bits", 7),
        Section(4, "Opcodes that do not exist", 10),
        Section(5, "Fragmentation", 20),
        Section(6, "UTF-8", 145),
        Section(7, "Closing", 37),
        Section(9, "Sizes and round trips: to 16 MiB, fragments from 64 bytes", 54),
        Section(10, "Automatic fragmentation", 1),
        Section(12, "Compression: payloads (15 cases of 90)", 15),
        Section(13, "Compression: parameters (7 cases of 126)", 7),
    ),
    known=(
        Known(
            "7.1.6",
            "INFORMATIONAL",
            1000,
            "A message of 256 KiB, a short one, a close and a ping in one go. RFC 6455 leaves open how much of it is"
            " answered; here both messages are, then the close, and the ping behind it is not.",
        ),
        Known(
            "7.13.1",
            "INFORMATIONAL",
            1002,
            "A close with code 5000, beyond all ranges that RFC 6455 gives a meaning to. It is answered as are other"
            " codes that nobody may use: with 1002.",
        ),
        Known("7.13.2", "INFORMATIONAL", 1002, "The same with code 65535."),
        Known(
            "13.3.*",
            "UNIMPLEMENTED",
            1000,
            "An offer that allows the server a window of 512 bytes, and no other. It is declined, as RFC 7692 has it,"
            " and the connection works without: all clients are sent the same bytes, made with a window of 4 KiB.",
        ),
        Known("13.5.*", "UNIMPLEMENTED", 1000, "The same, and without context takeover."),
    ),
    codeless=("7.3.1",),
)

NEEDS_ROOM = ("9.1.4", "9.1.5", "9.1.6", "9.2.4", "9.2.5", "9.2.6", "9.3.*", "9.4.*")
"""Cases with messages above `limits.request_bytes` as it is: they run against a node that was given more room."""

COMPRESSED = ("12.*", "13.*")
"""Cases about compression: they run against a node that has it switched on."""

QUICK = (
    *(f"12.{kind}.{size}" for kind in range(1, 6) for size in (1, 4, 11)),
    *(f"13.{offer}.1" for offer in range(1, 8)),
)
"""Those of them that a whole run has: each kind of payload, in 16 and 1,024 bytes and in fragments, and each offer. All
take many minutes, most of them the suite's own."""

ROOM: Mapping[str, int] = {"request_bytes": 16 * 2**20, "outbox_bytes": 32 * 2**20}
"""The limits of that node: the suite's largest message has 16 MiB, and its echo must fit beside what waits."""


# -- Judging ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Row:
    """What came of one section."""

    section: Section
    counts: Mapping[Verdict, int]


@attrs.frozen
class Report:
    """What came of a run."""

    rows: Sequence[Row]
    faults: Sequence[str]

    def count(self, verdict: Verdict) -> int:
        """In all sections."""
        return sum(row.counts.get(verdict, 0) for row in self.rows)


def judge(results: Iterable[Result], judged: Judgement = JUDGED, *, is_whole: bool = True) -> Report:
    """Hold results to what they must be. With `is_whole` no case may be missing."""
    results = sorted(results, key=lambda result: [int(number) for number in result.case.split(".")])
    counts: dict[int, Counter[Verdict]] = {section.number: Counter() for section in judged.sections}
    faults = []
    for result in results:
        verdict, fault = _verdict(result, judged)
        if result.section not in counts:
            faults.append(f"{result.case}: no section of that number is known")
            continue
        counts[result.section][verdict] += 1
        if fault:
            faults.append(f"{result.case}: {fault}")
    if is_whole:
        faults += _missing(counts, results, judged)
    rows = [Row(section, counts[section.number]) for section in judged.sections if counts[section.number]]
    return Report(rows, faults)


def _verdict(result: Result, judged: Judgement) -> tuple[Verdict, str]:
    """Return what a case counts as, and what is wrong with it, if anything."""
    known = next((known for known in judged.known if known.covers(result.case)), None)
    if known is not None:
        if known.is_so(result):
            return known.verdict, ""
        if (result.behavior, result.closing) == (PASSED, PASSED):
            return Verdict.FAILED, f"passes now, so it need not be excepted any more ({known.behavior})"
        return (
            Verdict.FAILED,
            f"{result.ended}; it is known for {known.behavior}, closed with {known.close_code}",
        )
    if (result.behavior, result.closing) != (PASSED, PASSED):
        return Verdict.FAILED, result.ended
    # What the suite does not mind, and we do.
    if result.close_code is None and result.case not in judged.codeless:
        return Verdict.FAILED, "the server's close had no code"
    if result.close_code == 1000 and not result.was_closed_by_suite:
        return Verdict.FAILED, "the server began to close, and with 1000"
    return Verdict.PASSED, ""


def _missing(
    counts: Mapping[int, Counter[Verdict]], results: Sequence[Result], judged: Judgement
) -> Iterable[str]:
    for section in judged.sections:
        ran = counts[section.number].total()
        if ran != section.cases:
            yield f"section {section.number}: {ran} cases ran, and there are {section.cases}"
    for known in judged.known:
        if not any(known.covers(result.case) for result in results):
            yield f"{known.cases}: is excepted, but no such case ran"


# -- Reading and showing ---------------------------------------------------------------------------------------------


def read_results(folder: Path) -> list[Result]:
    """Read the suite's reports in a folder. Raises FileNotFoundError when it wrote none."""
    index = json.loads((folder / "index.json").read_text())
    files = [case["reportfile"] for agent in index.values() for case in agent.values()]
    return [Result.of(json.loads((folder / name).read_text())) for name in files]


def summary(report: Report) -> str:
    """Return the report as lines for a terminal."""
    shown = [*Verdict] if report.count(Verdict.FAILED) else [v for v in Verdict if v is not Verdict.FAILED]
    width = max((len(row.section.title) for row in report.rows), default=0)
    lines = [" ".join([" " * (width + 4), *(f"{verdict.value:>13}" for verdict in shown)])]
    for row in report.rows:
        figures = (f"{row.counts.get(verdict, 0) or '':>13}" for verdict in shown)
        lines.append(" ".join([f"{row.section.number:>3} {row.section.title:<{width}}", *figures]))
    totals = (f"{report.count(verdict):>13}" for verdict in shown)
    lines.append(" ".join([f"    {'in all':<{width}}", *totals]))
    return "\n".join([*(line.rstrip() for line in lines), *(f"FAULT {fault}" for fault in report.faults)])


def expected(judged: Judgement = JUDGED) -> list[Row]:
    """Return the rows of a run that is as it must be."""
    rows = []
    for section in judged.sections:
        counts: Counter[Verdict] = Counter()
        for known in judged.known:
            number, _, rest = known.cases.partition(".")
            if int(number) == section.number:
                counts[known.verdict] += section.cases if rest == "*" else 1
        counts[Verdict.PASSED] = section.cases - counts.total()
        rows.append(Row(section, counts))
    return rows
