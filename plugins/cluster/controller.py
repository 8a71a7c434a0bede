"""The API controller `cluster/cluster`: four actions for operators and load balancers.

A node that is not ready answers health and reset with 503 and the message `ko`, the reason in `props`. (The plugin that
the names come from said 404; load balancers and people expect 503.) Its status it gives all the same: that is when
somebody asks for it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from cluster import Mesh
from plugins.cluster.access import Access
from plugins.cluster.status import cluster_status
from server.plugin import ApiError, Core, PluginApiError, Request, action

NOT_STARTED = "the mesh of this node is not started"
DRAINED = "this node is drained: its clients go to other nodes"


class ClusterController:
    """Answers for one node. `mesh` gives its mesh once it runs; `dropped` what did not cross to or from it, by reason.

    Health and status are for everybody, also where anonymous use of the API is shut: load balancers and operators ask
    them. Reset and drain change something, and are for those whom `access` lets."""

    name = "cluster"

    def __init__(
        self, mesh: Callable[[], Mesh | None], core: Core, dropped: Mapping[str, int], access: Access
    ) -> None:
        self._mesh = mesh
        self._access = access
        self._core = core
        self._dropped = dropped

    @action(http=[("GET", "/health")], public=True)
    def health(self, _request: Request) -> str:
        """`ok` when this node may be relied on."""
        self._ready_mesh()
        return "ok"

    @action(http=[("POST", "/reset")])
    async def reset(self, request: Request) -> str:
        """Make all nodes read each other's rooms anew. Attached clients and their subscriptions stay.

        Raises 503 with the nodes that had not done it in time, and 403."""
        self._access.check(request)
        late = await self._ready_mesh().reset()
        if late:
            names = ", ".join(late)
            raise PluginApiError(
                "cluster.reset.incomplete", f"the reset was done, but not confirmed in time by {names}", 503
            )
        return "ok"

    @action(http=[("POST", "/drain")])
    def drain(self, request: Request) -> dict[str, Any]:
        """Send the clients of this node to others, and take no more; the node stays in the cluster until it is stopped.

        Returns at once, with how many are still attached; asked again, it only tells that. Raises 403."""
        self._access.check(request)
        self._open_mesh().drain()
        self._core.gate.close(DRAINED)
        return {"clients": self._core.gate.clients}

    @action(http=[("GET", "/status")], public=True)
    def status(self, _request: Request) -> dict[str, Any]:
        """The cluster as this node sees it; also of one that is not ready, and why."""
        return cluster_status(self._open_mesh(), self._core, self._dropped)

    def _ready_mesh(self) -> Mesh:
        mesh = self._open_mesh()
        if (reason := mesh.health.why_not_ready()) is not None:
            raise ApiError("cluster.node.not_ready", reason)
        return mesh

    def _open_mesh(self) -> Mesh:
        if (mesh := self._mesh()) is None:
            raise ApiError("cluster.node.not_ready", NOT_STARTED)
        return mesh
