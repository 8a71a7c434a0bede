"""The pool in Redis (or Valkey): one hash of cards, one sorted set of their expiries, by Redis's own clock.

    {shoal:<cluster>}:cards     hash        node id -> sealed card
    {shoal:<cluster>}:expiries  sorted set  node id -> expiry, milliseconds of Redis's clock

Both keys share a hash tag, so they live in one slot of a Redis Cluster. A heartbeat is one Lua call: one round trip,
and nobody sees a card without its expiry. redis-py's ordinary client is run in a worker thread: it does not
know trio, and the pool is far from the hot path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import redis
import trio
from redis.backoff import NoBackoff
from redis.retry import Retry

from cluster.errors import ConfigurationError, PoolUnavailable

ANSWER_LIMIT_S = 2.0
"""How long Redis may take to accept a connection or to answer. Set here, because redis-py's defaults differ between
its versions. A frozen Redis costs a worker thread this long, and nothing else."""

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

_T = TypeVar("_T")


class RedisPool:
    """A `Pool` at a `redis://`, `rediss://` or `unix://` URL. Nothing is connected before the first beat.

    Raises `ConfigurationError` for a URL that redis-py does not understand."""

    def __init__(self, url: str, cluster: str) -> None:
        try:
            self._client: redis.Redis = redis.Redis.from_url(
                url,
                socket_connect_timeout=ANSWER_LIMIT_S,
                socket_timeout=ANSWER_LIMIT_S,
                retry=Retry(NoBackoff(), 1),  # once, for a connection that Redis closed meanwhile
                client_name="shoal",
            )
        except ValueError as error:
            raise ConfigurationError(f"redis: {error}") from error
        self._keys = [f"{{shoal:{cluster}}}:cards", f"{{shoal:{cluster}}}:expiries"]
        self._beat = self._client.register_script(_BEAT)
        self._withdraw = self._client.register_script(_WITHDRAW)
        self._one_at_a_time = trio.Lock()

    async def beat(self, node: str, card: bytes, lifetime_ms: int) -> list[bytes]:
        """Write the card and read all, and the one that it replaced. Raises `PoolUnavailable` after `ANSWER_LIMIT_S`
        (twice that when Redis had closed the connection). When cancelled, the thread ends by itself within the same
        time."""
        cards = await self._call(lambda: self._beat(keys=self._keys, args=[node, card, lifetime_ms]))
        if not isinstance(cards, list) or not all(isinstance(found, bytes) for found in cards):
            raise PoolUnavailable("Redis answered the heartbeat with something else than cards")
        return cards

    async def withdraw(self, node: str, card: bytes) -> None:
        """Take the card away if it is still this one. Raises `PoolUnavailable`."""
        await self._call(lambda: self._withdraw(keys=self._keys, args=[node, card]))

    async def aclose(self) -> None:
        """Drop the connections."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._client.close)

    async def _call(self, call: Callable[[], _T]) -> _T:
        async with self._one_at_a_time:
            try:
                return await trio.to_thread.run_sync(call, abandon_on_cancel=True)
            except (redis.RedisError, OSError) as error:
                raise PoolUnavailable(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    match error:
        case redis.exceptions.AuthenticationError():
            return "Redis does not accept the credentials"  # its own text may repeat them
        case redis.exceptions.TimeoutError():
            return f"Redis did not answer within {ANSWER_LIMIT_S:g} s"
        case _:
            return f"Redis: {error}" if str(error) else f"Redis: {type(error).__name__}"
