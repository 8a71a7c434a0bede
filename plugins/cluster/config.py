"""The table [cluster]: where the pool is, who may reset and drain, and everything that the mesh can be told."""

import ipaddress

import attrs

from cluster import ConfigurationError, MeshConfig
from cluster.adapters.redis_url import RedisLogin, RedisTls, check_redis, without_password
from cluster.config import SECRET_LENGTH


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
    admin_token: str | None = attrs.field(
        default=None,
        repr=False,
        metadata={
            "help": f"With it in the body (`token`), anybody may reset the cluster and drain nodes, from anywhere; at "
            f"least {SECRET_LENGTH} characters. Without it only who asks from `admin_networks` may.",
            "unit": "",
        },
    )
    admin_networks: tuple[str, ...] = attrs.field(
        default=("127.0.0.0/8", "::1/128"),
        metadata={
            "help": "Networks from which these actions are done without a token: this machine. Not for who asks "
            "through a proxy that is not in `server.trusted_proxies`, nor for pages in a browser. "
            "[Who may do that](../guides/operate.md#who-may-do-that).",
            "unit": "",
        },
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        check_redis(self.redis, self.redis_login, self.redis_tls)
        if self.admin_token is not None and len(self.admin_token) < SECRET_LENGTH:
            raise ConfigurationError(
                f"admin_token has {len(self.admin_token)} characters; at least {SECRET_LENGTH} are needed, for "
                "instance from `openssl rand -hex 32`"
            )
        for network in self.admin_networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ConfigurationError(
                    f"admin_networks has {network!r}, which is no network: write 10.0.0.0/8 or fd00::/8"
                ) from error
