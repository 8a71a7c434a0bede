"""The cluster plugin's life: open the mesh when the node is bound, be its bridge, leave it when the node stops."""

from collections.abc import Sequence

import attrs
import trio

from cluster import BindError, ConfigurationError, Identity, Mesh, Pool, Transport, open_mesh
from cluster.adapters.addresses import resolve
from cluster.adapters.redis_pool import RedisPool
from cluster.adapters.zeromq import ZeroMqTransport
from plugins.cluster.access import Access, is_loopback
from plugins.cluster.bridge import Bridge
from plugins.cluster.config import ClusterConfig
from plugins.cluster.controller import NOT_STARTED, ClusterController
from plugins.cluster.workers import bindings_of, near_of, siblings_of
from server.plugin import Context, Controller, Plugin, PluginError, Shutdown, hook

IMPAIRED = "this node is deaf or mute: its clients go to other nodes"


class ClusterPlugin(Plugin):
    """Makes this node one of a cluster."""

    name = "cluster"
    config = ClusterConfig
    privileged = True
    connects_nodes = True

    def __init__(self, config: ClusterConfig, context: Context) -> None:
        super().__init__(config, context)
        self._config = config
        self._bridge = Bridge(context.core, context.log)
        self._mesh: Mesh | None = None

    def controllers(self) -> Sequence[Controller]:
        """`cluster/cluster`."""
        node = self.context.node
        access = Access(
            self._config.admin_token,
            self._config.admin_networks,
            # Whether the address of a WebSocket client is its own: see there.
            are_addresses_sure=node.names_proxies or is_loopback(node.listens_at),
        )
        return [ClusterController(lambda: self._mesh, self.context.core, self._bridge.dropped, access)]

    @hook(Shutdown)
    def stop_coming(self, _event: Shutdown) -> None:
        """The node stops: the others are told not to send clients here, and go on with those that it has."""
        if self._mesh is not None:
            self._mesh.drain()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Be in the mesh until cancelled, then say goodbye.

        Raises `PluginError` when an address cannot be bound or must not be, and when this node may have more rooms than
        others take of it; that Redis is away is no error."""
        core = self.context.core
        taken = self._config.limits().slice_rooms
        if core.realtime.most_rooms > taken:
            raise PluginError(
                f"limits.rooms is {core.realtime.most_rooms}; other nodes of a cluster take {taken} rooms of one node"
            )
        core.add_readiness(self._why_not_ready)
        try:
            async with open_mesh(
                self._resolved(),
                self.identity(),
                transport=self.transport(),
                pool=self.pool(),
                observer=self._bridge,
                defer=core.turn.defer,
                log=self.context.log,
            ) as mesh:
                self._mesh = mesh
                self._bridge.attach(mesh)
                try:
                    await mesh.joined()
                    task_status.started()
                    await self._keep_gate(mesh)
                finally:
                    self._mesh = None
                    self._bridge.detach()
        except (BindError, ConfigurationError) as error:
            raise PluginError(f"[cluster] {error}") from error

    def pool(self) -> Pool:
        """Where the nodes find each other; a subclass may put something else in its place."""
        config = self._config
        return RedisPool(config.redis, config.name, login=config.redis_login, tls=config.redis_tls)

    def transport(self) -> Transport:
        """What carries the mesh's frames; a subclass may put something else in its place."""
        return ZeroMqTransport()

    def identity(self) -> Identity:
        """Who this node says to be; a subclass may say something else."""
        node = self.context.node
        return Identity(
            node_id=node.id,
            started_at=node.started_at,
            host=node.host,
            url=node.url(),
            version=node.version,
            near=None if node.worker is None else near_of(node.worker, node.worker.number),
        )

    async def _keep_gate(self, mesh: Mesh) -> None:
        """Send clients elsewhere for as long as this node is deaf or mute, until cancelled."""
        gate = self.context.core.gate
        while True:
            if mesh.health.has_to_move_clients:
                gate.close(IMPAIRED)
            else:
                gate.open(IMPAIRED)
            await mesh.health.changed()

    def _resolved(self) -> ClusterConfig:
        bindings = self._config.bindings
        bound = attrs.evolve(bindings, pub=resolve(bindings.pub), router=resolve(bindings.router))
        worker = self.context.node.worker
        if worker is None:
            return attrs.evolve(self._config, bindings=bound)
        seeds = (*(near.router for near in siblings_of(worker)), *self._config.seeds)
        return attrs.evolve(self._config, bindings=bindings_of(worker, bound), seeds=seeds)

    def _why_not_ready(self) -> str | None:
        return NOT_STARTED if self._mesh is None else self._mesh.health.why_not_ready()
