"""What must hold at every moment: nothing weighs more than it may, or is more than it may be. (How many items a stream
holds is looked at in `laws`.)"""

from __future__ import annotations

from cluster.core.limits import Limits
from cluster.testing.nodes import Law, LawBroken, SimNode


def check_weights(node: SimNode, limits: Limits) -> None:
    """Raises `LawBroken` when something that a node keeps for its peers, or of them, has grown over its bound."""
    for link in node.core.links:
        bounds = {
            "remains bytes": (link.outgoing.remains_bytes, limits.cut_bytes),
            "held notification bytes": (link.mailbox.received.held_bytes, limits.held_bytes),
            "held change bytes": (link.replica.held_bytes, 2 * limits.held_bytes),
            "slice rooms": (len(link.replica.slice), limits.slice_rooms),
            "slice bytes": (link.replica.slice.bytes, limits.slice_bytes),
        }
        for name, (value, bound) in bounds.items():
            if value > bound:
                raise LawBroken(
                    Law.BOUNDS, f"{node.name} for {link.id}: {value} {name}, and the bound is {bound}"
                )
