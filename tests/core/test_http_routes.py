"""Routes: which action an HTTP request means, and what is said when it means none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.requests import MessageError, Request
from server.core.responses import Response
from server.core.routes import (
    MAX_QUERY_FIELDS,
    MAX_REQUEST_ID_CHARS,
    HttpCall,
    Route,
    RouteCollisionError,
    RouteTable,
    request_id_of,
)
from server.core.session import Session

SESSION = Session(id="s", protocol="http", remote="test")


def a_table() -> RouteTable:
    table = RouteTable()
    for verb, path, name in [
        ("GET", "/", "server:info"),
        ("GET", "/_now", "server:now"),
        ("POST", "/:index/:collection/_publish", "realtime:publish"),
        ("GET", "/:index/:collection/:_id", "document:get"),
        ("GET", "/:index/:collection/_search", "document:search"),
        ("PUT", "/:index/:collection/:_id/_update", "document:update"),
        ("PATCH", "/:index/:collection/:_id/_update", "document:update"),
        ("GET", "/users/_me", "auth:getCurrentUser"),
    ]:
        controller, action = name.split(":")
        table.add(Route(verb, path, controller, action))
    return table


TABLE = a_table()


def request_for(method: str, path: str, query: str = "", **call: Any) -> Request:
    return TABLE.request_for(HttpCall(method, path, query, **call), SESSION, lambda: "new", 1_000)


def refusal(method: str, path: str, query: str = "", **call: Any) -> Response:
    with pytest.raises(MessageError) as caught:
        request_for(method, path, query, **call)
    return caught.value.response


def error_id(response: Response) -> str:
    assert response.error is not None
    return response.error.id


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/", "server:info"),
        ("GET", "", "server:info"),
        ("GET", "/_now", "server:now"),
        ("GET", "/_now/", "server:now"),
        ("HEAD", "/_now", "server:now"),
        ("GET", "/i/c/_search", "document:search"),
        ("GET", "/i/c/42", "document:get"),
        ("GET", "/users/_me", "auth:getCurrentUser"),
        ("PATCH", "/i/c/42/_update", "document:update"),
    ],
)
def test_a_path_leads_to_its_action(method: str, path: str, name: str) -> None:
    request = request_for(method, path)
    assert f"{request.controller}:{request.action}" == name
    assert (request.are_texts, request.protocol) == (True, "http")


def test_a_literal_is_preferred_but_no_dead_end() -> None:
    # /users/… begins like a literal route, and yet is an index called "users".
    request = request_for("GET", "/users/things/7")
    assert (request.index, request.collection, request.document_id) == ("users", "things", "7")


def test_segments_are_decoded_one_by_one() -> None:
    request = request_for("GET", "/my%20index/a%2Fb/%C3%A9")
    assert (request.index, request.collection, request.document_id) == ("my index", "a/b", "é")
    assert request_for("GET", "/i/c/%ff").document_id == "�"


def test_a_placeholder_is_never_empty() -> None:
    assert error_id(refusal("GET", "/i//x")) == "network.http.url_not_found"


def test_query_arguments_are_texts_and_the_path_is_stronger() -> None:
    request = request_for("GET", "/i/c/42", "index=other&lang=fr&flag&x=1&x=2&e=%20a")
    assert request.index == "i"
    assert request.args == {"lang": "fr", "flag": "", "x": ["1", "2"], "e": " a"}


def test_a_query_string_cannot_say_what_has_its_own_place() -> None:
    request = request_for("GET", "/_now", "controller=x&action=y&jwt=t&body=b&volatile=v&requestId=r&_id=d")
    assert (request.controller, request.action, request.jwt, request.body) == ("server", "now", None, None)
    assert (request.id, request.volatile, request.document_id, request.args) == ("new", None, "d", {})


def test_a_query_string_of_any_length_is_not_read() -> None:
    query = "&".join(f"a{n}" for n in range(MAX_QUERY_FIELDS + 1))
    assert error_id(refusal("GET", "/_now", query)) == "network.http.unexpected_error"


# -- Refusals --------------------------------------------------------------------------------------------------------


def test_an_unknown_url_is_not_found() -> None:
    response = refusal("GET", "/nothing/here")
    assert (response.status, error_id(response), response.is_bare) == (
        404,
        "network.http.url_not_found",
        False,
    )
    assert response.request_id == "new"


def test_a_known_url_with_a_wrong_verb_says_which_are_right() -> None:
    response = refusal("DELETE", "/i/c/42/_update")
    assert (response.status, error_id(response)) == (405, "network.http.method_not_allowed")
    assert response.allow == "OPTIONS, PATCH, PUT"
    assert ("Allow", "OPTIONS, PATCH, PUT") in response.http_headers()
    assert refusal("POST", "/_now").allow == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/_query", "OPTIONS, POST"),
        ("/_ready", "GET, HEAD, OPTIONS"),
        ("/_healthcheck", "GET, HEAD, OPTIONS"),
    ],
)
def test_paths_without_an_action_of_their_own_are_known_too(path: str, allow: str) -> None:
    assert refusal("PUT", path).allow == allow


def test_all_routes_of_a_path_count_for_what_is_allowed() -> None:
    # /i/c/_search is a search, and also a document with a strange id.
    assert refusal("DELETE", "/i/c/_search").allow == "GET, HEAD, OPTIONS"
    assert request_for("POST", "/a/b/_publish", body=b"{}").action == "publish"


# -- What headers say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ("my-id", "my-id"),
        ("", "new"),
        ("x" * MAX_REQUEST_ID_CHARS, "x" * MAX_REQUEST_ID_CHARS),
        ("x" * (MAX_REQUEST_ID_CHARS + 1), "new"),
        ("a\tb", "new"),
        ("é", "new"),
    ],
)
def test_a_request_id_is_taken_if_it_can_be_sent_back(given_id: str, expected: str) -> None:
    call = HttpCall("GET", "/_now", headers={"x-kuzzle-request-id": given_id})
    assert request_id_of(call, lambda: "new") == expected
    assert TABLE.request_for(call, SESSION, lambda: "new", 0).id == expected


@pytest.mark.parametrize(
    ("header", "jwt"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Bearer ", None), ("Basic abc", None), ("abc", None)],
)
def test_a_bearer_token_is_the_jwt(header: str, jwt: str | None) -> None:
    assert request_for("GET", "/_now", headers={"authorization": header}).jwt == jwt


def test_volatile_comes_in_a_header() -> None:
    assert request_for("GET", "/_now", headers={"x-kuzzle-volatile": '{"v":1}'}).volatile == {"v": 1}
    for text in ("{", "[]", "1", ""):
        response = refusal("GET", "/_now", headers={"x-kuzzle-volatile": text})
        assert error_id(response) == "network.http.volatile_parse_failed"


# -- Bodies ----------------------------------------------------------------------------------------------------------


def test_a_body_goes_with_the_request() -> None:
    request = request_for("POST", "/i/c/_publish", body=b'{"x":1}')
    assert (request.body, request.index, request.collection) == ({"x": 1}, "i", "c")


def test_a_body_that_cannot_be_read_is_a_bare_error() -> None:
    response = refusal("POST", "/i/c/_publish", body=b"{nope")
    assert (response.is_bare, error_id(response)) == (True, "network.http.body_parse_failed")
    assert ("X-Kuzzle-Request-Id", "") not in response.http_headers()


def test_a_body_of_the_wrong_type_is_named() -> None:
    response = refusal("POST", "/i/c/_publish", body=b'"x"')
    assert response.error is not None
    assert (response.error.id, response.error.props) == ("api.assert.invalid_type", ("body", "object, array"))


def test_without_a_body_its_type_does_not_matter() -> None:
    assert request_for("GET", "/_now", headers={"content-type": "text/plain"}).action == "now"


# -- Any request in a body -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/_query", "/_query/"])
def test_any_request_may_come_in_a_body(path: str) -> None:
    body = b'{"controller":"server","action":"now","requestId":"zz","volatile":{"a":1},"jwt":"t","x":true}'
    request = request_for("POST", path, body=body, headers={"authorization": "Bearer other"})
    assert (request.controller, request.action, request.id) == ("server", "now", "new")
    assert (request.volatile, request.jwt, request.args) == ({"a": 1}, "t", {"x": True})
    assert not request.are_texts


def test_what_the_body_lacks_comes_from_the_headers() -> None:
    headers = {"authorization": "Bearer t", "x-kuzzle-volatile": '{"v":1}', "x-kuzzle-request-id": "my-id"}
    request = request_for("POST", "/_query", body=b"{}", headers=headers)
    assert (request.jwt, request.volatile, request.id) == ("t", {"v": 1}, "my-id")


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"'])
def test_a_query_without_an_object_is_refused(body: bytes) -> None:
    response = refusal("POST", "/_query", body=body)
    assert (error_id(response), response.is_bare) == ("network.http.body_parse_failed", False)


# -- The table -------------------------------------------------------------------------------------------------------


def test_two_routes_of_one_shape_collide() -> None:
    table = RouteTable()
    table.add(Route("GET", "/a/:b", "one", "x"))
    table.add(Route("POST", "/a/:b", "one", "y"))
    table.add(Route("GET", "/a/b", "one", "z"))
    with pytest.raises(RouteCollisionError, match="two:x is already taken by one:x"):
        table.add(Route("GET", "/a/:c/", "two", "x"))
    assert [route.action for route in table] == ["x", "y", "z"]


@pytest.mark.parametrize(("verb", "path"), [("TRACE", "/a"), ("HEAD", "/a"), ("get", "/a"), ("GET", "a")])
def test_a_route_that_nobody_could_ask_for_is_refused(verb: str, path: str) -> None:
    with pytest.raises(ValueError, match="one:x"):
        RouteTable().add(Route(verb, path, "one", "x"))


@given(
    st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
    st.text(alphabet=st.sampled_from("/ab_%2e:.é"), max_size=30).map("/".__add__),
    st.text(alphabet=st.sampled_from("ab=&%2[]+"), max_size=30),
    st.binary(max_size=30),
)
def test_any_call_is_a_request_or_has_an_answer(method: str, path: str, query: str, body: bytes) -> None:
    call = HttpCall(method, path, query, body=body)
    try:
        request = TABLE.request_for(call, SESSION, lambda: "new", 0)
    except MessageError as error:
        response = error.response
    else:
        response = Response(status=200, request_id=request.id, volatile=request.volatile)
    assert response.envelope(room=False).startswith(b"{")
