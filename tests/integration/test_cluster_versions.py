"""Real nodes that announce different versions of the mesh protocol: they work together where the ranges meet; where
they do not, both stay up and name each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.other_protocol import speaking
from support.processes import Node, redis_server, running_node
from support.waiting import eventually
from support.websocket import Client, websocket

Range = tuple[int, int]


@asynccontextmanager
async def two_versions(
    old: Range, new: Range, settings: Mapping[str, Any] | None = None
) -> AsyncIterator[Sequence[Node]]:
    more = dict(settings or {})
    async with (
        redis_server() as redis,
        running_node(redis=redis.url, name="old", settings=speaking(*old) | more) as first,
        running_node(redis=redis.url, name="new", settings=speaking(*new) | more) as second,
    ):
        yield first, second


async def status_of(node: Node) -> dict[str, Any]:
    status: dict[str, Any] = (await node.get("/_plugin/cluster/status")).result
    return status


async def is_told(author: Client, reader: Client, number: int) -> None:
    await author.result("realtime", "publish", index="harbor", collection="boats", body={"n": number})
    assert (await reader.notification())["result"]["_source"]["n"] == number


@pytest.mark.parametrize(("old", "new"), [((1, 1), (1, 2)), ((1, 2), (2, 3)), ((0, 1), (1, 1))])
async def test_where_the_ranges_meet_notifications_cross_in_both_directions(old: Range, new: Range) -> None:
    async with two_versions(old, new) as nodes:
        for node in nodes:
            await node.ready(2)
        async with websocket(nodes[0].ws_url) as one, websocket(nodes[1].ws_url) as other:
            for number, (author, reader) in enumerate(((one, other), (other, one))):
                room = (await reader.subscribe("harbor", "boats"))["roomId"]
                await is_told(author, reader, number)
                await reader.result("realtime", "unsubscribe", body={"roomId": room})
        for node, mine, its in zip(nodes, (old, new), (new, old), strict=True):
            status = await status_of(node)
            assert (status["current"]["protocol"], status["current"]["state"]) == (list(mine), "live")
            assert [(peer["protocol"], peer["state"]) for peer in status["pool"]] == [(list(its), "live")]
            assert status["foreign"] == []


async def test_where_the_ranges_do_not_meet_each_names_the_other_and_both_stay_up() -> None:
    async with two_versions((1, 1), (2, 3), {"cluster.minimum_nodes": 2}) as nodes:
        old, new = nodes
        reason = {
            old: "new speaks versions 2 to 3 of the mesh protocol, old version 1: upgrade the older one",
            new: "old speaks version 1 of the mesh protocol, new versions 2 to 3: upgrade the older one",
        }
        for node, other in ((old, new), (new, old)):

            async def names_the_other(node: Node = node, other: Node = other) -> bool:
                status = await status_of(node)
                assert not status["current"]["ready"]
                assert (status["count"], status["pool"]) == (1, [])
                found = [(foreign["id"], foreign["reason"]) for foreign in status["foreign"]]
                return found == [(other.id, reason[node])]

            await eventually(names_the_other)
            assert any("peer speaks another protocol" in line and reason[node] in line for line in node.log)
            assert (await node.get("/_plugin/cluster/health")).status == 503
        assert f"no protocol version in common: {reason[new]}" in (await status_of(new))["current"]["reasons"]
        for node in nodes:  # each serves its own
            async with websocket(node.ws_url) as client:
                await client.subscribe("harbor", "boats")
                await is_told(client, client, 7)
            assert node.child.exit_code is None


async def test_where_only_a_seed_says_so_both_sides_name_the_other() -> None:
    async with redis_server() as redis:
        await redis.stop()
        async with running_node(redis=redis.url, name="old", settings=speaking(1, 1)) as old:
            router = (await status_of(old))["current"]["router"]
            seeded = speaking(2, 2) | {"cluster.seeds": router}
            async with running_node(redis=redis.url, name="new", settings=seeded) as new:

                async def both_say_so() -> bool:
                    (refusal,) = (await status_of(new))["refused_by"]
                    (foreign,) = (await status_of(old))["foreign"]
                    assert (refusal["id"], refusal["router"]) == (None, router)
                    assert foreign["id"] == "new"
                    return "no protocol version in common" in refusal["reason"]

                await eventually(both_say_so)
                assert any("refused by peer" in line for line in new.log)
                assert any("hello refused" in line for line in old.log)
