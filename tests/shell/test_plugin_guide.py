"""The plugin guide tells the truth: its code is taken from the page, and runs."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import trio
import trio.testing

from server.config import load
from server.events import NODE_EVENTS, REQUEST_EVENTS
from server.loading import find_plugin
from server.testing import open_test_node

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "plugins.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's Python, as the file that it tells to save."""
    (tmp_path / "shop_plugins.py").write_text("\n".join(blocks("python")))
    monkeypatch.syspath_prepend(str(tmp_path))
    import shop_plugins  # type: ignore[import-not-found] # noqa: PLC0415 - written just now

    yield shop_plugins
    del sys.modules["shop_plugins"]


async def test_the_smallest_plugin(module: ModuleType) -> None:
    async with open_test_node(plugins=[(module.Welcome, None)]) as node:
        (line,) = node.log.said("hello")
        assert (line["plugin"], line["url"]) == ("welcome", node.node.info.url())


async def test_work_that_is_done_once(module: ModuleType) -> None:
    async with open_test_node(plugins=[(module.Sweeper, None)]) as node:
        assert len(node.log.said("sweeping")) == 1


async def test_the_configuration(module: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text(blocks("toml")[0].replace('"cluster", ', ""))
    config = load(file, {}, {}, find_plugin)
    assert config.plugins["shop"] == (module.Shop, module.ShopConfig(currency="NOK"))
    config = load(file, {"SHOAL_SHOP_CURRENCY": "SEK"}, {}, find_plugin)
    assert config.plugins["shop"][1].currency == "SEK"


async def test_the_pages_own_test(module: ModuleType) -> None:
    await module.test_orders_are_checked_and_counted()


async def test_the_action_that_calls_the_api(module: ModuleType) -> None:
    async with open_test_node(plugins=[(module.Shop, module.ShopConfig())]) as node:
        client = node.client()
        await client.call("realtime", "subscribe", index="shop", collection="orders", body={})
        _, answer = await node.http("POST", "/_plugin/shop/orders/ada", body={"items": ["tea"]})
        assert answer["result"] == {"placed": True}
        source = client.notifications[0]["result"]["_source"]
        assert (source["customer"], source["items"]) == ("ada", ["tea"])


async def test_the_life_of_its_own(module: ModuleType, autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_node(plugins=[(module.Clock, None)]) as node:
        client = node.client()
        await client.call("realtime", "subscribe", index="time", collection="ticks", body={})
        await trio.sleep(3.5)
        assert len(client.notifications) == 3


@pytest.mark.parametrize("event", [*NODE_EVENTS, *REQUEST_EVENTS], ids=lambda event: event.__name__)
def test_every_event_is_in_the_table(event: type) -> None:
    assert f"`{event.name}`" in GUIDE  # type: ignore[attr-defined] # every event has one
    assert f"`{event.__name__}`" in GUIDE
