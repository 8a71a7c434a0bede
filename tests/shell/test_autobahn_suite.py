"""Finding, installing and running the Autobahn suite, with programs that are only like it: it needs no Python 2."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from support import autobahn
from support.autobahn_results import read_results
from support.autobahn_suite import Suite, SuiteUnavailable, find_python, install
from support.waiting import TIMEOUT_S


def program(path: Path, script: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def environ(home: Path, **more: str) -> Mapping[str, str]:
    return {"PATH": f"{home / 'shims'}:{home / 'bin'}", "HOME": str(home), **more}


# -- Finding ---------------------------------------------------------------------------------------------------------


def test_the_first_python_that_is_one_is_taken(tmp_path: Path) -> None:
    with pytest.raises(SuiteUnavailable, match="there is no Python 2"):
        find_python(environ(tmp_path))
    program(tmp_path / "shims" / "python2.7", "exit 127")  # as pyenv's, of a version that is not chosen
    program(tmp_path / ".pyenv" / "versions" / "2.7.1" / "bin" / "python", "exit 1")
    with pytest.raises(SuiteUnavailable):
        find_python(environ(tmp_path))
    pyenvs = program(tmp_path / ".pyenv" / "versions" / "2.7.18" / "bin" / "python", "exit 0")
    assert find_python(environ(tmp_path)) == pyenvs
    elsewhere = program(tmp_path / "root" / "versions" / "2.7.9" / "bin" / "python", "exit 0")
    assert find_python(environ(tmp_path, PYENV_ROOT=str(tmp_path / "root"))) == elsewhere
    on_path = program(tmp_path / "bin" / "python2", "exit 0")
    assert find_python(environ(tmp_path)) == on_path


def test_a_python_that_is_named_is_the_only_one(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "python2.7", "exit 0")
    named = program(tmp_path / "mine", "exit 0")
    assert find_python(environ(tmp_path, PYTHON2=named)) == named
    for wrong in (program(tmp_path / "other", "exit 1"), str(tmp_path / "nothing")):
        with pytest.raises(SuiteUnavailable, match=f"PYTHON2={wrong} is no Python 2.7"):
            find_python(environ(tmp_path, PYTHON2=wrong))


def test_without_python_2_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHON2", str(tmp_path / "nothing"))
    for arguments in ([], ["--find-python"]):
        assert autobahn.main(arguments) == 1
        assert "is no Python 2.7 with pip" in capsys.readouterr().err


# -- Installing ------------------------------------------------------------------------------------------------------


def test_the_suite_is_installed_once_for_each_lock(tmp_path: Path) -> None:
    folder, lock, said = tmp_path / "site", tmp_path / "lock", list[str]()
    pip = program(tmp_path / "python", f'mkdir -p "{folder}"; echo "$@" >> "{tmp_path}/calls"')
    for content in ("one", "one", "two"):
        lock.write_text(content)
        install(pip, said.append, folder, lock)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == len(said) == 2
    assert calls[0].startswith("-m pip install ")
    assert "--require-hashes" in calls[0]
    assert calls[0].endswith(f"--target {folder} -r {lock}")


def test_what_pip_says_is_shown_when_it_fails(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("")
    pip = program(tmp_path / "python", "echo no such package >&2; exit 1")
    with pytest.raises(SuiteUnavailable, match="no such package"):
        install(pip, print, tmp_path / "site", lock)
    assert not (tmp_path / "site").exists()


# -- Running ---------------------------------------------------------------------------------------------------------

LIKE_THE_SUITE = """
import json, signal, sys
from fnmatch import fnmatch

def run():
    spec = json.load(open(sys.argv[sys.argv.index("-s") + 1]))
    wanted = [case.replace("*", "1.1") for case in spec["cases"]]
    without = spec["exclude-cases"]
    cases = [case for case in wanted if not any(fnmatch(case, pattern) for pattern in without)]
    print("Ok, will run %d test cases against 1 servers" % len(cases))
    if not cases:
        signal.pause()
    agent = {}
    for case in cases:
        print("Running test case ID %s for agent Shoal from peer x" % case)
        if case == "6.6":
            sys.exit("the suite broke")
        report = {"id": case, "behavior": "OK", "behaviorClose": "OK", "remoteCloseCode": 1000, "closedByMe": True}
        json.dump(report, open(spec["outdir"] + "/" + case + ".json", "w"))
        agent[case] = {"reportfile": case + ".json"}
    json.dump({"Shoal": agent}, open(spec["outdir"] + "/index.json", "w"))
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    package = tmp_path / "site" / "autobahntestsuite"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "wstest.py").write_text(LIKE_THE_SUITE)
    return Suite(sys.executable, tmp_path / "site")


async def test_cases_are_run_and_told_one_by_one(suite: Suite, tmp_path: Path) -> None:
    out, began = tmp_path / "out", list[str]()
    with trio.fail_after(TIMEOUT_S):
        assert await suite.run("ws://127.0.0.1:1/", ["1.1", "1.2", "2.1"], ["1.2"], out, began.append)
    assert began == ["1.1", "2.1"]
    assert [result.case for result in read_results(out)] == ["1.1", "2.1"]
    (server,) = json.loads((out / "spec.json").read_text())["servers"]
    assert server == {"agent": "Shoal", "url": "ws://127.0.0.1:1"}


async def test_a_suite_without_cases_waits_for_ever_and_is_ended(suite: Suite, tmp_path: Path) -> None:
    with trio.fail_after(TIMEOUT_S):
        assert not await suite.run("ws://127.0.0.1:1/", ["1.1"], ["1.1"], tmp_path / "out", print)


async def test_a_suite_that_fails_is_no_result(suite: Suite, tmp_path: Path) -> None:
    with (
        trio.fail_after(TIMEOUT_S),
        pytest.raises(SuiteUnavailable, match=r"ended with 1:\n(.*\n)*the suite broke"),
    ):
        await suite.run("ws://127.0.0.1:1/", ["1.1", "6.6"], [], tmp_path / "out", print)


async def test_each_case_goes_to_the_server_that_it_is_for(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autobahn, "OUT", tmp_path / "build")
    results, logged = await autobahn.run_all(suite, ["1.1.1", "9.1.4", "12.5.18"])
    assert [result.case for result in results] == ["1.1.1", "9.1.4", "12.5.18"]
    assert logged == []
    ran = {
        path.parent.name: list(json.loads(path.read_text())["Shoal"])
        for path in tmp_path.glob("build/*/index.json")
    }
    assert ran == {"limits-as-they-are": ["1.1.1"], "more-room": ["9.1.4"], "with-compression": ["12.5.18"]}


@pytest.mark.parametrize(
    ("cases", "ends_with", "shown"),
    [
        ("1.1.1,9.1.4", 0, "in all"),
        ("13.3.1", 1, "FAULT 13.3.1: passes now, so it need not be excepted any more"),
        ("9.1.4,6.6", 1, "the suite broke"),
        ("*", 1, "FAULT section 2: 0 cases ran, and there are 11"),
    ],
)
def test_the_command_ends_as_the_cases_did(
    cases: str,
    ends_with: int,
    shown: str,
    suite: Suite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(autobahn, "ROOT", tmp_path)
    monkeypatch.setattr(autobahn, "OUT", tmp_path / "build")
    monkeypatch.setattr(autobahn, "Suite", lambda _: suite)
    monkeypatch.setattr(autobahn, "find_python", lambda _: sys.executable)
    monkeypatch.setattr(autobahn, "install", lambda *_: None)
    assert autobahn.main(["--cases", cases]) == ends_with
    assert shown in "".join(capsys.readouterr())
