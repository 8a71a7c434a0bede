"""`shoal serve` as a process: how it starts, how it says that it cannot, and how it ends."""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest
import trio

from server.cli.children import PYTHON_M, STOP_GRACE_S, ChildEnded, open_child
from support.http import http
from support.processes import running_cluster, running_node
from support.waiting import TIMEOUT_S, eventually
from support.websocket import websocket

SERVICE_RESTART = 1012


async def ended(*options: str, env: dict[str, str] | None = None) -> ChildEnded:
    """Run `shoal serve` to its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}
    async with open_child(
        "serve", [*PYTHON_M, "server", "serve", *options], env=environment | (env or {})
    ) as child:
        with trio.fail_after(TIMEOUT_S):
            return await child.wait()


async def test_sigterm_stops_it_in_order_and_clients_are_told_to_come_back() -> None:
    async with running_node() as node, websocket(node.ws_url) as client:
        node.terminate()
        closed = await client.ended()
        assert closed.code == SERVICE_RESTART
        assert (await node.ended()).exit_code == 0


async def test_sigint_stops_it_in_order() -> None:
    async with running_node() as node:
        os.kill(node.pid, signal.SIGINT)
        assert (await node.ended()).exit_code == 0


async def test_a_closed_terminal_stops_it_in_order_unless_it_is_told_not_to_mind() -> None:
    async with running_node() as node, running_node(prefix=["nohup"]) as unmoved:
        for pid in (node.pid, unmoved.pid):
            os.kill(pid, signal.SIGHUP)
        assert (await node.ended()).exit_code == 0
        assert (await unmoved.get("/_healthcheck")).status == 200


async def test_a_second_signal_ends_it_at_once() -> None:
    """A client that does not close its side holds up the first stop, but not the second."""
    async with running_node(settings={"limits.stop_s": 600, "limits.close_s": 600}) as node:
        with socket.create_connection(("127.0.0.1", node.port)) as rude:
            handshake = (
                "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            rude.sendall(handshake.encode())
            assert await trio.to_thread.run_sync(rude.recv, 1000)
            node.terminate()
            assert await trio.to_thread.run_sync(rude.recv, 1000)  # the close frame, which stays unanswered
            node.terminate()
            assert (await node.ended()).exit_code == -signal.SIGTERM


async def test_it_stops_when_whoever_started_it_is_gone() -> None:
    async with running_node() as node:
        assert node.child.process.stdin is not None
        await node.child.process.stdin.aclose()
        assert (await node.ended()).exit_code == 0


STUBBORN = """
import time
import trio
from server.plugin import Plugin

class Stubborn(Plugin):
    name = "stubborn"

    async def run(self, *, task_status):
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            time.sleep(3_600)
"""


@pytest.mark.slow
async def test_even_a_node_that_hangs_ends_when_whoever_started_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    environment = dict(os.environ) | {
        "PYTHONPATH": str(tmp_path),
        "SHOAL_SERVER_PLUGINS": "stubborn:Stubborn",
    }
    command = [*PYTHON_M, "server", "serve", "--port", "0", "--stop-with-stdin"]
    async with open_child("stubborn", command, env=environment) as child:
        with trio.fail_after(TIMEOUT_S):
            await child.line("listening on")
        assert child.process.stdin is not None
        await child.process.stdin.aclose()
        with trio.fail_after(STOP_GRACE_S + TIMEOUT_S):
            assert (await child.wait()).exit_code == -signal.SIGALRM


async def test_a_taken_port_ends_it_with_1_and_a_way_out() -> None:
    async with running_node() as node:
        end = await ended("--port", str(node.port), env={"SHOAL_SERVER_PLUGINS": ""})
    assert end.exit_code == 1
    assert re.search(rf"^shoal: .*\b{node.port}\b", end.tail[0])
    assert "Traceback" not in "\n".join(end.tail)


async def test_a_configuration_that_cannot_be_used_ends_it_with_2(tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text("[server]\nprot = 1\n")
    end = await ended("--config", str(file), "--host", "")
    assert end.exit_code == 2
    assert end.tail[0] == "shoal: The configuration cannot be used:"
    assert f'  file {file}: [server] has no key "prot" (did you mean "port"?)' in end.tail[1]


async def test_flags_are_settings() -> None:
    async with running_cluster(1, settings={"server.name": "by-environment"}) as (node,):
        command = [*PYTHON_M, "server", "serve", "--stop-with-stdin", "--port", "0", "--name", "by-flag"]
        command += [
            "--redis",
            "redis://127.0.0.1:1",
            "--pub",
            "tcp://127.0.0.1:0",
            "--router",
            "tcp://127.0.0.1:*",
        ]
        async with open_child("by flags", command) as child:
            with trio.fail_after(TIMEOUT_S):
                said = await child.line(r"^shoal by-flag listening on (\S+)$")
            health = await http(f"{said[1]}/_plugin/cluster/health")
            assert health.status == 503
        assert node.id == "by-environment"


async def test_the_commands_talk_to_a_real_cluster() -> None:
    async with running_cluster(2) as (first, second):

        async def shoal(command: str, *options: str) -> tuple[int, str]:
            done = await trio.run_process(
                [sys.executable, "-m", "server", command, "--url", first.url, *options],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            return done.returncode, (done.stdout + done.stderr).decode()

        assert await shoal("health") == (0, "ok\n")
        assert await shoal("reset") == (0, "ok\n")
        code, table = await shoal("status")
        assert code == 0
        assert re.search(rf"^ {first.id} +live .*{re.escape(first.url)}", table, re.MULTILINE)
        assert second.id in table
        code, text = await shoal("status", "--json")
        assert json.loads(text)["count"] == 2
        second.kill()

        async def one_is_left() -> bool:
            return (await shoal("status"))[1].startswith("1 node")

        await eventually(one_is_left)


async def test_a_node_at_rest_needs_less_than_60_mb() -> None:
    async with running_cluster(3) as nodes:
        for node in nodes:
            found = re.search(
                r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{node.pid}/status").read_text(), re.MULTILINE
            )
            assert found is not None
            assert int(found[1]) < 60_000
