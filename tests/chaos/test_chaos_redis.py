"""Redis is for finding each other only: killed, frozen, flushed or restarted empty, nothing else changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from support.chaos_cluster import ChaosCluster, chaos_cluster
from support.waiting import eventually

RATE = 100
"""Publishes a second on each node."""

Say = Callable[[str], None]


@asynccontextmanager
async def under_load(cluster: ChaosCluster) -> AsyncIterator[None]:
    """Clients publish and subscribe all the while; in the end nothing is missing, and nobody was closed."""
    authors = await cluster.attach(*cluster.nodes)
    async with cluster.publishing(authors, RATE):
        yield
    await cluster.judge()
    assert not any(client.losses for client in cluster.load.subscribers)


async def test_redis_killed_started_empty_and_flushed_changes_nothing(say: Say) -> None:
    async with chaos_cluster(3) as cluster, under_load(cluster):
        await cluster.redis.kill()
        await cluster.each_says_that_redis_is(reachable=False)
        await cluster.whole()
        await cluster.redis.start()
        began = trio.current_time()
        await cluster.each_says_that_redis_is(reachable=True)
        await cluster.whole()
        say(f"the pool is full again {trio.current_time() - began:.2f} s after Redis is back")
        assert (await cluster.redis.command("FLUSHALL")).startswith("+OK")
        began = trio.current_time()
        await eventually(lambda: has_all_cards(cluster), "all cards are back")
        await cluster.whole()
        say(f"the pool is full again {trio.current_time() - began:.2f} s after it was flushed")


async def has_all_cards(cluster: ChaosCluster) -> bool:
    return await cluster.redis.command("HLEN {shoal:default}:cards") == ":3\r\n"


async def test_redis_frozen_changes_nothing(say: Say) -> None:
    await freeze(3.5, say)


@pytest.mark.slow
async def test_redis_frozen_for_long_changes_nothing(say: Say) -> None:
    await freeze(12, say)


async def freeze(length_s: float, say: Say) -> None:
    """Longer than a card lives, and than a node waits for an answer."""
    async with chaos_cluster(3) as cluster, under_load(cluster):
        async with cluster.redis.paused():
            await trio.sleep(length_s)
            await cluster.each_says_that_redis_is(reachable=False)
            took = await cluster.whole(timeout_s=1)
            say(f"whole while Redis is frozen, as asked in {took:.2f} s")
        began = trio.current_time()
        await cluster.each_says_that_redis_is(reachable=True)
        await cluster.whole()
        say(f"each has Redis again {trio.current_time() - began:.2f} s after it goes on")


async def test_without_redis_a_node_comes_back_through_a_seed(say: Say) -> None:
    """Killed while Redis is frozen, and started again: peers tell it of each other."""
    async with chaos_cluster(3) as cluster:
        *_, last = cluster.members
        authors = await cluster.attach(*cluster.nodes[:2])
        async with cluster.publishing(authors, RATE), cluster.redis.paused():
            await last.kill()
            await last.start()
            took = await cluster.whole()
            say(f"whole without Redis {took:.2f} s after the restart")
            await cluster.attach(last.node)
        await cluster.judge()
