"""HTTP at the front door, byte by byte: what is answered, in which order, and what the connection is worth then."""

import gzip
import json
import socket
import struct
import zlib

import pytest
import trio

from server.core.outbox import DropReason
from support.front import RawClient, get, open_front, post, raw_client
from support.pieces import pieces_of
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("plain_and_tls")


async def still_serves(client: RawClient) -> bool:
    """Tell whether the same connection answers another request."""
    return (await client.ask(get())).status == 200


# -- One request after the other ----------------------------------------------------------------------------------


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with open_front() as front, raw_client(front) as client:
        for number in range(3):
            answer = await client.ask(get(f"/probe?number={number}"))
            assert answer.status == 200
            assert answer.json["result"]["args"] == {"number": str(number)}
        assert "connection" not in answer.headers


async def test_pipelined_requests_are_answered_in_order_also_when_the_first_has_to_wait() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.send(get("/probe/wait") + get("/probe?n=1") + post(b'{"n":2}') + get("/nowhere"))
        while not front.probe.waiting:
            await trio.lowlevel.checkpoint()
        front.probe.gate.set()
        answers = [await client.answer() for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 404]
        assert answers[0].json["result"] == {"waited": True}
        assert answers[1].json["result"]["args"] == {"n": "1"}
        assert answers[2].json["result"]["body"] == {"n": 2}


async def test_hundreds_of_pipelined_requests_are_all_answered() -> None:
    async with open_front() as front, raw_client(front) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send, b"".join(get(f"/probe?n={n}") for n in range(300)))
        for n in range(300):
            assert (await client.answer()).json["result"]["args"] == {"n": str(n)}


async def test_connection_close_is_honoured() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.send(get("/probe", "Connection: close") + get("/probe"))
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.rest() == b""


async def test_http_1_0_is_answered_once() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.send(b"GET /probe HTTP/1.0\r\n\r\n")
        answer = await client.answer()
        assert answer.status == 200
        assert await client.rest() == b""


async def test_a_client_that_ends_its_side_behind_the_request_is_answered() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.send(get("/probe/big?size=100000"))
        await client.end()
        assert len((await client.answer()).json["result"]) == 100_000
        assert await client.rest() == b""


async def test_an_answer_larger_than_the_outbox_reaches_a_client_that_reads() -> None:
    async with open_front(outbox_bytes=10_000) as front, raw_client(front, receive_buffer=4_096) as client:
        await client.send(get("/probe/big?size=3000000") * 2)
        for _ in range(2):
            assert len((await client.answer()).json["result"]) == 3_000_000
        assert sum(front.counters.frames_dropped.values()) == 0


# -- Bodies -------------------------------------------------------------------------------------------------------


async def test_a_body_in_chunks_is_put_together_however_it_arrives() -> None:
    body = json.dumps({"text": "é" * 50}).encode()
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in pieces_of(body, [1, 7, 30]))
    request = get("/probe", "Transfer-Encoding: chunked", method="POST") + chunks + b"0\r\nTrailer: 1\r\n\r\n"
    async with open_front() as front, raw_client(front) as client:
        for piece in pieces_of(request, [1, 40, 3]):
            await client.send(piece)
        assert (await client.answer()).json["result"]["body"] == {"text": "é" * 50}
        assert await still_serves(client)


@pytest.mark.parametrize("is_eager", [False, True])
async def test_a_client_that_asks_first_is_told_to_go_on(is_eager: bool) -> None:
    head, body = get("/probe", "Content-Length: 7", "Expect: 100-continue", method="POST"), b'{"a":1}'
    async with open_front() as front, raw_client(front) as client:
        if is_eager:  # it need not be told: the body is there
            await client.send(head + body)
        else:
            await client.send(head)
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 Continue\r\n")
            await client.send(body)
        head = await client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_is_too_large_by_its_own_word_is_refused_unread() -> None:
    async with open_front(request_bytes=1_000) as front, raw_client(front) as client:
        answer = await client.ask(
            get("/probe", "Content-Length: 1001", "Expect: 100-continue", method="POST")
        )
        assert (answer.status, answer.json["id"]) == (413, "network.http.request_too_large")
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""


async def test_a_body_that_turns_out_too_large_is_refused_and_the_answer_can_be_read() -> None:
    chunk = b"400\r\n" + b"x" * 1_024 + b"\r\n"
    async with open_front(request_bytes=10_000) as front, raw_client(front) as client:
        # The client goes on sending for a while: a connection closed on it would destroy the answer.
        await client.send(get("/probe", "Transfer-Encoding: chunked", method="POST") + chunk * 1_000)
        answer = await client.answer()
        assert (answer.status, answer.json["id"]) == (413, "network.http.request_too_large")
        assert await client.rest() == b""


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    body = b'{"a":"' + b"x" * 992 + b'"}'
    assert len(body) == 1_000
    async with open_front(request_bytes=1_000) as front, raw_client(front) as client:
        assert (await client.ask(post(body))).status == 200
        assert await still_serves(client)


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip, deflate", lambda body: zlib.compress(gzip.compress(body))),
        ("identity", bytes),
    ],
)
async def test_an_encoded_body_is_decoded(encoding: str, encode: object) -> None:
    assert callable(encode)
    body = encode(b'{"a":1}')
    async with open_front() as front, raw_client(front) as client:
        answer = await client.ask(post(body, f"Content-Encoding: {encoding}"))
        assert answer.json["result"]["body"] == {"a": 1}


@pytest.mark.parametrize(
    ("encoding", "body", "status", "error"),
    [
        ("br", b"x", 400, "network.http.unsupported_compression"),
        ("gzip, gzip, gzip, gzip", b"x", 400, "network.http.too_many_encodings"),
        ("gzip", b"no gzip at all", 400, "network.http.unexpected_error"),
        ("gzip", gzip.compress(b"{}")[:-3], 400, "network.http.unexpected_error"),
        ("gzip", gzip.compress(bytes(10_000_000)), 413, "network.http.request_too_large"),
    ],
)
async def test_an_encoding_that_does_not_hold_is_refused(
    encoding: str, body: bytes, status: int, error: str
) -> None:
    async with open_front() as front, raw_client(front) as client:
        answer = await client.ask(post(body, f"Content-Encoding: {encoding}"))
        assert (answer.status, answer.json["id"]) == (status, error)
        assert await client.rest() == b""


# -- Answers ------------------------------------------------------------------------------------------------------


async def test_head_is_answered_like_get_but_for_the_body() -> None:
    async with open_front() as front, raw_client(front) as client:
        got = await client.ask(get("/probe?a=1"))
        headed = await client.ask(get("/probe?a=1", method="HEAD"))
        assert headed.status == got.status
        assert headed.body == b""
        ignored = {"date", "x-kuzzle-request-id"}
        assert {k: v for k, v in headed.headers.items() if k not in ignored} == {
            k: v for k, v in got.headers.items() if k not in ignored
        }
        refused = await client.ask(get("/nowhere", method="HEAD"))
        assert (refused.status, refused.body) == (404, b"")
        assert await still_serves(client)


@pytest.mark.parametrize("target", ["/probe", "/nowhere", "*"])
async def test_options_is_answered_everywhere_and_tells_browsers_what_they_may(target: str) -> None:
    async with open_front() as front, raw_client(front) as client:
        answer = await client.ask(get(target, "Origin: http://app.example", method="OPTIONS"))
        assert answer.status == 200
        assert answer.json["result"] == {}
        assert answer.headers["access-control-allow-methods"] == "GET,POST,PUT,PATCH,DELETE,OPTIONS,HEAD"
        assert "X-Kuzzle-Volatile" in answer.headers["access-control-allow-headers"]
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-allow-origin"] == "http://app.example"
        assert answer.headers["vary"] == "Origin"


async def test_who_names_no_origin_or_one_that_is_none_gets_none_back() -> None:
    async with open_front() as front, raw_client(front) as client:
        assert "access-control-allow-origin" not in (await client.ask(get())).headers
        assert "access-control-allow-origin" not in (await client.ask(get("/probe", "Origin: \xe9"))).headers


async def test_the_answer_carries_the_headers_of_the_protocol() -> None:
    async with open_front() as front, raw_client(front) as client:
        headers = (await client.ask(get("/probe", "X-Kuzzle-Request-Id: mine"))).headers
        assert headers["content-type"] == "application/json"
        assert headers["x-kuzzle-request-id"] == "mine"
        assert headers["x-kuzzle-node"] == "test-node"
        assert headers["content-encoding"] == "identity"
        assert headers["date"].endswith(" GMT")


async def test_an_action_sets_headers_but_not_those_that_frame_the_answer() -> None:
    async with open_front() as front, raw_client(front) as client:
        answer = await client.ask(get("/probe/headers"))
        assert answer.headers["x-probe"] == "yes"
        assert answer.headers["content-type"] == "text/x-probe"
        assert answer.headers["access-control-allow-credentials"] == "false"
        assert "connection" not in answer.headers
        assert answer.json["status"] == 200  # so the Content-Length was the right one
        assert await still_serves(client)


async def test_a_large_answer_is_compressed_for_who_asks_for_it_and_a_small_one_never() -> None:
    async with open_front() as front, raw_client(front) as client:
        for size in (2_000, 500_000):  # inline, and in a thread
            path = f"/probe/big?size={size}"
            zipped = await client.ask(get(path, "Accept-Encoding: deflate, gzip"))
            assert zipped.headers["content-encoding"] == "gzip"
            assert zipped.headers["vary"] == "Accept-Encoding"
            assert json.loads(gzip.decompress(zipped.body))["result"] == "x" * size
            deflated = await client.ask(get(path, "Accept-Encoding: deflate"))
            assert json.loads(zlib.decompress(deflated.body))["result"] == "x" * size
            plain = await client.ask(get(path))
            assert plain.headers["content-encoding"] == "identity"
            assert plain.json["result"] == "x" * size
        small = await client.ask(get("/probe", "Accept-Encoding: gzip"))
        assert small.headers["content-encoding"] == "identity"


async def test_what_an_action_has_to_do_after_its_answer_is_done() -> None:
    async with open_front() as front, raw_client(front) as client:
        assert (await client.ask(get("/probe/sent"))).status == 200
        assert front.probe.was_sent.is_set()


async def test_a_status_that_http_has_no_name_for_is_sent_as_it_is() -> None:
    async with open_front() as front, raw_client(front) as client:
        assert (await client.ask(get("/probe/odd"))).status == 499
        assert await still_serves(client)


# -- What is no request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        b"complete nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the first bytes of TLS
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        get("/probe", "Content-Length: x", method="POST"),
        get("/probe", "Content-Length: -1", method="POST"),
        get("/probe", "Content-Length: 1", "Content-Length: 2", method="POST"),
        get("/probe", "Transfer-Encoding: gzip, chunked", method="POST"),
        # Request smuggling: the second request must never be seen.
        get("/probe", "Content-Length: 4", "Transfer-Encoding: chunked", method="POST")
        + b"0\r\n\r\n"
        + get(),
        get("/probe", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", method="POST")
        + b"0\r\n\r\n"
        + get(),
        b"POST /probe HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get(),
        get("/probe", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n" + get(),
        get("/probe", "Transfer-Encoding: chunked", method="POST") + b"1\r\nxGET" + get(),
        get("x:443", method="CONNECT") + get(),
    ],
)
async def test_what_is_no_sound_request_is_answered_with_400_and_ends_the_connection(request_: bytes) -> None:
    async with open_front() as front, raw_client(front) as client:
        answer = await client.ask(request_)
        assert answer.status == 400
        error = answer.json
        assert error["status"] == 400
        assert error["id"] in ("network.http.unexpected_error", "network.http.unsupported_verb")
        assert error["message"]
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""
        async with raw_client(front) as another:
            assert await still_serves(another)


async def test_nonsense_behind_a_head_request_is_answered_with_a_body() -> None:
    async with open_front() as front, raw_client(front) as client:
        assert (await client.ask(get(method="HEAD"))).status == 200
        assert (await client.ask(b"nonsense\r\n\r\n")).json["status"] == 400
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "request_",
    [
        get("/" + "x" * 1_000),
        get("/probe", f"X: {'y' * 1_000}"),
        get("/probe", *[f"X-{n}: y" for n in range(200)]),
        b"GET /" + b"x" * 50_000,  # without an end
    ],
)
async def test_a_head_that_is_too_large_is_refused(request_: bytes) -> None:
    async with open_front(header_bytes=1_000) as front, raw_client(front) as client:
        answer = await client.ask(request_)
        assert (answer.status, answer.json["id"]) == (431, "network.http.headers_too_large")
        assert await client.rest() == b""


async def test_a_client_that_leaves_in_the_middle_of_a_request_is_no_loss() -> None:
    async with open_front() as front:
        for part in (b"GET / HT", get("/probe", "Content-Length: 10", method="POST") + b"abc"):
            async with raw_client(front) as client:
                await client.send(part)
                await client.end()
                assert (await client.answer()).status == 400
                assert await client.rest() == b""
        async with raw_client(front) as client:
            await client.end()
            assert await client.rest() == b""
        assert front.log.calls == []
        assert sum(front.counters.frames_dropped[reason] for reason in DropReason) == 0


async def test_wrong_methods_contents_and_json_are_the_apis_to_refuse_and_the_connection_stays() -> None:
    async with open_front() as front, raw_client(front) as client:
        wrong_method = await client.ask(get("/probe", method="DELETE"))
        assert (wrong_method.status, wrong_method.json["error"]["id"]) == (
            405,
            "network.http.method_not_allowed",
        )
        assert wrong_method.headers["allow"] == "GET, HEAD, OPTIONS, POST, PUT"
        wrong_type = await client.ask(post(b"x", "Content-Type: text/plain"))
        assert (wrong_type.status, wrong_type.json["id"]) == (400, "network.http.unsupported_content")
        wrong_json = await client.ask(post(b"{nope"))
        assert (wrong_json.status, wrong_json.json["id"]) == (400, "network.http.body_parse_failed")
        assert await still_serves(client)


async def test_a_fault_of_ours_is_told_and_logged_and_costs_only_this_connection() -> None:
    async with open_front() as front:
        front.app.http = None  # type: ignore[method-assign, assignment]  # any fault at all
        async with raw_client(front) as client:
            answer = await client.ask(get())
            assert (answer.status, answer.json["id"]) == (500, "core.fatal.unexpected_error")
            assert await client.rest() == b""
            assert front.logged("request failed")
        del front.app.http
        async with raw_client(front) as client:
            assert await still_serves(client)


async def test_a_fault_behind_the_answer_leaves_the_answer_whole() -> None:
    async with open_front() as front:
        async with raw_client(front) as client:
            assert (await client.ask(get("/probe/sent?fail"))).status == 200
            assert await client.rest() == b""
        assert len(front.logged("request failed")) == 1


async def test_a_fault_in_the_end_of_a_client_is_logged_and_is_the_end_of_nobody_else() -> None:
    async with open_front() as front:
        front.app.close_session = None  # type: ignore[method-assign, assignment]  # any fault at all
        async with raw_client(front) as client:
            assert (await client.ask(get())).status == 200
        await eventually(lambda: front.logged("client failed"), "it was logged")
        del front.app.close_session
        async with raw_client(front) as client:
            assert await still_serves(client)


async def test_a_client_that_resets_the_connection_is_no_loss() -> None:
    async with open_front() as front:
        for start in (b"", get("/probe/wait")):
            async with raw_client(front) as client:
                await client.send(start or b"GET")
                client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        front.probe.gate.set()
        await eventually(lambda: not front.probe.attached, "nobody is left")
        assert front.log.calls == []
