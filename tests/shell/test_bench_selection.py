"""A part of the benchmarks can be chosen by the names of its workloads."""

import os
import subprocess
import sys

import pytest

from support.bench_workloads import FILTERS
from support.documents import ROOT


def asked(only: str) -> subprocess.CompletedProcess[str]:
    """Let pytest say which benchmarks it would run."""
    command = [sys.executable, "-m", "pytest", "-m", "bench", "--collect-only", "-q", "tests/bench"]
    environment = os.environ | {"BENCH_ONLY": only}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def chosen(only: str) -> list[str]:
    """Return the benchmarks that would be run."""
    ran = asked(only)
    assert ran.returncode == pytest.ExitCode.OK, ran.stdout + ran.stderr
    return [line.rpartition("::")[2] for line in ran.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize("only", ["W1", " W1, "])
def test_a_workload_is_chosen_by_its_whole_name(only: str) -> None:
    assert chosen(only) == ["test_workload[W1]"], "and not W1w1"


def test_several_are_chosen() -> None:
    assert len(chosen("filters,ZeroMQ")) == len(FILTERS) + 1


def test_without_a_choice_all_are_run() -> None:
    assert {name.partition("[")[0] for name in chosen("")} >= {"test_workload", "test_growth", "test_filters"}


def test_what_is_not_there_is_refused_with_what_is() -> None:
    ran = asked("W1,W99")
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert "there is no workload W99; there are: " in ran.stderr
    assert "fairness" in ran.stderr
