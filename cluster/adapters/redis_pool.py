"""The pool in Redis (or Valkey): one hash of cards, one sorted set of their expiries, by Redis's own clock.

    {shoal:<cluster>}:cards     hash        node id -> sealed card
    {shoal:<cluster>}:expiries  sorted set  node id -> expiry, milliseconds of Redis's clock

Both keys share a hash tag, so they live in one slot of a Redis Cluster. A heartbeat is one Lua call: one round trip,
and nobody sees a card without its expiry. redis-py's ordinary client is run in a worker thread: it does not
know trio, and the pool is far from the hot path.
"""

from __future__ import annotations

from typing import Any

import trio

from cluster.adapters.redis_finder import Finder
from cluster.adapters.redis_url import RedisLogin, RedisTls, check_redis
from cluster.errors import PoolUnavailable

_BEAT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lifetime = tonumber(ARGV[3])
local before = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + lifetime, ARGV[1])
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('HDEL', KEYS[1], dead)
  redis.call('ZREM', KEYS[2], dead)
end
redis.call('PEXPIRE', KEYS[1], lifetime * 10)
redis.call('PEXPIRE', KEYS[2], lifetime * 10)
local cards = {}
for _, node in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local card = redis.call('HGET', KEYS[1], node)
  if card then
    table.insert(cards, card)
  end
end
if before and before ~= ARGV[2] then
  table.insert(cards, before)
end
return cards
"""

_WITHDRAW = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
"""


class RedisPool:
    """A `Pool` at a URL of any kind that `redis_url` reads. Nothing is connected before the first beat.

    Raises `ConfigurationError` for a URL that cannot be understood, and for files that cannot be read."""

    def __init__(
        self, url: str, cluster: str, *, login: RedisLogin | None = None, tls: RedisTls | None = None
    ) -> None:
        self._source = check_redis(url, login or RedisLogin(), tls or RedisTls())
        self._keys = [f"{{shoal:{cluster}}}:cards", f"{{shoal:{cluster}}}:expiries"]
        self._finder: Finder | None = None
        self._one_at_a_time = trio.Lock()

    async def beat(self, node: str, card: bytes, lifetime_ms: int) -> list[bytes]:
        """Write the card and read all, and the one that it replaced. Raises `PoolUnavailable` after at most twice
        `ANSWER_LIMIT_S` for each server that had to be asked. When cancelled, the thread ends by itself within the
        same time."""
        cards = await self._run("EVAL", _BEAT, 2, *self._keys, node, card, lifetime_ms)
        if not isinstance(cards, list) or not all(isinstance(found, bytes) for found in cards):
            raise PoolUnavailable("Redis answered the heartbeat with something else than cards")
        return cards

    async def withdraw(self, node: str, card: bytes) -> None:
        """Take the card away if it is still this one. Raises `PoolUnavailable`."""
        await self._run("EVAL", _WITHDRAW, 2, *self._keys, node, card)

    async def aclose(self) -> None:
        """Drop the connection."""
        finder, self._finder = self._finder, None
        if finder is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(finder.close)

    async def _run(self, *command: Any) -> Any:
        async with self._one_at_a_time:
            # A thread that is abandoned takes its finder along, and the next visit makes one of its own.
            finder, self._finder = self._finder or Finder(self._source), None
            try:
                answer = await trio.to_thread.run_sync(finder.run, *command, abandon_on_cancel=True)
            except PoolUnavailable:
                self._finder = finder
                raise
            self._finder = finder
            return answer
