"""TLS of a real node: what it says of itself, how commands ask it, and what SIGHUP means to it and to its workers."""

import os
import pty
import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from server.cli.children import LISTENING, PYTHON_M
from support.certificates import Authority, Certificate
from support.leftovers import environment, nothing_left_behind
from support.processes import Node, redis_server, running_node
from support.tls import opener, replace, settings_for, shown_name
from support.waiting import TIMEOUT_S, eventually
from support.websocket import websocket
from support.workers import NO_REDIS, running_workers, workers_of

SERVICE_RESTART = 1012


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def own(authority: Authority) -> Certificate:
    """The node's, in files that a test may change."""
    return authority.issue("own", "127.0.0.1")


def said(node: Node, event: str) -> int:
    return sum(event in line for line in node.log)


async def shoal(*words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = await trio.run_process(
        [sys.executable, "-m", "server", *words],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=os.environ | (env or {}),
    )
    return done.returncode, (done.stdout + done.stderr).decode()


async def test_the_commands_ask_a_node_with_tls(authority: Authority, own: Certificate) -> None:
    ca, connect = str(authority.certificate), opener(authority)
    async with (
        redis_server() as redis,
        running_node(
            redis=redis.url, ready=1, settings=settings_for(own) | {"log.format": "json"}, open_stream=connect
        ) as node,
    ):
        assert node.url == f"https://127.0.0.1:{node.port}"
        assert said(node, '"certificate in use"') == 1
        assert (await node.get("/_plugin/cluster/status")).result["current"]["url"] == node.url

        assert await shoal("health", "--url", node.url, "--ca", ca) == (0, "ok\n")
        assert await shoal("health", env={"SHOAL_URL": node.url, "SSL_CERT_FILE": ca}) == (0, "ok\n")
        assert await shoal("reset", "--url", node.url, "--ca", ca) == (0, "ok\n")
        code, table = await shoal("status", "--url", node.url, "--ca", ca)
        assert (code, node.url in table) == (0, True)

        code, text = await shoal("status", "--url", node.url)
        assert code == 1
        assert "its certificate is not believed" in text
        assert "--ca says whom to believe" in text
        elsewhere = ("--url", f"https://localhost:{node.port}", "--ca", ca)
        status = (await node.get("/_plugin/cluster/status")).result
        assert status["current"]["clients"]["handshakes_failed"] == 1
        code, text = await shoal("status", *elsewhere)
        assert code == 1
        assert "--tls-name says which name to expect" in text
        assert (await shoal("status", *elsewhere, "--tls-name", "127.0.0.1"))[0] == 0
        assert (await shoal("status", *elsewhere, env={"SHOAL_TLS_NAME": "127.0.0.1"}))[0] == 0
        code, text = await shoal("health", "--url", f"http://127.0.0.1:{node.port}")
        assert code == 2
        assert "this port speaks TLS: write https://" in text
        assert await shoal("drain", "--url", node.url, "--ca", ca) == (0, "drained\n")
        code, text = await shoal("health", "--url", node.url, "--ca", "/nowhere")
        assert (code, text) == (2, "shoal: /nowhere cannot be used (--ca): No such file or directory.\n")
    async with running_node() as plain:
        code, text = await shoal("health", "--url", f"https://127.0.0.1:{plain.port}", "--ca", ca)
        assert (code, "this port does not speak TLS: write http://" in text) == (2, True)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_files_that_cannot_be_used_stop_the_start(
    tmp_path: Path, own: Certificate, workers: str
) -> None:
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    own.key.unlink()
    env = {"SHOAL_SERVER_TLS_CERTIFICATE": str(own.certificate), "SHOAL_SERVER_TLS_KEY": str(own.key)}
    with nothing_left_behind(tmp):
        code, text = await shoal(
            "serve", "--port=0", f"--workers={workers}", f"--redis={NO_REDIS}", env=environment(tmp) | env
        )
    assert code == 2
    assert text == (
        "shoal: The configuration cannot be used:\n"
        f"  server.tls_key: {own.key} cannot be read: No such file or directory\n"
    )
    del env["SHOAL_SERVER_TLS_KEY"]
    code, text = await shoal("serve", "--port=0", env=environment(tmp) | env)
    assert code == 2
    assert "tls_certificate is set without tls_key" in text


# -- SIGHUP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [[], ["nohup"]], ids=["", "nohup"])
async def test_sighup_makes_it_read_its_certificate_anew(
    authority: Authority, own: Certificate, prefix: list[str]
) -> None:
    connect = opener(authority)
    async with (
        running_node(settings=settings_for(own), open_stream=connect, prefix=prefix) as node,
        websocket(node.ws_url, connect) as client,
    ):
        assert await shown_name("127.0.0.1", node.port, authority) == "own"
        replace(own, authority.issue("renewed", "127.0.0.1"))
        os.kill(node.pid, signal.SIGHUP)
        await eventually(lambda: said(node, "certificate in use") == 2)
        assert await shown_name("127.0.0.1", node.port, authority) == "renewed"

        own.key.write_text("")
        os.kill(node.pid, signal.SIGHUP)
        await eventually(lambda: said(node, "certificate not replaced") == 1)
        assert await shown_name("127.0.0.1", node.port, authority) == "renewed"
        assert await client.result("server", "now")

        node.terminate()
        assert (await client.ended()).code == SERVICE_RESTART
        assert (await node.ended()).exit_code == 0


IN_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("tls", [True, False])
async def test_a_closed_terminal_stops_it_also_with_tls_and_a_signal_alone_does_not(
    authority: Authority, own: Certificate, tls: bool
) -> None:
    master, slave = pty.openpty()
    settings = {"SHOAL_SERVER_TLS_CERTIFICATE": str(own.certificate), "SHOAL_SERVER_TLS_KEY": str(own.key)}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", IN_A_TERMINAL, *PYTHON_M[1:], "server", "serve", "--port=0"],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"SHOAL_SERVER_PLUGINS": ""} | (settings if tls else {}),
    )
    os.close(slave)
    assert process.stdout is not None
    try:
        with trio.fail_after(TIMEOUT_S):
            found = re.match(LISTENING, (await process.stdout.receive_some()).decode(), re.MULTILINE)
            assert found is not None
            if tls:
                port = int(found["url"].rpartition(":")[2])
                replace(own, authority.issue("renewed", "127.0.0.1"))
                process.send_signal(signal.SIGHUP)

                async def is_renewed() -> bool:
                    return await shown_name("127.0.0.1", port, authority) == "renewed"

                await eventually(is_renewed)
            os.close(master)
            assert await process.wait() == 0
    finally:
        process.kill()
        await process.stdout.aclose()


async def test_sighup_is_passed_on_to_all_workers_and_to_one_that_starts(
    authority: Authority, own: Certificate, tmp_path: Path
) -> None:
    connect = opener(authority)

    async def shown() -> set[str]:
        return {await shown_name("127.0.0.1", server.port, authority) for _ in range(20)}

    async with running_workers(2, settings=settings_for(own), open_stream=connect) as server:
        assert server.url.startswith("https://")
        assert await shown() == {"own"}
        replace(own, authority.issue("renewed", "127.0.0.1"))
        os.kill(server.pid, signal.SIGHUP)
        await eventually(lambda: said(server, "certificate in use") == 4)
        assert await shown() == {"renewed"}

        # One that starts is told as soon as it can hear it: it may have read the former files.
        before = workers_of(server.pid)
        os.kill(before["a-1"], signal.SIGKILL)
        await eventually(lambda: workers_of(server.pid).get("a-1", before["a-1"]) != before["a-1"])
        os.kill(server.pid, signal.SIGHUP)
        await eventually(lambda: said(server, "certificate in use") == 7)
        assert len(workers_of(server.pid)) == 2
        server.terminate()
        assert (await server.ended()).exit_code == 0


async def test_a_client_that_believes_nobody_is_told_of_once(authority: Authority, own: Certificate) -> None:
    stranger = ssl.create_default_context()
    async with running_node(settings=settings_for(own), open_stream=opener(authority)) as node:
        for _ in range(3):
            stream = trio.SSLStream(
                await trio.open_tcp_stream("127.0.0.1", node.port), stranger, server_hostname="127.0.0.1"
            )
            with pytest.raises(trio.BrokenResourceError):
                await stream.do_handshake()
            await trio.aclose_forcefully(stream)
        await eventually(lambda: said(node, "tls handshake failed") == 2)
        assert not any("Traceback" in line for line in node.log)
