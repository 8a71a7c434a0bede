"""Whether this node may be relied on, and if not, why: words for an operator at night.

A node becomes ready once, when every peer that it found at its start is live in both directions or has been given up
on. Later only what is true now counts: enough nodes, and a name of its own. That the pool is away later does not
count: it is for finding each other only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cluster.core.identity import Epoch
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.liveness import Health
from cluster.core.standing import NotReady, Standing

OUTBIDS_AT_MOST = 3
"""A clock that went back costs one; more mean that two living nodes fight over one name."""


class Readiness:
    """The judgement of one node over itself."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._first_peers: set[str] | None = None
        self._pool_failure: str | None = "it has not been read yet"
        self._has_joined = False
        self._outbids = 0
        self.unreadable_cards = 0
        """How many cards in the pool could not be opened when it was read last."""
        self.is_draining = self.is_leaving = False
        self.foreign: Mapping[str, str] = {}
        """Nodes that were in the pool then, and that we cannot talk with, and why."""
        self._stalled_s = 0.0
        self._stale_peers: set[str] = set()

    def pool_was_read(self) -> None:
        """The pool answers."""
        self._pool_failure = None

    def found(self, peers: set[str]) -> None:
        """These are in the cluster, as the pool or a peer says."""
        if self._first_peers is None:
            self._first_peers = set(peers)

    def pool_failed(self, reason: str) -> None:
        """The pool could not be read."""
        self._pool_failure = reason

    def was_stalled(self, seconds: float, peers: set[str]) -> None:
        """This node did not run for so long: what it believes of these peers is old until it has read them again."""
        self._stalled_s = seconds
        self._stale_peers = set(peers)

    def was_outbid(self) -> None:
        """Somebody knows a later life under this node's name."""
        self._outbids += 1

    @property
    def is_name_taken(self) -> bool:
        """Whether another living node seems to use our name: to outbid it again would never end."""
        return self._outbids > OUTBIDS_AT_MOST

    def is_joining(self, links: Iterable[Link], epoch: Epoch) -> bool:
        """Whether those whom this node found at its start are still waited for."""
        return self._why_not_joined({link.id: link for link in links}, epoch) is not None

    def reasons(self, links: Iterable[Link], epoch: Epoch) -> Iterator[NotReady]:
        """Why the node is not ready, the most final reason first; nothing when it is. `epoch` is the node's own."""
        peers = {link.id: link for link in links}
        if self.is_leaving:
            yield NotReady(Standing.LEAVING, "this node is leaving the cluster")
        if self.is_draining:
            yield NotReady(Standing.DRAINING, "this node is drained: its clients go to other nodes")
        if self.is_name_taken:
            yield NotReady(Standing.TWIN, "another living node uses this node's name: give each node its own")
        if (why := self._why_not_joined(peers, epoch)) is not None:
            yield NotReady(Standing.JOINING, why)
        self._stale_peers = {
            peer for peer in self._stale_peers & peers.keys() if not _is_settled(peers[peer], epoch)
        }
        if self._stale_peers:
            names, stalled_s = ", ".join(sorted(self._stale_peers)), self._stalled_s
            yield NotReady(
                Standing.SYNCING, f"it was stalled for {stalled_s:.1f} s, and reads again what {names} holds"
            )
        live = 1 + sum(link.is_live for link in peers.values())
        if live < self._limits.minimum_nodes:
            yield NotReady(
                Standing.WAITING, f"{live} of at least {self._limits.minimum_nodes} nodes are here"
            )

    def _why_not_joined(self, peers: dict[str, Link], epoch: Epoch) -> str | None:
        if self._has_joined:
            return None
        if self._first_peers is None:
            return f"the pool cannot be read: {self._pool_failure}"
        if self.unreadable_cards:
            return f"{self.unreadable_cards} cards in the pool cannot be opened: is the secret the same on all nodes?"
        if self.foreign:
            return f"no protocol version in common: {next(iter(self.foreign.values()))}"
        waiting = [
            peers[peer]
            for peer in sorted(self._first_peers & peers.keys())
            if not _is_settled(peers[peer], epoch)
        ]
        self._has_joined = not waiting
        return f"joining {', '.join(map(_named, waiting))}" if waiting else None


def _is_settled(link: Link, epoch: Epoch) -> bool:
    """We have its slice and it has ours, or it does not answer."""
    return link.health is Health.DOWN or (link.is_live and link.has_applied(epoch, 0))


def _named(link: Link) -> str:
    return link.id if link.replica.complaint is None else f"{link.id} ({link.replica.complaint})"
