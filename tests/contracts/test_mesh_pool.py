"""What every Pool guarantees, run against each of them: in memory, and in a real Redis of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Any

import pytest

from cluster.adapters.memory import MemoryPool
from cluster.adapters.redis_pool import RedisPool
from cluster.adapters.redis_url import RedisTls
from cluster.errors import PoolUnavailable
from cluster.ports import Pool
from support.processes import redis_server
from support.redis_kinds import (
    TlsServer,
    kept,
    plain,
    redis_cluster,
    redis_program,
    sentinels,
    tls_program,
    valkey_program,
    with_tls,
    with_users,
)
from support.waiting import eventually

LONG_MS = 60_000
SHORT_MS = 50

KINDS: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "unix": redis_server,
    "valkey": lambda: plain(valkey_program()),
    "redis": lambda: plain(redis_program()),
    "users": with_users,
    "tls": lambda: with_tls(tls_program()),
    "sentinel": sentinels,
    "cluster": redis_cluster,
}


@pytest.fixture(scope="module", params=["memory", *KINDS])
def new_cluster(request: pytest.FixtureRequest) -> Iterator[Callable[[], Callable[[], Pool]]]:
    """Gives, for one kind of pool, what connects to a new one each time: clusters in one Redis do not meet."""
    numbers = count(1)
    if request.param == "memory":

        def in_memory() -> Callable[[], Pool]:
            pool = MemoryPool()
            return lambda: pool

        yield in_memory
        return
    with kept(KINDS[request.param]()) as redis:
        tls = RedisTls()
        if isinstance(redis, TlsServer):
            tls = redis.tls

        def in_redis() -> Callable[[], Pool]:
            name = f"test-{next(numbers)}"
            return lambda: RedisPool(redis.url, name, tls=tls)

        yield in_redis


@pytest.fixture
def connect(new_cluster: Callable[[], Callable[[], Pool]]) -> Callable[[], Pool]:
    """Connections to one pool."""
    return new_cluster()


async def test_everybody_reads_everybody(connect: Callable[[], Pool]) -> None:
    a, b = connect(), connect()
    assert await a.beat("a", b"card a", LONG_MS) == [b"card a"]
    assert sorted(await b.beat("b", b"card b", LONG_MS)) == [b"card a", b"card b"]
    assert sorted(await a.beat("a", b"card a", LONG_MS)) == [b"card a", b"card b"]
    await a.aclose()
    await b.aclose()


async def test_a_card_that_was_replaced_is_returned_once_more(connect: Callable[[], Pool]) -> None:
    one, twin = connect(), connect()
    await one.beat("a", b"one", LONG_MS)
    assert sorted(await twin.beat("a", b"twin", LONG_MS)) == [b"one", b"twin"]
    assert sorted(await one.beat("a", b"one", LONG_MS)) == [b"one", b"twin"]
    assert await one.beat("a", b"one", LONG_MS) == [b"one"]
    await one.aclose()
    await twin.aclose()


async def test_a_card_that_is_not_renewed_expires(connect: Callable[[], Pool]) -> None:
    pool = connect()
    await pool.beat("a", b"card a", SHORT_MS)

    async def is_gone() -> bool:
        return await pool.beat("b", b"card b", LONG_MS) == [b"card b"]

    await eventually(is_gone)
    await pool.aclose()


async def test_a_renewed_card_lives_on(connect: Callable[[], Pool]) -> None:
    pool = connect()
    await pool.beat("a", b"card a", SHORT_MS)
    await pool.beat("a", b"card a", LONG_MS)
    await pool.beat("short", b"short", SHORT_MS)

    async def short_is_gone() -> bool:
        return b"short" not in await pool.beat("b", b"card b", LONG_MS)

    await eventually(short_is_gone)
    assert b"card a" in await pool.beat("b", b"card b", LONG_MS)
    await pool.aclose()


async def test_withdrawing_takes_only_the_own_card(connect: Callable[[], Pool]) -> None:
    pool = connect()
    await pool.beat("a", b"second life", LONG_MS)
    await pool.withdraw("a", b"first life")
    assert b"second life" in await pool.beat("b", b"b", LONG_MS)
    await pool.withdraw("a", b"second life")
    await pool.withdraw("never there", b"x")
    assert await pool.beat("b", b"b", LONG_MS) == [b"b"]
    await pool.aclose()


async def test_clusters_in_one_redis_do_not_meet() -> None:
    async with redis_server() as server:
        one, other = RedisPool(server.url, "one"), RedisPool(server.url, "other")
        await one.beat("a", b"a", LONG_MS)
        assert await other.beat("b", b"b", LONG_MS) == [b"b"]
        await one.aclose()
        await other.aclose()


async def test_a_flushed_redis_is_filled_again() -> None:
    async with redis_server() as server:
        pool = RedisPool(server.url, "test")
        await pool.beat("a", b"a", LONG_MS)
        assert (await server.command("FLUSHALL")).startswith("+OK")
        assert await pool.beat("a", b"a", LONG_MS) == [b"a"]
        await pool.aclose()


async def test_a_card_without_an_expiry_is_not_read() -> None:
    async with redis_server() as server:
        pool = RedisPool(server.url, "test")
        await pool.beat("a", b"a", LONG_MS)
        await server.command("HSET {shoal:test}:cards x rubbish")
        await server.command("ZADD {shoal:test}:expiries 4503599627370496 y")
        assert await pool.beat("a", b"a", LONG_MS) == [b"a"]
        await pool.aclose()


async def test_a_redis_that_is_away_is_unavailable_and_usable_when_back() -> None:
    async with redis_server() as server:
        pool = RedisPool(server.url, "test")
        await pool.beat("a", b"a", LONG_MS)
        await server.stop()
        with pytest.raises(PoolUnavailable):
            await pool.beat("a", b"a", LONG_MS)
        with pytest.raises(PoolUnavailable):
            await pool.withdraw("a", b"a")
        await server.start()
        assert await pool.beat("a", b"a", LONG_MS) == [b"a"]
        await pool.aclose()


async def test_a_memory_pool_fails_on_request() -> None:
    pool = MemoryPool()
    await pool.beat("a", b"a", LONG_MS)
    pool.failure = "on purpose"
    with pytest.raises(PoolUnavailable, match="on purpose"):
        await pool.beat("a", b"a", LONG_MS)
    pool.failure = None
    pool.flush()
    assert await pool.beat("b", b"b", LONG_MS) == [b"b"]


async def test_a_pool_that_answers_nonsense_is_unavailable() -> None:
    async with redis_server() as server:
        pool = RedisPool(server.url, "test")
        await server.command("SET {shoal:test}:cards not-a-hash")
        with pytest.raises(PoolUnavailable, match="WRONGTYPE"):
            await pool.beat("a", b"a", LONG_MS)
        await pool.aclose()
