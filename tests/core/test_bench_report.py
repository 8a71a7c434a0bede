"""What was measured is kept as a whole, and a part of it can be measured anew."""

import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from support.bench_contenders import BY_NUMBER, EVALUATED, ROOM, TEN_OF_TEN, Task, message
from support.bench_goals import Row, quotient
from support.bench_load import ran
from support.bench_machine import family
from support.bench_report import Measurement, Report, Results, Skipped, number, spread

MACHINE = {"cores": "2"}


def results(session: str, *measured: tuple[str, str, float], skipped: str = "") -> Results:
    return Results(
        machine=MACHINE,
        sessions={session: f"commit of {session}"},
        measurements=[
            Measurement(workload=workload, contender=contender, unit="x/s", values=[value], session=session)
            for workload, contender, value in measured
        ],
        skipped=[Skipped(workload=skipped, contender="peer", why="absent")] if skipped else [],
    )


def values(found: Results) -> dict[tuple[str, str], float]:
    return {(each.workload, each.contender): each.median for each in found.measurements}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    written = results("first", ("W1", "Shoal", 1.5), ("W2", "Shoal", 2), skipped="W3")
    written.write(path)
    assert Results.read(path) == written
    assert len(path.read_text().splitlines()) > len(written.measurements), "one a line"
    assert Results.read(tmp_path / "none.json") == Results()


def test_a_workload_that_is_measured_anew_is_replaced_as_a_whole() -> None:
    before = results("first", ("W1", "Shoal", 1), ("W1", "peer", 2), ("W2", "Shoal", 3), skipped="W1")
    merged = before.merged(results("second", ("W1", "Shoal", 9)))
    assert values(merged) == {("W1", "Shoal"): 9, ("W2", "Shoal"): 3}
    assert merged.sessions == {"first": "commit of first", "second": "commit of second"}
    assert merged.skipped == []


def test_a_session_of_which_nothing_is_left_is_forgotten() -> None:
    merged = results("first", ("W1", "Shoal", 1)).merged(results("second", ("W1", "Shoal", 9)))
    assert merged.sessions == {"second": "commit of second"}


def test_what_could_not_be_measured_this_time_is_not_taken_from_before() -> None:
    merged = results("first", ("W1", "peer", 1)).merged(results("second", skipped="W1"))
    assert (values(merged), [each.workload for each in merged.skipped]) == ({}, ["W1"])


def test_numbers_of_two_machines_are_not_mixed() -> None:
    other = attrs.evolve(results("second", ("W1", "Shoal", 9)), machine={"cores": "64"})
    assert results("first", ("W2", "Shoal", 1)).merged(other) == other


def test_a_report_shows_what_it_keeps(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.add(Measurement(workload="rooms", contender="Shoal", unit="x/s", values=[3], at=1000, missing=2))
    assert capsys.readouterr().out.strip() == "Shoal at 1,000: 3 x/s, 2 missing"
    (kept,) = report.results().measurements
    assert list(report.results().sessions) == [kept.session]


def test_a_ratio_is_that_of_the_rounds_on_a_machine_that_wavers() -> None:
    pair = [
        Measurement(workload="W", contender=contender, unit="x/s", values=list(of_rounds))
        for contender, of_rounds in (("Shoal", (10, 50, 90)), ("other", (20, 90, 180)))
    ]
    upper, lower = Row("W", "x/s"), Row("W", "x/s", "other")
    assert quotient(upper, lower, 100)(Results(measurements=pair)) == 50
    assert quotient(upper, lower)(Results(measurements=pair[:1])) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.123456, "0.123"),
        (99.96, "100"),
        (1234, "1,230"),
        (1_999_999, "2,000,000"),
        (-123.4, "-123"),
    ],
)
def test_three_digits_count(value: float, text: str) -> None:
    assert number(value) == text


def test_the_spread_is_left_out_when_there_is_none() -> None:
    several = Measurement(workload="", contender="", unit="", values=[30, 10, 20])
    assert spread(several) == "20 (10 … 30)"
    assert spread(attrs.evolve(several, values=[20])) == "20"


def test_what_the_generator_says_is_understood() -> None:
    found = ran("100 4990 5 5 2.0 81.25 99.5", cpu_s=1.5)
    assert (found.published, found.delivered, found.later, found.missing) == (100, 4990, 5, 5)
    assert (found.seconds, found.p50_us, found.p99_us, found.load_share) == (2.0, 81.25, 99.5, 0.75)


@pytest.mark.parametrize("size", [50, 200, 64_000])
def test_a_message_is_as_large_as_it_is_to_be(size: int) -> None:
    assert len(message(size).replace(ROOM, "123")) == size


def test_filters_are_as_they_are_described() -> None:
    assert ROOM not in EVALUATED, "one for all rooms: each has a collection of its own"
    assert ROOM in BY_NUMBER
    assert ROOM in TEN_OF_TEN


def test_a_publish_is_due_to_the_subscribers_of_its_room() -> None:
    assert Task(500).fan == 500
    assert Task(1_000, rooms=100).fan == 10
    assert Task(1_000, rooms=100_000, each=100).fan == 1
    assert Task(500, matching=10).fan == 500, "each is in one of the ten that match"


@pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="the system does not tell of its processes there"
)
def test_a_family_is_a_process_and_its_children() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert family(child.pid) == [child.pid]
        assert child.pid in family(os.getpid())
        child.communicate(b"\n")
