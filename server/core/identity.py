"""Who a node is, as it tells its plugins and its peers."""

from collections.abc import Callable

import attrs


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
