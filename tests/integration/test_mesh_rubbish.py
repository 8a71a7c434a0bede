"""A node that somebody floods with rubbish, from every side that there is without a secret: it goes on, its memory and
its log do not grow, and the others in the cluster notice nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import Any

import pytest
import trio
import zmq

from cluster.adapters.redis_pool import RedisPool
from cluster.adapters.zeromq import DIRECT_QUEUE, PUBLISHED_QUEUE
from cluster.core.identity import Card, Epoch
from cluster.keys import Sealer
from support.memory_probe import BLOCKS, PLUGIN
from support.mesh_fuzz import damaged, publications, questions, replies, resident_bytes
from support.processes import Node, redis_server, running_cluster
from support.websocket import websocket

FILLED = 20_000
"""Damaged frames read, after which everything that is kept of such is full."""

FRAMES = 120_000
"""Damaged frames read at the end. A node reads some 10,000 a second, as slowly as it reads rubbish."""

FLOOD_S = 60.0

GROWTH_BLOCKS = 10_000
"""Python objects that the node may hold more at the end: a tenth of one for each frame. Links come and go."""

QUEUES_BYTES = (PUBLISHED_QUEUE + 2 * DIRECT_QUEUE) * 8192
"""What the frames that wait in the node's queues take up, at most: ZeroMQ reads 8 KiB at a time, and keeps that until
the last frame in it was taken."""


class Intruder:
    """A program on the same machine: it has put a card into Redis, so the nodes connect to it as well."""

    def __init__(self, node: Node, to: Card, stack: ExitStack) -> None:
        context = stack.enter_context(zmq.Context())
        self._pub, self._router, self._dealer = (
            stack.enter_context(context.socket(kind)) for kind in (zmq.PUB, zmq.ROUTER, zmq.DEALER)
        )
        for socket in (self._pub, self._router, self._dealer):
            socket.set(zmq.LINGER, 0)
        for socket in (self._pub, self._router):
            socket.bind("tcp://127.0.0.1:*")
        self._dealer.connect(to.router)
        self.card = Card(
            id="intruder",
            epoch=Epoch(int(time.time() * 1000), 0),
            pub=self._pub.get_string(zmq.LAST_ENDPOINT),
            router=self._router.get_string(zmq.LAST_ENDPOINT),
        )
        self.sealed = Sealer(None).seal(self.card)
        random, origin = Random(1), (self.card.id, self.card.epoch)
        self._published = damaged(random, publications(*origin, to.id, to.epoch.boot))
        self._questions = damaged(random, questions(*origin, self.sealed))
        self._replies = damaged(random, replies(*origin, self.sealed))
        self._askers: set[bytes] = set()
        self.said = 0

    def say(self) -> None:
        """A hundred frames each way, as far as they are taken."""
        while self._router.poll(0):
            self._askers.add(self._router.recv_multipart()[0])
        for _ in range(100):
            self.said += self._send(self._pub, [next(self._published)])
            self.said += self._send(self._dealer, [next(self._questions)])
            for asker in self._askers:
                self.said += self._send(self._router, [asker, next(self._replies)])

    def _send(self, socket: zmq.Socket[bytes], parts: list[bytes]) -> bool:
        try:
            socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


@pytest.mark.slow
async def test_rubbish_from_every_side_harms_no_node(stack: ExitStack) -> None:
    settings = {"server.plugins": ("cluster", PLUGIN)}
    async with redis_server() as redis, running_cluster(2, redis=redis.url, settings=settings) as nodes:
        first, second = nodes
        async with websocket(first.ws_url) as author, websocket(second.ws_url) as reader:
            await reader.subscribe("harbor", "boats")
            current = await current_status(first)
            boot = int(current["epoch"].partition(".")[0], 16)
            to = Card(id=first.id, epoch=Epoch(boot, 0), pub=current["pub"], router=current["router"])
            intruder = Intruder(first, to, stack)
            await put_into_pool(redis.url, intruder)
            resident, filled, read, told = resident_bytes(first.pid), 0, 0, 0
            with trio.move_on_after(FLOOD_S):
                while read < FRAMES:
                    for _ in range(20):
                        intruder.say()
                        told += 1
                        await author.result(
                            "realtime", "publish", index="harbor", collection="boats", body={"n": told}
                        )
                    read = (await current_status(first))["bad_frames"]
                    if filled == 0 and read > FILLED:
                        filled = (await first.get(BLOCKS)).result
            seen: list[int] = []
            while len(seen) < told:
                [frame] = await reader.notifications(1)
                if frame["type"] == "document":
                    seen.append(frame["result"]["_source"]["n"])
                else:  # each time that it says that it is in a later life, it may have said something before
                    assert frame["origin"] == intruder.card.id
            assert seen == list(range(1, told + 1))
            status = (await first.get("/_plugin/cluster/status")).result
            grown = (await first.get(BLOCKS)).result - filled, resident_bytes(first.pid) - resident
            print(
                f"{intruder.said:,} frames said, {read:,} bad ones read; {grown[0]:,} objects, {grown[1]:,} bytes more"
            )
            assert read >= FRAMES
            assert grown[0] < GROWTH_BLOCKS
            assert grown[1] < QUEUES_BYTES
            assert sum("frame refused" in line for line in first.log) < 20
            peer = next(peer for peer in status["pool"] if peer["id"] == second.id)
            assert (peer["state"], peer["link"]["sent"]["lost"]) == ("live", 0)
            assert not any("epoch outbid" in line for line in first.log)
            assert first.child.exit_code is None


async def current_status(node: Node) -> dict[str, Any]:
    """What a node says of itself."""
    current: dict[str, Any] = (await node.get("/_plugin/cluster/status")).result["current"]
    return current


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def put_into_pool(redis_url: str, intruder: Intruder) -> None:
    """As `cluster.adapters.redis_pool` does, for a minute."""
    pool = RedisPool(redis_url, "default")
    await pool.beat("intruder", intruder.sealed, 60_000)
    await pool.aclose()
