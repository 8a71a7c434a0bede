"""The envelope: which members there are, and when."""

import json

import msgspec
import pytest

from server.core.errors import ApiError
from server.core.responses import PONG, Response


def a_response(**members: object) -> Response:
    return Response(status=200, request_id="r", node="n", **members)  # type: ignore[arg-type] # as the test says


def envelope(response: Response, *, room: bool = False) -> dict[str, object]:
    read: dict[str, object] = json.loads(response.envelope(room=room))
    return read


def test_the_members_of_a_success() -> None:
    assert envelope(a_response(controller="c", action="a", result={"x": 1})) == {
        "action": "a",
        "controller": "c",
        "error": None,
        "headers": {},
        "node": "n",
        "requestId": "r",
        "result": {"x": 1},
        "status": 200,
        "volatile": None,
    }


def test_index_and_collection_are_there_if_the_request_had_them() -> None:
    read = envelope(a_response(index="i", collection="k"))
    assert (read["index"], read["collection"]) == ("i", "k")


def test_room_is_the_request_id_over_websocket_only() -> None:
    assert envelope(a_response(), room=True)["room"] == "r"
    assert "room" not in envelope(a_response(), room=False)


def test_an_action_may_yield_nothing() -> None:
    assert "result" not in envelope(a_response(result=msgspec.UNSET))
    assert envelope(a_response(result=None))["result"] is None


def test_an_error_is_written_in_full() -> None:
    error = ApiError("api.assert.missing_argument", "x")
    read = envelope(Response(status=error.status, request_id="r", error=error))
    assert (read["status"], read["result"], read["error"]) == (400, None, error.to_wire())


def test_a_bare_error_is_all_of_the_body() -> None:
    error = ApiError("network.http.unsupported_charset", "latin1")
    response = Response(status=400, error=error, is_bare=True, node="n")
    assert envelope(response) == error.to_wire()
    assert response.http_headers() == [("Content-Type", "application/json"), ("X-Kuzzle-Node", "n")]


def test_http_headers() -> None:
    response = a_response(headers={"X-Page": "2"}, allow="GET")
    assert response.http_headers() == [
        ("Content-Type", "application/json"),
        ("X-Kuzzle-Request-Id", "r"),
        ("X-Kuzzle-Node", "n"),
        ("Allow", "GET"),
        ("X-Page", "2"),
    ]
    assert envelope(response)["headers"] == {"X-Page": "2"}


def test_pretty_is_for_people() -> None:
    text = a_response(is_pretty=True).envelope(room=False).decode()
    assert text.startswith('{\n  "action": null')
    assert text.endswith("\n}\n")
    assert json.loads(text) == envelope(a_response())


def test_what_is_sealed_stays() -> None:
    response = a_response(result=[1])
    response.seal(room=True)
    sealed = response.envelope(room=True)
    response.result = [2]
    assert response.envelope(room=True) is sealed


@pytest.mark.parametrize("result", [object(), {1.5: {object()}}, "\ud800"])
def test_what_is_no_json_cannot_be_sealed(result: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        a_response(result=result).seal(room=True)


def test_the_pong_is_the_pong() -> None:
    assert PONG.envelope(room=True) == PONG.envelope(room=False) == b'{"p":2}'
