"""A node with real sockets: it serves when its plugins are started, and stops in order."""

import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio_websocket import CloseReason

from server.adapters.listening import ListenError
from server.config import LoadedConfig, LogConfig, ServerConfig
from server.core.identity import NodeInfo
from server.core.limits import Limits
from server.logs import open_log
from server.node import run_node
from server.plugin import NoConfig, Plugin, PluginError, Request, action
from support.websocket import websocket

TIMEOUT_S = 20.0

HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


class Scene:
    """What the plugin below did, and what it waits for."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.may_start = trio.Event()
        self.may_leave = trio.Event()
        self.may_answer = trio.Event()


def actor_in(scene: Scene) -> type[Plugin]:
    class Controller:
        name = "stage"

        @action(http=[("GET", "/wait")])
        async def wait(self, _request: Request) -> str:
            scene.events.append("asked")
            await scene.may_answer.wait()
            return "done"

    class Actor(Plugin):
        name = "actor"

        def controllers(self) -> Any:
            return [Controller()]

        async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
            scene.events.append(f"starting at {self.context.node.url()}")
            await scene.may_start.wait()
            task_status.started()
            scene.events.append("started")
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    scene.events.append("leaving")
                    await scene.may_leave.wait()

    return Actor


def configured(*plugins: type[Plugin], **server: Any) -> LoadedConfig:
    return LoadedConfig(
        server=ServerConfig(**{"port": 0, "name": "actor-node", **server}),
        plugins={cls.name: (cls, NoConfig()) for cls in plugins},
    )


@asynccontextmanager
async def serving(config: LoadedConfig) -> AsyncIterator[tuple[NodeInfo, trio.CancelScope]]:
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            info = await nursery.start(run_node, config)
            yield info, nursery.cancel_scope
            nursery.cancel_scope.cancel()


async def get(url: str, path: str, headers: str = "Connection: close\r\n") -> tuple[int, Any]:
    """Return status and body of one HTTP request."""
    host, port = re.fullmatch(r"http://(.+):(\d+)", url).groups()  # type: ignore[union-attr] # it is a URL
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        answer = b"".join([data async for data in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def test_a_node_says_that_it_serves(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(configured()) as (info, _):
        assert (await get(info.url(), "/_now"))[0] == 200
        assert info.id == "actor-node"
    out, err = capsys.readouterr()
    assert out == f"shoal actor-node listening on {info.url()}\n"
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["serving", "stopped"]


@pytest.mark.parametrize(
    ("server", "url"),
    [({"name": ""}, r"http://127\.0\.0\.1:\d+"), ({"url": "https://shop.example"}, r"https://shop\.example")],
)
async def test_a_node_has_a_name_and_an_address(server: dict[str, Any], url: str) -> None:
    async with serving(configured(**server)) as (info, _):
        assert re.fullmatch(r"actor-node|[a-z]+-[a-z]+-[0-9a-f]{4}", info.id)
        assert re.fullmatch(url, info.url())


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_a_node_that_listens_everywhere_is_reached_by_its_machines_name(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(configured(host=host)) as (info, _):
        assert f"http://{info.host}:" in info.url()
    assert "listening on http://127.0.0.1:" in capsys.readouterr().out


async def test_an_ipv6_address_is_written_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(configured(host="::1")) as (info, _):
        assert info.url().startswith("http://[::1]:")


async def test_requests_wait_until_the_plugins_are_started() -> None:
    scene = Scene()
    scene.may_leave.set()
    answers: list[tuple[int, Any]] = []

    async def ask(url: str, path: str) -> None:
        answers.append(await get(url, path))

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_node, configured(actor_in(scene)))
            while not scene.events:
                await trio.lowlevel.checkpoint()
            url = scene.events[0].removeprefix("starting at ")
            assert (await get(url, "/_ready"))[0] == 503
            async with trio.open_nursery() as asking:
                asking.start_soon(ask, url, "/_now")
                assert (await get(url, "/_healthcheck"))[0] == 200
                assert answers == []
                scene.may_start.set()
            assert answers[0][0] == 200
            assert (await get(url, "/_ready"))[0] == 200
            nursery.cancel_scope.cancel()


async def test_a_node_stops_in_order() -> None:
    scene = Scene()
    scene.may_start.set()
    scene.may_leave.set()
    answers: list[tuple[int, Any]] = []
    ends: list[CloseReason] = []

    async def ask(url: str, path: str) -> None:
        answers.append(await get(url, path))

    async def attend(url: str) -> None:
        async with websocket(url) as client:
            await client.send({"controller": "actor/stage", "action": "wait"})
            ends.append(await client.ended())
            assert [frame["result"] for frame in client.received] == ["done"]

    async with trio.open_nursery() as clients, serving(configured(actor_in(scene))) as (info, scope):
        url = info.url()
        clients.start_soon(attend, url.replace("http", "ws"))
        while "asked" not in scene.events:
            await trio.lowlevel.checkpoint()
        scope.cancel()
        with trio.CancelScope(shield=True):
            while (await get(url, "/_ready"))[0] == 200:
                pass
            # The client has a request under way, so it is still there, and the node serves.
            status, answer = await get(url, "/_ready")
            assert (status, answer["error"]["props"]) == (503, ["the node is stopping"])
            assert (await get(url, "/_now"))[0] == 200
            assert (await get(url, "/", HANDSHAKE))[0] == 503
            clients.start_soon(ask, url, "/_plugin/actor/wait")
            while scene.events.count("asked") < 2:
                await trio.lowlevel.checkpoint()
            assert "leaving" not in scene.events
            scene.may_answer.set()
    # What was under way is answered before anybody leaves.
    assert [(status, answer["result"]) for status, answer in answers] == [(200, "done")]
    assert [end.code for end in ends] == [1012]
    assert scene.events[1:] == ["started", "asked", "asked", "leaving"]


async def test_a_plugin_that_does_not_leave_keeps_no_client(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    err = ""
    scene.may_start.set()
    config = attrs.evolve(configured(actor_in(scene)), limits=Limits(stop_s=0.05))
    async with serving(config) as (info, scope):
        stream = await trio.open_tcp_stream("127.0.0.1", int(info.url().rpartition(":")[2]))
        scope.cancel()
        with trio.CancelScope(shield=True):
            # An idle client: the node ends the connection before the plugin has to leave.
            assert await stream.receive_some() == b""
            while "plugins slow to leave" not in (err := err + capsys.readouterr().err):
                await trio.lowlevel.checkpoint()
            scene.may_leave.set()
            await stream.aclose()


class Faulty(Plugin):
    name = "faulty"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        raise OSError("no such device")


class FaultyLater(Plugin):
    name = "faulty"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.lowlevel.checkpoint()
        raise OSError("no such device")


@pytest.mark.parametrize("cls", [Faulty, FaultyLater])
async def test_a_plugin_that_fails_ends_the_node_with_its_reason(
    cls: type[Plugin], capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        trio.fail_after(TIMEOUT_S),
        pytest.raises(PluginError, match='"faulty" failed: OSError: no such device'),
    ):
        await run_node(configured(cls))
    # Who runs the node needs the reason; who wrote the plugin needs the place.
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "plugin failed" in text]
    assert json.loads(line)["exception"][0]["frames"]


class Explains(Plugin):
    name = "faulty"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        raise PluginError("no such device: plug it in") from OSError("no such device")


async def test_a_plugin_that_explains_its_failure_has_the_only_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with trio.fail_after(TIMEOUT_S), pytest.raises(PluginError, match=r"^no such device: plug it in$"):
        await run_node(configured(Explains))
    assert "plugin failed" not in capsys.readouterr().err


async def test_an_address_that_is_taken_ends_the_node_with_its_reason() -> None:
    async with serving(configured()) as (info, _):
        port = int(info.url().rpartition(":")[2])
        with pytest.raises(ListenError, match="another program has this port"):
            await run_node(configured(port=port))


# -- The log ---------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def logged(config: LogConfig, stream: io.StringIO) -> str:
    log = open_log(config, stream)
    log.debug("small")
    password = "hunter2"
    try:
        raise RuntimeError("oops")
    except RuntimeError:
        log.exception("big", client="x")
    assert password not in stream.getvalue()
    return stream.getvalue()


@pytest.mark.parametrize("log_format", ["auto", "json"])
def test_machines_read_json_one_object_per_line(log_format: Any) -> None:
    (line,) = logged(LogConfig(format=log_format), io.StringIO()).splitlines()
    read = json.loads(line)
    assert (read["event"], read["level"], read["client"]) == ("big", "error", "x")
    assert read["exception"][0]["exc_type"] == "RuntimeError"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", read["timestamp"])


@pytest.mark.parametrize(("log_format", "stream"), [("auto", Terminal()), ("console", io.StringIO())])
def test_people_read_sentences(log_format: Any, stream: io.StringIO) -> None:
    text = logged(LogConfig(format=log_format), stream)
    assert "big" in text
    assert "RuntimeError" in text
    assert not text.startswith("{")


def test_what_is_not_severe_enough_is_not_logged() -> None:
    assert "small" not in logged(LogConfig(), io.StringIO())
    assert "small" in logged(LogConfig(level="debug"), io.StringIO())
