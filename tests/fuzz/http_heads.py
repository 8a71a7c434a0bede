"""What comes over an HTTP connection, as h11 and the checks behind it read it. The law: an answer or an `ApiError`; and

- a head that is accepted has one meaning: one length, none beside a transfer coding, a target that is a path or URL;
- its path and query are in what was sent, and every call of the API is answered with JSON that HTTP can carry;
- the answer to a handshake is one head without anything that the client put into it but a token, and its offer of
  compression is answered with what a client (wsproto) understands;
- it is no fault of this node, and nothing is logged as one.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator

import h11
from wsproto.extensions import PerMessageDeflate

from server.core.deflate import WINDOW_BITS, agreed
from server.core.encodings import BodyDecoder
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
from server.core.responses import Response
from server.core.routes import HttpCall
from support.front import get, handshake, post
from support.fuzz_engine import Target
from support.fuzz_mutations import Dice, change_bytes
from support.fuzz_node import make_node, nothing_is_logged

HEADER_BYTES = 1_000
BODY_BYTES = 2_000
MOST_REQUESTS = 10

NODE, LOG = make_node()
SESSION = NODE.app.open_session("http", "fuzz")
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check(data: bytes) -> None:
    """Read requests, one after the other, as far as they are any."""
    with nothing_is_logged(LOG):
        _check(data)


def _check(data: bytes) -> None:
    connection = h11.Connection(h11.SERVER, HEADER_BYTES)
    connection.receive_data(data)
    connection.receive_data(b"")
    for _ in range(MOST_REQUESTS):
        try:
            if not _took_one(connection, data):
                break
        except ApiError as error:
            assert 400 <= error.status < 500
            assert json.loads(Response(status=error.status, error=error, is_bare=True).envelope(room=False))
            break
        except h11.RemoteProtocolError:
            break


def _took_one(connection: h11.Connection, data: bytes) -> bool:
    request = connection.next_event()
    if not isinstance(request, h11.Request):
        return False
    check_head(request, HEADER_BYTES)
    _has_one_meaning(request, data)
    if asks_for_websocket(request.headers):
        _upgrade(request)
        return False
    headers = headers_by_name(request.headers)
    decoder = BodyDecoder(headers.get("content-encoding", ""), BODY_BYTES)
    if declared_length(request.headers) > BODY_BYTES:
        return False
    while isinstance(event := connection.next_event(), h11.Data):
        decoder.feed(event.data)
    if not isinstance(event, h11.EndOfMessage):
        return False
    path, query = split_target(request.target)
    assert path.isascii()
    assert not query or query.encode() in request.target
    call = HttpCall(request.method.decode(), path, query, headers, decoder.finish(), "fuzz")
    answer = NODE.app.http(call, SESSION)
    assert isinstance(answer, Response)
    _answer(connection, answer, is_head=request.method == b"HEAD")
    if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
        return False
    connection.start_next_cycle()
    return True


def _has_one_meaning(request: h11.Request, data: bytes) -> None:
    lengths = [value for name, value in request.headers if name == b"content-length"]
    codings = [value for name, value in request.headers if name == b"transfer-encoding"]
    assert len(lengths) + len(codings) <= 1
    assert all(re.fullmatch(rb"[0-9]+", length) for length in lengths)
    assert all(coding == b"chunked" for coding in codings)
    assert request.target in data
    assert re.match(rb"/|\*\Z|https?://[^/]", request.target, re.IGNORECASE)
    assert sum(len(name) + len(value) for name, value in request.headers) <= HEADER_BYTES


def _answer(connection: h11.Connection, response: Response, *, is_head: bool) -> None:
    body = response.envelope(room=False)
    assert json.loads(body)
    assert 200 <= response.status < 500 or response.status == 503, body
    lines = [*response.http_headers(), ("Content-Length", str(len(body)))]
    head = connection.send(h11.Response(status_code=response.status, headers=lines, reason=b""))
    assert head is not None
    assert head.count(b"\r\n") - 2 - len(lines) in (0, 1)  # h11 may add Connection: close
    if not is_head:
        connection.send(h11.Data(data=body))
    connection.send(h11.EndOfMessage())


def _upgrade(request: h11.Request) -> None:
    key = websocket_key(request)
    assert len(base64.b64decode(key)) == 16
    extension, protocol = agreed(request.headers), websocket_protocol(request.headers)
    assert not protocol or TOKEN.fullmatch(protocol)
    answer = switching_protocols(key, protocol, extension)
    assert answer.count(b"\r\n") == 5 + bool(protocol) + bool(extension)
    client = h11.Connection(h11.CLIENT)
    upgrade = [(b"Host", b"x"), (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    client.send(h11.Request(method=b"GET", target=b"/", headers=upgrade))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    switched = client.next_event()
    assert isinstance(switched, h11.InformationalResponse)
    assert switched.status_code == 101
    if extension:
        understood = PerMessageDeflate()
        understood.finalize(extension.decode())
        assert understood.server_max_window_bits in (15, WINDOW_BITS)
        assert understood.server_no_context_takeover
        assert understood.client_no_context_takeover


# -- Inputs -----------------------------------------------------------------------------------------------------------


def seeds() -> Iterator[bytes]:
    """Requests that are sound, and some that another program might read otherwise."""
    body = b'{"controller":"server","action":"now"}'
    offer = "permessage-deflate; client_max_window_bits; server_max_window_bits=12"
    yield from (
        get("/_healthcheck") + get("/_ready", method="HEAD") + get("/", "Connection: close"),
        get("/_listSubscriptions?pretty&a=1&a=2", "Origin: http://x", "X-Kuzzle-Volatile: {}"),
        get("/i/c/_publish", method="OPTIONS") + get("*", method="OPTIONS"),
        get("http://x/_now?x=%C3%A9", "Authorization: Bearer abc", "X-Kuzzle-Request-Id: r-1"),
        post(body, "Content-Type: application/json", path="/_query"),
        post(b'{"a":1}', path="/i/%63/_publish?_id=d"),
        post(b"a=1", "Content-Type: application/x-www-form-urlencoded", path="/i/c/_publish"),
        get("/_query", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST")
        + b"%x;ext=1\r\n" % len(body)
        + body
        + b"\r\n0\r\nTrailer: x\r\n\r\n",
        get("/", "Transfer-Encoding: chunked", "Content-Length: 5", method="POST") + b"0\r\n\r\n",
        get("/", "Content-Length: 5", "Content-Length: 6", method="POST") + b"hello!",
        b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n folded\n\n",
        get("/", "X: " + "y" * 2_000),
        handshake(),
        handshake(f"Sec-WebSocket-Extensions: {offer}", "Sec-WebSocket-Protocol: null, graphql-ws"),
        handshake('Sec-WebSocket-Extensions: x-y; a="b\\c", permessage-deflate; server_max_window_bits="15"'),
        handshake(version="12") + handshake(key="short"),
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    )


def change_requests(data: bytes, dice: Dice) -> bytes:
    """Change some bytes, a line, or the order of lines."""
    lines = data.split(b"\r\n")
    at = dice.random.randrange(len(lines))
    others = dice.other().split(b"\r\n")
    match dice.random.randrange(8):
        case 0:
            lines[at] = dice.random.choice(others)
        case 1:
            lines.insert(at, dice.random.choice(others + lines))
        case 2:
            del lines[at]
        case 3:
            lines[at] = change_bytes(lines[at], dice)
        case _:
            return change_bytes(data, dice)
    return b"\r\n".join(lines)


TARGET = Target(check, seeds, change_requests)
