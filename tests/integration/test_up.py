"""`shoal up` as its users start it: it comes up, proves itself, and leaves nothing behind, whatever ends it."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from server.cli.children import STOP_GRACE_S, Child, open_child
from server.cli.up import ClusterFailed, Options, free_ports_from, run_up
from server.cli.up_screen import Screen
from support.http import http
from support.leftovers import environment, nothing_left_behind, processes_of
from support.processes import redis_server
from support.waiting import eventually

UP_TIMEOUT_S = 60.0
"""For three nodes to be ready on a machine that runs other tests as well."""

UP_GRACE_S = 2 * STOP_GRACE_S
"""To stop: it gives that time to a node first, and must itself live longer to clean up."""

SHOAL = [sys.executable, "-m", "server"]


def free_ports(number: int) -> int:
    """Return the first of `number` free ports in a row, away from where other runs of the tests look."""
    return free_ports_from(20_000 + os.getpid() % 1_000 * 10, number)


def redis_processes(directory: Path) -> list[str]:
    """Return the living Redis servers among them."""
    return [line for line in processes_of(directory) if re.search(r"unixsocket:\S+redis\.sock", line)]


@asynccontextmanager
async def shoal_up(directory: Path, *options: str) -> AsyncIterator[Child]:
    """Run `shoal up` without a terminal."""
    command = [*SHOAL, "up", *options]
    async with open_child("up", command, env=environment(directory), grace_s=UP_GRACE_S) as child:
        yield child


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    directory = tmp_path / "tmp"
    directory.mkdir()
    return directory


async def is_up(child: Child) -> None:
    with trio.fail_after(UP_TIMEOUT_S):
        await child.line("kill -9")  # the last thing to try


async def test_it_comes_up_proves_itself_and_says_what_to_try(tmp: Path) -> None:
    port = free_ports(3)
    with nothing_left_behind(tmp):
        async with shoal_up(tmp, "--port", str(port)) as child:
            await is_up(child)
            said = "\n".join(child.lines)
            assert re.search(r"^✓ 3 nodes ready after [\d.]+ s\.$", said, re.MULTILINE)
            assert re.search(r"^✓ 20 changes published on \S+ all arrived, in order, at$", said, re.MULTILINE)
            assert re.search(
                r"^  a client of \S+: median [\d.]+ ms, slowest [\d.]+ ms\.$", said, re.MULTILINE
            )
            assert f"status --url http://127.0.0.1:{port}" in said
            assert "\x1b" not in said
            for number in range(3):
                reply = await http(f"http://127.0.0.1:{port + number}/_plugin/cluster/status")
                assert reply.result["count"] == 3
            child.terminate()
            with trio.fail_after(UP_TIMEOUT_S):
                ended = await child.wait()
    assert ended.exit_code == 0
    assert ended.tail[-1] == "Everything that was started has ended."


async def test_settings_that_are_for_one_node_only_do_not_spoil_the_cluster(tmp: Path) -> None:
    options = ["--nodes", "2", "--port", str(free_ports(2))]
    env = environment(tmp) | {
        "SHOAL_SERVER_NAME": "the-only-one",
        "SHOAL_CLUSTER_BINDINGS_PUB": "tcp://127.0.0.1:1",
    }
    async with open_child("up", [*SHOAL, "up", *options], env=env, grace_s=UP_GRACE_S) as child:
        with trio.fail_after(UP_TIMEOUT_S):
            await child.line("2 nodes ready")


async def test_what_it_says_to_try_works(tmp: Path) -> None:
    async with shoal_up(tmp, "--port", str(free_ports(3))) as child:
        await is_up(child)
        tried = 0
        for line in list(child.lines):
            if line.startswith(("  curl ", "  python -m server status")):
                command = line.strip().replace("python -m server", f"{sys.executable} -m server")
                done = await trio.run_process(["sh", "-c", command], capture_stdout=True, capture_stderr=True)
                assert b'"published":true' in done.stdout or b"3 nodes" in done.stdout
                tried += 1
        assert tried == 2
        assert any("ws = new WebSocket('ws://127.0.0.1:" in line for line in child.lines)


async def test_a_node_that_is_killed_is_told_of_and_the_others_go_on(tmp: Path) -> None:
    port = free_ports(3)
    with nothing_left_behind(tmp):
        async with shoal_up(tmp, "--port", str(port)) as child:
            await is_up(child)
            kill = await child.line(r"kill -9 (\d+)")
            os.kill(int(kill[1]), signal.SIGKILL)
            with trio.fail_after(UP_TIMEOUT_S):
                await child.line(rf"^\S+ \(port {port + 1}\) was ended by SIGKILL. It said last:$")
                await child.line("^The others go on.$")
                await child.line("is ready and sees 2 nodes")


async def test_without_its_redis_the_nodes_go_on(tmp: Path) -> None:
    port = free_ports(3)
    with nothing_left_behind(tmp):
        async with shoal_up(tmp, "--port", str(port)) as child:
            await is_up(child)
            (redis,) = redis_processes(tmp)
            os.kill(int(redis.split()[0]), signal.SIGKILL)
            with trio.fail_after(UP_TIMEOUT_S):
                await child.line("^Redis .*The nodes go on")
            reply = await http(f"http://127.0.0.1:{port}/_plugin/cluster/health")
            assert reply.result == "ok"


async def test_when_the_last_node_is_gone_it_ends(tmp: Path) -> None:
    with nothing_left_behind(tmp):
        async with shoal_up(tmp, "--nodes", "1", "--port", str(free_ports(1))) as child:
            with trio.fail_after(UP_TIMEOUT_S):
                await child.line("status")
                listening = await child.line(r"listens at .* \(process (\d+)\)|is ready")
                (node,) = [line for line in processes_of(tmp) if "server serve" in line]
                os.kill(int(node.split()[0]), signal.SIGKILL)
                ended = await child.wait()
    assert listening
    assert ended.exit_code == 1
    assert ended.tail[-1] == "shoal: No node is left."


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_nothing_survives_it_whenever_it_is_ended(tmp: Path, end: signal.Signals) -> None:
    """Also while it starts: it is ended as soon as there is a node process at all."""
    async with shoal_up(tmp, "--port", str(free_ports(3))) as child:
        await eventually(lambda: any("server serve" in line for line in processes_of(tmp)))
        os.kill(child.pid, end)
        with trio.fail_after(UP_TIMEOUT_S):
            await child.wait()
        await eventually(lambda: not processes_of(tmp), "all processes have ended")
        assert list(tmp.iterdir()) == []


async def test_ctrl_c_in_a_terminal_ends_all(tmp: Path) -> None:
    """In a terminal the signal goes to every process of the foreground group; only `up` may take it."""
    with nothing_left_behind(tmp):
        async with in_terminal(tmp, "--port", str(free_ports(3))) as terminal:
            await terminal.shows("Ctrl-C ends all of it.")
            await terminal.shows("kill -9")
            await terminal.shows("ready.*ready.*ready")
            await terminal.press(b"\x03")
            await terminal.shows("Everything that was started has ended.")
            assert await terminal.ended() == 0


async def test_ctrl_c_twice_ends_all_at_once(tmp: Path) -> None:
    with nothing_left_behind(tmp):
        async with in_terminal(tmp, "--port", str(free_ports(3))) as terminal:
            await terminal.shows("kill -9")
            # Paused nodes cannot stop in order.
            for line in processes_of(tmp):
                if "server serve" in line:
                    os.kill(int(line.split()[0]), signal.SIGSTOP)
            await terminal.press(b"\x03")
            await terminal.shows("Ctrl-C once more ends it at once")
            await terminal.press(b"\x03")
            await terminal.shows("Everything that was started has ended.")
            assert await terminal.ended() == 0


async def test_when_nobody_reads_it_any_more_it_ends(tmp: Path) -> None:
    command = f"{sys.executable} -m server up --port {free_ports(3)} | head -1"
    with nothing_left_behind(tmp):
        done = await trio.run_process(
            ["sh", "-c", command], env=environment(tmp), capture_stdout=True, capture_stderr=True
        )
    assert done.stdout.startswith(b"Shoal: 3 nodes on this machine")
    assert done.stderr == b"shoal: Nobody reads what is said here any more.\n"


async def test_a_taken_port_is_told_before_anything_is_started(tmp: Path) -> None:
    port = free_ports(3)
    with nothing_left_behind(tmp), socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port + 1))
        other.listen()
        async with shoal_up(tmp, "--port", str(port)) as child:
            ended = await child.wait()
    assert ended.exit_code == 1
    (message,) = ended.tail
    assert message.startswith(f"shoal: Port {port + 1} is taken, and node 2 of 3 needs it. Stop what uses it")
    advised = re.search(r"take other ports: python -m server up --port (\d+)$", message)
    assert advised is not None
    assert int(advised[1]) > port + 1


async def test_ports_that_do_not_exist_are_refused(tmp: Path) -> None:
    async with shoal_up(tmp, "--port", "65534") as child:
        ended = await child.wait()
    assert ended.exit_code == 2
    assert ended.tail == ("shoal: 3 nodes need the ports 65534 to 65536, and 65535 is the last.",)


async def test_a_node_that_does_not_start_stops_it_all_and_is_quoted(tmp_path: Path) -> None:
    serve = ("sh", "-c", "echo 'the reef is closed' >&2; exit 3")
    options = Options(nodes=2, port=free_ports(2), redis="redis://127.0.0.1:1", serve=serve)
    with pytest.raises(
        ClusterFailed, match=r"(?s)node \d \(port \d+\) ended with exit code 3.*the reef is closed"
    ):
        await run_up(options, Screen())


async def test_nodes_that_never_get_ready_are_told_with_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.cli.up.READY_TIMEOUT_S", 4.0)
    options = Options(nodes=1, port=free_ports(1), redis="redis://127.0.0.1:1")
    with pytest.raises(
        ClusterFailed, match=r"(?s)Not all nodes were ready within 4 s:\n  \S+: joining, .*[Rr]edis"
    ):
        await run_up(options, Screen())


async def test_a_redis_of_ones_own_is_used(tmp: Path) -> None:
    async with redis_server() as redis:
        with nothing_left_behind(tmp):
            async with shoal_up(tmp, "--redis", redis.url, "--port", str(free_ports(3))) as child:
                await is_up(child)
                assert f"and the Redis at {redis.url}." in child.lines[0]
                assert not [
                    line for line in processes_of(tmp) if "redis.sock" in line and "serve" not in line
                ]


class Terminal:
    """A terminal with `shoal up` in its foreground."""

    def __init__(self, process: subprocess.Popen[bytes], screen: trio.lowlevel.FdStream) -> None:
        self._process = process
        self._stream = screen
        self._text = ""

    async def read(self) -> None:
        """Take what is written to the terminal until it is closed."""
        while True:
            try:
                data = await self._stream.receive_some(65_536)
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                return  # what Linux says when the last writer is gone; or the terminal was closed meanwhile
            if not data:
                return
            self._text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data.decode(errors="replace"))

    async def shows(self, pattern: str) -> None:
        """Wait until something was shown."""
        await eventually(
            lambda: re.search(pattern, self._text, re.DOTALL), f"{pattern!r} is shown", UP_TIMEOUT_S
        )

    async def press(self, keys: bytes) -> None:
        """Type something."""
        await self._stream.send_all(keys)

    async def ended(self) -> int:
        """Wait for the end of the program; return its exit code."""
        await eventually(lambda: self._process.poll() is not None, "the program has ended", UP_TIMEOUT_S)
        assert self._process.returncode is not None
        return self._process.returncode


@asynccontextmanager
async def in_terminal(directory: Path, *options: str) -> AsyncIterator[Terminal]:
    """Run `shoal up` in the foreground of a terminal of its own."""
    ours, theirs = pty.openpty()
    # start_new_session and TIOCSCTTY, by a shell's `setsid --ctty`, make Ctrl-C reach the program as a signal.
    command = ["setsid", "--ctty", "--wait", *SHOAL, "up", *options]
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(directory) | {"TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        async with trio.open_nursery() as nursery, trio.lowlevel.FdStream(ours) as stream:
            terminal = Terminal(process, stream)
            nursery.start_soon(terminal.read)
            try:
                yield terminal
            except BaseException:
                print(terminal._text, file=sys.stderr)
                raise
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        process.wait()
