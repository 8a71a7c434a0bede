"""A simulated world for the mesh: for its own tests, and for whoever embeds it."""

from cluster.testing.ledger import Ledger
from cluster.testing.network import Network, Weather
from cluster.testing.nodes import Law, LawBroken, Life, SimNode
from cluster.testing.pool import SimPool
from cluster.testing.world import NotInTime, World

__all__ = [
    "Law",
    "LawBroken",
    "Ledger",
    "Life",
    "Network",
    "NotInTime",
    "SimNode",
    "SimPool",
    "Weather",
    "World",
]
