"""Pages in browsers: whose may ask, what the others are told, and that nobody else is asked."""

from typing import Any

import pytest

from server.core.refusals import Refusal
from support.front import call, get, handshake, masked, open_front, post, raw_client

OURS, THEIRS = "https://app.example", "https://evil.example"
STRICT: dict[str, Any] = {"allowed_origins": (OURS, "https://*.preview.example")}


async def test_by_default_all_pages_may_ask() -> None:
    async with open_front() as front, raw_client(front) as client:
        answer = await client.ask(get("/probe/who", f"Origin: {THEIRS}"))
        assert answer.status == 200
        assert answer.json["result"]["is_from_page"] is True
        assert answer.headers["access-control-allow-origin"] == THEIRS
        assert answer.headers["vary"] == "Origin"
        plain = await client.ask(get("/probe/who"))
        assert plain.json["result"]["is_from_page"] is False
        assert "access-control-allow-origin" not in plain.headers
        assert "vary" not in plain.headers
        await client.send(handshake(f"Origin: {THEIRS}") + masked(call("who")))
        await client.until(b"\r\n\r\n")
        assert (await client.message())["result"]["is_from_page"] is True


@pytest.mark.parametrize("origin", [OURS, "https://17.preview.example"])
async def test_a_page_that_is_named_may_ask_over_http_and_websocket(origin: str) -> None:
    async with open_front(server=STRICT) as front, raw_client(front) as client:
        answer = await client.ask(get("/probe", f"Origin: {origin}"))
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        preflight = await client.ask(get("/probe", f"Origin: {origin}", method="OPTIONS"))
        assert preflight.headers["access-control-allow-origin"] == origin
        await client.send(handshake(f"Origin: {origin}"))
        assert b" 101 " in await client.until(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/probe", "/_query", "/nowhere", "/_healthcheck"])
async def test_a_request_of_another_page_is_not_worked_on_and_its_answer_not_readable(
    method: str, path: str
) -> None:
    async with open_front(server=STRICT) as front, raw_client(front) as client:
        body = b'{"controller":"probe","action":"echo"}' if method == "POST" else b""
        request = (
            post(body, f"Origin: {THEIRS}", path=path)
            if body
            else get(path, f"Origin: {THEIRS}", method=method)
        )
        answer = await client.ask(request)
        assert answer.status == 401
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "Origin" in answer.headers["vary"]
        if method != "HEAD":
            error = answer.json["error"]
            assert (error["id"], error["code"]) == ("api.process.unauthorized_origin", 33685516)
            assert error["props"] == [THEIRS]
        assert front.probe.echoed == []
        assert front.refused.by_reason[Refusal.ORIGIN] == 1
        # The connection may be a proxy's, which has other clients.
        after = await client.ask(get("/probe", f"Origin: {OURS}"))
        assert (after.status, after.headers["access-control-allow-origin"]) == (200, OURS)


@pytest.mark.parametrize(
    "origin", [THEIRS, "null", f"{OURS}.evil.example", f"{OURS}/", "x" * 5_000, "\u00e9"]
)
async def test_a_websocket_of_another_page_is_refused_at_its_handshake(origin: str) -> None:
    async with open_front(server=STRICT) as front, raw_client(front) as client:
        answer = await client.ask(handshake(f"Origin: {origin}") + masked(call("echo")))
        assert (answer.status, answer.json["id"]) == (401, "api.process.unauthorized_origin")
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert await client.rest() == b""
        assert front.probe.attached == []
        (said,) = front.logged("origin refused")
        assert said["client"].startswith("127.0.0.1:")
        assert len(said["origin"]) <= 256


async def test_who_is_no_page_is_not_asked() -> None:
    async with open_front(server=STRICT) as front, raw_client(front) as client:
        answer = await client.ask(get())
        assert answer.status == 200
        assert answer.headers["vary"] == "Origin"
        await client.upgrade(trailing=masked(call("echo")))
        assert (await client.message())["status"] == 200


async def test_two_origins_in_one_request_are_none_that_is_allowed() -> None:
    async with open_front(server=STRICT) as front, raw_client(front) as client:
        answer = await client.ask(get("/probe", f"Origin: {OURS}", f"Origin: {OURS}"))
        assert answer.status == 401


async def test_the_origin_is_judged_before_the_node_says_that_it_is_not_ready() -> None:
    async with open_front(server=STRICT) as front, raw_client(front) as client, raw_client(front) as ours:
        front.app.gate.close("a test")
        assert (await client.ask(handshake(f"Origin: {THEIRS}"))).status == 401
        assert (await ours.ask(handshake(f"Origin: {OURS}"))).status == 503
