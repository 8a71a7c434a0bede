"""What a WebSocket client says, message by message (lines of JSON). The law: each is answered, with JSON, and

- what plain JSON makes of a message is what the server makes of it; what is no JSON there is none here;
- a message that is read in one go and one that is read member by member mean the same;
- the answer repeats the request's id; it is no fault of this node, and nothing is logged as one;
- who subscribed to everything is told of what is published, once, and with the same content;
- when the client has left, nothing of it remains.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from server.core.errors import ApiError
from server.core.requests import MessageError, Request, decode_message, request_from
from server.core.responses import Response
from server.core.session import Session
from server.core.values import MAX_DEPTH, JsonError, decode_json
from support.documents import ROOT
from support.fuzz_engine import Target
from support.fuzz_mutations import Dice, change_bytes, change_json
from support.fuzz_node import make_node

MOST_MESSAGES = 20
LARGEST_WHOLE = 1 << 1024
"""Digits beyond it are refused: no double is that large."""

NODE, LOG = make_node(subscriptions=5, rooms=10)
BYSTANDER = Session(id="bystander", protocol="websocket", remote="")


def check(data: bytes) -> None:
    """Let a client say all this, while another listens."""
    client, listener = _Client(), _Client()
    assert client.said(b'{"controller":"realtime","action":"count","body":{"roomId":"?"}}')["status"] == 200
    subscribe = b'{"controller":"realtime","action":"subscribe","index":"i","collection":"c","body":{}}'
    assert listener.said(subscribe)["status"] == 200
    for message in data.split(b"\n")[:MOST_MESSAGES]:
        _read(message)
        if not message:
            continue
        reply = client.said(message)
        _answers(message, reply)
        told = listener.taken()
        if reply.get("action") == "publish" and reply["status"] == 200:
            is_heard = (reply["index"], reply["collection"]) == ("i", "c")
            assert len(told) == is_heard
            if is_heard:
                source = told[0]["result"]["_source"]
                body = json.loads(message)["body"] | {"_kuzzle_info": source["_kuzzle_info"]}
                assert source == body
        client.taken()
    client.leave()
    listener.leave()
    assert NODE.realtime.counts() == {}
    assert LOG.lines == []


@attrs.define(eq=False)
class _Client:
    received: list[bytes] = attrs.field(factory=list)
    session: Session = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.session = NODE.app.open_session("websocket", "fuzz", self._write)

    def _write(self, *frames: bytes, joined: bytes = b"") -> None:
        self.received += frames

    def said(self, message: bytes) -> dict[str, Any]:
        """Send a message; return the answer."""
        answer = NODE.app.receive_message(self.session, message)
        assert isinstance(answer, Response)
        reply: dict[str, Any] = json.loads(answer.envelope(room=True))
        if answer.on_sent is not None:
            answer.on_sent()
        return reply

    def taken(self) -> list[Any]:
        """Return what was told since the last time."""
        NODE.turn.flush()
        frames, self.received = self.received, []
        return [
            json.loads(frame[2 if frame[1] < 126 else 4 if frame[1] == 126 else 10 :]) for frame in frames
        ]

    def leave(self) -> None:
        NODE.app.close_session(self.session)


def _answers(message: bytes, reply: dict[str, Any]) -> None:
    if reply == {"p": 2}:
        assert json.loads(message) == {"p": 1}
        return
    assert reply["status"] == (200 if reply["error"] is None else reply["error"]["status"])
    assert 200 <= reply["status"] < 500, reply
    assert reply["node"] == "fuzzed"
    assert reply["room"] == reply["requestId"]
    try:
        asked = json.loads(message)
    except ValueError:
        return
    if (
        isinstance(asked, dict)
        and asked.get("requestId")
        and isinstance(asked["requestId"], str)
        and reply["action"]
    ):
        assert reply["requestId"] == asked["requestId"]
        assert (reply["controller"], reply["action"]) == (asked.get("controller"), asked.get("action"))
        assert reply["volatile"] == asked.get("volatile")


# -- Reading a message ------------------------------------------------------------------------------------------------


def _read(message: bytes) -> None:
    plain = _plain_json(message)
    request = _request_or_refusal(lambda: decode_message(message, BYSTANDER, lambda: "new", 7))
    if isinstance(request, Response):
        assert json.loads(request.envelope(room=True))
    try:
        value = decode_json(message)
    except JsonError:
        assert isinstance(request, Response)
        assert plain is None or _is_beyond_limits(plain[0], message), message
        return
    assert plain is not None
    assert value == plain[0]
    if not isinstance(value, dict):
        assert isinstance(request, Response)
        return
    if value == {"p": 1} and value["p"] is not True:
        return
    by_member = _request_or_refusal(lambda: request_from(value, BYSTANDER, lambda: "new", 7))
    if isinstance(request, Response) or isinstance(by_member, Response):
        assert isinstance(request, Response)
        assert isinstance(by_member, Response) or value.get("p") == 1
        return
    for field in Request.__struct_fields__:
        assert getattr(request, field) == getattr(by_member, field), field
    _ask_for_everything(request)


def _request_or_refusal(read: Callable[[], Request]) -> Request | Response:
    try:
        return read()
    except MessageError as error:
        return error.response


def _ask_for_everything(request: Request) -> None:
    asks: list[Callable[[], object]] = [
        request.require_index,
        request.require_collection,
        request.optional_id,
        request.require_body,
        lambda: request.body_string("x"),
    ]
    for name in ("missing", *list(request.args)[:3]):
        for read in (
            request.string,
            request.boolean,
            request.integer,
            request.number,
            request.array,
            request.object,
        ):
            asks.append(lambda read=read, name=name: read(name))  # type: ignore[misc]
    for are_texts in (False, True):
        request.are_texts = are_texts
        for ask in asks:
            try:
                ask()
            except ApiError as error:
                assert error.status == 400


def _plain_json(message: bytes) -> tuple[Any] | None:
    """Return what Python's own reader makes of it; None for what is no JSON in UTF-8."""
    try:
        return (json.loads(message.decode(), parse_constant=_refuse),)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _is_beyond_limits(value: Any, message: bytes) -> bool:
    """Tell whether there is a reason to refuse what Python reads: depth, half a surrogate pair, a huge number."""
    waiting = [(value, 0)]
    while waiting:
        found, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return True
        match found:
            case dict():
                waiting += [(child, depth + 1) for child in (*found.values(), *found)]
                depth += 1
            case list():
                waiting += [(child, depth + 1) for child in found]
                depth += 1
            case str() if any("\ud800" <= character <= "\udfff" for character in found):
                return True
            case float() if not math.isfinite(found):
                return True
            case int() if abs(found) >= LARGEST_WHOLE:
                return True
            case _:
                pass
        if depth > MAX_DEPTH:
            return True
    return (
        b"\\ud" in message.lower()
    )  # a name that another one of the same replaced, with half a pair in its value


# -- Inputs -----------------------------------------------------------------------------------------------------------


def seeds() -> Iterator[bytes]:
    """What was recorded of Kuzzle, and the life of a subscriber."""
    for name in ("golden_envelope", "golden_auth", "golden_realtime"):
        for vector in json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text()):
            if isinstance(said := vector.get("send"), str):
                yield said.encode()
    yield b"\n".join(
        json.dumps({"controller": "realtime", "action": name, **members}).encode()
        for name, members in (
            ("subscribe", {"index": "i", "collection": "c", "body": {"equals": {"a": 1}}, "scope": "in"}),
            (
                "subscribe",
                {"index": "i", "collection": "c", "body": {}, "users": "all", "volatile": {"v": 1}},
            ),
            ("publish", {"index": "i", "collection": "c", "body": {"a": 1}, "_id": "d", "requestId": "r"}),
            ("count", {"body": {"roomId": _room_id()}}),
            ("join", {"body": {"roomId": _room_id()}}),
            ("list", {}),
            ("unsubscribe", {"body": {"roomId": _room_id()}}),
        )
    )
    yield b'{"p":1}\n{"controller":"server","action":"now"}\n{"controller":"server","action":"info","body":[]}'


def _room_id() -> str:
    client = _Client()
    reply = client.said(
        b'{"controller":"realtime","action":"subscribe","index":"i","collection":"c","body":{}}'
    )
    client.leave()
    return str(reply["result"]["roomId"])


def change_message(data: bytes, dice: Dice) -> bytes:
    """Change one of the messages, or their order."""
    lines = data.split(b"\n")
    at = dice.random.randrange(len(lines))
    match dice.random.randrange(10):
        case 0:
            lines.insert(at, dice.random.choice(dice.other().split(b"\n")))
        case 1:
            del lines[at]
        case 2:
            lines[at] = change_bytes(lines[at], dice)
        case _:
            lines[at] = change_json(lines[at], Dice(dice.random, dice.tokens, dice.other().split(b"\n")))
    return b"\n".join(lines)


TARGET = Target(check, seeds, change_message)
