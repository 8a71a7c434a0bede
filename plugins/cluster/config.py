"""The table [cluster]: where the pool is, and everything that the mesh can be told."""

import attrs

from cluster import MeshConfig


@attrs.frozen(kw_only=True)
class ClusterConfig(MeshConfig):
    """How this node takes part in a cluster."""

    redis: str = attrs.field(
        default="redis://127.0.0.1:6379",
        metadata={
            "help": "Redis (or Valkey) in which the nodes find each other: `redis://`, `rediss://` or `unix://`.",
            "unit": "",
        },
    )
