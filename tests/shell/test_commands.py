"""What the commands say and how they end, in front of stand-ins for a node that answer whatever is wanted."""

import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from server.cli.children import PYTHON_M, open_child
from server.cli.client import NoAnswer, ask
from server.cli.commands import COMMANDS, shoal
from server.cli.reference import bundled_tables, reference
from server.cli.status_table import REMARKS_AT_MOST, age, remarks, status_table
from server.cli.up_screen import NodeView, Screen, node_table
from support.waiting import eventually

NOT_READY = {
    "status": 503,
    "error": {
        "id": "cluster.node.not_ready",
        "message": "ko",
        "props": ["no Redis at redis://x"],
        "status": 503,
    },
    "result": None,
}

STATUS = {
    "count": 2,
    "current": {
        "id": "brave-otter-3f9c",
        "state": "live",
        "ready": True,
        "rooms": 7,
        "url": "http://127.0.0.1:7512",
        "pub": "tcp://127.0.0.1:7511",
        "router": "tcp://127.0.0.1:7510",
        "version": "0.1.0",
        "started_at": 1_000_000,
    },
    "pool": [{"id": "calm-crab-0001", "state": "silent"}],
    "unreachable": [{"id": "dry-eel-0002", "state": "down"}],
}


STATUS_NOT_READY = {
    "count": 1,
    "current": {
        "id": "brave-otter-3f9c",
        "state": "joining",
        "ready": False,
        "reasons": ["the pool cannot be read: no Redis", "1 of at least 2 nodes are here"],
        "pool": {"reachable": False, "error": "no Redis"},
    },
    "pool": [],
    "unreachable": [],
    "foreign": [{"id": "old-cod-0003", "reason": "old-cod-0003 speaks version 1"}],
    "refused_by": [
        {"id": None, "router": "tcp://10.0.0.5:7510", "reason": "another secret"},
        {"id": "calm-crab-0001", "router": "tcp://10.0.0.6:7510", "reason": "another name"},
    ],
}


def success(result: Any) -> dict[str, Any]:
    return {"status": 200, "error": None, "result": result}


@contextmanager
def answering(body: Any, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """Answer every request with the same; give the URL, and a list that fills with the requests."""
    asked: list[str] = []
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            asked.append(f"{self.command} {self.path} {body}".rstrip())
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 (the base class calls it so)

        def log_message(self, *_: Any) -> None:
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def silent() -> Iterator[str]:
    """Take connections and never say a word; give the URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(shoal, arguments, env=env, prog_name="shoal")


# -- The commands themselves ---------------------------------------------------------------------------------------


def test_the_help_explains_every_command() -> None:
    shown = run("--help").output
    for name in COMMANDS:
        assert re.search(rf"^  {name}  +\w", shown, re.MULTILINE), name


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str) -> None:
    shown = run(name, "-h")
    assert shown.exit_code == 0
    assert f"Usage: shoal {name}" in shown.output


def test_an_unknown_command_is_a_misuse() -> None:
    shown = run("serv")
    assert shown.exit_code == 2
    assert "No such command 'serv'" in shown.stderr


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"shoal \d+\.\d+\.\d+\n", run("--version").output)


# -- status, health, reset -----------------------------------------------------------------------------------------


def test_status_shows_every_node() -> None:
    with answering(success(STATUS)) as (url, asked):
        shown = run("status", "--url", url)
    assert asked == ["GET /_plugin/cluster/status"]
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0].strip() == "2 nodes, 1 unreachable"
    assert re.search(
        r"brave-otter-3f9c +live +7 +http://127.0.0.1:7512 .* 0\.1\.0 +tcp://127.0.0.1:7511", shown.output
    )
    assert re.search(r"calm-crab-0001 +silent", shown.output)
    assert re.search(r"dry-eel-0002 +down", shown.output)


def test_status_of_a_node_that_is_not_ready_says_why_and_who_does_not_work_with_it() -> None:
    with answering(success(STATUS_NOT_READY)) as (url, _):
        shown = run("status", "--url", url)
    assert shown.exit_code == 0, "it was answered"
    assert re.search(r"brave-otter-3f9c +joining", shown.output)
    assert [line for line in shown.output.splitlines() if ": " in line] == [
        "brave-otter-3f9c is not ready: the pool cannot be read: no Redis",
        "brave-otter-3f9c is not ready: 1 of at least 2 nodes are here",
        "tcp://10.0.0.5:7510 does not let brave-otter-3f9c in: another secret",
        "calm-crab-0001 does not let brave-otter-3f9c in: another name",
        "old-cod-0003 cannot work with brave-otter-3f9c: old-cod-0003 speaks version 1",
    ]


def test_status_as_json_is_the_result_and_nothing_else() -> None:
    with answering(success(STATUS)) as (url, _):
        assert json.loads(run("status", "--url", url, "--json").output) == STATUS


def test_the_url_may_come_from_the_environment_and_end_with_a_slash() -> None:
    with answering(success("ok")) as (url, asked):
        assert run("health", env={"SHOAL_URL": f"{url}/"}).exit_code == 0
        assert run("health", env={"SHOAL_URL": f"{url}/under/a/path/"}).exit_code == 0
    assert asked == ["GET /_plugin/cluster/health", "GET /under/a/path/_plugin/cluster/health"]


def test_health_of_a_ready_node_is_0() -> None:
    with answering(success("ok")) as (url, _):
        shown = run("health", "--url", url)
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "ok\n", "")


def test_health_of_a_node_that_is_not_ready_is_1_and_says_why() -> None:
    with answering(NOT_READY, 503) as (url, _):
        shown = run("health", "--url", url)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr == f"shoal: The node at {url} is not ready: no Redis at redis://x\n"


def test_health_is_2_when_nothing_answers(unused_url: str) -> None:
    shown = run("health", "--url", unused_url)
    assert shown.exit_code == 2
    assert f"No node answers at {unused_url} (connection refused)" in shown.stderr
    assert "Start a cluster with `shoal up`, or name a running node with --url." in shown.stderr


def test_reset_posts() -> None:
    with answering(success("ok")) as (url, asked):
        assert run("reset", "--url", url).output == "ok\n"
    assert asked == ["POST /_plugin/cluster/reset"]


@pytest.mark.parametrize("command", ["reset", "drain"])
@pytest.mark.parametrize(
    ("arguments", "env"), [(["--token", "secret"], {}), ([], {"SHOAL_CLUSTER_ADMIN_TOKEN": "secret"})]
)
def test_what_changes_the_cluster_gives_the_token(
    command: str, arguments: list[str], env: dict[str, str]
) -> None:
    with answering(success({"clients": 0})) as (url, asked):
        assert run(command, "--url", url, *arguments, env=env).exit_code == 0
    assert asked == [f'POST /_plugin/cluster/{command} {{"token": "secret"}}']


def test_drain_waits_until_nobody_is_left() -> None:
    with answering(success({"clients": 0})) as (url, _):
        assert run("drain", "--url", url).output == "drained\n"
    with answering(success({"clients": 3})) as (url, asked):
        shown = run("drain", "--url", url, "--wait", "0.3")
    assert (shown.exit_code, shown.stdout) == (1, "3 clients are still attached\n")
    assert "still has 3 clients" in shown.stderr
    assert len(asked) > 1


@pytest.mark.parametrize("command", ["status", "reset"])
def test_a_refusal_is_told_and_ends_with_1(command: str, unused_url: str) -> None:
    with answering(NOT_READY, 503) as (url, _):
        refused = run(command, "--url", url)
    assert refused.exit_code == 1
    assert "no Redis at redis://x" in refused.stderr
    assert run(command, "--url", unused_url).exit_code == 1


@pytest.mark.parametrize(
    "url", ["127.0.0.1:7512", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://[x"]
)
def test_a_url_that_is_none_is_a_misuse(url: str) -> None:
    shown = run("status", "--url", url)
    assert shown.exit_code == 2
    assert "is not an HTTP URL such as http://127.0.0.1:7512" in shown.stderr


async def test_watch_shows_the_cluster_again_and_again_until_ctrl_c() -> None:
    with answering(success(STATUS)) as (url, asked):
        async with open_child("watch", [*PYTHON_M, "server", "watch", "--url", url]) as child:
            await eventually(lambda: len(asked) >= 2, "it asked twice")
            await child.line(f"as {url} sees it at")
            child.process.send_signal(signal.SIGINT)
            assert (await child.wait()).exit_code == 0


async def test_watch_shows_why_a_node_is_not_ready() -> None:
    with answering(success(STATUS_NOT_READY)) as (url, _):
        async with open_child("watch", [*PYTHON_M, "server", "watch", "--url", url]) as child:
            await child.line("brave-otter-3f9c is not ready: the pool cannot be read: no Redis")


async def test_watch_goes_on_when_the_node_does_not_answer(unused_url: str) -> None:
    async with open_child("watch", [*PYTHON_M, "server", "watch", "--url", unused_url]) as child:
        await child.line("No node answers at")
        assert child.exit_code is None


# -- Asking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"\xff", b""])
def test_what_is_not_a_node_is_told_apart(body: bytes) -> None:
    with answering(body) as (url, _), pytest.raises(NoAnswer, match="is not a Shoal node"):
        ask(url, "/")


def test_a_node_that_does_not_answer_in_time_is_told() -> None:
    with silent() as url, pytest.raises(NoAnswer, match="it did not answer in time"):
        ask(url, "/", timeout_s=0.05)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://no-such-host.invalid", "its host name is not known"),
        ("http://" + "x" * 300, "its host name is not known"),
    ],
)
def test_a_host_that_does_not_exist_is_told(url: str, said: str) -> None:
    with pytest.raises(NoAnswer, match=said):
        ask(url, "/")


def test_plain_http_where_https_was_asked_for_is_told() -> None:
    with answering(success("ok")) as (url, _), pytest.raises(NoAnswer, match="No secure connection"):
        ask(url.replace("http", "https"), "/")


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, unused_url: str) -> None:
    monkeypatch.setenv("http_proxy", unused_url)
    with answering(success("ok")) as (url, _):
        assert ask(url, "/").result == "ok"


# -- Tables --------------------------------------------------------------------------------------------------------


def shown(renderable: Any, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("started_at", "text"),
    [
        (1_000_000, "0 s"),
        (941_000, "59 s"),
        (940_000, "1 m 0 s"),
        (1_000_000 - 3_661_000, "1 h 1 m"),
        (1_000_000 - 90_000_000, "1 d 1 h"),
        (2_000_000, "0 s"),
        (None, ""),
        (0, ""),
        ("then", ""),
    ],
)
def test_the_age_of_a_node_is_told_in_its_two_largest_units(started_at: object, text: str) -> None:
    assert age(started_at, 1_000.0) == text


def test_the_status_fits_into_an_ordinary_terminal() -> None:
    text = shown(status_table(STATUS, 1_000.0, is_wide=False))
    assert "http://127.0.0.1:7512" in text
    assert "tcp://" not in text


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"current": None, "pool": None},
        {"count": 0, "pool": [{}]},
        {"current": {"ready": False}, "foreign": [{}], "refused_by": [{}]},
    ],
)
def test_an_answer_of_another_version_is_shown_as_far_as_it_goes(status: dict[str, Any]) -> None:
    assert "node" in shown(status_table(status, 0.0, is_wide=True))
    assert len(remarks(status)) == (3 if "foreign" in status else 0)


def test_a_ready_node_without_a_pool_says_that_and_a_healthy_one_nothing() -> None:
    away = {"id": "a", "ready": True, "pool": {"reachable": False, "error": "no Redis"}}
    assert [str(line) for line in remarks({"current": away})] == ["a finds no other nodes: no Redis"]
    assert remarks(STATUS) == []


def test_a_node_that_is_live_and_not_ready_is_shown_as_that() -> None:
    status = {"current": {"state": "live", "ready": True}, "pool": [{"state": "live", "ready": False}]}
    assert shown(status_table(status, 0.0, is_wide=False)).count("live") == 2
    assert shown(status_table(status, 0.0, is_wide=False)).count("live, not ready") == 1


def test_there_are_not_more_remarks_than_somebody_reads() -> None:
    lines = remarks({"foreign": [{"id": str(number)} for number in range(1000)]})
    assert len(lines) == REMARKS_AT_MOST + 1
    assert str(lines[-1]) == f"… and {1000 - REMARKS_AT_MOST} more"


def test_the_table_of_up_fits_into_an_ordinary_terminal_in_every_state() -> None:
    views = [
        NodeView(number=1, port=7512),
        NodeView(
            number=2,
            port=7513,
            id="energetic-albatross-ffff",
            url="http://127.0.0.1:7513",
            pid=1234567,
            state="joining",
        ),
        NodeView(
            number=3, port=7514, id="b", url="http://127.0.0.1:7514", pid=3, state="ready", count=3, rooms=12
        ),
        NodeView(number=4, port=7515, id="c", state="not ready", reason="no Redis"),
        NodeView(number=5, port=7516, id="d", state="ended", reason="was ended by SIGKILL"),
    ]
    text = shown(node_table(views), width=100)
    assert all(len(line) <= 100 for line in text.splitlines())
    for said in (
        "node 1",
        "energetic-albatross-ffff",
        "port 7512",
        "12",
        "3 nodes",
        "no Redis",
        "SIGKILL",
    ):
        assert said in text


def test_without_a_terminal_each_change_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(Console(width=80))
    node = NodeView(number=1, port=7512)
    with screen:
        for state, reason, count in [
            ("starting", "", 0),
            ("joining", "", 0),
            ("joining", "", 0),
            ("ready", "", 1),
            ("ready", "", 3),
            ("ready", "", 3),
            ("ended", "was ended by SIGKILL", 3),
        ]:
            node.state, node.reason, node.count = state, reason, count
            screen.show([node])
            node.id, node.url, node.pid = "brave-otter-3f9c", "http://127.0.0.1:7512", 42
        screen.say("x" * 100, "[not markup]")
    assert capsys.readouterr().out.splitlines() == [
        "brave-otter-3f9c listens at http://127.0.0.1:7512 (process 42)",
        "brave-otter-3f9c is ready and sees 1 node",
        "brave-otter-3f9c is ready and sees 3 nodes",
        "brave-otter-3f9c: ended (was ended by SIGKILL)",
        "x" * 100,
        "[not markup]",
    ]


# -- config --------------------------------------------------------------------------------------------------------


def test_config_shows_each_value_and_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text('[cluster]\nsecret = "sixteen letters!"\nredis = "redis://u:pw@h"\n')
    shown = run("config", env={"SHOAL_CONFIG": str(file), "SHOAL_SERVER_PORT": "8000"})
    assert shown.exit_code == 0
    assert "server.port = 8000  # environment SHOAL_SERVER_PORT\n" in shown.output
    assert 'server.host = "127.0.0.1"  # default\n' in shown.output
    assert f"cluster.secret = ***  # file {file}\n" in shown.output
    assert f'cluster.redis = "redis://u:***@h"  # file {file}\n' in shown.output


@pytest.mark.parametrize("command", ["config", "serve"])
def test_a_configuration_that_cannot_be_used_ends_with_2_and_all_its_problems(command: str) -> None:
    shown = run(command, env={"SHOAL_SERVER_PORT": "x", "SHOAL_CLUSTER_SECRET": "short"})
    assert shown.exit_code == 2
    assert "environment SHOAL_SERVER_PORT: server.port must be a whole number, not 'x'" in shown.stderr


def test_what_the_reference_says_is_what_there_is() -> None:
    """When this fails: `make docs`."""
    file = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
    assert file.read_text() == reference(bundled_tables())
    assert run("config", "--reference").output == file.read_text()


def test_every_setting_says_what_it_is() -> None:
    for text in re.findall(r"^### (\S+)\n\n(.*)\n", reference(bundled_tables()), re.MULTILINE):
        assert len(text[1]) > 10, f"{text[0]} has no help"


def test_a_node_does_not_pay_for_the_tables_of_other_commands() -> None:
    """In a process of its own, since this one has rich."""
    program = """
import sys
from server.cli.commands import shoal
shoal.get_command(None, "serve")
assert "server.node" in sys.modules
assert "structlog" in sys.modules
assert "rich" not in sys.modules
import rich.table  # whoever wants it, such as a plugin, gets it
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
