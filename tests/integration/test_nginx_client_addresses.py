"""A real nginx in front: the node knows the client's address, over HTTP, WebSocket and bare TCP.

Everybody here is on one machine, so clients come from 127.0.0.2: an address of its own, and none of the proxy's.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from support.front import Front, RawClient, call, get, handshake, masked, open_front
from support.http import http
from support.nginx import Nginx, open_nginx, open_nginx_stream
from support.processes import running_cluster
from support.websocket import websocket

CLIENT = "127.0.0.2"
NAMED = {"trusted_proxies": ("127.0.0.1",)}
LIES = ("X-Forwarded-For: 198.51.100.1", "X-Real-IP: 198.51.100.1", "Forwarded: for=198.51.100.1")


@attrs.frozen
class Upstream:
    """Where nginx finds a front door."""

    url: str


def upstream(front: Front) -> Upstream:
    return Upstream(f"http://{front.host}:{front.port}")


@asynccontextmanager
async def client_of(nginx: Nginx) -> AsyncIterator[RawClient]:
    """Connect to nginx from the client's address."""
    with trio.socket.socket() as sock:
        await sock.bind((CLIENT, 0))
        await sock.connect(("127.0.0.1", nginx.port))
        async with trio.SocketStream(sock) as stream:
            yield RawClient(stream)


async def asked(nginx: Nginx, *headers: str) -> list[Any]:
    """Ask who we are, over HTTP and over WebSocket."""
    async with client_of(nginx) as over_http, client_of(nginx) as over_ws:
        answer = await over_http.ask(get("/probe/who", *headers))
        await over_ws.send(handshake(*headers))
        assert b" 101 " in await over_ws.until(b"\r\n\r\n")
        await over_ws.send(masked(call("who")))
        return [answer.json["result"], (await over_ws.message())["result"]]


async def test_behind_the_shipped_nginx_the_client_is_known_and_its_claims_are_not_believed(
    tmp_path: Path,
) -> None:
    async with open_front(server=NAMED) as front, open_nginx(tmp_path, "spread", [upstream(front)]) as nginx:
        for headers in ((), LIES):
            for told in await asked(nginx, *headers):
                assert (told["remote"], told["address"], told["is_forwarded"]) == (CLIENT, CLIENT, False)
        assert front.log.calls == []


async def test_a_node_that_does_not_know_nginx_believes_nothing(tmp_path: Path) -> None:
    async with open_front() as front, open_nginx(tmp_path, "spread", [upstream(front)]) as nginx:
        for told in await asked(nginx, *LIES):
            assert (told["address"], told["is_forwarded"]) == ("127.0.0.1", True)


async def test_nginx_hands_on_that_a_page_may_not_ask(tmp_path: Path) -> None:
    server = {**NAMED, "allowed_origins": ("https://app.example",)}
    async with open_front(server=server) as front, open_nginx(tmp_path, "spread", [upstream(front)]) as nginx:
        async with client_of(nginx) as page, client_of(nginx) as ours:
            assert (await page.ask(handshake("Origin: https://evil.example"))).status == 401
            await ours.send(handshake("Origin: https://app.example"))
            assert b" 101 " in await ours.until(b"\r\n\r\n")
        (said,) = front.logged("origin refused")
        assert said["client"] == CLIENT


@pytest.mark.parametrize("headers", [(), LIES])
async def test_behind_nginx_stream_the_proxy_header_says_who_it_is(
    tmp_path: Path, headers: tuple[str, ...]
) -> None:
    server = {**NAMED, "proxy_protocol": True}
    async with open_front(server=server) as front, open_nginx_stream(tmp_path, upstream(front)) as nginx:
        for told in await asked(nginx, *headers):
            assert told["address"] == CLIENT
            assert told["remote"].startswith(f"{CLIENT}:")
            assert told["is_forwarded"] is bool(headers)


async def test_reset_through_nginx_is_for_who_is_near_itself(tmp_path: Path) -> None:
    settings = {"server.trusted_proxies": ["127.0.0.1"], "cluster.admin_networks": ["127.0.0.2/32"]}
    async with (
        running_cluster(1, settings=settings) as [node],
        open_nginx(tmp_path, "spread", [node]) as nginx,
    ):
        request = "POST /_plugin/cluster/reset HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        async with client_of(nginx) as near:
            assert (await near.ask(request.encode())).status == 200
            await near.send(handshake())
            assert b" 101 " in await near.until(b"\r\n\r\n")
            await near.send(masked(call("reset", "cluster/cluster")))
            assert (await near.message())["status"] == 200
        far = await http(f"{nginx.url}/_plugin/cluster/reset", "POST")
        assert (far.status, far.json["error"]["id"]) == (403, "cluster.access.denied")
        async with websocket(nginx.ws_url) as client:
            reply = await client.request("cluster/cluster", "reset")
            assert reply["status"] == 403
        # Nobody speaks for who comes without nginx, from the address of nginx.
        assert (await node.post("/_plugin/cluster/reset")).status == 403
