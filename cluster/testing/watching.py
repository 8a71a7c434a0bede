"""What an embedder is about to be told must be allowed to be told."""

from __future__ import annotations

from cluster.core import effects as fx
from cluster.core.effects import Effect
from cluster.testing.excuses import Excuses
from cluster.testing.ledger import Ledger
from cluster.testing.nodes import SimNode


def watch(effect: Effect, node: SimNode, ledger: Ledger, excuses: Excuses, now: float) -> None:
    """Compare what a node is about to be told with the truth. Raises `LawBroken`."""
    match effect:
        case fx.Deliver():
            ledger.delivered(node, effect)
        case fx.Belief("peer silent", {"peer": str(peer)}):
            excuses.check_suspicion(node, peer, now)
        case fx.Belief("deaf or mute"):
            excuses.check_complaint(node, now)
        case fx.PeerAway(peer):
            excuses.check_death(node, peer, now)
        case fx.PeerGone(peer):
            ledger.gone(node, peer)
        case _:
            pass
