"""What is made of a run of the Autobahn suite: nothing is let pass that was not expected, and no exception outlives its
reason."""

import json
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import attrs
import pytest

from support.autobahn_results import (
    COMPRESSED,
    JUDGED,
    NEEDS_ROOM,
    QUICK,
    ROOM,
    Judgement,
    Known,
    Result,
    Section,
    Verdict,
    expected,
    judge,
    read_results,
    summary,
)

SMALL = Judgement(
    sections=(Section(1, "Framing", 2), Section(7, "Closing", 3), Section(12, "Compression", 2)),
    known=(
        Known("7.2", "INFORMATIONAL", 1002, "undefined"),
        Known("12.*", "UNIMPLEMENTED", 1000, "not offered"),
    ),
    codeless=("7.3",),
)

AS_IT_SHOULD_BE = (
    Result("1.1"),
    Result("1.10"),
    Result("7.1", close_code=1007, was_closed_by_suite=False),
    Result("7.2", "INFORMATIONAL", "INFORMATIONAL", 1002),
    Result("7.3", close_code=None),
    Result("12.1", "UNIMPLEMENTED"),
    Result("12.2", "UNIMPLEMENTED"),
)


def with_changed(which: str, **changes: object) -> list[Result]:
    return [attrs.evolve(each, **changes) if each.case == which else each for each in AS_IT_SHOULD_BE]


def test_a_run_as_it_should_be_has_no_fault() -> None:
    report = judge(AS_IT_SHOULD_BE, SMALL)
    assert report.faults == []
    assert {verdict: report.count(verdict) for verdict in Verdict} == {
        Verdict.PASSED: 4,
        Verdict.NON_STRICT: 0,
        Verdict.INFORMATIONAL: 1,
        Verdict.EXCEPTED: 2,
        Verdict.FAILED: 0,
    }


@pytest.mark.parametrize(
    ("case", "changes", "fault"),
    [
        ("1.1", {"behavior": "FAILED"}, "1.1: FAILED, closing OK, closed with 1000"),
        ("1.1", {"behavior": "NON-STRICT"}, "1.1: NON-STRICT, closing OK, closed with 1000"),
        (
            "1.1",
            {"behavior": "INFORMATIONAL", "closing": "INFORMATIONAL"},
            "1.1: INFORMATIONAL, closed with 1000",
        ),
        (
            "1.1",
            {"closing": "WRONG CODE", "close_code": 1001},
            "1.1: OK, closing WRONG CODE, closed with 1001",
        ),
        ("1.1", {"close_code": None}, "1.1: the server's close had no code"),
        ("1.1", {"was_closed_by_suite": False}, "1.1: the server began to close, and with 1000"),
        ("1.1", {"case": "9.1"}, "9.1: no section of that number is known"),
        (
            "7.2",
            {"close_code": 1000},
            "7.2: INFORMATIONAL, closed with 1000; it is known for INFORMATIONAL, closed with 1002",
        ),
        (
            "12.1",
            {"behavior": "FAILED"},
            "12.1: FAILED, closing OK, closed with 1000; it is known for UNIMPLEMENTED, closed with 1000",
        ),
        (
            "12.1",
            {"behavior": "OK"},
            "12.1: passes now, so it need not be excepted any more (UNIMPLEMENTED)",
        ),
    ],
)
def test_what_is_not_as_it_should_be_is_a_fault(case: str, changes: dict[str, object], fault: str) -> None:
    report = judge(with_changed(case, **changes), SMALL)
    assert fault in report.faults
    assert f"FAULT {fault}" in summary(report)


def test_non_strict_and_excepted_cases_are_told_apart_by_how_they_end() -> None:
    assert Known("1.1", "NON-STRICT", 1000, "").verdict is Verdict.NON_STRICT
    assert Known("1.1", "FAILED", 1000, "").verdict is Verdict.EXCEPTED


def test_cases_that_did_not_run_are_a_fault_of_a_whole_run_only() -> None:
    some = [result for result in AS_IT_SHOULD_BE if result.section != 12][1:]
    assert judge(some, SMALL).faults == [
        "section 1: 1 cases ran, and there are 2",
        "section 12: 0 cases ran, and there are 2",
        "12.*: is excepted, but no such case ran",
    ]
    assert judge(some, SMALL, is_whole=False).faults == []


def test_the_summary_counts_by_section() -> None:
    lines = [line.split() for line in summary(judge(reversed(AS_IT_SHOULD_BE), SMALL)).splitlines()]
    assert lines == [
        ["passed", "non-strict", "informational", "excepted"],
        ["1", "Framing", "2"],
        ["7", "Closing", "2", "1"],
        ["12", "Compression", "2"],
        ["in", "all", "4", "0", "1", "2"],
    ]
    failed = summary(judge(with_changed("1.1", behavior="FAILED"), SMALL)).splitlines()
    assert failed[0].split()[-1] == "failed"
    assert failed[-2].split() == ["in", "all", "3", "0", "1", "2", "1"]


def test_reports_are_read_as_the_suite_writes_them(tmp_path: Path) -> None:
    report = {
        "id": "7.1",
        "behavior": "OK",
        "behaviorClose": "OK",
        "remoteCloseCode": 1007,
        "closedByMe": False,
        "wirelog": [],
    }
    (tmp_path / "shoal_case_7_1.json").write_text(json.dumps(report))
    index = {"Shoal": {"7.1": {"behavior": "OK", "reportfile": "shoal_case_7_1.json"}}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert read_results(tmp_path) == [AS_IT_SHOULD_BE[2]]


# -- What is expected of Shoal --------------------------------------------------------------------------------------


def test_the_page_shows_what_a_run_must() -> None:
    assert expected(SMALL) == list(judge(AS_IT_SHOULD_BE, SMALL).rows)


def test_what_is_known_has_a_reason_and_a_section() -> None:
    numbers = [section.number for section in JUDGED.sections]
    assert numbers == sorted(set(numbers))
    for known in JUDGED.known:
        assert known.reason.endswith(".")
        assert int(known.cases.partition(".")[0]) in numbers
        assert [other.cases for other in JUDGED.known if fnmatch(known.cases, other.cases)] == [known.cases]


def test_a_whole_run_has_a_few_cases_of_all_kinds_of_compression() -> None:
    assert all(any(fnmatch(case, pattern) for pattern in COMPRESSED) for case in QUICK)
    counts = Counter(int(case.partition(".")[0]) for case in QUICK)
    assert counts == {section.number: section.cases for section in JUDGED.sections if section.number > 10}


def test_the_node_with_more_room_has_enough() -> None:
    assert all(pattern.startswith("9.") for pattern in NEEDS_ROOM)
    assert ROOM["outbox_bytes"] > ROOM["request_bytes"] == 16 * 2**20
