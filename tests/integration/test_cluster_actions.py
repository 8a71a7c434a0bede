"""`cluster/cluster`: health, status and reset, on real nodes, over HTTP and WebSocket."""

from __future__ import annotations

import json

import pytest

from server.cli.children import ChildEnded
from support.processes import Node, redis_server, running_cluster, running_node
from support.waiting import eventually
from support.websocket import websocket


async def test_health_over_http_and_websocket() -> None:
    async with running_cluster(3) as nodes:
        for node in nodes:
            reply = await node.get("/_plugin/cluster/health")
            assert reply.status == 200
            envelope = reply.json
            assert {
                name: envelope[name] for name in ("status", "error", "controller", "action", "result")
            } == {
                "status": 200,
                "error": None,
                "controller": "cluster/cluster",
                "action": "health",
                "result": "ok",
            }
            async with websocket(node.ws_url) as client:
                over_websocket = await client.request("cluster/cluster", "health")
                assert over_websocket["result"] == "ok"
                assert over_websocket["node"] == node.id


async def test_status_shows_every_node_from_every_node() -> None:
    async with running_cluster(3) as nodes:
        for node in nodes:
            status = (await node.get("/_plugin/cluster/status")).result
            assert status["count"] == 3
            assert status["current"]["id"] == node.id
            assert status["current"]["ready"] is True
            others = {other.id: other for other in nodes if other is not node}
            assert {peer["id"] for peer in status["pool"]} == set(others)
            for peer in [status["current"], *status["pool"]]:
                assert peer["pub"].startswith("tcp://127.0.0.1:")
                assert peer["router"].startswith("tcp://127.0.0.1:")
                assert peer["ready"] is True
                assert peer["state"] == "live"
                assert peer["version"]
                assert peer["host"]
                assert isinstance(peer["started_at"], int)
            for peer in status["pool"]:
                assert peer["url"] == others[peer["id"]].url
                assert peer["link"]["heard_ms_ago"] < 5000
                assert peer["link"]["first_connected_at"] >= peer["started_at"] - 5000
            assert status["unreachable"] == []
            async with websocket(node.ws_url) as client:
                assert (await client.result("cluster/cluster", "status"))["count"] == 3


async def test_what_was_sent_is_accounted_for() -> None:
    async with (
        running_cluster(2) as (first, second),
        websocket(first.ws_url) as author,
        websocket(second.ws_url) as reader,
    ):
        await reader.subscribe("harbor", "boats")
        for number in range(100):
            await author.result("realtime", "publish", index="harbor", collection="boats", body={"n": number})
        await reader.notifications(100)

        async def is_balanced() -> bool:
            sent = (await first.get("/_plugin/cluster/status")).result["pool"][0]["link"]["sent"]
            got = (await second.get("/_plugin/cluster/status")).result["pool"][0]["link"]["received"]
            assert sent["notifications"] == got["notifications"] == 100
            assert sent["notifications"] == (
                sent["delivered"] + sent["repaired"] + sent["lost"] + sent["in_flight"]
            )
            assert (got["delivered"] + got["repaired"], got["lost"]) == (100, 0)
            return bool(sent["in_flight"] == 0)

        await eventually(is_balanced)


async def test_reset_keeps_attached_clients_subscribed() -> None:
    async with (
        running_cluster(3) as (first, second, third),
        websocket(first.ws_url) as reader,
        websocket(second.ws_url) as author,
    ):
        await reader.subscribe("harbor", "boats", {"exists": "name"})
        before = await epochs(first, second, third)
        for reset_on in (first, second, third):
            assert (await reset_on.post("/_plugin/cluster/reset")).result == "ok"
            await author.result(
                "realtime", "publish", index="harbor", collection="boats", body={"name": "Argo"}
            )
            assert (await reader.notification())["result"]["_source"]["name"] == "Argo"
        assert (await author.request("cluster/cluster", "reset"))["result"] == "ok"
        after = await epochs(first, second, third)
        assert all(new != old for new, old in zip(after, before, strict=True))
        for node in (first, second, third):
            assert (await node.get("/_plugin/cluster/health")).status == 200


async def epochs(*nodes: Node) -> list[str]:
    return [(await node.get("/_plugin/cluster/status")).result["current"]["epoch"] for node in nodes]


async def test_the_wrong_verb_is_refused() -> None:
    async with running_cluster(1) as (node,):
        reply = await node.get("/_plugin/cluster/reset")
        assert reply.status == 405
        assert "POST" in reply.headers["allow"]


@pytest.mark.parametrize(("verb", "action"), [("GET", "health"), ("POST", "reset")])
async def test_not_ready_is_503_with_the_reason(verb: str, action: str) -> None:
    settings = {"cluster.minimum_nodes": 2}
    async with redis_server() as redis, running_node(redis=redis.url, settings=settings) as node:

        async def says_why() -> bool:
            call = node.post if verb == "POST" else node.get
            reply = await call(f"/_plugin/cluster/{action}")
            error = reply.json["error"]
            assert (reply.status, error["status"], error["message"]) == (503, 503, "ko")
            assert error["id"] == "cluster.node.not_ready"
            return bool(error["props"] == ["1 of at least 2 nodes are here"])

        await eventually(says_why)
        assert (await node.get("/_ready")).status == 503
        async with websocket(node.ws_url) as client:
            reply = await client.request("cluster/cluster", action)
            assert (reply["status"], reply["result"]) == (503, None)
        async with running_node(redis=redis.url, settings=settings, ready=2):
            await node.ready(2)
            assert (await node.get("/_ready")).status == 200


async def test_without_redis_a_node_serves_and_joins_as_soon_as_it_can() -> None:
    async with redis_server() as redis:
        await redis.stop()
        async with (
            running_node(redis=redis.url, name="a") as a,
            running_node(redis=redis.url, name="b") as b,
            websocket(a.ws_url) as client,
        ):
            await client.subscribe("harbor", "boats")
            await client.result("realtime", "publish", index="harbor", collection="boats", body={"n": 1})
            assert (await client.notification())["result"]["_source"]["n"] == 1
            reply = await client.request("cluster/cluster", "health")
            assert reply["status"] == 503
            assert "Redis" in reply["error"]["props"][0]
            await redis.start()
            await a.ready(2)
            await b.ready(2)
            # Who knows what clients published at b, before a knew of it?
            announced = await client.notification()
            assert (announced["room"], announced["origin"]) == ("shoal:notification:loss", "b")
            async with websocket(b.ws_url) as author:
                await author.result("realtime", "publish", index="harbor", collection="boats", body={"n": 2})
            assert (await client.notification())["result"]["_source"]["n"] == 2


async def test_redis_that_goes_away_changes_nothing() -> None:
    async with redis_server() as redis, running_cluster(2, redis=redis.url) as (first, second):
        await redis.stop()

        async def says_redis_is_away() -> bool:
            status = (await first.get("/_plugin/cluster/status")).result
            return not status["current"]["pool"]["reachable"]

        await eventually(says_redis_is_away)
        async with websocket(first.ws_url) as reader, websocket(second.ws_url) as author:
            await reader.subscribe("harbor", "boats")
            await author.result("realtime", "publish", index="harbor", collection="boats", body={"n": 1})
            assert (await reader.notification())["result"]["_source"]["n"] == 1
        assert (await first.get("/_plugin/cluster/health")).status == 200
        await redis.start()
        async with running_node(redis=redis.url, ready=3):
            assert (await first.get("/_plugin/cluster/status")).result["count"] == 3


async def test_the_actions_are_listed_in_the_public_api() -> None:
    async with running_cluster(1) as (node,):
        api = (await node.get("/_publicApi")).result["cluster/cluster"]
        assert set(api) == {"drain", "health", "reset", "status"}
        assert api["status"]["http"] == [
            {"verb": "GET", "url": "/_plugin/cluster/status", "path": "/_plugin/cluster/status"}
        ]
        assert json.dumps(api)


async def test_a_mesh_address_that_is_not_loopback_stops_the_start() -> None:
    settings = {"cluster.bindings.pub": "tcp://192.0.2.1:7511"}
    async with redis_server() as redis:
        with pytest.raises(ChildEnded) as ended:
            async with running_node(redis=redis.url, settings=settings):
                pass
        assert "without a secret" in ended.value.tail[-1]


async def test_a_drained_node_has_no_clients_and_serves_on() -> None:
    async with (
        running_cluster(2) as (drained, other),
        websocket(drained.ws_url) as client,
        websocket(other.ws_url) as reader,
    ):
        await reader.subscribe("ticker", "prices")
        forwarded = {"X-Forwarded-For": "203.0.113.7"}
        refused = await drained.post("/_plugin/cluster/drain", headers=forwarded)
        assert (refused.status, refused.json["error"]["id"]) == (403, "cluster.access.denied")
        assert (await drained.post("/_plugin/cluster/drain")).result == {"clients": 1}
        assert (await client.ended()).code == 1012

        async def is_empty() -> bool:
            return bool((await drained.post("/_plugin/cluster/drain")).result == {"clients": 0})

        await eventually(is_empty, "its client is gone")
        for path in ("/_ready", "/_plugin/cluster/health"):
            reply = await drained.get(path)
            assert (reply.status, "drained" in reply.json["error"]["props"][0]) == (503, True)
        assert (await drained.get("/_healthcheck")).status == 200

        async def is_known() -> bool:
            (peer,) = (await other.get("/_plugin/cluster/status")).result["pool"]
            return bool(peer["state"] == "live" and not peer["ready"])

        await eventually(is_known, "the other node knows that it takes no clients")
        assert (await drained.post("/ticker/prices/_publish", {"price": 7})).status == 200
        assert (await reader.notification())["result"]["_source"]["price"] == 7
