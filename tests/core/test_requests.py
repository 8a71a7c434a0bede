"""Requests: what is accepted as one, and how their arguments are read."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.errors import ApiError
from server.core.requests import MessageError, Request, decode_message
from server.core.responses import PONG
from server.core.session import Session
from server.core.values import encode_json

SESSION = Session(id="s", protocol="websocket", remote="test")


def decode(message: Any) -> Request:
    data = message if isinstance(message, str | bytes) else encode_json(message)
    return decode_message(data, SESSION, lambda: "new", 1_000)


def refusal(message: Any) -> Any:
    with pytest.raises(MessageError) as caught:
        decode(message)
    return caught.value.response


def a_request(*, are_texts: bool = False, body: Any = None, **args: Any) -> Request:
    request = decode({"controller": "c", "action": "a", "body": body, **args})
    request.are_texts = are_texts
    return request


def error_of(call: Callable[[], Any]) -> tuple[str, tuple[str, ...]]:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.id, caught.value.props


# -- Messages --------------------------------------------------------------------------------------------------------


def test_every_member_has_its_place() -> None:
    request = decode(
        {
            "requestId": "r",
            "controller": "c",
            "action": "a",
            "index": "i",
            "collection": "k",
            "_id": "d",
            "jwt": "t",
            "body": {"x": 1},
            "volatile": {"v": 1},
            "scope": "in",
        }
    )
    assert (request.id, request.controller, request.action) == ("r", "c", "a")
    assert (request.index, request.collection, request.document_id) == ("i", "k", "d")
    assert (request.jwt, request.body, request.volatile) == ("t", {"x": 1}, {"v": 1})
    assert request.args == {"scope": "in"}
    assert (request.protocol, request.received_at, request.session) == ("websocket", 1_000, SESSION)


@pytest.mark.parametrize("message", [{}, {"requestId": None}, {"requestId": ""}])
def test_a_request_without_id_gets_one(message: Any) -> None:
    request = decode(message)
    assert (request.id, request.controller, request.action, request.body) == ("new", None, None, None)


def test_null_is_as_good_as_absent() -> None:
    names = ("controller", "action", "index", "collection", "_id", "jwt", "body", "volatile")
    assert decode(dict.fromkeys(names)).args == {}


@pytest.mark.parametrize("message", ['{"p":1}', b'{"p":1}', ' { "p" : 1 } '])
def test_the_sdks_heartbeat_is_answered(message: str) -> None:
    assert refusal(message) is PONG
    assert PONG.envelope(room=True) == b'{"p":2}'


@pytest.mark.parametrize("message", ['{"p":1,"x":1}', '{"p":2}', '{"p":"1"}'])
def test_what_is_almost_a_heartbeat_is_a_request(message: str) -> None:
    assert decode(message).controller is None


@pytest.mark.parametrize(
    "message", ["null", "[]", '"x"', "1", "{nope", "", '{"a":1}}', b"\xff", "[" * 101 + "]" * 101]
)
def test_what_is_no_json_object_is_refused_with_a_fresh_id(message: str | bytes) -> None:
    response = refusal(message)
    assert (response.status, response.request_id) == (400, "new")
    assert response.error.id == "network.websocket.unexpected_error"


@pytest.mark.parametrize(
    ("member", "value", "expected"),
    [
        ("controller", 1, "string"),
        ("action", {}, "string"),
        ("jwt", [], "string"),
        ("volatile", [], "object"),
        ("volatile", "x", "object"),
        ("body", "x", "object, array"),
        ("body", 0, "object, array"),
    ],
)
def test_a_member_of_the_wrong_type_is_named(member: str, value: Any, expected: str) -> None:
    response = refusal({"requestId": "r", "controller": "c", "action": "a", member: value})
    assert (response.status, response.request_id) == (400, "r")
    assert (response.error.id, response.error.props) == ("api.assert.invalid_type", (member, expected))


@pytest.mark.parametrize(
    ("given_id", "echoed"), [(12, 12), (1.5, 1.5), (True, True), ([1], "new"), ({}, "new")]
)
def test_a_request_id_that_is_no_text_is_refused_under_what_can_be_echoed(given_id: Any, echoed: Any) -> None:
    response = refusal({"requestId": given_id, "controller": "c", "action": "a"})
    assert response.request_id == echoed
    assert response.error.props == ("requestId", "string")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
members = st.sampled_from(
    ["requestId", "controller", "action", "jwt", "volatile", "body", "index", "collection", "_id", "p", "x"]
)


@given(
    st.one_of(
        st.binary(max_size=200), st.text(max_size=200), st.dictionaries(members, json_values).map(encode_json)
    )
)
def test_any_message_is_a_request_or_has_an_answer_that_can_be_sent(message: bytes | str) -> None:
    outcome: Request | MessageError
    try:
        outcome = decode_message(message, SESSION, lambda: "new", 0)
    except MessageError as error:
        outcome = error
    if isinstance(outcome, MessageError):
        assert outcome.response.status in (200, 400)
        assert outcome.response.envelope(room=True).startswith(b"{")
        return
    assert isinstance(outcome.id, str)
    for value in (outcome.controller, outcome.action, outcome.index, outcome.jwt):
        assert value is None or isinstance(value, str)
    assert outcome.body is None or isinstance(outcome.body, dict | list)
    assert outcome.volatile is None or isinstance(outcome.volatile, dict)
    encode_json([outcome.args, outcome.body, outcome.volatile])


# -- Arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("index", Request.require_index),
        ("collection", Request.require_collection),
    ],
)
def test_a_place_is_required_with_its_type(name: str, read: Callable[[Request], str]) -> None:
    assert read(a_request(**{name: "x"})) == "x"
    assert error_of(lambda: read(a_request())) == ("api.assert.missing_argument", (name,))
    assert error_of(lambda: read(a_request(**{name: ""}))) == ("api.assert.empty_argument", (name,))
    assert error_of(lambda: read(a_request(**{name: 3}))) == ("api.assert.invalid_type", (name, "string"))


def test_an_id_is_optional_with_its_type() -> None:
    assert a_request(_id="d").optional_id() == "d"
    assert a_request().optional_id() is None
    assert error_of(a_request(_id="").optional_id) == ("api.assert.empty_argument", ("_id",))
    assert error_of(a_request(_id=3).optional_id) == ("api.assert.invalid_type", ("_id", "string"))


def test_a_body_is_required_and_an_object() -> None:
    assert a_request(body={}).require_body() == {}
    assert error_of(a_request().require_body) == ("api.assert.body_required", ())
    assert error_of(a_request(body=[]).require_body) == ("api.assert.invalid_type", ("body", "object"))


def test_a_text_of_the_body() -> None:
    read = lambda body: a_request(body=body).body_string("roomId")  # noqa: E731 - one word for four lines
    assert read({"roomId": "x"}) == "x"
    assert error_of(lambda: read(None)) == ("api.assert.body_required", ())
    assert error_of(lambda: read({})) == ("api.assert.missing_argument", ("body.roomId",))
    assert error_of(lambda: read({"roomId": ""})) == ("api.assert.empty_argument", ("body.roomId",))
    assert error_of(lambda: read({"roomId": 1})) == ("api.assert.invalid_type", ("body.roomId", "string"))


def test_a_text() -> None:
    assert a_request(x="a").string("x") == "a"
    assert a_request().string("x", "default") == "default"
    assert error_of(lambda: a_request().string("x")) == ("api.assert.missing_argument", ("x",))
    assert error_of(lambda: a_request(x=1).string("x")) == ("api.assert.invalid_type", ("x", "string"))


def test_a_flag() -> None:
    assert a_request(x=True).boolean("x") is True
    assert a_request(x=False).boolean("x") is False
    assert a_request().boolean("x") is False
    assert error_of(lambda: a_request(x="true").boolean("x")) == ("api.assert.invalid_type", ("x", "boolean"))


@pytest.mark.parametrize("value", ["", "true", "false", "0"])
def test_a_flag_in_a_url_is_set_by_being_there(value: str) -> None:
    assert a_request(are_texts=True, x=value).boolean("x") is True
    assert a_request(are_texts=True).boolean("x") is False


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("-1", -1), ("1.5", 1.5), ("1e3", 1000)])
def test_a_number_in_a_url_is_read_as_json_writes_it(text: str, number: float) -> None:
    assert a_request(are_texts=True, x=text).number("x") == number
    assert a_request(x=number).number("x") == number


@pytest.mark.parametrize("text", ["x", "", "true", "[1]", "NaN", "1e999", "0x10"])
def test_what_is_no_number_is_named(text: str) -> None:
    expected = ("api.assert.invalid_type", ("x", "number"))
    assert error_of(lambda: a_request(are_texts=True, x=text).number("x")) == expected
    assert error_of(lambda: a_request(x=text).number("x")) == expected
    assert error_of(lambda: a_request(x=True).number("x")) == expected


def test_a_whole_number() -> None:
    assert a_request(x=3.0).integer("x") == 3
    assert a_request().integer("x", 7) == 7
    assert error_of(lambda: a_request(x=1.5).integer("x")) == ("api.assert.invalid_type", ("x", "integer"))
    assert error_of(lambda: a_request().integer("x")) == ("api.assert.missing_argument", ("x",))


def test_lists_and_objects_in_a_url_are_json() -> None:
    url = a_request(are_texts=True, ids='["a","b"]', many=["a", "b"], sort='{"x":1}', bad="[", text="[1]")
    assert url.array("ids") == ["a", "b"]
    assert url.array("many") == ["a", "b"]
    assert url.object("sort") == {"x": 1}
    assert error_of(lambda: url.array("bad")) == ("api.assert.invalid_type", ("bad", "array"))
    assert error_of(lambda: url.object("text")) == ("api.assert.invalid_type", ("text", "object"))
    assert error_of(lambda: url.array("sort")) == ("api.assert.invalid_type", ("sort", "array"))
    assert error_of(lambda: url.array("none")) == ("api.assert.missing_argument", ("none",))
    assert error_of(lambda: url.object("none")) == ("api.assert.missing_argument", ("none",))


def test_lists_and_objects_in_a_message_are_what_they_are() -> None:
    request = a_request(ids=["a"], sort={"x": 1}, text='["a"]')
    assert request.array("ids") == ["a"]
    assert request.object("sort") == {"x": 1}
    assert error_of(lambda: request.array("text")) == ("api.assert.invalid_type", ("text", "array"))


# -- Headers of the response -----------------------------------------------------------------------------------------


def test_an_action_may_set_a_header() -> None:
    request = a_request()
    request.set_header("X-Page", "2 of 3")
    assert request.headers == {"X-Page": "2 of 3"}


@pytest.mark.parametrize(
    ("name", "value"), [("X Page", "2"), ("", "2"), ("X-Page", "2\r\nSet-Cookie: x"), ("X-Page", "é")]
)
def test_what_would_break_the_response_is_no_header(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="not a header"):
        a_request().set_header(name, value)


@pytest.mark.parametrize("name", ["x" * 127, "é" * 64])
def test_names_that_every_node_keeps_are_not_too_long(name: str) -> None:
    request = decode({"controller": "realtime", "action": "publish", "index": name, "collection": name})
    for required in (request.require_index, request.require_collection):
        with pytest.raises(ApiError) as refused:
            required()
        assert refused.value.id == "api.assert.invalid_argument"
