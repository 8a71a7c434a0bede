"""Kuzzle's official JavaScript SDK, unmodified and from npm, against real nodes: its users find what they know.

Each scenario is a program in sdk/ that fails by itself. Here it gets a cluster, and the events that it cannot cause,
such as the death of a node.
"""

import json
from collections.abc import Awaitable
from pathlib import Path

import pytest

from support.certificates import Authority
from support.nginx import open_nginx
from support.node_js import open_scenario, run_scenario
from support.processes import redis_server, running_cluster, running_node
from support.tls import opener, settings_for

HERE = Path(__file__).parent

LEFT = [1012]
"""Service restart: what a node says to its clients when it leaves."""

KILLED = [1006]
"""No close frame at all, which is all that a killed process can say."""

SCENARIOS = ["greeting", "order", "options", "rooms", "self", "errors", "http", "cluster"]


def test_the_lock_names_no_download_host() -> None:
    lock = (HERE / "package-lock.json").read_text()
    assert "http" not in lock
    packages = json.loads(lock)["packages"]
    assert packages["node_modules/kuzzle-sdk"]["version"] == "7.17.1"
    assert all(entry["integrity"].startswith("sha512-") for place, entry in packages.items() if place)


async def test_scenarios(subtests: pytest.Subtests) -> None:
    # One cluster for all: each scenario works in an index of its own.
    async with running_cluster(3) as nodes:
        for name in SCENARIOS:
            failure = await failure_of(run_scenario(HERE, name, nodes))
            with subtests.test(name):
                assert failure is None, failure


async def test_pings(subtests: pytest.Subtests) -> None:
    async with running_node() as node:
        env = {"SHOAL_HEARTBEAT": "frames"}
        failure = await failure_of(run_scenario(HERE, "heartbeat", [node], env=env))
        with subtests.test("as the ws package sends them"):
            assert failure is None, failure

        env, options = {"SHOAL_HEARTBEAT": "json"}, ["--experimental-websocket"]
        failure = await failure_of(run_scenario(HERE, "heartbeat", [node], env=env, options=options))
        with subtests.test("as a browser sends them"):
            assert failure is None, failure


async def test_compression(tmp_path: Path, subtests: pytest.Subtests) -> None:
    async with (
        running_node(settings={"server.compression": True}) as node,
        open_nginx(tmp_path, "spread", [node]) as nginx,
    ):
        for name, server, client, options in (
            ("as the ws package does it", node, "ws", []),
            ("as a browser does it", node, "browser", ["--experimental-websocket"]),
            ("behind a proxy", nginx, "ws", []),
        ):
            env = {"SHOAL_CLIENT": client}
            failure = await failure_of(run_scenario(HERE, "compression", [server], env=env, options=options))
            with subtests.test(name):
                assert failure is None, failure


async def test_tls(tmp_path: Path, subtests: pytest.Subtests) -> None:
    authority = Authority(tmp_path, "ours")
    settings = settings_for(authority.issue("node", "127.0.0.1"))
    async with running_cluster(2, settings=settings, open_stream=opener(authority)) as nodes:
        for name, env, options in (
            ("as the ws package does it", {"NODE_EXTRA_CA_CERTS": str(authority.certificate)}, []),
            (
                "as a browser does it",
                {"NODE_EXTRA_CA_CERTS": str(authority.certificate)},
                ["--experimental-websocket"],
            ),
            ("for who does not believe the certificate", {"SHOAL_STRANGER": "yes"}, []),
        ):
            failure = await failure_of(run_scenario(HERE, "tls", nodes, env=env, options=options))
            with subtests.test(name):
                assert failure is None, failure


async def failure_of(scenario: Awaitable[None]) -> str | None:
    """Run a scenario; return what it said when it failed.

    Outside of `subtests.test`, which would swallow a cancellation.
    """
    try:
        await scenario
    except AssertionError as failed:
        return str(failed)
    return None


@pytest.mark.parametrize("codes", [LEFT, KILLED], ids=["left", "killed"])
async def test_comes_back_to_a_node_that_was_away(codes: list[int]) -> None:
    async with (
        redis_server() as redis,
        running_node(redis=redis.url) as other,
        running_node(redis=redis.url, ready=2) as node,
        open_scenario(
            HERE, "reconnect", [node, other], env={"SHOAL_CLOSE_CODES": json.dumps(codes)}
        ) as script,
    ):
        await script.reached("subscribed")
        if codes == KILLED:
            node.kill()
        else:
            node.terminate()
        await node.ended()
        await script.reached("lost")
        async with running_node(redis=redis.url, ready=2, settings={"server.port": node.port}):
            await script.say("node is back")
            await script.passed()


async def test_an_announced_loss_harms_nobody_and_can_be_listened_to() -> None:
    async with running_cluster(2) as nodes, open_scenario(HERE, "loss", nodes) as script:
        await script.reached("published")
        nodes[-1].kill()
        await script.passed()


async def test_behind_a_proxy_the_death_of_a_node_moves_its_clients(tmp_path: Path) -> None:
    async with (
        running_cluster(3) as nodes,
        open_nginx(tmp_path, "spread", nodes) as nginx,
        open_scenario(HERE, "proxy", [nginx]) as script,
    ):
        told = await script.reached("attached")
        [home] = [node for node in nodes if node.id == told["node"]]
        home.kill()
        await script.passed()
