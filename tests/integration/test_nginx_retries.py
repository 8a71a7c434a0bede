"""The laws of docs/decisions/nginx-retries.md: the shipped nginx.conf in front of servers that fail on purpose.

No node has to break for this, so it is shown exactly: what was sent and may have been carried out is not sent again.
"""

from pathlib import Path

import pytest
import trio

from support.http import http
from support.nginx import open_nginx
from support.upstreams import OK, Upstream, open_upstreams
from support.waiting import eventually

HANGS_UP = b""
FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
ACCEPTS = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

HANDSHAKE = b"""\
GET / HTTP/1.1\r
Host: localhost\r
Connection: Upgrade\r
Upgrade: websocket\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r
\r
"""


async def test_a_publish_that_was_sent_is_never_sent_again(tmp_path: Path) -> None:
    nodes = [Upstream(HANGS_UP), Upstream(HANGS_UP), Upstream(HANGS_UP)]
    async with open_upstreams(*nodes), open_nginx(tmp_path, "spread", nodes) as nginx:
        reply = await http(f"{nginx.url}/index/collection/_publish", "POST", {"n": 1})
        assert sum(node.seen["POST"] for node in nodes) == 1
        assert reply.status == 502
        error = reply.json["error"]
        assert (error["id"], error["status"]) == ("proxy.no_answer", 502)
        assert "may have been carried out" in error["message"]
        assert reply.headers["content-type"] == "application/json"


async def test_a_read_is_tried_on_each_node(tmp_path: Path) -> None:
    nodes = [Upstream(HANGS_UP), Upstream(HANGS_UP), Upstream(OK)]
    async with open_upstreams(*nodes), open_nginx(tmp_path, "spread", nodes) as nginx:
        for _ in range(6):
            assert (await http(f"{nginx.url}/_now")).status == 200
        # Two failures, and a node that fails gets nothing for a while.
        assert nodes[2].seen["GET"] == 6
        assert all(node.seen["GET"] <= 2 for node in nodes[:2])


async def test_a_publish_goes_on_when_nobody_took_the_connection(tmp_path: Path) -> None:
    gone = [Upstream(OK), Upstream(OK)]
    async with open_upstreams(*gone):
        pass  # ports on which somebody listened, and nobody does any more
    node = Upstream(OK)
    async with open_upstreams(node), open_nginx(tmp_path, "spread", [*gone, node]) as nginx:
        for number in range(5):
            assert (await http(f"{nginx.url}/index/collection/_publish", "POST", {"n": number})).status == 200
        assert node.seen["POST"] == 5


async def test_a_full_node_is_not_the_last_word_for_a_handshake(tmp_path: Path) -> None:
    nodes = [Upstream(FULL), Upstream(FULL), Upstream(ACCEPTS)]
    async with open_upstreams(*nodes), open_nginx(tmp_path, "spread", nodes) as nginx:
        for _ in range(3):
            with trio.fail_after(10):
                async with await trio.open_tcp_stream("127.0.0.1", nginx.port) as stream:
                    await stream.send_all(HANDSHAKE)
                    assert (await stream.receive_some(4_096)).startswith(b"HTTP/1.1 101 ")
        assert nodes[2].seen["GET"] == 3


async def test_a_nodes_own_503_reaches_the_client(tmp_path: Path) -> None:
    body = b'{"status":503,"error":{"message":"ko"}}'
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n"
    node = Upstream(head % len(body) + body)
    async with open_upstreams(node), open_nginx(tmp_path, "spread", [node]) as nginx:
        reply = await http(f"{nginx.url}/_plugin/cluster/health")
        assert (reply.status, reply.body) == (503, body)


@pytest.mark.parametrize("balance", ["spread", "document"])
async def test_an_enormous_body_is_refused_in_json_before_a_node_sees_it(
    tmp_path: Path, balance: str
) -> None:
    node = Upstream(OK)
    async with open_upstreams(node), open_nginx(tmp_path, balance, [node]) as nginx:
        reply = await http(f"{nginx.url}/_query", "POST", b"x" * 3_000_000)
        assert (reply.status, reply.json["error"]["id"]) == (413, "proxy.too_large")
        assert node.seen.total() == 0


async def test_the_log_names_what_was_tried_and_no_query(tmp_path: Path) -> None:
    node = Upstream(OK)
    async with open_upstreams(node), open_nginx(tmp_path, "spread", [node]) as nginx:
        await http(f"{nginx.url}/_now?jwt=secret")
        [line] = await eventually(nginx.access_log)
        assert '"GET /_now" 200' in line
        assert f"tried=[127.0.0.1:{node.port}] answered=[200]" in line
        assert "secret" not in line
