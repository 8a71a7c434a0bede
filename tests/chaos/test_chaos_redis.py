"""Redis is for finding each other only: killed, frozen, flushed or restarted empty, nothing else changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from support.chaos_cluster import MACHINE_S, PROMISED_S, WHOLE_S, ChaosCluster, chaos_cluster
from support.processes import Node
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
    await freeze(3.5, WHOLE_S, say)


@pytest.mark.slow
async def test_redis_frozen_for_long_changes_nothing(say: Say) -> None:
    await freeze(12, PROMISED_S + MACHINE_S, say)


async def freeze(length_s: float, again_s: float, say: Say) -> None:
    """Longer than a card lives, and than a node waits for an answer."""
    async with chaos_cluster(3) as cluster, under_load(cluster):
        async with cluster.redis.paused():
            await trio.sleep(length_s)
            await cluster.each_says_that_redis_is(reachable=False)
            took = await cluster.whole(
                PROMISED_S
            )  # it never was anything else; this is for one look at all nodes
            say(f"whole while Redis is frozen, as asked in {took:.2f} s")
        began = trio.current_time()
        await cluster.each_says_that_redis_is(reachable=True)
        took = trio.current_time() - began
        say(f"each has Redis again {took:.2f} s after it goes on")
        assert took < again_s
        await cluster.healed()


async def test_without_redis_a_newcomer_joins_through_a_seed_and_only_so(say: Say) -> None:
    """Two that nobody ever heard of are started while Redis is gone. One knows where a node answers, joins by that one,
    and is told of the others. The other one, which had more time, finds nobody until Redis is back."""
    async with chaos_cluster(3) as cluster:
        seeded, lonely = cluster.newcomer("node-4"), cluster.newcomer("node-5")
        seeded.settings["cluster.seeds"] = cluster.members[0].settings["cluster.bindings.router"]
        authors = await cluster.attach(*cluster.nodes)
        async with cluster.publishing(authors, RATE):
            await cluster.redis.kill()
            await lonely.start()
            await seeded.start()
            cluster.members.append(seeded)
            took = await cluster.whole()
            say(f"whole without Redis {took:.2f} s after the start")
            (author,) = await cluster.attach(seeded.node)
            await author.publish(10)
            await author.all_acknowledged()
            status = (await lonely.node.get("/_plugin/cluster/status")).result
            assert (status["current"]["ready"], status["count"]) == (False, 1)
            assert not has_logged(lonely.node, "peer known")
            assert not any(has_logged(node, "node-5") for node in cluster.nodes)
            assert not any(client.losses for client in cluster.load.subscribers)
            await cluster.redis.start()
            cluster.members.append(lonely)
            await cluster.whole()
        await cluster.judge()


def has_logged(node: Node, words: str) -> bool:
    return any(words in line for line in node.log)


async def test_without_redis_a_restarted_node_is_found_by_its_peers(say: Say) -> None:
    """Killed while Redis is frozen, and started again: it knows nobody, and they call at its address all the time."""
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
