"""Frames recorded from Kuzzle 2.56, replayed: the answers are the same but for differences that are meant.

Each difference is listed with its reason. What the sender's parser said of broken JSON, and the texts of messages in
general, are free; ids of rooms, requests and connections are opaque, and compared by where they come back.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from server.core.values import encode_json
from server.testing import TestClient, open_test_node

VECTORS = Path(__file__).parent.parent / "vectors"
ENVELOPE, REALTIME, AUTH = (
    json.loads((VECTORS / f"golden_{name}.json").read_text()) for name in ("envelope", "realtime", "auth")
)
HTTP = {vector["name"]: vector for vector in ENVELOPE if vector["name"].startswith("http:")}
WEBSOCKET = {vector["name"]: vector for vector in ENVELOPE if vector["name"].startswith("ws:")}

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@attrs.frozen
class Difference:
    """What is not as recorded, on purpose."""

    reason: str
    expected: Mapping[str, Any]
    """Members of the answer, in place of the recorded ones."""


FRIENDLIER = "a room is there too: it is what the SDK finds its answer by; and the error has an id"


def _refused(error_id: str, code: int, props: list[str], **more: Any) -> dict[str, Any]:
    return {"error": {"id": error_id, "code": code, "status": 400, "props": props}, "status": 400, **more}


DIFFERENCES = {
    "ws:badjson": Difference(FRIENDLIER, {"room": ...}),
    "ws:array": Difference(
        "what a client sent wrong is not the server's fault: 400",
        _refused("network.websocket.unexpected_error", 50528257, ["not a JSON object"], room=...),
    ),
    "ws:str": Difference(
        "as for an array",
        _refused("network.websocket.unexpected_error", 50528257, ["not a JSON object"], room=...),
    ),
    "ws:reqidnum": Difference(
        FRIENDLIER, _refused("api.assert.invalid_type", 33619969, ["requestId", "string"], room=12)
    ),
    "ws:bodystring": Difference(
        FRIENDLIER, _refused("api.assert.invalid_type", 33619969, ["body", "object, array"], room="q5")
    ),
    "ws:volatilestr": Difference(
        FRIENDLIER, _refused("api.assert.invalid_type", 33619969, ["volatile", "object"], room="q6")
    ),
    "http:healthCheck": Difference(
        "a node without storage does not call it healthy", {"result": {"status": "green", "services": {}}}
    ),
}


@pytest.mark.parametrize("name", [name for name in WEBSOCKET if name != "ws:null"])
async def test_a_message_is_answered_as_recorded(name: str) -> None:
    vector = WEBSOCKET[name]
    async with open_test_node() as node:
        reply = await node.client().send(vector["send"])
    assert comparable(reply) == comparable(expected(name, vector["recv"][0]))


async def test_null_is_answered() -> None:
    # Kuzzle says nothing at all: whoever waits for an answer waits for ever.
    async with open_test_node() as node:
        reply = await node.client().send(WEBSOCKET["ws:null"]["send"])
    assert (reply["status"], reply["error"]["id"]) == (400, "network.websocket.unexpected_error")
    assert WEBSOCKET["ws:null"]["recv"] == []


@pytest.mark.parametrize("name", [name for name in HTTP if not name.startswith("http:head")])
async def test_an_http_call_is_answered_as_recorded(name: str) -> None:
    vector = HTTP[name]
    body = vector.get("body")
    async with open_test_node() as node:
        response, answer = await node.http(
            vector["method"],
            vector["path"],
            body=body.encode() if isinstance(body, str) else body,
            headers=vector.get("headers"),
        )
    recorded = vector["recv"]
    headers = {key.lower(): value for key, value in response.http_headers()}
    assert response.status == recorded["status"]
    assert comparable(answer) == comparable(expected(name, recorded["body"]))
    assert headers["x-kuzzle-node"] == "test-node"
    assert ("x-kuzzle-request-id" in headers) == ("x-kuzzle-request-id" in recorded["headers"])
    if "requestId" in answer:
        assert headers["x-kuzzle-request-id"] == answer["requestId"]


async def test_head_works_wherever_get_does() -> None:
    # Kuzzle knows HEAD for / only, and says 404 elsewhere. The adapter leaves the body out.
    async with open_test_node() as node:
        for name in ("http:head", "http:headx"):
            response, _ = await node.http("HEAD", HTTP[name]["path"])
            assert response.status == 200


@pytest.mark.parametrize("vector", AUTH[:-1], ids=lambda vector: vector["name"])
async def test_an_anonymous_user_is_answered_as_recorded(vector: dict[str, Any]) -> None:
    wanted = dict(vector["recv"])
    if vector["name"] == "anon getCurrentUser":
        assert wanted["result"]["strategies"] == [[]]
        wanted["result"] = wanted["result"] | {"strategies": []}  # [[]] is a slip: there is no strategy
    async with open_test_node() as node:
        reply = await node.client().send(encode_json({"requestId": "r"} | vector["send"]))
    assert comparable(reply) == comparable(wanted | {"requestId": "r", "room": "r"})


async def test_closed_to_anonymous_users_is_said_as_recorded() -> None:
    recorded = AUTH[-1]["recv"]["error"]
    async with open_test_node(anonymous=False) as node:
        reply = await node.client().call("index", "list")
    assert (reply["error"]["id"], reply["error"]["code"]) == (recorded["id"], recorded["code"])
    assert reply["status"] == recorded["status"]
    # Without the kuid, which Kuzzle puts behind the sentence by mistake.
    assert reply["error"]["props"] == recorded["props"][:2]


# -- Realtime: one recording, in its order ---------------------------------------------------------------------------

WHO_SENDS = {"b sub users all": "b", "unsub": "b", "unsub twice": "b", "join": "b", "join unknown": "b"}


async def test_the_realtime_recording() -> None:
    names = Names()
    async with open_test_node() as node:
        clients = {"a": node.client(), "b": node.client()}
        seen = dict.fromkeys(clients, 0)
        for step in REALTIME:
            name, recorded = step["name"], step["recv"]
            if name == "http publish":
                body = {"name": "x", "via": "http"}
                response, answer = await node.http("POST", "/idx/col/_publish", body=body)
                assert response.status == recorded["s"]
                assert names.comparable(answer) == comparable(recorded["b"])
            elif "send" in step:
                reply = await clients[WHO_SENDS.get(name, "a")].call(**names.ours(step["send"]))
                names.learn(recorded, reply)
                assert names.comparable(reply) == comparable(recorded), name
            else:
                if name == "a frames on b disconnect":
                    clients["b"].leave()
                reader = "b" if name.startswith("b ") else "a"
                frames = _new_frames(clients[reader], seen, reader)
                assert [names.comparable(frame) for frame in frames] == [comparable(f) for f in recorded], (
                    name
                )


def _new_frames(client: TestClient, seen: dict[str, int], reader: str) -> list[Any]:
    frames = client.notifications[seen[reader] :]
    seen[reader] = len(client.notifications)
    return frames


class Names:
    """Which of our room ids stands for which recorded one."""

    def __init__(self) -> None:
        self._recorded: dict[str, str] = {}

    def learn(self, recorded: dict[str, Any], reply: dict[str, Any]) -> None:
        if recorded["action"] == "subscribe" and recorded["error"] is None:
            ours, theirs = reply["result"]["roomId"], recorded["result"]["roomId"]
            assert self._recorded.setdefault(ours, theirs) == theirs

    def ours(self, send: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(send)
        for ours, theirs in self._recorded.items():
            text = text.replace(theirs, ours)
        sent: dict[str, Any] = json.loads(text)
        return sent

    def comparable(self, message: Any) -> Any:
        text = json.dumps(message)
        for ours, theirs in self._recorded.items():
            text = text.replace(ours, theirs)
        return comparable(json.loads(text))


# -- What is compared ------------------------------------------------------------------------------------------------

FREE_TEXTS = (
    "network.websocket.unexpected_error",
    "network.http.volatile_parse_failed",
    "network.http.body_parse_failed",
    "api.assert.koncorde_dsl_error",
)


def expected(name: str, recorded: Any) -> Any:
    difference = DIFFERENCES.get(name)
    return recorded if difference is None else {**recorded, **difference.expected}


def comparable(message: Any) -> Any:
    """Return a message without what is free, opaque, or a matter of time."""
    if not isinstance(message, dict):
        return message
    told = {key: value for key, value in message.items() if key not in ("node", "timestamp", "requestId")}
    if "room" in told and not _is_channel(told["room"]):
        # A reply's room is its request's id, whatever that is.
        room = told.pop("room")
        told["has room"] = room is ... or room == message["requestId"]
    if isinstance(told.get("error"), dict):
        told["error"] = _comparable_error(told["error"])
    elif "code" in told:
        told = _comparable_error(told)
    return _without_times(told)


def _comparable_error(error: dict[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in error.items() if key != "message"}
    if error.get("id") in FREE_TEXTS:
        del told["props"]
    if "props" in told:
        told["props"] = ["<uuid>" if UUID.fullmatch(prop) else prop for prop in told["props"]]
    return told


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_times(member) for key, member in value.items() if key not in ("now", "createdAt")
        }
    return value


def _is_channel(room: Any) -> bool:
    return isinstance(room, str) and re.fullmatch(r"[0-9a-f]{64}-\d+", room) is not None
