"""nginx as we ship it, for tests: the files of compose/ with other addresses, ports and paths, and nothing else.

It refuses files that do not have exactly the lines it replaces: they changed, and what runs is no longer what ships.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import attrs
import pytest
import trio

from server.cli.children import Child, guarded, open_child
from support.documents import ROOT, blocks
from support.waiting import eventually

SHIPPED = ROOT / "compose"

DEPLOY = ROOT / "docs" / "guides" / "deploy.md"

UPSTREAM_SERVER = re.compile(r"^( +server) shoal:7512 resolve( [^;\n]+;)$", re.MULTILINE)
"""The one address of the nodes in balance-*.conf; its parameters stay."""

START_LIMIT_S = 10.0
"""Until nginx listens. It takes 20 ms on an idle machine."""


class Server(Protocol):
    """What nginx is put in front of."""

    @property
    def url(self) -> str:
        """Where it listens, such as http://127.0.0.1:7512."""


@attrs.frozen
class Nginx:
    """A running nginx, which ends with the block that opened it."""

    port: int
    """Where it listens, on 127.0.0.1."""
    _child: Child
    _directory: Path

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where WebSocket clients reach it."""
        return f"ws://127.0.0.1:{self.port}"

    def access_log(self) -> list[str]:
        """Return a line for each request that is over."""
        return (self._directory / "access.log").read_text().splitlines()

    def errors(self) -> str:
        """Return the last lines of nginx's error log."""
        return "\n".join(self._child.lines)


def nginx_program() -> str:
    """Return the path of nginx; a test without one is skipped."""
    program = os.environ.get("SHOAL_TEST_NGINX") or shutil.which(
        "nginx", path=f"{os.environ['PATH']}:/usr/sbin"
    )
    if program is None:
        pytest.skip("nginx is not installed; on Debian: apt-get install nginx")
    return program


def nginx_version(program: str) -> tuple[int, ...]:
    """Return the version of a program, such as (1, 22, 1)."""
    says = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/([\d.]+)", says)
    assert found, says
    return tuple(int(part) for part in found[1].split("."))


@asynccontextmanager
async def open_nginx(directory: Path, balance: str, nodes: Sequence[Server]) -> AsyncIterator[Nginx]:
    """Run the shipped nginx.conf with balance-<balance>.conf in front of `nodes` until the block ends.

    `directory` is an empty one for all files that nginx writes. Raises AssertionError with nginx's own words when it
    does not start. On cancellation, too, nginx and its workers have ended when this returns.
    """
    program = nginx_program()
    port = free_port()
    render(directory, port)
    render_balance(directory, balance, nodes)
    async with run_nginx(program, directory, port) as nginx:
        try:
            yield nginx
        except BaseException:
            print(f"--- nginx said:\n{nginx.errors()}", *nginx.access_log(), sep="\n", file=sys.stderr)
            raise


def render(directory: Path, port: int) -> None:
    """Write the shipped nginx.conf for a port and a directory."""
    text = (SHIPPED / "nginx.conf").read_text()
    text = _replaced(text, "listen 7512;", f"listen 127.0.0.1:{port};", times=1)
    text = _replaced(text, " /tmp/", f" {directory}/", times=6)
    text = _replaced(text, "/dev/stdout", f"{directory}/access.log", times=1)
    (directory / "nginx.conf").write_text(text)


def render_balance(directory: Path, balance: str, nodes: Sequence[Server]) -> None:
    """Write a shipped balance-*.conf with one line per node, which any version of nginx can read."""
    text = (SHIPPED / f"balance-{balance}.conf").read_text()
    servers = "\n".join(rf"\1 {node.url.removeprefix('http://')}\2" for node in nodes)
    text, times = UPSTREAM_SERVER.subn(servers, text)
    assert times == 1, f"balance-{balance}.conf has {times} lines for the nodes"
    (directory / "balance.conf").write_text(text)


@asynccontextmanager
async def run_nginx(program: str, directory: Path, port: int) -> AsyncIterator[Nginx]:
    """Run nginx on a directory that has its configuration, as `open_nginx` does."""
    # As root nginx gives its workers to another user, who cannot reach a test's directory.
    directives = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    files = ["-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"]
    async with open_child("nginx", guarded([program, *files, "-g", directives])) as child:

        async def listens() -> bool:
            return child.exit_code is not None or await _listens(port)

        await eventually(listens, "nginx listens", START_LIMIT_S)
        assert child.exit_code is None, "\n".join(["nginx ended:", *child.lines])
        yield Nginx(port, child, directory)


@asynccontextmanager
async def open_nginx_stream(directory: Path, node: Server) -> AsyncIterator[Nginx]:
    """Run an nginx that passes on TCP connections to one node, each behind a PROXY header, until the block ends.

    Its configuration is the one in docs/guides/deploy.md, and what the test's machine needs around it.
    """
    program = nginx_program()
    load = _stream_module(program)
    port = free_port()
    (example,) = [
        block.text for block in blocks(DEPLOY) if block.language == "nginx" and "stream {" in block.text
    ]
    example = _replaced(example, "listen 7512;", f"listen 127.0.0.1:{port};", times=1)
    example = _replaced(example, "10.0.0.11:7512", node.url.removeprefix("http://"), times=1)
    text = f"{load}pid {directory}/nginx.pid;\nevents {{ }}\n{example}"
    (directory / "nginx.conf").write_text(text)
    (directory / "access.log").touch()
    async with run_nginx(program, directory, port) as nginx:
        yield nginx


def _stream_module(program: str) -> str:
    """Return the line that loads nginx' stream module, if it needs one; without the module the test is skipped."""
    says = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    if "--with-stream " in says:
        return ""
    found = re.search(r"--modules-path=(\S+)", says)
    module = Path(found[1] if found else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
    if not module.is_file():
        pytest.skip("nginx has no stream module; on Debian: apt-get install libnginx-mod-stream")
    return f"load_module {module};\n"


def _replaced(text: str, old: str, new: str, times: int) -> str:
    found = text.count(old)
    assert found == times, (
        f"nginx.conf has {old!r} {found} times, not {times}: the test no longer runs what ships"
    )
    return text.replace(old, new)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _listens(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True
