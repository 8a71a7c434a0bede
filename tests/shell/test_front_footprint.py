"""What a client costs that only listens: most clients of a realtime server do nothing else."""

import gc
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trio
import trio.testing

from support.front import Front, call, handshake, masked, open_front

CLIENTS = 200

MOST_BYTES = 8_000
"""The goal of the benchmark W5. It was 7,000 when this was written, with CPython 3.11."""


@pytest.fixture
def traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start(1)
    yield
    tracemalloc.stop()


async def attach(front: Front, clients: ExitStack, count: int) -> None:
    """Attach clients that subscribe. They are bare sockets: what they cost themselves is next to nothing."""
    hello = handshake() + masked(call("subscribe", "realtime", index="i", collection="c", body={}))
    already = len(front.probe.attached)
    for number in range(already + 1, already + count + 1):
        client = clients.enter_context(socket.create_connection((front.host, front.port)))
        client.sendall(hello)
        while len(front.probe.attached) < number:
            await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()


async def test_a_client_that_only_listens_costs_less_than_8_kb(traced: None) -> None:
    async with open_front() as front:
        with ExitStack() as clients:
            await attach(front, clients, 20)  # what is made once is made now
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            await attach(front, clients, CLIENTS)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        each = (after - before) / CLIENTS
        print(f"{each:,.0f} bytes")
        assert each < MOST_BYTES
        assert front.log.calls == []
