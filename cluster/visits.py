"""A node's visits to the pool: its card is written, and those of all others are read, once each heartbeat, until it
leaves. That the pool does not answer is said once; what it means is the core's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from cluster.config import MeshConfig
from cluster.core.node import MeshNode
from cluster.errors import PoolUnavailable
from cluster.ports import Pool


class Log(Protocol):
    """What the mesh needs of a logger: an event and fields."""

    def debug(self, event: str, **fields: object) -> object:
        """A change of belief like others before it, while the reason lasts."""

    def info(self, event: str, **fields: object) -> object:
        """A change of belief."""

    def warning(self, event: str, **fields: object) -> object:
        """A change of belief that somebody may have to look at."""


class PoolVisits:
    """The visits of one node. `tell` is given the cards after each, or None when the pool did not answer."""

    def __init__(
        self,
        pool: Pool,
        core: MeshNode,
        config: MeshConfig,
        log: Log,
        tell: Callable[[list[bytes] | None], None],
    ) -> None:
        self._pool = pool
        self._core = core
        self._card_lifetime_ms = config.card_lifetime_ms
        self._every = config.limits().heartbeat
        self._log = log
        self._tell = tell
        self._wanted = trio.Event()
        self._scope = trio.CancelScope()
        self._has_ended = trio.Event()
        self.failed_since: float | None = None
        """When the pool stopped answering, trio's clock; None while it answers."""
        self.failure = ""
        """What was the matter with it the last time."""

    def hurry(self) -> None:
        """The card has changed: do not wait for the next heartbeat."""
        self._wanted.set()

    async def run(self) -> None:
        """Visit until cancelled, or until `end`."""
        try:
            with self._scope:
                while True:
                    self._wanted = trio.Event()
                    await self._visit()
                    with trio.move_on_after(self._every):
                        await self._wanted.wait()
        finally:
            self._has_ended.set()

    async def end(self) -> None:
        """Visit no more, and take the card out of the pool. Cancelled, it leaves the card to expire."""
        self._scope.cancel()
        await self._has_ended.wait()  # a visit that is under way would write the card again
        try:
            await self._pool.withdraw(self._core.card.id, self._core.sealed_card)
        except PoolUnavailable as error:
            self._log.warning("card left to expire", error=str(error))

    async def aclose(self) -> None:
        """Drop the connections."""
        await self._pool.aclose()

    async def _visit(self) -> None:
        cards: list[bytes] | None = None
        try:
            cards = await self._pool.beat(self._core.card.id, self._core.sealed_card, self._card_lifetime_ms)
        except PoolUnavailable as error:
            self.failure = str(error)
            self._core.pool_failed(self.failure)
            if self.failed_since is None:
                self.failed_since = trio.current_time()
                self._log.warning("pool unavailable", error=self.failure)
        else:
            if self.failed_since is not None:
                away = trio.current_time() - self.failed_since
                self._log.info("pool available again", away_s=round(away, 3))
                self.failed_since = None
        self._tell(cards)
