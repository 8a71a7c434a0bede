"""Another Redis takes over, by Sentinel or within a Redis Cluster, while clients publish: it takes seconds, the status
says what is the matter meanwhile, and nothing is lost or refused. Only who joins has to wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from support.chaos_cluster import ChaosCluster, chaos_cluster
from support.chaos_member import Member
from support.processes import Node
from support.redis_kinds import Sentinels, owner_of, redis_cluster, sentinels
from support.waiting import eventually

RATE = 100
"""Publishes a second on each node."""

Say = Callable[[str], None]


@asynccontextmanager
async def under_load(cluster: ChaosCluster, say: Say) -> AsyncIterator[None]:
    """Clients publish and subscribe all the while; in the end all of it has arrived, and nothing was refused."""
    authors = await cluster.attach(*cluster.nodes)
    async with cluster.publishing(authors, RATE):
        yield
    await cluster.judge()
    refused = sum(len(client.author.refused) for client in cluster.load.authors)
    lost = sum(len(client.losses) for client in cluster.load.subscribers)
    published = sum(client.author.acknowledged for client in cluster.load.authors)
    say(f"{published} published, {refused} refused, {lost} announced as lost")
    assert (refused, lost) == (0, 0)
    assert published > 100


def has_logged(node: Node, *events: str) -> bool:
    said = "\n".join(node.log)
    return all(event in said for event in events)


@pytest.mark.slow
async def test_a_fail_over_by_sentinel_loses_and_refuses_nothing(say: Say) -> None:
    async with (
        sentinels() as redis,
        chaos_cluster(3, redis_url=redis.url) as cluster,
        under_load(cluster, say),
    ):
        old = await redis.master()
        old.kill()
        began = trio.current_time()
        why = f"Redis at {old.address}: Connection refused"
        await cluster.each_says_that_redis_is(reachable=False, why=why)
        await cluster.whole()
        await redis.has_failed_over(old)
        say(f"another one is master {trio.current_time() - began:.2f} s after the kill")
        await cluster.each_says_that_redis_is(reachable=True)
        say(f"all nodes are in its pool {trio.current_time() - began:.2f} s after the kill")
        await cluster.whole()
        assert all(
            has_logged(node, "pool unavailable", why, "pool available again") for node in cluster.nodes
        )


@pytest.mark.slow
async def test_a_frozen_master_is_given_up_and_not_gone_back_to(say: Say) -> None:
    """It accepts connections and answers nothing. When it goes on it takes itself for the master, for seconds."""
    async with sentinels() as redis, chaos_cluster(3, redis_url=redis.url) as cluster:
        joining = cluster.members[2]
        await joining.stop()
        await cluster.whole()
        await freeze_the_master(redis, cluster, joining, say)


async def freeze_the_master(redis: Sentinels, cluster: ChaosCluster, joining: Member, say: Say) -> None:
    async with under_load(cluster, say):
        old = await redis.master()
        with old.paused():
            began = trio.current_time()
            why = f"Redis at {old.address} did not answer within 2 s"
            await eventually(lambda: all(has_logged(node, why) for node in cluster.nodes))
            new = await redis.has_failed_over(old)
            await cluster.each_says_that_redis_is(reachable=True)
            say(f"all nodes are in its pool {trio.current_time() - began:.2f} s after the freeze")
            await cluster.whole()
        await joining.start()
        await cluster.whole()
        assert await new.command("HLEN {shoal:default}:cards") == ":3\r\n"


@pytest.mark.slow
async def test_a_fail_over_in_a_redis_cluster_loses_and_refuses_nothing(say: Say) -> None:
    number = owner_of("{shoal:default}:cards")
    async with (
        redis_cluster(replica_of=number) as redis,
        chaos_cluster(3, redis_url=redis.url) as cluster,
        under_load(cluster, say),
    ):
        redis.masters[number].kill()
        began = trio.current_time()
        await cluster.each_says_that_redis_is(reachable=False)
        await cluster.whole()
        await cluster.each_says_that_redis_is(reachable=True)
        say(f"all nodes are in the pool again {trio.current_time() - began:.2f} s after the kill")
        await cluster.whole()
        assert await redis.replica.command("HLEN {shoal:default}:cards") == ":3\r\n"
