"""Laws of child processes: their output is kept, and none of them outlives its parent."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from server.cli.children import KEPT_LINES, ChildEnded, exit_reason, guarded, open_child
from server.cli.embedded_redis import NoRedis, find_program, open_redis
from support.processes import redis_server
from support.waiting import eventually

SLEEPER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(60)",
]


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_child_ends_with_its_context() -> None:
    async with open_child("sleeper", SLEEPER) as child:
        await child.line("here")
        assert is_alive(child.pid)
    assert child.exit_code == -signal.SIGTERM


async def test_a_child_that_ignores_sigterm_is_killed() -> None:
    async with open_child("stubborn", STUBBORN) as child:
        await child.line("here")
        await child.stop(grace_s=0.05)
    assert child.exit_code == -signal.SIGKILL


async def test_a_child_that_watches_its_input_is_stopped_by_that_and_not_signalled() -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('here', flush=True)\n"
        "sys.stdin.read()"
    )
    async with open_child("watching", [sys.executable, "-c", code], ends_with_stdin=True) as child:
        await child.line("here")
    assert child.exit_code == 0


async def test_lines_are_told_as_they_come_and_errors_may_be_left_where_they_are(
    capfd: pytest.CaptureFixture[str],
) -> None:
    heard: list[str] = []
    command = ["sh", "-c", "echo one; echo two; echo oh dear >&2"]
    async with open_child("talker", command, speaks_for_itself=True, heard=heard.append) as child:
        await child.wait()
    assert heard == list(child.lines) == ["one", "two"]
    assert capfd.readouterr().err == "oh dear\n"


async def test_a_child_ends_when_its_context_is_cancelled() -> None:
    with trio.CancelScope() as scope:
        async with open_child("sleeper", SLEEPER) as child:
            await child.line("here")
            scope.cancel()
    assert child.exit_code == -signal.SIGTERM


async def test_how_a_child_ended_is_told_with_its_last_lines() -> None:
    script = "echo out; printf 'err\\r\\nno end' >&2; exit 3"
    async with open_child("short", ["sh", "-c", script]) as child:
        ended = await child.wait()
    assert str(ended) == "short ended with exit code 3"
    assert sorted(ended.tail) == ["err", "no end", "out"]
    with pytest.raises(ChildEnded):
        await child.line("never said")


async def test_a_line_is_found_whether_it_came_before_or_comes_later() -> None:
    code = "print('port 17', flush=True); input(); print('port 18')"
    async with open_child("lines", [sys.executable, "-c", code]) as child:
        assert (await child.line(r"port (\d+)"))[1] == "17"
        assert child.process.stdin is not None
        await child.process.stdin.send_all(b"\n")
        assert (await child.line(r"port (18)"))[1] == "18"


async def test_what_is_kept_of_the_output_is_bounded() -> None:
    code = "print('x' * 1_000_000); [print(n) for n in range(1_000)]"
    async with open_child("chatty", [sys.executable, "-c", code]) as child:
        ended = await child.wait()
    assert len(ended.tail) == KEPT_LINES
    assert ended.tail[-1] == "999"


def test_the_end_of_a_process_is_told_in_words() -> None:
    assert exit_reason(2) == "ended with exit code 2"
    assert exit_reason(-9) == "was ended by SIGKILL"
    assert exit_reason(-40) == "was ended by signal 40"


async def test_a_program_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        async with open_child("nothing", ["/no/such/program"]):
            pass


async def test_the_guard_passes_on_the_end_of_its_program() -> None:
    async with open_child("guarded", guarded(["sh", "-c", "exit 7"])) as child:
        assert (await child.wait()).exit_code == 7
    async with open_child("guarded", guarded(["sh", "-c", "kill -9 $$"])) as child:
        assert (await child.wait()).exit_code == 128 + 9


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_a_guarded_program_ends_with_its_grandparent_however_that_ends(end: signal.Signals) -> None:
    code = (
        "import subprocess, sys, time\n"
        "from server.cli.children import guarded\n"
        "program = subprocess.Popen(guarded(['sh', '-c', 'echo $$; exec sleep 60']), stdin=subprocess.PIPE)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(await trio.to_thread.run_sync(parent.stdout.readline))
        assert is_alive(pid)
        parent.send_signal(end)
        await eventually(lambda: not is_alive(pid), "the program has ended")


async def test_the_guard_holds_a_directory_for_its_program_and_removes_it_when_it_is_the_last(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "shared"
    directory.mkdir()
    command = guarded(["sh", "-c", f"touch {directory}/file; echo made"], str(directory))
    async with open_child("guarded", command) as child:
        await child.line("made")
        await child.wait()
    assert not directory.exists()


async def test_redis_answers_and_leaves_nothing(tmp_path: Path) -> None:
    async with open_redis(tmp_path) as redis:
        assert redis.url == f"unix://{tmp_path}/redis.sock"
        assert (tmp_path / "redis.sock").stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []
    assert redis.child.exit_code == 0


async def test_a_redis_that_cannot_start_is_told_with_what_it_said(tmp_path: Path) -> None:
    directory = tmp_path / "missing"
    with pytest.raises(NoRedis, match=r"(?s)The embedded Redis ended with exit code 1. It said:.*missing"):
        async with open_redis(directory):
            pass


def test_a_redis_on_the_path_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program() == program


def test_without_any_redis_it_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        NoRedis, match="Install Redis or Valkey, or give the URL of a running one with --redis"
    ):
        find_program()


async def test_a_redis_of_the_harness_starts_again_at_the_same_url_and_is_empty() -> None:
    async with redis_server() as redis:
        await redis.stop()
        await redis.start()
        async with await trio.open_unix_socket(redis.url.removeprefix("unix://")) as stream:
            await stream.send_all(b"DBSIZE\r\n")
            assert await stream.receive_some(64) == b":0\r\n"
    assert not redis.directory.exists()
