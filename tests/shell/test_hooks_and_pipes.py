"""Hooks and pipes: who is asked in which order, what each may do, and what none of them can break."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from server.core.limits import Limits
from server.core.requests import Request
from server.core.responses import Response
from server.core.session import Session
from server.core.values import encode_json
from server.dispatch import Dispatch
from server.events import (
    ActionFailed,
    AfterAction,
    BeforeAction,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    KuzzleStart,
    ListenerError,
    RequestFailed,
    RequestSucceeded,
    RoomClosed,
    RoomOpened,
    Shutdown,
    hook,
    listeners_of,
    pipe,
)
from server.plugin import ApiError, Plugin, PluginApiError, PluginError
from server.testing import Log, TestNode, open_test_node


class Recorder(Plugin):
    """Keeps what it is told."""

    name = "recorder"

    def __init__(self, config: Any, context: Any) -> None:
        super().__init__(config, context)
        self.heard: list[Any] = []
        self.gate = trio.Event()


def made_of(cls: type[Recorder], name: str = "") -> tuple[type[Plugin], None]:
    if name:
        cls = type(cls.__name__, (cls,), {"name": name})
    return cls, None


def heard_by(node: TestNode, which: int = 0) -> list[Any]:
    plugin = node.node.plugins[which].plugin
    assert isinstance(plugin, Recorder)
    return plugin.heard


def plugin_of(node: TestNode) -> Recorder:
    plugin = node.node.plugins[0].plugin
    assert isinstance(plugin, Recorder)
    return plugin


# -- Which events there are ------------------------------------------------------------------------------------------


class HearsAll(Recorder):
    @hook("*")
    def hear(self, event: Event) -> None:
        self.heard.append(event.event_name)


async def test_the_events_of_a_life() -> None:
    async with open_test_node(plugins=[made_of(HearsAll)]) as node:
        heard = heard_by(node)
        client = node.client()
        reply = await client.call("realtime", "subscribe", index="i", collection="c", body={})
        await client.call("realtime", "unsubscribe", body={"roomId": reply["result"]["roomId"]})
        await client.call("realtime", "unsubscribe", body={"roomId": "nope"})
        await client.call("nobody", "nothing")
        client.leave()
    assert heard == [
        "core:kuzzleStart",
        "connection:new",
        "realtime:beforeSubscribe",
        "room:new",
        "realtime:afterSubscribe",
        "request:onSuccess",
        "realtime:beforeUnsubscribe",
        "room:remove",
        "realtime:afterUnsubscribe",
        "request:onSuccess",
        "realtime:beforeUnsubscribe",
        "realtime:errorUnsubscribe",
        "request:onError",
        "request:onError",
        "connection:remove",
        "kuzzle:shutdown",
    ]


class HearsTypes(Recorder):
    @hook(KuzzleStart, ConnectionOpened, ConnectionClosed, RoomOpened, RoomClosed, Shutdown)
    @hook(BeforeAction, AfterAction, ActionFailed, RequestSucceeded, RequestFailed)
    def hear(self, event: Event) -> None:
        self.heard.append(event)


async def test_events_carry_what_happened() -> None:
    async with open_test_node(plugins=[made_of(HearsTypes)]) as node:
        client = node.client()
        reply = await client.call("realtime", "subscribe", index="i", collection="c", body={})
        room_id = reply["result"]["roomId"]
        client.leave()
        start, came, before, opened, after, done, closed, left = heard_by(node)
        assert start == KuzzleStart(node.node.info)
        assert came == ConnectionOpened(client.session)
        assert (before.request.action, before.event_name) == ("subscribe", "realtime:beforeSubscribe")
        assert opened == RoomOpened(room_id, "i", "c")
        assert after.result["roomId"] == room_id
        assert done.response.status == 200
        assert closed == RoomClosed(room_id, "i", "c")
        assert left == ConnectionClosed(client.session)


class HearsPatterns(Recorder):
    @hook("server:before*")
    def before(self, event: Event) -> None:
        self.heard.append("server:before*")

    @hook("*:beforeNow")
    def any_now(self, event: Event) -> None:
        self.heard.append("*:beforeNow")

    @hook("realtime:*", "server:beforeNo")
    def other(self, event: Event) -> None:
        self.heard.append("other")


async def test_patterns_match_whole_names() -> None:
    async with open_test_node(plugins=[made_of(HearsPatterns)]) as node:
        await node.client().call("server", "now")
        assert heard_by(node) == ["server:before*", "*:beforeNow"]


# -- Pipes -----------------------------------------------------------------------------------------------------------


class Changes(Recorder):
    @pipe("realtime:beforePublish")
    def stamp(self, event: BeforeAction) -> None:
        body = event.request.require_body()
        event.request.body = {**body, "stamps": [*body.get("stamps", []), self.context.plugin]}

    @pipe("realtime:afterPublish")
    def enrich(self, event: AfterAction) -> None:
        event.result = {**event.result, "by": self.context.plugin}

    @pipe("request:onSuccess")
    def sign(self, event: RequestSucceeded) -> None:
        event.response.headers["X-Signed"] = self.context.plugin


async def test_pipes_change_what_passes_in_the_order_of_loading() -> None:
    plugins = [made_of(Changes, "first"), made_of(Changes, "second")]
    async with open_test_node(plugins=plugins) as node:
        client = node.client()
        await client.call("realtime", "subscribe", index="i", collection="c", body={})
        reply = await client.call("realtime", "publish", index="i", collection="c", body={})
        assert client.notifications[0]["result"]["_source"]["stamps"] == ["first", "second"]
        assert reply["result"] == {"published": True, "by": "second"}
        assert reply["headers"] == {"X-Signed": "second"}


async def test_pipes_that_do_not_wait_keep_an_answer_inline() -> None:
    async with open_test_node(plugins=[made_of(Changes)]) as node:
        message = {"controller": "realtime", "action": "publish", "index": "i", "collection": "c", "body": {}}
        answer = node.node.app.receive_message(node.client().session, encode_json(message))
        assert isinstance(answer, Response)


class Refuses(Recorder):
    @pipe("server:beforeNow")
    def refuse(self, event: BeforeAction) -> None:
        raise PluginApiError("recorder.clock.broken", "no time", 418)

    @pipe("server:beforeNow")
    def never_asked(self, event: BeforeAction) -> None:
        self.heard.append("asked")

    @hook("server:*", "request:*")
    def hear(self, event: Event) -> None:
        self.heard.append(event.event_name)


class RefusesLater(Recorder):
    @pipe("server:beforeNow")
    async def refuse(self, event: BeforeAction) -> None:
        await trio.lowlevel.checkpoint()
        raise PluginApiError("recorder.clock.broken", "no time", 418)

    @hook("server:*", "request:*")
    def hear(self, event: Event) -> None:
        self.heard.append(event.event_name)


@pytest.mark.parametrize("cls", [Refuses, RefusesLater])
async def test_a_pipe_refuses_by_raising(cls: type[Recorder]) -> None:
    async with open_test_node(plugins=[made_of(cls)]) as node:
        reply = await node.client().call("server", "now")
        assert (reply["status"], reply["error"]["id"]) == (418, "recorder.clock.broken")
        assert heard_by(node) == ["server:errorNow", "request:onError"]
        assert (await node.client().call("server", "adminExists"))["status"] == 200


class Crashes(Recorder):
    @pipe("server:afterNow")
    def crash(self, event: AfterAction) -> None:
        raise RuntimeError("the password is hunter2")


class CrashesLater(Recorder):
    @pipe("server:afterNow")
    async def crash(self, event: AfterAction) -> None:
        raise RuntimeError("the password is hunter2")


@pytest.mark.parametrize("cls", [Crashes, CrashesLater])
async def test_a_pipe_that_fails_refuses_without_telling_more(cls: type[Recorder]) -> None:
    async with open_test_node(plugins=[made_of(cls)]) as node:
        reply = await node.client().call("server", "now")
        assert (reply["status"], reply["error"]["id"]) == (500, "plugin.runtime.unexpected_error")
        assert "hunter2" not in str(reply)
        (line,) = node.log.said("pipe failed")
        assert (line["plugin"], line["event_name"], line["request_id"]) == (
            "recorder",
            "server:afterNow",
            "r1",
        )


class Mends(Recorder):
    @pipe("realtime:errorUnsubscribe")
    def replace(self, event: ActionFailed) -> None:
        event.error = PluginApiError("recorder.error.replaced", event.error.id, 410)

    @pipe("request:onError")
    def sign(self, event: RequestFailed) -> None:
        event.response.headers["X-Failed"] = "yes"


class MendsByRaising(Recorder):
    @pipe("realtime:errorUnsubscribe")
    async def replace(self, event: ActionFailed) -> None:
        raise PluginApiError("recorder.error.replaced", event.error.id, 410)

    @pipe("request:onError")
    async def sign(self, event: RequestFailed) -> None:
        event.response.headers["X-Failed"] = "yes"


class MendsByRaisingAtOnce(Recorder):
    @pipe("realtime:errorUnsubscribe")
    def replace(self, event: ActionFailed) -> None:
        raise PluginApiError("recorder.error.replaced", event.error.id, 410)

    @pipe("request:onError")
    def sign(self, event: RequestFailed) -> None:
        event.response.headers["X-Failed"] = "yes"


@pytest.mark.parametrize("cls", [Mends, MendsByRaising, MendsByRaisingAtOnce])
async def test_pipes_on_errors_may_replace_them(cls: type[Recorder]) -> None:
    async with open_test_node(plugins=[made_of(cls)]) as node:
        reply = await node.client().call("realtime", "unsubscribe", body={"roomId": "x"})
        assert (reply["status"], reply["error"]["id"]) == (410, "recorder.error.replaced")
        assert reply["error"]["message"] == "core.realtime.not_subscribed"
        assert reply["headers"] == {"X-Failed": "yes"}
        # A request that never had an action has only the last of the two.
        reply = await node.client().call("nobody", "nothing")
        assert (reply["error"]["id"], reply["headers"]) == (
            "api.process.controller_not_found",
            {"X-Failed": "yes"},
        )


class RefusesErrors(Recorder):
    @pipe("request:onError")
    def refuse(self, event: RequestFailed) -> None:
        raise ApiError("api.process.overloaded")


class RefusesErrorsLater(Recorder):
    @pipe("request:onError")
    async def refuse(self, event: RequestFailed) -> None:
        raise ApiError("api.process.overloaded")


@pytest.mark.parametrize("cls", [RefusesErrors, RefusesErrorsLater])
async def test_the_last_pipe_has_the_last_word(cls: type[Recorder]) -> None:
    async with open_test_node(plugins=[made_of(cls)]) as node:
        for controller in ("nobody", "realtime"):
            reply = await node.client().call(controller, "unsubscribe", body={"roomId": "x"})
            assert (reply["status"], reply["error"]["id"]) == (503, "api.process.overloaded")


class Waits(Recorder):
    @pipe("realtime:before*")
    async def wait(self, event: BeforeAction) -> None:
        self.heard.append(event.event_name)
        await self.gate.wait()

    @pipe("realtime:after*")
    def count(self, event: AfterAction) -> None:
        self.heard.append(event.event_name)


async def test_a_pipe_that_waits_holds_its_request_and_nobody_elses() -> None:
    async with open_test_node(plugins=[made_of(Waits)]) as node, trio.open_nursery() as nursery:
        held, other = node.client(), node.client()
        nursery.start_soon(lambda: held.call("realtime", "subscribe", index="i", collection="c", body={}))
        await trio.testing.wait_all_tasks_blocked()
        assert (await other.call("server", "now"))["status"] == 200
        assert held.received == []
        plugin_of(node).gate.set()
    assert held.received[0]["status"] == 200
    assert heard_by(node) == ["realtime:beforeSubscribe", "realtime:afterSubscribe"]


async def test_a_pipe_that_waits_too_long_is_a_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_node(plugins=[made_of(Waits)], limits=Limits(pipe_timeout_ms=50)) as node:
        reply = await node.client().call("realtime", "list")
        assert (reply["status"], reply["error"]["id"]) == (504, "plugin.runtime.pipe_timeout")
        assert reply["error"]["props"] == ["recorder", "realtime:beforeList", "50"]
        assert len(node.log.said("pipe timed out")) == 1


class Slow:
    def __init__(self, now: list[float]) -> None:
        self.now = now

    @pipe("server:beforeNow")
    def dawdle(self, event: BeforeAction) -> None:
        self.now[0] += 0.3


def test_a_slow_pipe_is_named_once_a_minute_with_how_often_it_was() -> None:
    now, log = [0.0], Log()
    dispatch = Dispatch(Limits(pipe_warning_ms=299), log.logger, clock=lambda: now[0])
    dispatch.add(listeners_of("slow", Slow(now)))
    request = Request(
        id="r",
        controller="server",
        action="now",
        session=Session(id="s", protocol="websocket", remote=""),
        received_at=0,
    )
    for pause in (0, 0, 0, 60):
        now[0] += pause
        dispatch.ask(dispatch.for_action("server", "now").before, BeforeAction(request))
    first, second = log.said("pipe is slow")
    assert (first["plugin"], first["event_name"], first["times"]) == ("slow", "server:beforeNow", 1)
    assert second["times"] == 3


# -- Hooks -----------------------------------------------------------------------------------------------------------


class HookFails(Recorder):
    @hook("server:beforeNow")
    def fail(self, event: Event) -> None:
        raise RuntimeError("oops")

    @hook("server:beforeNow")
    async def fail_later(self, event: Event) -> None:
        raise RuntimeError("oops")

    @hook("server:beforeNow")
    def goes_on(self, event: Event) -> None:
        self.heard.append(event.event_name)


async def test_a_hook_that_fails_harms_nobody() -> None:
    async with open_test_node(plugins=[made_of(HookFails)]) as node:
        client = node.client()
        for _ in range(3):
            assert (await client.call("server", "now"))["status"] == 200
        await trio.testing.wait_all_tasks_blocked()
        assert len(heard_by(node)) == 3
        # One line for each of the two, not for each time.
        assert [line["plugin"] for line in node.log.said("hook failed")] == ["recorder"] * 2


class HookWaits(Recorder):
    @hook("server:beforeNow")
    async def wait(self, event: Event) -> None:
        await self.gate.wait()
        self.heard.append(event.event_name)


async def test_hooks_that_wait_are_not_waited_for_and_bounded() -> None:
    async with open_test_node(plugins=[made_of(HookWaits)], limits=Limits(hooks_in_flight=2)) as node:
        client = node.client()
        for _ in range(5):
            assert (await client.call("server", "now"))["status"] == 200
        await trio.testing.wait_all_tasks_blocked()
        assert heard_by(node) == []
        assert node.node.dispatch.hooks_skipped == 3
        assert len(node.log.said("hook skipped")) == 1
        plugin_of(node).gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(heard_by(node)) == 2
        await client.call("server", "now")
        await trio.testing.wait_all_tasks_blocked()
        assert len(heard_by(node)) == 3


# -- Declarations that can never work --------------------------------------------------------------------------------


def listener(decorate: Callable[[Any], Any]) -> object:
    @decorate
    def listen(_self: Any, _event: Event) -> None: ...

    return type("Faulty", (), {"listen": listen})()


@pytest.mark.parametrize(
    ("decorate", "said"),
    [
        (pipe("core:kuzzleStart"), "cannot be piped"),
        (pipe(KuzzleStart), "cannot be piped"),
        (pipe("connection:new"), "cannot be piped"),
        (hook("not a name!"), "is not the name of an event"),
        (hook(""), "is not the name of an event"),
        (hook(int), "int is not a type of event"),  # type: ignore[arg-type] # that is the point
    ],
)
def test_a_listener_that_nothing_can_reach_is_refused(decorate: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(ListenerError, match=f"Faulty.listen: .*{said}"):
        list(listeners_of("p", listener(decorate)))


def test_a_listener_says_what_it_listens_to() -> None:
    with pytest.raises(ListenerError, match="say which events"):
        hook()


async def test_a_faulty_listener_stops_the_start_with_the_plugins_name() -> None:
    class Faulty(Plugin):
        name = "faulty"

        @pipe("connection:new")
        def listen(self, event: Event) -> None: ...

    with pytest.raises(
        PluginError, match=r'the plugin "faulty" could not be made: .*Faulty.listen: .*cannot be piped'
    ):
        async with open_test_node(plugins=[(Faulty, None)]):
            pass


class HearsNothing(Recorder):
    @hook("realtime:beforPublish", "realtime:beforePublish", "document:*", KuzzleStart)
    def hear(self, event: Event) -> None: ...


async def test_a_listener_that_hears_nothing_here_is_pointed_out() -> None:
    async with open_test_node(plugins=[made_of(HearsNothing)]) as node:
        lines = node.log.said("listener hears nothing")
        assert [line["target"] for line in lines] == ["realtime:beforPublish", "document:*"]
