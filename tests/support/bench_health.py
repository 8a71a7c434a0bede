"""A cluster plugin that also says what its action `health` takes, and a client that asks for it over one connection.

server.plugins = ["support.bench_health:TimedClusterPlugin"]     with tests/ on PYTHONPATH
GET /_plugin/cluster/timing/health                               microseconds of one call, without any protocol
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from plugins.cluster import ClusterPlugin
from plugins.cluster.controller import ClusterController
from server.plugin import Controller, Request, action

PLUGIN = "support.bench_health:TimedClusterPlugin"
TIMING = "/_plugin/cluster/timing/health"

CALLS = 10_000
"""Of the action, in one go."""

HEALTH = b"GET /_plugin/cluster/health HTTP/1.1\r\nHost: node\r\n\r\n"


class TimedClusterPlugin(ClusterPlugin):
    """Makes this node one of a cluster, with a stop watch."""

    def controllers(self) -> Sequence[Controller]:
        """Its API, and the stop watch's."""
        own = super().controllers()
        timed = [TimingController(each) for each in own if isinstance(each, ClusterController)]
        return [*own, *timed]


class TimingController:
    """`cluster/timing:*`."""

    name = "timing"

    def __init__(self, cluster: ClusterController) -> None:
        self._cluster = cluster

    @action(http=[("GET", "/timing/health")])
    def health(self, request: Request) -> float:
        """What one call takes, in microseconds."""
        began = time.perf_counter()
        for _ in range(CALLS):
            self._cluster.health(request)
        return 1e6 * (time.perf_counter() - began) / CALLS


def ask_again_and_again(port: int, seconds: float) -> list[float]:
    """Ask for health over one connection for so long, one question after the other; return what each took, in
    microseconds. It blocks."""
    times_us = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            connection.sendall(HEALTH)
            answer = connection.recv(65_536)
            times_us.append(1e6 * (time.perf_counter() - began))
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            assert answer.endswith(b"}"), "it comes in one piece"
    return times_us
