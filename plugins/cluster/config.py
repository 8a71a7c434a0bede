"""The table [cluster]: where the pool is, and everything that the mesh can be told."""

import attrs

from cluster import MeshConfig
from cluster.adapters.redis_url import RedisLogin, RedisTls, check_redis, without_password


@attrs.frozen(kw_only=True)
class ClusterConfig(MeshConfig):
    """How this node takes part in a cluster."""

    redis: str = attrs.field(
        default="redis://127.0.0.1:6379",
        repr=without_password,
        metadata={
            "help": "Redis (or Valkey) in which the nodes find each other: `redis://host:6379`, `unix:///path`, "
            "`redis-sentinel://host:26379,host:26379/name` or `redis-cluster://host:6379,host:6379`; with TLS "
            "`rediss://`, `rediss-sentinel://` or `rediss-cluster://`.",
            "unit": "",
        },
    )
    redis_login: RedisLogin = attrs.field(
        factory=RedisLogin, metadata={"help": "Who this node is for Redis.", "unit": ""}
    )
    redis_tls: RedisTls = attrs.field(
        factory=RedisTls, metadata={"help": "Certificates for Redis with TLS.", "unit": ""}
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        check_redis(self.redis, self.redis_login, self.redis_tls)
