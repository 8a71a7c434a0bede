"""Who a node is, as it tells its plugins and its peers."""

from collections.abc import Callable

import attrs


@attrs.frozen(kw_only=True)
class Worker:
    """Which one of the processes of one server a node is (`server.workers`)."""

    number: int
    """From 1."""
    of: int
    """How many there are."""
    directory: str
    """A private directory that they have in common, for sockets between them. It is gone when the last of them is."""


@attrs.frozen(kw_only=True)
class NodeInfo:
    """Facts about this node that do not change while it runs."""

    id: str
    version: str
    host: str
    """Name of the machine."""
    started_at: int
    """Milliseconds since 1970."""
    url: Callable[[], str]
    """Where clients reach it. The port is known once the listener is bound, which is before any plugin runs."""
    worker: Worker | None = None
    """None unless it shares its port with others."""
    listens_at: str = ""
    """The address that it listens on, as it was configured."""
    names_proxies: bool = False
    """Whether it was told which proxies are in front of it (`server.trusted_proxies`)."""
