"""A masterless mesh for trio servers: replicates what each node alone decides, carries notifications between nodes, and
tells who is alive. It knows nothing of WebSocket, HTTP, filters or users.

    async with open_mesh(config, identity, transport=ZeroMqTransport(), pool=RedisPool(url, name), …) as mesh:
        mesh.open_room("room", b"what others must know of it", 1)
        await mesh.settled()                      # every living peer knows the room now
        mesh.notify("other-node", ["room"], b"…")
"""

from cluster.config import Bindings, MeshConfig, Timers
from cluster.core.identity import Near
from cluster.core.messages import Notification
from cluster.errors import BindError, ConfigurationError, MeshError
from cluster.mesh import Identity, Mesh, open_mesh
from cluster.ports import Observer, Pool, Transport

__all__ = [
    "BindError",
    "Bindings",
    "ConfigurationError",
    "Identity",
    "Mesh",
    "MeshConfig",
    "MeshError",
    "Near",
    "Notification",
    "Observer",
    "Pool",
    "Timers",
    "Transport",
    "open_mesh",
]
