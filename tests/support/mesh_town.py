"""A place where meshes meet within a test: a pool and a network in memory, and any number of nodes that keep what they
are told. A node may be given a transport of its own, over real sockets for instance.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs

from cluster import Bindings, Identity, Mesh, MeshConfig, Notification, open_mesh
from cluster.adapters.memory import MemoryNetwork, MemoryPool
from cluster.ports import Transport

ANY_PORT = Bindings(pub="tcp://127.0.0.1:*", router="tcp://127.0.0.1:*")


class Embedder:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, int]] = {}
        self.got: list[bytes] = []
        self.lost_count = 0
        self.away: set[str] = set()
        self.mesh: Mesh

    def peer_room(self, node: str, room: str, description: bytes, count: int) -> None:
        self.rooms.setdefault(node, {})[room] = count

    def peer_room_counted(self, node: str, room: str, count: int) -> None:
        self.rooms[node][room] = count

    def peer_room_closed(self, node: str, room: str) -> None:
        del self.rooms[node][room]

    def peer_away(self, node: str) -> None:
        self.away.add(node)

    def peer_back(self, node: str) -> None:
        self.away.discard(node)

    def peer_gone(self, node: str) -> None:
        self.rooms.pop(node, None)

    def deliver(self, node: str, items: Sequence[Notification]) -> None:
        self.got += [item.payload for item in items]

    def lost(self, node: str, count: int | None, rooms: Mapping[str, int] | None) -> None:
        self.lost_count += count or 0

    def turn_over(self) -> None:
        self.mesh.flush()


class Log:
    """Keeps the names of events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        self.events.append(event)

    debug = warning = info


@attrs.define
class Town:
    """One network, one pool, and any number of nodes."""

    network: MemoryNetwork = attrs.field(factory=MemoryNetwork)
    pool: MemoryPool = attrs.field(factory=MemoryPool)
    log: Log = attrs.field(factory=Log)
    boots: int = 1000

    @asynccontextmanager
    async def node(
        self, name: str, *, transport: Transport | None = None, **settings: Any
    ) -> AsyncIterator[Embedder]:
        """A node until the end of the context."""
        self.boots += 1
        embedder = Embedder()
        async with open_mesh(
            MeshConfig(bindings=ANY_PORT, **settings),
            Identity(node_id=name, started_at=self.boots),
            transport=transport or self.network.transport(),
            pool=self.pool,
            observer=embedder,
            defer=lambda _flush: None,
            log=self.log,
        ) as embedder.mesh:
            yield embedder


def is_ready(*nodes: Embedder) -> bool:
    """Whether all of them are."""
    return all(node.mesh.health.why_not_ready() is None for node in nodes)
