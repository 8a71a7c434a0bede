"""Real nodes with Redis as operators run it: they meet, keep passwords to themselves, and refuse mistakes at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from server.cli.children import PYTHON_M, ChildEnded, open_child
from support.documents import ROOT
from support.processes import Node, redis_server, running_cluster, running_node
from support.redis_kinds import (
    MASTER,
    PASSWORD,
    QUOTED_PASSWORD,
    RIGHTS,
    redis_cluster,
    sentinel,
    tls_program,
    with_tls,
    with_users,
)
from support.waiting import TIMEOUT_S, eventually
from support.websocket import websocket

SENTINELS_PASSWORD = "the-sentinels-own"


async def ended(settings: Mapping[str, str], *words: str) -> ChildEnded:
    """Run a command of Shoal to its end, on a port that is free."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}
    environment |= {"SHOAL_SERVER_PORT": "0"} | dict(settings)
    async with open_child("shoal", [*PYTHON_M, "server", *words], env=environment) as child:
        with trio.fail_after(TIMEOUT_S):
            return await child.wait()


def assert_is_silent_about_passwords(text: str) -> None:
    for secret in (PASSWORD, QUOTED_PASSWORD, SENTINELS_PASSWORD):
        assert secret not in text


# -- Meeting ---------------------------------------------------------------------------------------------------------


async def test_clusters_share_one_redis_and_do_not_see_each_other() -> None:
    async with redis_server() as redis:
        red, blue = ({"cluster.name": name} for name in ("red", "blue"))
        async with (
            running_cluster(2, redis=redis.url, settings=red) as (red_1, red_2),
            running_cluster(2, redis=redis.url, settings=blue) as (blue_1, blue_2),
            websocket(red_2.ws_url) as in_red,
            websocket(blue_2.ws_url) as in_blue,
        ):
            for reader in (in_red, in_blue):
                await reader.subscribe("harbor", "boats")
            for node, name in ((red_1, "red"), (blue_1, "blue")):
                body = {"from": name}
                assert (await node.post("/harbor/boats/_publish", body)).status == 200
            for reader, name in ((in_red, "red"), (in_blue, "blue")):
                assert (await reader.notification())["result"]["_source"]["from"] == name
            for node in (red_1, red_2, blue_1, blue_2):
                status = (await node.get("/_plugin/cluster/status")).result
                assert (status["count"], status["unreachable"]) == (2, [])
                counts = (await node.get("/_listSubscriptions")).result["harbor"]["boats"]
                assert list(counts.values()) == [1]
            assert [len(reader.received) for reader in (in_red, in_blue)] == [1, 1]


async def meet(redis: str, settings: dict[str, Any]) -> None:
    async with running_cluster(2, redis=redis, settings=settings) as nodes:
        for node in nodes:
            assert_is_silent_about_passwords(await everything_said_by(node))


async def everything_said_by(node: Node) -> str:
    paths = ("/_plugin/cluster/status", "/_plugin/cluster/health", "/_ready", "/_serverInfo", "/")
    answers = [repr((await node.get(path)).body) for path in paths]
    return "\n".join([*node.log, *answers])


async def test_nodes_meet_as_a_user_with_few_rights() -> None:
    async with with_users() as redis:
        url = f"redis://{redis.server.address}"
        await meet(redis.url, {"cluster.name": "test"})
        login = {"cluster.redis_login.user": "shoal", "cluster.redis_login.password": PASSWORD}
        await meet(url, {"cluster.name": "test", **login})


async def test_nodes_meet_behind_sentinels_with_passwords() -> None:
    async with with_users() as redis, sentinel(redis.server, password=SENTINELS_PASSWORD) as watching:
        url = f"redis-sentinel://shoal:{QUOTED_PASSWORD}@{watching.address}/{MASTER}"
        await meet(url, {"cluster.name": "test", "cluster.redis_login.sentinel_password": SENTINELS_PASSWORD})


async def test_nodes_meet_in_a_redis_cluster() -> None:
    async with redis_cluster() as redis:
        await meet(redis.url, {})


async def test_nodes_meet_through_tls_with_certificates() -> None:
    async with with_tls(tls_program()) as redis:
        tls = redis.tls
        keys = {"ca": tls.ca, "certificate": tls.certificate, "key": tls.key}
        await meet(redis.url, {f"cluster.redis_tls.{key}": path for key, path in keys.items()})


def test_operators_are_told_the_rights_that_the_tests_give() -> None:
    assert (
        f"ACL SETUSER shoal on >password ~{{shoal:default}}:* {RIGHTS}"
        in (ROOT / "docs" / "guides" / "deploy.md").read_text()
    )


# -- Passwords -------------------------------------------------------------------------------------------------------


async def test_a_wrong_password_is_said_and_not_shown() -> None:
    async with with_users() as redis:
        at = redis.server.address
        wrong = f"redis://shoal:{QUOTED_PASSWORD}-no@{at}"
        async with running_node(redis=wrong, settings={"cluster.name": "test", "log.level": "debug"}) as node:

            async def says_why() -> bool:
                current = (await node.get("/_plugin/cluster/status")).result["current"]
                assert (current["ready"], current["state"]) == (False, "joining")
                assert current["pool"]["unreachable_since"] is not None
                why = f"Redis at {at} does not accept the user and password"
                return why in current["pool"]["error"] and why in current["reasons"][0]

            await eventually(says_why)
            assert_is_silent_about_passwords(await everything_said_by(node))
            assert "pool unavailable" in "\n".join(node.log)


async def test_shoal_config_shows_the_url_without_the_password() -> None:
    settings = {
        "SHOAL_CLUSTER_REDIS": f"redis-sentinel://shoal:{QUOTED_PASSWORD}@a:1,b:2/main",
        "SHOAL_CLUSTER_REDIS_LOGIN_SENTINEL_PASSWORD": SENTINELS_PASSWORD,
    }
    shown = await ended(settings, "config")
    text = "\n".join(shown.tail)
    assert shown.exit_code == 0
    assert 'cluster.redis = "redis-sentinel://shoal:***@a:1,b:2/main"' in text
    assert "cluster.redis_login.sentinel_password = ***" in text
    assert_is_silent_about_passwords(text)


# -- Mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"SHOAL_CLUSTER_REDIS": f"redis:/shoal:{PASSWORD}@host"},
            "[cluster] redis must begin with redis://",
        ),
        ({"SHOAL_CLUSTER_REDIS": f"redis://shoal:{PASSWORD}@a,b"}, "[cluster] redis has several addresses"),
        (
            {"SHOAL_CLUSTER_REDIS": "rediss://host", "SHOAL_CLUSTER_REDIS_TLS_CA": "/nowhere/ca.pem"},
            "[cluster] redis_tls.ca: /nowhere/ca.pem cannot be read: No such file or directory "
            "(cluster.redis_tls.ca comes from environment SHOAL_CLUSTER_REDIS_TLS_CA)",
        ),
    ],
)
async def test_a_mistake_ends_the_start_before_anything_is_opened(
    settings: dict[str, str], reason: str
) -> None:
    end = await ended(settings, "serve")
    text = "\n".join(end.tail)
    assert end.exit_code == 2
    assert reason in text
    assert "listening" not in text
    assert_is_silent_about_passwords(text)
