"""The main job, on three real nodes and a real Redis: a change made on any of them is seen on all."""

from __future__ import annotations

import statistics

import pytest
import trio

from support.processes import Node, redis_server, running_cluster, running_node
from support.waiting import eventually
from support.websocket import Client, websocket


async def count_on(node: Node, room: str) -> int:
    reply = await node.post(
        "/_query", {"controller": "realtime", "action": "count", "body": {"roomId": room}}
    )
    return int(reply.result["count"])


async def publish(client: Client, body: dict[str, object]) -> None:
    result = await client.result("realtime", "publish", index="harbor", collection="boats", body=body)
    assert result == {"published": True}


async def test_matching_publishes_cross_the_cluster_in_order() -> None:
    async with (
        running_cluster(3) as (first, _, third),
        websocket(first.ws_url) as author,
        websocket(third.ws_url) as reader,
    ):
        said = await reader.subscribe("harbor", "boats", {"equals": {"kind": "sail"}})
        for number in range(50):
            await publish(author, {"kind": "sail" if number % 2 else "motor", "number": number})
        seen = await reader.notifications(25)
        assert [frame["result"]["_source"]["number"] for frame in seen] == list(range(1, 50, 2))
        for frame in seen:
            assert frame["room"] == said["channel"]
            assert frame["type"] == "document"
            assert frame["node"] == first.id
            assert frame["scope"] == "in"
            assert frame["result"]["_source"]["kind"] == "sail"
        assert reader.received == seen, "and nothing else"


async def test_counts_and_lists_agree_on_every_node_within_100_ms() -> None:
    async with (
        running_cluster(3) as nodes,
        websocket(nodes[0].ws_url) as a,
        websocket(nodes[1].ws_url) as b,
        websocket(nodes[2].ws_url) as c,
    ):
        for client in (a, b, c):
            room = (await client.subscribe("harbor", "boats"))["roomId"]
        for node in nodes:
            await eventually(lambda node=node: _is(count_on(node, room), 3), timeout_s=0.1 + 1)
            listed = (await node.get("/_listSubscriptions")).result
            assert listed == {"harbor": {"boats": {room: 3}}}
        began = trio.current_time()
        await c.result("realtime", "unsubscribe", body={"roomId": room})
        for node in nodes:
            await eventually(lambda node=node: _is(count_on(node, room), 2), timeout_s=1)
        assert trio.current_time() - began < 1, "a few round trips; the bound is for a busy machine"


async def _is(call: object, wanted: int) -> bool:
    return await call == wanted  # type: ignore[misc]  # a coroutine, made by the lambda


async def test_a_subscribe_that_returned_misses_nothing_over_1500_new_rooms() -> None:
    async with (
        running_cluster(3) as (first, second, third),
        websocket(first.ws_url) as reader,
        websocket(second.ws_url) as author_b,
        websocket(third.ws_url) as author_c,
    ):
        took: list[float] = []
        for number in range(1500):
            began = trio.current_time()
            result = await reader.subscribe("harbor", "boats", {"equals": {"number": number}})
            took.append(trio.current_time() - began)
            assert "synced" not in result, "every peer answered in time"
            await publish(author_b if number % 2 else author_c, {"number": number})
        seen = await reader.notifications(1500)
        assert sorted(frame["result"]["_source"]["number"] for frame in seen) == list(range(1500))
        print(f"subscribe to a new room: median {1000 * statistics.median(took):.2f} ms")


async def test_user_notifications_cross_with_counts_of_the_whole_cluster() -> None:
    async with (
        running_cluster(3) as (first, _, third),
        websocket(first.ws_url) as watcher,
        websocket(third.ws_url) as other,
    ):
        room = (await watcher.subscribe("harbor", "boats", users="all", scope="none"))["roomId"]
        assert (await watcher.notification())["result"] == {"count": 1}, "itself"
        await other.subscribe("harbor", "boats", volatile={"who": "other"})
        entered = await watcher.notification()
        assert (entered["type"], entered["user"], entered["result"]) == ("user", "in", {"count": 2})
        assert (entered["volatile"], entered["node"]) == ({"who": "other"}, third.id)
        await other.result("realtime", "unsubscribe", body={"roomId": room})
        left = await watcher.notification()
        assert (left["user"], left["result"]) == ("out", {"count": 1})


async def test_a_room_of_another_node_can_be_joined_and_unknown_ones_not() -> None:
    async with (
        running_cluster(2) as (first, second),
        websocket(first.ws_url) as a,
        websocket(second.ws_url) as b,
    ):
        room = (await a.subscribe("harbor", "boats", {"exists": "name"}))["roomId"]
        joined = await b.result("realtime", "join", body={"roomId": room})
        assert joined["roomId"] == room
        await publish(a, {"name": "Argo"})
        for client in (a, b):
            assert (await client.notification())["result"]["_source"]["name"] == "Argo"
        unknown = await b.request("realtime", "join", body={"roomId": "nope"})
        assert unknown["error"]["id"] == "core.realtime.room_not_found"


@pytest.mark.parametrize("way", ["kill", "terminate"])
async def test_a_node_that_goes_is_gone_everywhere(way: str) -> None:
    async with (
        running_cluster(3) as (first, second, third),
        websocket(first.ws_url) as a,
        websocket(third.ws_url) as c,
    ):
        room = (await a.subscribe("harbor", "boats"))["roomId"]
        await c.subscribe("harbor", "boats")
        assert await count_on(second, room) == 2
        getattr(third, way)()
        await third.ended()
        for node in (first, second):
            await eventually(lambda node=node: _is(count_on(node, room), 1))
            status = (await node.get("/_plugin/cluster/status")).result
            assert status["count"] == 2
            assert third.id not in {peer["id"] for peer in status["pool"]}
        if way == "kill":
            loss = await a.notification()
            assert (loss["type"], loss["origin"]) == ("loss", third.id), "it may have taken something with it"
            assert [(told["roomId"], told["count"]) for told in loss["rooms"]] == [(room, None)]
        await publish(a, {"still": "here"})
        assert (await a.notification())["result"]["_source"]["still"] == "here"


async def test_clients_of_a_node_that_stops_are_told_to_come_back() -> None:
    async with running_cluster(2) as (first, _), websocket(first.ws_url) as client:
        await client.subscribe("harbor", "boats")
        first.terminate()
        closed = await client.ended()
        assert closed.code == 1012
        assert (await first.ended()).exit_code == 0


async def test_a_node_started_later_sees_what_was_there() -> None:
    async with (
        redis_server() as redis,
        running_node(redis=redis.url, ready=1) as first,
        websocket(first.ws_url) as reader,
    ):
        await reader.subscribe("harbor", "boats", {"equals": {"name": "Argo"}})
        async with (
            running_node(redis=redis.url, name="late", ready=2) as late,
            websocket(late.ws_url) as author,
        ):
            await publish(author, {"name": "Argo"})
            assert (await reader.notification())["node"] == "late"
