"""Requests through the whole API: the order of checks, and an answer to whatever happens."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from server.core.responses import Response
from server.core.values import encode_json
from server.plugin import Controller, Plugin, PluginApiError, Request, action
from server.testing import TestNode, open_test_node


class ProbeController:
    name = "probe"

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.results: list[Any] = []

    @action(http=[("GET", "/echo"), ("POST", "/echo")])
    def echo(self, request: Request) -> Any:
        return {"args": request.args, "body": request.body}

    @action()
    async def wait(self, _request: Request) -> Any:
        await self.gate.wait()
        return {"waited": True}

    @action(public=True)
    def open(self, _request: Request) -> str:
        return "come in"

    @action()
    def fails(self, _request: Request) -> Any:
        raise RuntimeError("the password is hunter2")

    @action()
    async def fails_later(self, _request: Request) -> Any:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("the password is hunter2")

    @action()
    def refuses(self, _request: Request) -> Any:
        raise PluginApiError("probe.mood.bad", "not today", 409, ("today",))

    @action()
    def returns_an_object(self, _request: Request) -> Any:
        return object()

    @action()
    def sets_a_header(self, request: Request) -> Any:
        request.set_header("X-Probe", "1")
        return None


class ProbePlugin(Plugin):
    name = "probes"

    def controllers(self) -> Sequence[Controller]:
        self.controller = ProbeController()
        return [self.controller]


PROBES = [(ProbePlugin, None)]


def probe_of(node: TestNode) -> ProbeController:
    plugin = node.node.plugins[0].plugin
    assert isinstance(plugin, ProbePlugin)
    return plugin.controller


def error_of(reply: Any) -> tuple[int, str]:
    return reply["status"], reply["error"]["id"]


# -- The order of checks ---------------------------------------------------------------------------------------------

# Each request fails on the check that it is named after, and on all that come later.
ALL_WRONG = {"controller": "nobody", "action": "nothing", "volatile": {"sdkName": "js@6.0.0"}}


@pytest.mark.parametrize(
    ("message", "anonymous", "expected"),
    [
        ({}, False, (400, "api.assert.missing_argument")),
        ({"controller": ""}, False, (400, "api.assert.missing_argument")),
        ({"controller": "nobody"}, False, (400, "api.assert.missing_argument")),
        (
            {**ALL_WRONG, "jwt": "t", "targets": [], "index": "i"},
            False,
            (400, "api.assert.mutually_exclusive"),
        ),
        ({**ALL_WRONG, "jwt": "t"}, False, (401, "security.token.invalid")),
        (ALL_WRONG, False, (401, "security.rights.unauthorized")),
        (ALL_WRONG, True, (404, "api.process.controller_not_found")),
        ({**ALL_WRONG, "controller": "server"}, True, (404, "api.process.action_not_found")),
        (
            {**ALL_WRONG, "controller": "server", "action": "now"},
            True,
            (400, "api.process.incompatible_sdk_version"),
        ),
    ],
)
async def test_checks_are_made_in_the_order_of_the_protocol(
    message: dict[str, Any], anonymous: bool, expected: tuple[int, str]
) -> None:
    async with open_test_node(anonymous=anonymous) as node:
        assert error_of(await node.client().send(encode_json(message))) == expected


@pytest.mark.parametrize(
    ("volatile", "is_welcome"),
    [
        ({"sdkName": "js@7.17.1-beta.1"}, True),
        ({"sdkName": "js@10.0.0"}, True),
        ({"sdkName": "js@6.9"}, False),
        ({"sdkName": "js@"}, True),
        ({"sdkName": "dart@1.0.0"}, True),
        ({"sdkName": 3}, True),
        ({"sdkVersion": "5.0.0"}, False),
        ({"sdkVersion": 9}, False),
        ({}, True),
    ],
)
async def test_sdks_that_speak_another_protocol_are_told_so(
    volatile: dict[str, Any], is_welcome: bool
) -> None:
    async with open_test_node() as node:
        reply = await node.client().call("server", "now", volatile=volatile)
        assert (reply["status"] == 200) == is_welcome


async def test_an_empty_token_is_none() -> None:
    async with open_test_node() as node:
        assert (await node.client().call("server", "now", jwt=""))["status"] == 200


async def test_when_anonymous_use_is_shut_only_public_actions_answer() -> None:
    async with open_test_node(anonymous=False, plugins=PROBES) as node:
        client = node.client()
        for controller, name in [
            ("auth", "checkToken"),
            ("auth", "getCurrentUser"),
            ("server", "publicApi"),
            ("probes/probe", "open"),
        ]:
            assert (await client.call(controller, name))["status"] == 200
        for controller, name in [
            ("server", "now"),
            ("realtime", "list"),
            ("probes/probe", "echo"),
            ("no", "no"),
        ]:
            assert error_of(await client.call(controller, name)) == (401, "security.rights.unauthorized")
        for path in ("/_healthcheck", "/_ready"):
            assert (await node.http("GET", path))[0].status == 200


# -- Answers to what happens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fails", "failsLater"])
async def test_an_unexpected_exception_is_logged_and_not_told(name: str) -> None:
    async with open_test_node(plugins=PROBES) as node:
        reply = await node.client().call("probes/probe", name)
        assert error_of(reply) == (500, "core.fatal.unexpected_error")
        assert "hunter2" not in json.dumps(reply)
        (line,) = node.log.said("action failed unexpectedly")
        assert line["request_id"] == reply["requestId"]
        assert reply["requestId"] in reply["error"]["message"]
        assert "hunter2" in str(line["exc_info"])


async def test_a_refusal_is_told_and_not_logged() -> None:
    async with open_test_node(plugins=PROBES) as node:
        reply = await node.client().call("probes/probe", "refuses")
        assert reply["error"] == {
            "id": "probe.mood.bad",
            "message": "not today",
            "props": ["today"],
            "status": 409,
        }
        assert node.log.lines == []


async def test_a_result_that_is_no_json_is_an_error_of_the_action() -> None:
    async with open_test_node(plugins=PROBES) as node:
        reply = await node.client().call("probes/probe", "returnsAnObject", volatile={"v": 1})
        assert error_of(reply) == (500, "plugin.controller.unserializable_response")
        assert reply["result"] is None
        assert len(node.log.said("result is not JSON")) == 1


async def test_an_action_that_answers_at_once_is_not_waited_for() -> None:
    async with open_test_node(plugins=PROBES) as node:
        session = node.client().session
        message = {"controller": "probes/probe", "action": "echo", "x": 1}
        assert isinstance(node.node.app.receive_message(session, encode_json(message)), Response)


async def test_an_action_that_waits_keeps_nobody_else_waiting() -> None:
    async with open_test_node(plugins=PROBES) as node, trio.open_nursery() as nursery:
        waiting, other = node.client(), node.client()
        nursery.start_soon(waiting.call, "probes/probe", "wait")
        await trio.testing.wait_all_tasks_blocked()
        assert (await other.call("server", "now"))["status"] == 200
        assert waiting.received == []
        probe_of(node).gate.set()
    assert waiting.received[0]["result"] == {"waited": True}


async def test_headers_of_an_action_are_in_the_envelope_and_in_http() -> None:
    async with open_test_node(plugins=PROBES) as node:
        reply = await node.client().call("probes/probe", "setsAHeader")
        assert reply["headers"] == {"X-Probe": "1"}
        response, _ = await node.http(
            "POST", "/_query", body={"controller": "probes/probe", "action": "setsAHeader"}
        )
        assert ("X-Probe", "1") in response.http_headers()


async def test_an_empty_message_has_no_answer() -> None:
    async with open_test_node() as node:
        client = node.client()
        assert await client.send(b"") is None
        assert await client.send('{"p":1}') == {"p": 2}


# -- HTTP ------------------------------------------------------------------------------------------------------------


async def test_a_plugins_route() -> None:
    async with open_test_node(plugins=PROBES) as node:
        _, answer = await node.http("GET", "/_plugin/probes/echo?x=1")
        assert (answer["controller"], answer["action"]) == ("probes/probe", "echo")
        assert answer["result"] == {"args": {"x": "1"}, "body": None}
        response, _ = await node.http("DELETE", "/_plugin/probes/echo")
        assert (response.status, response.allow) == (405, "GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize("path", ["/_now", "/nothing", "/_healthcheck"])
async def test_options_is_fine_with_everything(path: str) -> None:
    async with open_test_node(anonymous=False) as node:
        response, answer = await node.http("OPTIONS", path)
        assert (response.status, answer["result"], answer["error"]) == (200, {}, None)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "BREW"])
async def test_other_verbs_are_none(method: str) -> None:
    async with open_test_node() as node:
        response, answer = await node.http(method, "/_now")
        assert (response.status, answer["error"]["id"]) == (400, "network.http.unsupported_verb")


@pytest.mark.parametrize(
    ("target", "is_pretty"), [("/_now?pretty", True), ("/?x=1&pretty", True), ("/_now?prettyx", False)]
)
async def test_pretty_answers_are_indented(target: str, is_pretty: bool) -> None:
    async with open_test_node() as node:
        for path in (target, target.replace("_now", "nothing")):
            response, _ = await node.http("GET", path)
            assert (b"\n  " in response.envelope(room=False)) == is_pretty


# -- The node's life -------------------------------------------------------------------------------------------------


async def test_ready_says_why_not() -> None:
    async with open_test_node() as node:
        reasons: list[str] = []
        node.node.app.add_readiness(lambda: reasons[0] if reasons else None)
        assert (await node.http("GET", "/_ready"))[0].status == 200
        assert (await node.http("GET", "/_healthCheck"))[0].status == 200
        reasons.append("a peer is missing")
        response, answer = await node.http("GET", "/_ready")
        assert (response.status, answer["error"]["id"]) == (503, "cluster.node.not_ready")
        assert (answer["error"]["message"], answer["error"]["props"]) == ("ko", reasons)
        response, answer = await node.http("GET", "/_healthCheck")
        assert (response.status, answer["error"]["id"]) == (500, "core.fatal.service_unavailable")
        assert (await node.http("GET", "/_healthcheck"))[0].status == 200


async def test_a_node_that_stops_says_so() -> None:
    async with open_test_node(plugins=PROBES) as node, trio.open_nursery() as nursery:
        client = node.client()
        nursery.start_soon(client.call, "probes/probe", "wait")
        await trio.testing.wait_all_tasks_blocked()
        node.node.app.execution.stop()
        assert error_of(await node.client().call("server", "now")) == (503, "api.process.shutting_down")
        assert (await node.http("GET", "/_ready"))[0].status == 503
        probe_of(node).gate.set()
    # What was under way is finished.
    assert client.received[0]["status"] == 200


# -- The controllers -------------------------------------------------------------------------------------------------


async def test_public_api_lists_every_action_and_route() -> None:
    async with open_test_node(plugins=PROBES) as node:
        reply = await node.client().call("server", "publicApi")
        listed = reply["result"]
        assert listed["realtime"]["publish"] == {
            "action": "publish",
            "controller": "realtime",
            "http": [
                {
                    "verb": "POST",
                    "url": "/:index/:collection/_publish",
                    "path": "/:index/:collection/_publish",
                }
            ],
        }
        assert listed["realtime"]["subscribe"] == {"action": "subscribe", "controller": "realtime"}
        assert [route["verb"] for route in listed["probes/probe"]["echo"]["http"]] == ["GET", "POST"]
        assert listed["probes/probe"]["echo"]["http"][0]["url"] == "/_plugin/probes/echo"
        info = (await node.client().call("server", "info"))["result"]["serverInfo"]
        assert info["kuzzle"]["api"]["routes"] == listed


async def test_info_says_what_the_node_is() -> None:
    async with open_test_node(plugins=PROBES) as node:
        info = (await node.client().call("server", "info"))["result"]["serverInfo"]
        assert info["shoal"]["node"] == "test-node"
        assert info["kuzzle"]["plugins"] == {"probes": {"privileged": False, "controllers": ["probes/probe"]}}
        assert info["kuzzle"]["memoryUsed"] > 1_000_000
        assert info["kuzzle"]["uptime"].endswith("s")
        assert info["kuzzle"]["system"]["memory"]["total"] > 0
        assert info["services"] == {}


async def test_health_check_takes_the_names_of_services_as_a_text() -> None:
    async with open_test_node() as node:
        client = node.client()
        assert (await client.call("server", "healthCheck", services="storageEngine"))["result"][
            "status"
        ] == "green"
        assert error_of(await client.call("server", "healthCheck", services=["x"])) == (
            400,
            "api.assert.invalid_type",
        )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, {"valid": True, "kuid": "-1", "expiresAt": None}),
        ([], {"valid": True, "kuid": "-1", "expiresAt": None}),
        ({"token": None}, {"valid": True, "kuid": "-1", "expiresAt": None}),
        ({"token": ""}, {"valid": True, "kuid": "-1", "expiresAt": None}),
        ({"token": "kauth-x"}, {"valid": False, "state": "Invalid token."}),
    ],
)
async def test_check_token_knows_the_anonymous_one_only(body: Any, expected: dict[str, Any]) -> None:
    async with open_test_node() as node:
        assert (await node.client().call("auth", "checkToken", body=body))["result"] == expected


async def test_a_token_is_a_text() -> None:
    async with open_test_node() as node:
        reply = await node.client().call("auth", "checkToken", body={"token": 1})
        assert error_of(reply) == (400, "api.assert.invalid_type")


async def test_a_publish_over_http_reaches_subscribers() -> None:
    async with open_test_node() as node:
        client = node.client()
        await client.call("realtime", "subscribe", index="i", collection="c", body={})
        response, _ = await node.http("POST", "/i/c/_publish?_id=d", body={"x": 1})
        assert response.status == 200
        (notification,) = client.notifications
        assert (notification["protocol"], notification["result"]["_id"]) == ("http", "d")
