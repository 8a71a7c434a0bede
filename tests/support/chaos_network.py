"""A network of its own for each node, joined by a router that can lose packets on purpose.

    router ─┬─ node-1   10.77.1.2
            ├─ node-2   10.77.2.2
            └─ node-3   10.77.3.2

All are namespaces of this test: addresses and routes of the machine are not touched, and two tests at once do not see
each other. Clients sit at the router, so they reach every node whatever is cut.

A cut is a rule in the router that drops the packets from one address to another, perhaps only those of one TCP port:
silently, one way, at once, and also on connections that exist. It takes `ip` (iproute2) and the right to make
namespaces.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from server.cli.nursery import open_inner_nursery
from support.chaos_cluster import ChaosCluster, running
from support.chaos_load import Load
from support.chaos_member import Member
from support.processes import redis_server

PUB_PORT: Final = 7511
ROUTER_PORT: Final = 7510
SECRET: Final = "for the namespaces of one test"

_CLONE_NEWNET: Final = 0x40000000
_numbers = itertools.count()


def why_not_here() -> str | None:
    """Why this machine cannot have such networks; None when it can."""
    if shutil.which("ip") is None:
        return "the program ip (iproute2) is not installed"
    name = f"shoal-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"network namespaces are not permitted: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


@attrs.frozen
class Host:
    """One end of the network."""

    name: str
    """Of its namespace."""
    address: str

    @property
    def prefix(self) -> Sequence[str]:
        """Runs a command in it."""
        return ("ip", "netns", "exec", self.name)


@attrs.define(eq=False)
class Network:
    """The hosts and their router."""

    router: str
    hosts: list[Host]
    _cuts: list[list[str]] = attrs.field(factory=list)

    def block(self, sender: int, receiver: int, port: int | None = None) -> None:
        """Nothing arrives any more at one host from another (both by number, from 0); with `port` only of what the
        sender says on connections that were made to that port of it."""
        rule = ["from", self.hosts[sender].address, "to", self.hosts[receiver].address]
        if port is not None:
            rule += ["ipproto", "tcp", "sport", str(port)]
        if rule in self._cuts:
            return
        self._ip("rule", "add", "priority", "10", *rule, "blackhole")
        self._cuts.append(rule)

    def cut(self, one: int, other: int) -> None:
        """Nothing goes between two hosts, in neither direction."""
        self.block(one, other)
        self.block(other, one)

    def isolate(self, host: int) -> None:
        """Nothing goes between a host and any other."""
        for other in range(len(self.hosts)):
            if other != host:
                self.cut(host, other)

    def heal(self) -> None:
        """Everything arrives again."""
        while self._cuts:
            self._ip("rule", "del", "priority", "10", *self._cuts.pop(), "blackhole")

    async def open_stream(self, host: str, port: int) -> trio.SocketStream:
        """A TCP connection from the router. Raises OSError."""
        with _inside(self.router):
            client = trio.socket.socket()  # belongs to the namespace that it was made in
        try:
            await client.connect((host, port))
        except BaseException:
            client.close()
            raise
        return trio.SocketStream(client)

    def _ip(self, *words: str) -> None:
        _run("ip", "-n", self.router, *words)


@asynccontextmanager
async def open_network(size: int) -> AsyncIterator[Network]:
    """Make the namespaces, and take them away at the end with all that is in them."""
    number = f"{os.getpid()}-{next(_numbers)}"
    router = f"shoal-{number}-router"
    hosts = [Host(f"shoal-{number}-{n}", f"10.77.{n}.2") for n in range(1, size + 1)]
    made: list[str] = []
    try:
        for name in (router, *(host.name for host in hosts)):
            _run("ip", "netns", "add", name)
            made.append(name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        for n, host in enumerate(hosts, 1):
            _run(
                "ip",
                "-n",
                router,
                "link",
                "add",
                f"to-{n}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                host.name,
            )
            _run("ip", "-n", router, "address", "add", f"10.77.{n}.1/24", "dev", f"to-{n}")
            _run("ip", "-n", router, "link", "set", f"to-{n}", "up")
            _run("ip", "-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            _run("ip", "-n", host.name, "link", "set", "eth0", "up")
            _run("ip", "-n", host.name, "route", "add", "default", "via", f"10.77.{n}.1")
        _run("ip", "netns", "exec", router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield Network(router, hosts)
    finally:
        for name in made:
            _run("ip", "netns", "del", name)


@asynccontextmanager
async def network_cluster(size: int = 3) -> AsyncIterator[tuple[ChaosCluster, Network]]:
    """As `chaos_cluster`, but each node in a network of its own. Their Redis is reached by a file, by all."""
    async with open_network(size) as network, redis_server() as redis, open_inner_nursery() as nursery:
        members = [
            Member(
                f"node-{number}",
                {
                    "server.host": host.address,
                    "server.port": 7512,
                    "cluster.bindings.pub": f"tcp://{host.address}:{PUB_PORT}",
                    "cluster.bindings.router": f"tcp://{host.address}:{ROUTER_PORT}",
                    "cluster.secret": SECRET,
                },
                redis.url,
                nursery,
                host.prefix,
                network.open_stream,
            )
            for number, host in enumerate(network.hosts, 1)
        ]
        cluster = ChaosCluster(members, redis, Load(nursery, network.open_stream))
        async with running(cluster):
            yield cluster, network


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """This thread is in a network namespace; not to be left by an `await`."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (
        Path("/proc/thread-self/ns/net").open("rb") as home,
        Path("/run/netns", namespace).open("rb") as there,
    ):
        _enter(libc, there.fileno())
        try:
            yield
        finally:
            _enter(libc, home.fileno())


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
