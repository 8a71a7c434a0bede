"""The plugin to learn from does what it says."""

from typing import Any

import pytest

from plugins.moderator import ModeratorConfig, ModeratorPlugin
from server.testing import TestClient, TestNode, open_test_node

PLACE = {"index": "shop", "collection": "reviews"}


def moderated(**settings: Any) -> Any:
    return open_test_node(plugins=[(ModeratorPlugin, ModeratorConfig(**settings))])


async def reader_of(node: TestNode) -> TestClient:
    client = node.client()
    await client.call("realtime", "subscribe", **PLACE, body={})
    return client


async def test_a_message_with_an_unwanted_word_is_refused() -> None:
    async with moderated(words=("spam", "scam")) as node:
        reader = await reader_of(node)
        reply = await node.client().call(
            "realtime", "publish", **PLACE, body={"text": ["Spam!", "spam, SCAM"]}
        )
        assert (reply["status"], reply["error"]["id"]) == (403, "moderator.words.refused")
        assert reply["error"]["message"] == "not published: scam, spam"
        assert reader.notifications == []
        reply = await node.client().call("realtime", "publish", **PLACE, body={"text": "ham"})
        assert reply["status"] == 200
        assert len(reader.notifications) == 1


async def test_or_the_word_is_masked() -> None:
    async with moderated(words=("spam", "spammer"), mode="mask") as node:
        reader = await reader_of(node)
        body = {"text": "a Spammer sent spam", "stars": 5, "tags": [{"name": "spam"}, None]}
        assert (await node.client().call("realtime", "publish", **PLACE, body=body))["status"] == 200
        told = reader.notifications[0]["result"]["_source"]
        del told["_kuzzle_info"]
        assert told == {"text": "a *** sent ***", "stars": 5, "tags": [{"name": "***"}, None]}


async def test_without_words_everything_passes() -> None:
    async with moderated() as node:
        assert (await node.client().call("realtime", "publish", **PLACE, body={"text": ""}))["status"] == 200


@pytest.mark.parametrize(("query", "expected"), [("", {"spam": 2, "scam": 1}), ("?limit=1", {"spam": 2})])
async def test_the_report_says_what_was_found(query: str, expected: dict[str, int]) -> None:
    async with moderated(words=("spam", "scam"), mode="mask") as node:
        await node.client().call("realtime", "publish", **PLACE, body={"text": "spam scam SPAM"})
        _, answer = await node.http("GET", f"/_plugin/moderator/report{query}")
        assert answer["result"] == {"words": expected}
        assert (answer["controller"], answer["action"]) == ("moderator/moderator", "report")


async def test_it_says_at_the_start_what_it_does() -> None:
    async with moderated(words=("spam",)) as node:
        (line,) = node.log.said("moderating")
        assert (line["words"], line["mode"], line["plugin"]) == (1, "refuse", "moderator")
