"""A cluster plugin from outside of the product, whose node says that it speaks other versions of the mesh protocol.

    server.plugins = ["support.other_protocol:OtherProtocolPlugin"]     with tests/ on PYTHONPATH
    cluster.speaks.lowest = 1
    cluster.speaks.highest = 2

It speaks as this one does all the same: what is tried is what two versions make of each other's ranges.
"""

from __future__ import annotations

from typing import Any

import attrs

from cluster import Identity
from cluster.core.identity import PROTOCOL
from plugins.cluster import ClusterPlugin
from plugins.cluster.config import ClusterConfig

PLUGIN = "support.other_protocol:OtherProtocolPlugin"


@attrs.frozen(kw_only=True)
class Speaks:
    """A range of versions."""

    lowest: int = attrs.field(default=PROTOCOL, metadata={"help": "The lowest version.", "unit": ""})
    highest: int = attrs.field(default=PROTOCOL, metadata={"help": "The highest version.", "unit": ""})


@attrs.frozen(kw_only=True)
class OtherProtocolConfig(ClusterConfig):
    """The table [cluster] with a table [cluster.speaks]."""

    speaks: Speaks = attrs.field(factory=Speaks, metadata={"help": "What to announce.", "unit": ""})


class OtherProtocolPlugin(ClusterPlugin):
    """Makes this node one of a cluster, as another version would."""

    config = OtherProtocolConfig

    def identity(self) -> Identity:
        """This node, with another range of versions on its card."""
        speaks = self.settings.speaks
        return attrs.evolve(super().identity(), protocol=(speaks.lowest, speaks.highest))


def speaking(lowest: int, highest: int) -> dict[str, Any]:
    """Return the settings of a node that announces these versions."""
    return {
        "server.plugins": PLUGIN,
        "cluster.speaks.lowest": lowest,
        "cluster.speaks.highest": highest,
    }
