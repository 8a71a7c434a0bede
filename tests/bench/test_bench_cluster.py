"""What a cluster of three real nodes takes for what people wait for: to start, to subscribe, to be told.

Run by `make bench`, on a machine that does nothing else. The numbers are those of the whole way, with a client in
Python at both ends. The bounds are promises, with room for slower machines than they were made on.
"""

import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from server.cli.children import PYTHON_M, open_child
from server.cli.up import free_ports_from
from support.bench_report import Measurement, Report
from support.processes import running_cluster
from support.websocket import Client, websocket

pytestmark = [pytest.mark.bench, pytest.mark.workload("cluster")]

START_S = 3.0
"""From the command to three ready nodes, with the Redis they need."""

SUBSCRIBE_MS = 1.5
"""To subscribe to a room that is new to the cluster: the reply waits until all nodes know the room. Median."""

TOLD_MS = 1.5
"""From a publish on one node to the notification of a client of another. Median."""

ROOMS = 1_500
PUBLISHES = 2_000


def told(report: Report, what: str, values_ms: list[float]) -> float:
    """Report what was measured; return the median."""
    values = sorted(values_ms)
    median = statistics.median(values)
    found = {
        "ms p50": median,
        "ms p90": share(values, 90),
        "ms p99": share(values, 99),
        "ms at the most": values[-1],
    }
    for unit, value in found.items():
        report.add(Measurement(workload="cluster", contender=what, unit=unit, values=[value]))
    return median


def share(values: list[float], percent: int) -> float:
    """Return the value that so many percent of the sorted values are below."""
    return values[len(values) * percent // 100]


@asynccontextmanager
async def two_clients() -> AsyncIterator[tuple[Client, Client]]:
    """Attach one client to the first and one to the last of three nodes."""
    async with (
        running_cluster(3) as nodes,
        websocket(nodes[0].ws_url) as first,
        websocket(nodes[-1].ws_url) as last,
    ):
        yield first, last


async def test_a_cluster_starts(report: Report) -> None:
    command = [*PYTHON_M, "server", "up", "--port", str(free_ports_from(20_000, 3))]
    async with open_child("up", command) as child:
        found = await child.line(r"3 nodes ready after ([\d.]+) s")
    name = "three nodes and a Redis are ready"
    report.add(
        Measurement(workload="cluster", contender=name, unit="ms p50", values=[1000 * float(found[1])])
    )
    assert float(found[1]) < START_S


async def test_a_client_subscribes_to_new_rooms(report: Report) -> None:
    async with two_clients() as (client, _):
        times_ms = []
        for number in range(ROOMS):
            begun = trio.current_time()
            await client.subscribe("bench", "rooms", {"equals": {"number": number}})
            times_ms.append(1000 * (trio.current_time() - begun))
    assert told(report, "subscribe to a new room", times_ms) < SUBSCRIBE_MS


async def test_a_client_is_told_of_what_is_published_on_another_node(report: Report) -> None:
    async with two_clients() as (subscriber, publisher):
        await subscriber.subscribe("bench", "changes")
        times_ms = []
        for number in range(PUBLISHES):
            begun = trio.current_time()
            await publisher.send(
                {
                    "controller": "realtime",
                    "action": "publish",
                    "index": "bench",
                    "collection": "changes",
                    "requestId": f"request-{number}",
                    "body": {"number": number},
                }
            )
            notification = await subscriber.notification()
            times_ms.append(1000 * (trio.current_time() - begun))
            assert notification["result"]["_source"]["number"] == number
    assert told(report, "publish on one node, told on another", times_ms) < TOLD_MS
