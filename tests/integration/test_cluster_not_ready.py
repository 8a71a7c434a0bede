"""The status of a node that is not ready: that is when somebody asks for it. Also as `shoal status` shows it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from server.cli.children import PYTHON_M
from support.chaos_transport import Chaos
from support.processes import Node, redis_server, running_cluster, running_node
from support.waiting import eventually
from support.websocket import websocket

ONE, OTHER = "the secret of the one", "the secret of the other"


async def status_of(node: Node) -> dict[str, Any]:
    reply = await node.get("/_plugin/cluster/status")
    assert reply.status == 200
    status: dict[str, Any] = reply.result
    assert status["current"]["ready"] is (status["current"]["state"] == "live")
    assert status["current"]["ready"] is (not status["current"]["reasons"])
    return status


async def stands(node: Node, state: str, why: str) -> dict[str, Any]:
    """Wait until the node says of itself that it is in this state, for this reason; return its status."""

    async def says_so() -> dict[str, Any] | None:
        status = await status_of(node)
        current = status["current"]
        return status if current["state"] == state and why in "\n".join(current["reasons"]) else None

    status: dict[str, Any] = await eventually(says_so, f"{node.id} is {state}")
    return status


async def shown_by_shoal_status(node: Node) -> str:
    command = [*PYTHON_M, "server", "status", "--url", node.url]
    ran = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT)
    return ran.stdout.decode()


async def test_a_node_that_waits_for_others_says_so_in_the_shape_that_was_always_there() -> None:
    settings = {"cluster.minimum_nodes": 2}
    async with redis_server() as redis, running_node(redis=redis.url, settings=settings) as node:
        status = await stands(node, "waiting", "1 of at least 2 nodes are here")
        assert (status["count"], status["pool"]) == (1, [])
        assert {"pub", "router", "ready"} <= status["current"].keys()
        async with websocket(node.ws_url) as client:
            over_websocket = await client.result("cluster/cluster", "status")
            assert over_websocket["current"]["reasons"] == ["1 of at least 2 nodes are here"]
        shown = await shown_by_shoal_status(node)
        assert f"{node.id} is not ready: 1 of at least 2 nodes are here" in shown
        assert "waiting" in shown


async def test_a_node_that_waits_for_redis_says_since_when_and_why() -> None:
    async with redis_server() as redis:
        await redis.stop()
        async with running_node(redis=redis.url) as node:
            pool = (await stands(node, "joining", "the pool cannot be read"))["current"]["pool"]
            assert pool["reachable"] is False
            assert pool["unreachable_since"] is not None
            assert "Redis" in pool["error"]
            assert (await node.get("/_plugin/cluster/health")).status == 503
            await redis.start()
            assert (await stands(node, "live", ""))["current"]["pool"]["reachable"] is True


async def test_a_node_that_seeds_do_not_let_in_says_which_and_why() -> None:
    async with redis_server() as redis:
        await redis.stop()
        async with running_node(redis=redis.url, settings={"cluster.secret": ONE}) as seed:
            router = (await status_of(seed))["current"]["router"]
            settings = {"cluster.secret": OTHER, "cluster.seeds": router}
            async with running_node(redis=redis.url, settings=settings) as node:

                async def is_refused() -> bool:
                    (refusal,) = (await status_of(node))["refused_by"]
                    assert (refusal["id"], refusal["router"]) == (None, router)
                    return "the secret" in refusal["reason"]

                await eventually(is_refused)
                assert (await status_of(seed))["current"]["strangers"] > 0
                shown = await shown_by_shoal_status(node)
                assert f"{router} does not let {node.id} in: the handshake failed" in shown


async def test_a_drained_node_shows_its_cluster() -> None:
    async with running_cluster(2) as (drained, other):
        assert (await drained.post("/_plugin/cluster/drain")).status == 200
        status = await stands(drained, "draining", "this node is drained")
        assert [(peer["id"], peer["state"]) for peer in status["pool"]] == [(other.id, "live")]
        assert (await status_of(other))["current"]["ready"] is True
        assert "live, not ready" in await eventually(lambda: shown_when_known(other))


async def shown_when_known(node: Node) -> str | None:
    """What `shoal status` shows once the node knows that the other takes no clients."""
    (peer,) = (await status_of(node))["pool"]
    return None if peer["ready"] else await shown_by_shoal_status(node)


@pytest.mark.parametrize("impairment", ["deaf", "mute"])
async def test_a_deaf_or_mute_node_says_so_and_of_which_links(impairment: str, tmp_path: Path) -> None:
    settings = Chaos(impairs=str(tmp_path)).settings()
    async with running_cluster(2, settings=settings) as (victim, other):
        (tmp_path / f"{victim.id} is {impairment}").touch()
        await stands(victim, impairment, f"it is {impairment}")
        directions = {"deaf": ("hears", "is_heard"), "mute": ("is_heard", "hears")}[impairment]

        async def both_ends_say_so() -> bool:
            ends = [(await status_of(node))["pool"][0]["link"] for node in (victim, other)]
            for link, direction in zip(ends, directions, strict=True):
                assert link[direction] is False
                assert link[f"{direction}_ms_ago"] > 2000
            return True

        await eventually(both_ends_say_so)
        assert (await status_of(other))["current"]["ready"] is True
