"""Heads that h11 takes and we do not, and what is read out of the others."""

import h11
import pytest
import wsproto
from hypothesis import given
from hypothesis import strategies as st
from wsproto.events import AcceptConnection, Request

from server.core.errors import ApiError
from server.core.heads import (
    asks_for_websocket,
    check_head,
    declared_length,
    headers_by_name,
    split_target,
    switching_protocols,
    websocket_key,
    websocket_protocol,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def head(
    *lines: tuple[str, str], method: str = "GET", target: bytes = b"/", version: bytes = b"1.1"
) -> h11.Request:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in (("Host", "x"), *lines)]
    return h11.Request(method=method, target=target, headers=headers, http_version=version)


def refused(request: h11.Request, max_bytes: int = 10_000) -> ApiError:
    with pytest.raises(ApiError) as caught:
        check_head(request, max_bytes)
    return caught.value


@pytest.mark.parametrize("target", [b"/", b"/a/b?c=d", b"*", b"http://x/a", b"HTTPS://x", b"//x/y"])
def test_a_sound_head_is_accepted(target: bytes) -> None:
    check_head(head(target=target), 10_000)
    check_head(head(("Transfer-Encoding", "chunked"), target=target), 10_000)


@pytest.mark.parametrize(
    "request_",
    [
        head(("Content-Length", "5"), ("Transfer-Encoding", "chunked")),
        head(("Transfer-Encoding", "chunked"), version=b"1.0"),
        head(version=b"2.0"),
        head(version=b"0.9"),
        head(target=b"x"),
        head(target=b"x/y"),
        head(target=b"http://"),
        head(target=b"http:///path"),
        head(target=b"http://[::1/"),
        head(target=b"ftp://x/"),
        head(method="CONNECT", target=b"x:80"),
    ],
)
def test_a_head_that_somebody_else_could_read_differently_is_refused(request_: h11.Request) -> None:
    error = refused(request_)
    assert error.status == 400
    assert error.id in ("network.http.unexpected_error", "network.http.unsupported_verb")


def test_a_head_is_bounded_also_when_it_arrives_in_one_piece() -> None:
    request = head(("A", "x" * 500), target=b"/" + b"y" * 400)
    check_head(request, 1_000)
    assert refused(request, 900).status == 431


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"/", ("/", "")),
        (b"/a%20b?c=%64&e", ("/a%20b", "c=%64&e")),
        (b"/a?", ("/a", "")),
        (b"//evil.example/a?b", ("//evil.example/a", "b")),
        (b"http://x/a?b=c", ("/a", "b=c")),
        (b"http://x", ("/", "")),
        (b"*", ("*", "")),
    ],
)
def test_a_target_is_split_into_path_and_query_as_sent(target: bytes, parts: tuple[str, str]) -> None:
    assert split_target(target) == parts


def test_headers_become_text_by_name() -> None:
    lines = [
        (b"accept", b"a"),
        (b"accept", b"b"),
        (b"cookie", b"c=1"),
        (b"cookie", b"d=2"),
        (b"x-utf", "é".encode()),
        (b"x-latin", "é".encode("latin-1")),
    ]
    assert headers_by_name(lines) == {
        "accept": "a, b",
        "cookie": "c=1; d=2",
        "x-utf": "é",
        "x-latin": "é",
    }


@given(st.lists(st.tuples(st.just(b"x"), st.binary())))
def test_any_header_value_becomes_some_text(lines: list[tuple[bytes, bytes]]) -> None:
    assert set(headers_by_name(lines)) <= {"x"}


def test_the_declared_length_is_what_the_head_says() -> None:
    assert declared_length(head(("Content-Length", "12")).headers) == 12
    assert declared_length(head(("Transfer-Encoding", "chunked")).headers) == 0


# -- WebSocket --------------------------------------------------------------------------------------------------

SOUND = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "WebSocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY.decode(),
}


def handshake(method: str = "GET", version: bytes = b"1.1", **changed: str) -> h11.Request:
    """Return a handshake; a header is changed by its name with underscores, and left out when it is empty."""
    lines = SOUND | {name.replace("_", "-"): value for name, value in changed.items()}
    return head(*((name, value) for name, value in lines.items() if value), method=method, version=version)


def test_a_sound_handshake_has_a_key() -> None:
    assert asks_for_websocket(handshake().headers)
    assert websocket_key(handshake()) == KEY


@pytest.mark.parametrize("upgrade", ["", "h2c", "websockets"])
def test_what_does_not_ask_for_a_websocket_is_plain_http(upgrade: str) -> None:
    assert not asks_for_websocket(handshake(Upgrade=upgrade).headers)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (handshake(method="POST"), "GET"),
        (handshake(version=b"1.0"), "HTTP/1.1"),
        (handshake(Connection="close"), "Connection: Upgrade"),
        (handshake(Connection=""), "Connection: Upgrade"),
        (handshake(Content_Length="1"), "body"),
        (handshake(Transfer_Encoding="chunked"), "body"),
        (handshake(Sec_WebSocket_Version=""), "must be 13"),
        (handshake(Sec_WebSocket_Version="8"), "must be 13"),
        (handshake(Sec_WebSocket_Key=""), "16 bytes"),
        (handshake(Sec_WebSocket_Key="short"), "16 bytes"),
        (handshake(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25j"), "16 bytes"),
        (handshake(Sec_WebSocket_Key="!!!!"), "16 bytes"),
    ],
)
def test_half_a_handshake_is_refused_with_what_is_missing(request_: h11.Request, why: str) -> None:
    with pytest.raises(ApiError, match=why) as caught:
        websocket_key(request_)
    assert caught.value.status == 400


def test_a_handshake_is_answered_with_what_its_key_asks_for() -> None:
    answer = switching_protocols(KEY)
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer  # RFC 6455, section 1.3


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ([], b""),
        ([b"null"], b"null"),
        ([b"chat, superchat"], b"chat"),
        ([b"chat", b"superchat"], b"chat"),
        ([b"two words", b" fine "], b"fine"),
        ([b"", b'"quoted"', b"caf\xc3\xa9"], b""),
    ],
)
def test_the_first_subprotocol_that_can_be_named_is_agreed_to(offered: list[bytes], agreed: bytes) -> None:
    assert websocket_protocol([(b"sec-websocket-protocol", value) for value in offered]) == agreed
    assert (b"\r\nSec-WebSocket-Protocol: " + agreed in switching_protocols(KEY, agreed)) is bool(agreed)


def test_the_answer_is_one_that_a_client_library_takes() -> None:
    client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    asked = client.send(Request(host="x", target="/", subprotocols=["chat"]))
    request = h11.Connection(h11.SERVER)
    request.receive_data(asked)
    event = request.next_event()
    assert isinstance(event, h11.Request)
    client.receive_data(switching_protocols(websocket_key(event), websocket_protocol(event.headers)))
    (accepted,) = client.events()
    assert isinstance(accepted, AcceptConnection)
    assert accepted.subprotocol == "chat"
