"""Which node a request is led to: by the document it names (balance-document.conf), and by a name that changes."""

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from support.http import http
from support.nginx import (
    SHIPPED,
    Nginx,
    free_port,
    nginx_program,
    nginx_version,
    open_nginx,
    render,
    run_nginx,
)
from support.upstreams import OK, Upstream, open_upstreams
from support.waiting import eventually

DOCUMENTS = [f"document-{number}" for number in range(40)]


async def owner(
    nginx: Nginx, nodes: list[Upstream], path: str, headers: dict[str, str] | None = None
) -> Upstream:
    """The node that a request is led to."""
    before = [len(node.paths) for node in nodes]
    method = "POST" if "_publish" in path else "GET"
    reply = await http(nginx.url + path, method, headers=headers)
    assert reply.status == 200
    [found] = [node for node, count in zip(nodes, before, strict=True) if len(node.paths) > count]
    return found


async def test_all_that_names_a_document_goes_to_one_node(tmp_path: Path) -> None:
    nodes = [Upstream(OK), Upstream(OK), Upstream(OK)]
    async with open_upstreams(*nodes), open_nginx(tmp_path, "document", nodes) as nginx:
        owners = {}
        for document in DOCUMENTS:
            home = await owner(nginx, nodes, f"/shop/orders/{document}")
            owners[document] = home.port
            assert await owner(nginx, nodes, f"/shop/orders/{document}/_exists") is home
            assert await owner(nginx, nodes, f"/shop/orders/_publish?_id={document}") is home
            assert await owner(nginx, nodes, f"/shop/orders/_publish?x=1&_id={document}&y=2") is home
            key = {"X-Shoal-Key": f"shop/orders/{document}"}
            assert await owner(nginx, nodes, "/_now", headers=key) is home
        assert len(set(owners.values())) == 3, "the documents are spread over all nodes"


async def test_what_names_no_document_is_spread(tmp_path: Path) -> None:
    nodes = [Upstream(OK), Upstream(OK), Upstream(OK)]
    async with open_upstreams(*nodes), open_nginx(tmp_path, "document", nodes) as nginx:
        for path in ("/_now", "/shop/orders/_publish", "/_plugin/cluster/health"):
            # That 60 even draws leave one of three out happens once in ten billion times.
            owners = {(await owner(nginx, nodes, path)).port for _ in range(60)}
            assert len(owners) == 3, path


async def test_a_dead_node_moves_its_documents_and_no_others(tmp_path: Path) -> None:
    nodes = [Upstream(OK), Upstream(OK), Upstream(OK)]
    async with trio.open_nursery() as nursery:
        lives = [await nursery.start(run_upstream, node) for node in nodes]
        async with open_nginx(tmp_path, "document", nodes) as nginx:
            before = {name: (await owner(nginx, nodes, f"/shop/orders/{name}")).port for name in DOCUMENTS}
            lives[0].cancel()
            await eventually(lambda: not listens(nodes[0]), "the first node is gone")
            after = {name: (await owner(nginx, nodes, f"/shop/orders/{name}")).port for name in DOCUMENTS}
            moved = {name for name in DOCUMENTS if before[name] != after[name]}
            assert moved == {name for name in DOCUMENTS if before[name] == nodes[0].port}
        nursery.cancel_scope.cancel()


async def test_nodes_that_appear_under_the_name_get_requests_without_a_reload(tmp_path: Path) -> None:
    """What `docker compose up --scale` does, with nothing of the shipped files changed but the name server's address.

    It takes nginx 1.27.3. With an older one, such as Debian's, it is shown that it says so instead of ignoring it.
    """
    port = free_port()
    nodes = [Upstream(OK, host=f"127.0.0.{number}", port=port) for number in (1, 2, 3)]
    for balance in ("spread", "document"):
        directory = tmp_path / balance
        directory.mkdir()
        async with name_server([nodes[0].host]) as names:
            own_port = free_port()
            write_with_resolve(directory, balance, own_port, names.port, port)
            if nginx_version(nginx_program()) < (1, 27, 3):
                files = ["-p", str(directory), "-c", str(directory / "nginx.conf")]
                command = [nginx_program(), "-t", "-e", "stderr", *files]
                done = await trio.run_process(command, capture_stderr=True, check=False)
                assert done.returncode != 0
                assert b'invalid parameter "resolve"' in done.stderr
                continue
            async with open_upstreams(*nodes), run_nginx(nginx_program(), directory, own_port) as nginx:
                await eventually(reaches(nginx, nodes, {0}), "the only node is used")
                names.addresses = [node.host for node in nodes]
                await eventually(reaches(nginx, nodes, {0, 1, 2}), "added nodes are used")
                names.addresses = [nodes[2].host]
                await eventually(reaches(nginx, nodes, {2}), "removed nodes are not")


def reaches(nginx: Nginx, nodes: list[Upstream], expected: set[int]) -> Callable[[], object]:
    async def used() -> bool:
        for node in nodes:
            node.paths.clear()
        replies = [await http(f"{nginx.url}/_now") for _ in range(24)]
        assert all(reply.status == 200 for reply in replies)
        return {number for number, node in enumerate(nodes) if node.paths} == expected

    return used


def write_with_resolve(directory: Path, balance: str, own_port: int, dns_port: int, node_port: int) -> None:
    render(directory, own_port)
    path = directory / "nginx.conf"
    text = path.read_text()
    assert text.count("resolver 127.0.0.11 ") == 1
    path.write_text(text.replace("resolver 127.0.0.11 ", f"resolver 127.0.0.1:{dns_port} "))
    text = (SHIPPED / f"balance-{balance}.conf").read_text()
    assert text.count("server shoal:7512 resolve ") == 1
    text = text.replace("server shoal:7512 resolve ", f"server shoal:{node_port} resolve ")
    (directory / "balance.conf").write_text(text)


@attrs.define
class NameServer:
    """A name server that knows one name, whatever the question."""

    addresses: list[str]
    port: int = 0

    def reply(self, query: bytes) -> bytes:
        question_end = query.index(b"\0", 12) + 5
        header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(self.addresses), 0, 0)
        answers = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
            for address in self.addresses
        )
        return header + query[12:question_end] + answers


@asynccontextmanager
async def name_server(addresses: list[str]) -> AsyncIterator[NameServer]:
    server = NameServer(addresses)

    async def answer(udp: trio.socket.SocketType) -> None:
        while True:
            query, sender = await udp.recvfrom(512)
            await udp.sendto(server.reply(query), sender)

    with trio.socket.socket(type=socket.SOCK_DGRAM) as udp:
        await udp.bind(("127.0.0.1", 0))
        server.port = udp.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, udp)
            yield server
            nursery.cancel_scope.cancel()


async def run_upstream(
    node: Upstream, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.CancelScope() as life:
        async with open_upstreams(node):
            task_status.started(life)
            await trio.sleep_forever()


def listens(node: Upstream) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((node.host, node.port)) == 0
