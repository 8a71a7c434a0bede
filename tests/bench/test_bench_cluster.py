"""What a cluster of three real nodes takes for what people wait for: to start, to subscribe, to be told.

Run by `make bench`, on a machine that does nothing else. The numbers are those of the whole way, with a client in
Python at both ends, and are printed. The bounds are promises, with room for slower machines than they were made on.
"""

import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from server.cli.children import PYTHON_M, open_child
from server.cli.up import free_ports_from
from support.processes import running_cluster
from support.websocket import Client, websocket

pytestmark = pytest.mark.bench

START_S = 3.0
"""From the command to three ready nodes, with the Redis they need."""

SUBSCRIBE_MS = 1.5
"""To subscribe to a room that is new to the cluster: the reply waits until all nodes know the room. Median."""

TOLD_MS = 1.5
"""From a publish on one node to the notification of a client of another. Median."""

ROOMS = 1_500
PUBLISHES = 2_000


def told(what: str, values_ms: list[float]) -> float:
    """Print what was measured; return the median."""
    values = sorted(values_ms)
    median = statistics.median(values)
    at = {share: values[int(len(values) * share / 100)] for share in (90, 99)}
    print(
        f"\n{what}: median {median:.2f} ms, 90 % {at[90]:.2f} ms, 99 % {at[99]:.2f} ms, "
        f"slowest {values[-1]:.2f} ms ({len(values)} times)",
        file=sys.stderr,
    )
    return median


@asynccontextmanager
async def two_clients() -> AsyncIterator[tuple[Client, Client]]:
    """Attach one client to the first and one to the last of three nodes."""
    async with (
        running_cluster(3) as nodes,
        websocket(nodes[0].ws_url) as first,
        websocket(nodes[-1].ws_url) as last,
    ):
        yield first, last


async def test_a_cluster_starts() -> None:
    command = [*PYTHON_M, "server", "up", "--port", str(free_ports_from(20_000, 3))]
    async with open_child("up", command) as child:
        found = await child.line(r"3 nodes ready after ([\d.]+) s")
    print(f"\nthree nodes are ready after {found[1]} s", file=sys.stderr)
    assert float(found[1]) < START_S


async def test_a_client_subscribes_to_new_rooms() -> None:
    async with two_clients() as (client, _):
        times_ms = []
        for number in range(ROOMS):
            begun = trio.current_time()
            await client.subscribe("bench", "rooms", {"equals": {"number": number}})
            times_ms.append(1000 * (trio.current_time() - begun))
    assert told("subscribe to a new room", times_ms) < SUBSCRIBE_MS


async def test_a_client_is_told_of_what_is_published_on_another_node() -> None:
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
    assert told("publish on one node, told on another", times_ms) < TOLD_MS
