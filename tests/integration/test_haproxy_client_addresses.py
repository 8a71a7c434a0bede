"""A real HAProxy in front: both versions of the PROXY protocol, and what it says when it speaks for itself."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from server.cli.children import Child, guarded, open_child
from support.front import Front, RawClient, call, get, masked, open_front
from support.nginx import free_port
from support.waiting import eventually

CLIENT = "127.0.0.2"
SERVER = {"trusted_proxies": ("127.0.0.1",), "proxy_protocol": True}

CONFIGURATION = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind 127.0.0.1:{port}
    unique-id-format %{{+X}}o\\ %ci:%cp
    default_backend node
backend node
    option httpchk GET /_healthcheck
    server node {host}:{node} {options} check inter 20ms
"""


@asynccontextmanager
async def open_haproxy(directory: Path, front: Front, options: str) -> AsyncIterator[tuple[Child, int]]:
    program = shutil.which("haproxy", path="/usr/bin:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("haproxy is not installed; on Debian: apt-get install haproxy")
    port = free_port()
    file = directory / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(port=port, host=front.host, node=front.port, options=options))
    async with open_child("haproxy", guarded([program, "-db", "-f", str(file)])) as child:

        async def listens() -> bool:
            assert child.exit_code is None, "\n".join(child.lines)
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                return False
            return True

        await eventually(listens, "HAProxy listens")
        yield child, port


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[RawClient]:
    with trio.socket.socket() as sock:
        await sock.bind((CLIENT, 0))
        await sock.connect(("127.0.0.1", port))
        async with trio.SocketStream(sock) as stream:
            yield RawClient(stream)


@pytest.mark.parametrize(
    "options",
    [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options unique-id,crc32c,authority check-send-proxy",
    ],
)
async def test_behind_haproxy_the_client_is_known(tmp_path: Path, options: str) -> None:
    async with (
        open_front(server=SERVER) as front,
        open_haproxy(tmp_path, front, options) as (_, port),
        client_of(port) as over_http,
        client_of(port) as over_ws,
    ):
        told = (await over_http.ask(get("/probe/who"))).json["result"]
        assert (told["address"], told["is_forwarded"]) == (CLIENT, False)
        assert re.fullmatch(rf"{CLIENT}:\d+", told["remote"])
        await over_ws.upgrade(trailing=masked(call("who")))
        assert (await over_ws.message())["result"]["address"] == CLIENT
        assert front.logged("proxy header refused") == []


async def test_its_health_checks_are_served(tmp_path: Path) -> None:
    """It introduces them as its own (LOCAL), and would take the node away if they were closed."""
    async with (
        open_front(server=SERVER) as front,
        open_haproxy(tmp_path, front, "send-proxy-v2 fall 1") as (child, port),
    ):
        await eventually(lambda: front.counters.frames_sent >= 5, "it has looked at the node several times")
        async with client_of(port) as client:
            assert (await client.ask(get())).status == 200
        assert not any("DOWN" in line for line in child.lines), list(child.lines)
        assert front.log.calls == []
