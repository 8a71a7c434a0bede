"""How a mesh is configured: Kuzzle's keys in snake case, checked as a whole, times in milliseconds.

A bad value is refused here, before anything is opened, with a message that says what to change.
"""

from __future__ import annotations

import ipaddress
import re

import attrs

from cluster.core.limits import Limits
from cluster.errors import ConfigurationError
from cluster.keys import Keys, Sealer

SECRET_LENGTH = 16
"""Characters that a secret must have at least: what can be guessed seals nothing."""

REPAIR_TRIES_AT_LEAST = 100
"""Questions for a missing item, however short a time a node keeps what it said: ten seconds of them."""


def _help(text: str, unit: str = "") -> dict[str, str]:
    return {"help": text, "unit": unit}


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ConfigurationError(f"{attribute.name} must be at least 1, not {value}")


@attrs.frozen(kw_only=True)
class Bindings:
    """Where the two mesh sockets of a node are bound."""

    pub: str = attrs.field(
        default="tcp://127.0.0.1:7511",
        metadata=_help(
            "Address of the PUB socket: `tcp://<ip>:<port>` or `ipc://<path>`; port `*` or `0` takes any free one. "
            "`tcp://[eth0:ipv4]:7511` and `tcp://[_site_:ipv4]:7511` name an interface."
        ),
    )
    router: str = attrs.field(
        default="tcp://127.0.0.1:7510", metadata=_help("Address of the ROUTER socket, written like `pub`.")
    )


@attrs.frozen(kw_only=True)
class Timers:
    """Intervals of the mesh, milliseconds."""

    heartbeat: int = attrs.field(
        default=500,
        validator=_positive,
        metadata=_help(
            "Between two signs of life, and between two visits to the pool. A node that was silent for 3.5 of them, "
            "and did "
            "not answer when asked, is down.",
            "ms",
        ),
    )
    discover_timeout: int = attrs.field(
        default=3000,
        validator=_positive,
        metadata=_help(
            "How long a node whose card is in the pool, but that does not answer, holds up readiness.", "ms"
        ),
    )
    join_attempt_interval: int = attrs.field(
        default=1000,
        validator=_positive,
        metadata=_help("The longest wait between two attempts to join a node.", "ms"),
    )
    wait_for_missing_rooms: int = attrs.field(
        default=500,
        validator=_positive,
        metadata=_help(
            "How long a subscribe waits until all nodes know the new room. After that it is answered with "
            "`synced: false`.",
            "ms",
        ),
    )


@attrs.frozen(kw_only=True)
class MeshConfig:
    """Everything an operator can decide about the mesh of one node.

    Raises `ConfigurationError` when made with values that cannot work together."""

    name: str = attrs.field(
        default="default", metadata=_help("Name of the cluster: several can share one Redis without meeting.")
    )
    secret: str | None = attrs.field(
        default=None,
        repr=False,
        metadata=_help(
            f"What nodes of this cluster have in common and nobody else knows, at least {SECRET_LENGTH} characters. "
            "With it the mesh is encrypted; without it the mesh binds loopback only."
        ),
    )
    former_secret: str | None = attrs.field(
        default=None,
        repr=False,
        metadata=_help(
            "The secret before, while it is being changed: nodes that have only that one are let in, and let this one "
            "in. Take it away when every node has the new one."
        ),
    )
    bindings: Bindings = attrs.field(factory=Bindings, metadata=_help("Addresses of the mesh sockets."))
    seeds: tuple[str, ...] = attrs.field(
        default=(),
        metadata=_help(
            "Router addresses of some nodes (`tcp://10.0.0.5:7510`), to be asked for the others when Redis does not "
            "answer."
        ),
    )
    minimum_nodes: int = attrs.field(
        default=1,
        validator=_positive,
        metadata=_help(
            "Nodes (this one included) without which this node says that it is not ready.", "nodes"
        ),
    )
    retry_join: int = attrs.field(
        default=60,
        validator=_positive,
        metadata=_help(
            "Attempts to reach a node whose card is gone from the pool before it is forgotten. Until then what is "
            "published for its clients is kept.",
            "attempts",
        ),
    )
    timers: Timers = attrs.field(factory=Timers, metadata=_help("Intervals of the mesh."))

    def __attrs_post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", self.name):
            raise ConfigurationError(
                f"name is {self.name!r}: use 1 to 64 letters, digits, dots, dashes and underscores (it is part of "
                "Redis keys)"
            )
        for name, secret in (("secret", self.secret), ("former_secret", self.former_secret)):
            if secret is not None and len(secret) < SECRET_LENGTH:
                raise ConfigurationError(
                    f"{name} has {len(secret)} characters; at least {SECRET_LENGTH} are needed, for instance from "
                    "`openssl rand -hex 32`"
                )
        if self.former_secret is not None and self.secret in (None, self.former_secret):
            raise ConfigurationError(
                "former_secret is the secret before the present one: set secret to a new one, or take "
                "former_secret away"
            )
        for seed in self.seeds:
            if not is_reachable(seed):
                raise ConfigurationError(
                    f"seeds has {seed!r}, which is no router address of a node: write tcp://10.0.0.5:7510, "
                    "tcp://node-1.example:7510, tcp://[fd00::5]:7510 or ipc:///path"
                )

    def sealer(self) -> Sealer:
        """Seals cards of this cluster, and opens them."""
        return Sealer(self.secret, self.former_secret, cluster=self.name)

    def keys(self) -> Keys | None:
        """Keys for a new life of this node; None without a secret: nothing is encrypted then."""
        return None if self.secret is None else Keys(self.secret, self.former_secret, cluster=self.name)

    @property
    def card_lifetime_ms(self) -> int:
        """How long a card outlives its last renewal."""
        return round(1000 * self.limits().card_lifetime)

    def limits(self) -> Limits:
        """The core's numbers, in seconds. All detection scales with the heartbeat."""
        heartbeat = self.timers.heartbeat / 1000
        log_age = self.retry_join * self.timers.join_attempt_interval / 1000
        return Limits(
            heartbeat=heartbeat,
            silent_after=2 * heartbeat,
            ask_every=heartbeat / 2,
            doubt_again_after=heartbeat / 10,
            down_after=3.5 * heartbeat,
            stall_after=0.8 * heartbeat,
            canary_every=2 * heartbeat,
            deaf_after=4.5 * heartbeat,
            unheard_after=self.timers.discover_timeout / 1000,
            snapshot_at_most=1.5 * heartbeat,
            greet_at_most=self.timers.join_attempt_interval / 1000,
            forget_after=log_age,
            log_age=log_age,
            repair_tries=max(REPAIR_TRIES_AT_LEAST, round(15 * log_age)),
            tail_after=0.2 * heartbeat,
            card_lifetime=5 * heartbeat,
            minimum_nodes=self.minimum_nodes,
        )


_REACHABLE = re.compile(
    r"ipc://.+|tcp://(?:\[(?P<ip>[^\]]+)\]|(?P<host>[A-Za-z0-9_.-]+)):(?P<port>[0-9]{1,5})"
)


def is_reachable(address: str) -> bool:
    """Whether the address is one to connect to; a host's name need not be known yet."""
    match = _REACHABLE.fullmatch(address)
    if match is None or (match["port"] is not None and not 1 <= int(match["port"]) <= 65_535):
        return False
    try:
        return match["ip"] is None or ipaddress.IPv6Address(match["ip"]).version == 6
    except ValueError:
        return False


def refuse_open_address(address: str, secret: str | None) -> None:
    """Raise `ConfigurationError` for an address that others could reach, unless a secret keeps them out.

    `address` is as bound, with interface names already replaced by numbers."""
    if secret is not None or address.startswith(("ipc://", "inproc://")):
        return
    match = re.fullmatch(r"tcp://\[?([^\]]*?)\]?:(\d+|\*)", address)
    try:
        is_loopback = match is not None and ipaddress.ip_address(match[1]).is_loopback
    except ValueError:
        is_loopback = match is not None and match[1] == "localhost"
    if not is_loopback:
        raise ConfigurationError(
            f"bindings: {address} can be reached from other machines, and without a secret anybody there could "
            "join the cluster. Set `secret` in [cluster] (or SHOAL_CLUSTER_SECRET) to the same value on all nodes, "
            "or bind 127.0.0.1."
        )
