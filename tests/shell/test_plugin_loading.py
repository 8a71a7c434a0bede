"""Plugins from outside the tree: found, checked, made and run; and what is said of one that fails at any of it."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from server.config import ConfigError, LoadedConfig, load
from server.core.limits import Limits
from server.loading import find_plugin
from server.plugin import ApiError, BeforeAction, Context, NoConfig, Plugin, PluginError, action, pipe
from server.testing import TestNode, open_test_node

GREETER = '''
"""A plugin as somebody else writes it: nothing but server.plugin is imported."""

import attrs

from server.plugin import BeforeAction, Plugin, action, pipe


@attrs.frozen(kw_only=True)
class GreeterConfig:
    greeting: str = "hello"


class Controller:
    name = "greeter"

    def __init__(self, plugin):
        self.plugin = plugin

    @action(http=[("GET", "/greet/:who")])
    async def greet(self, request):
        now = await self.plugin.context.execute("server", "now")
        return {"text": f"{self.plugin.settings.greeting}, {request.string('who')}", "at": now["now"]}


class Greeter(Plugin):
    name = "greeter"
    config = GreeterConfig

    def controllers(self):
        return [Controller(self)]

    @pipe("realtime:beforePublish")
    def sign(self, event: BeforeAction):
        event.request.body = {**event.request.require_body(), "greeting": self.settings.greeting}
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, with the greeter in it."""
    (tmp_path / "greeting_plugins").mkdir()
    (tmp_path / "greeting_plugins" / "__init__.py").write_text(GREETER)
    metadata = tmp_path / "greeting_plugins-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting-plugins\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[shoal.plugins]\npolite = greeting_plugins:Greeter\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("greeting_plugins", None)


def configured(entry: str, environ: Mapping[str, str] | None = None) -> LoadedConfig:
    return load(None, {"SHOAL_SERVER_PLUGINS": entry, **(environ or {})}, {}, find_plugin)


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("entry", ["greeting_plugins:Greeter", "polite"], ids=["dotted name", "entry point"])
async def test_a_plugin_from_outside_the_tree_takes_part(entry: str) -> None:
    config = configured(entry, {"SHOAL_GREETER_GREETING": "ahoy"})
    async with open_test_node(plugins=list(config.plugins.values())) as node:
        _, answer = await node.http("GET", "/_plugin/greeter/greet/you")
        assert answer["result"]["text"] == "ahoy, you"
        assert answer["result"]["at"] > 0
        client = node.client()
        assert (await client.call("greeter/greeter", "greet", who="me"))["result"]["text"] == "ahoy, me"
        listed = (await client.call("server", "publicApi"))["result"]
        assert listed["greeter/greeter"]["greet"]["http"][0]["url"] == "/_plugin/greeter/greet/:who"
        await client.call("realtime", "subscribe", index="i", collection="c", body={})
        await client.call("realtime", "publish", index="i", collection="c", body={})
        assert client.notifications[0]["result"]["_source"]["greeting"] == "ahoy"


# -- Not found, or no plugin -----------------------------------------------------------------------------------------


class NoName(Plugin):
    pass


class BadName(Plugin):
    name = "My Plugin"


class BadConfig(Plugin):
    name = "bad-config"
    config = dict


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("politee", 'no plugin is called "politee"'),
        ("greeting_plugins:Nobody", "could not be imported: AttributeError"),
        ("no_such_module:Greeter", "could not be imported: ModuleNotFoundError"),
        ("greeting_plugins:GreeterConfig", "is not a subclass of server.plugin.Plugin"),
        ("greeting_plugins:GREETER", "could not be imported"),
        ("json:dumps", "is not a subclass of server.plugin.Plugin"),
    ],
)
def test_what_is_no_plugin_is_named_with_the_reason(entry: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        configured(entry)
    assert entry in str(caught.value)


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (NoName, "its `name` is None"),
        (BadName, "its `name` is 'My Plugin'"),
        (BadConfig, "has to be an attrs class"),
    ],
)
def test_a_plugin_class_says_who_it_is(cls: type[Plugin], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "Given", cls, raising=False)
    with pytest.raises(ConfigError, match=said):
        find_plugin(f"{__name__}:Given")


# -- Fails when it is made -------------------------------------------------------------------------------------------


class FailsWhenMade(Plugin):
    name = "faulty"

    def __init__(self, config: Any, context: Context) -> None:
        raise RuntimeError("no licence")


class AsksForTheCore(Plugin):
    name = "faulty"

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.core = context.core


class _One:
    name = "one"

    @action(http=[("GET", "/one")])
    def do(self, _request: Any) -> Any: ...


class _Two:
    name = "two"

    @action(http=[("GET", "/one")])
    def do(self, _request: Any) -> Any: ...


class CollidesWithItself(Plugin):
    name = "faulty"

    def controllers(self) -> Any:
        return [_One(), _Two()]


class HasNoActions(Plugin):
    name = "faulty"

    def controllers(self) -> Any:
        return [object()]


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (FailsWhenMade, "RuntimeError: no licence"),
        (AsksForTheCore, "set `privileged = True`"),
        (CollidesWithItself, "GET /_plugin/faulty/one of faulty/two:do is already taken by faulty/one:do"),
        (HasNoActions, "AttributeError"),
    ],
)
async def test_a_plugin_that_cannot_be_made_is_named_with_the_reason(cls: type[Plugin], said: str) -> None:
    with pytest.raises(PluginError, match=said) as caught:
        async with open_test_node(plugins=[(cls, NoConfig())]):
            pass
    assert '"faulty"' in str(caught.value)


async def test_what_is_handed_over_without_being_a_plugin_is_refused() -> None:
    class Impostor:
        name = "impostor"

    with pytest.raises(PluginError, match="not a subclass"):
        async with open_test_node(plugins=[(Impostor, None)]):  # type: ignore[list-item] # that is the point
            pass


# -- Fails when it runs ----------------------------------------------------------------------------------------------


class FailsToStart(Plugin):
    name = "faulty"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        raise OSError("no such device")


class FailsInATask(Plugin):
    name = "faulty"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fail)

    async def fail(self) -> None:
        raise OSError("no such device")


class ExplainsItself(Plugin):
    name = "faulty"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery():
            raise PluginError("[faulty] no such device: plug it in")


class NeverStarts(Plugin):
    name = "faulty"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep_forever()


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (FailsToStart, r'the plugin "faulty" failed: OSError: no such device'),
        (FailsInATask, r'the plugin "faulty" failed: OSError: no such device'),
        (ExplainsItself, r"^\[faulty\] no such device: plug it in$"),
        (NeverStarts, r'the plugin "faulty" did not start within 2 s'),
    ],
)
async def test_a_plugin_that_does_not_start_is_named_with_the_reason(
    cls: type[Plugin], said: str, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(PluginError, match=said):
        async with open_test_node(plugins=[(cls, NoConfig())], limits=Limits(plugin_start_s=2)):
            pass


class ReturnsEarly(Plugin):
    name = "brief"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Nothing to do."""


class FailsLater(Plugin):
    name = "faulty"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(1)
        raise OSError("the device is gone")


async def test_a_plugin_may_have_nothing_to_wait_for() -> None:
    async with open_test_node(plugins=[(ReturnsEarly, NoConfig())]) as node:
        assert (await node.client().call("server", "now"))["status"] == 200


async def test_a_plugin_that_fails_later_ends_the_node(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_test_node(plugins=[(FailsLater, NoConfig())]):
            await trio.sleep(10)
    assert caught.group_contains(PluginError, match='the plugin "faulty" failed: OSError: the device is gone')


# -- What a plugin is given ------------------------------------------------------------------------------------------


class Privileged(Plugin):
    name = "insider"
    privileged = True


class Asks(Plugin):
    name = "asker"


def context_of(node: TestNode) -> Context:
    return node.node.plugins[0].plugin.context


async def test_a_privileged_plugin_has_the_core() -> None:
    async with open_test_node(plugins=[(Privileged, NoConfig())]) as node:
        core = context_of(node).core
        assert core.realtime is node.realtime
        assert core.app is node.node.app
        assert core.turn is node.node.turn
        core.add_readiness(lambda: "not yet")
        assert (await node.http("GET", "/_ready"))[0].status == 503


async def test_a_plugin_knows_its_node_and_its_log() -> None:
    async with open_test_node(plugins=[(Asks, NoConfig())]) as node:
        context = context_of(node)
        assert (context.plugin, context.node.id) == ("asker", "test-node")
        assert context.node.url().startswith("http://127.0.0.1:")
        context.log.info("it works", n=1)
        (line,) = node.log.said("it works")
        assert (line["plugin"], line["n"], line["level"]) == ("asker", 1, "info")


async def test_a_plugin_calls_the_api_as_the_node_itself() -> None:
    async with open_test_node(plugins=[(Asks, NoConfig())]) as node:
        client = node.client()
        await client.call("realtime", "subscribe", index="i", collection="c", body={})
        execute = context_of(node).execute
        published = await execute("realtime", "publish", index="i", collection="c", body={"x": 1}, id="d")
        assert published == {"published": True}
        (notification,) = client.notifications
        assert notification["protocol"] == "internal"
        assert notification["result"]["_source"]["_kuzzle_info"]["author"] is None


async def test_a_plugin_has_all_rights_and_sees_errors_as_exceptions() -> None:
    async with open_test_node(plugins=[(Asks, NoConfig())], anonymous=False) as node:
        execute = context_of(node).execute
        assert await execute("realtime", "count", body={"roomId": "x"}) == {"count": 0}
        with pytest.raises(ApiError, match="not found"):
            await execute("nobody", "nothing")
        with pytest.raises(ApiError, match="not available over"):
            await execute("realtime", "subscribe", index="i", collection="c", body={})


class CallsTheSameAction(Plugin):
    name = "recursive"

    @pipe("server:beforeNow")
    async def ask_for_the_time(self, _event: BeforeAction) -> None:
        self.time = await self.context.execute("server", "now")


async def test_a_pipe_may_call_the_action_that_it_is_on() -> None:
    async with open_test_node(plugins=[(CallsTheSameAction, NoConfig())]) as node:
        assert (await node.client().call("server", "now"))["status"] == 200
