"""What the nodes of a cluster say of it and of their own work, held against each other and against their clients.

Each function is given the statuses (`cluster:status`) and raises AssertionError with what does not fit. They refuse to
ask anybody: whoever calls them decides how long to wait for it. Their own tests plant what they have to find.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

Status = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Told:
    """What became of the clients of one node, as they saw it: those that it has now and ever had."""

    attached: int
    published: int
    """Messages of theirs that were acknowledged."""
    delivered: int
    """Notifications that arrived at them."""
    losses: int
    """Announcements of losses that arrived at them."""


def check_views(statuses: Mapping[str, Status | None]) -> None:
    """All nodes are ready, see each other, and hold each other's slices as they are. None is a node that is not
    ready."""
    ready: dict[str, Status] = {}
    for name, status in statuses.items():
        assert status is not None, f"{name} is not ready"
        ready[name] = status
    for name, status in ready.items():
        others = {peer["id"]: peer for peer in status["pool"]}
        assert status["count"] == len(ready), f"{name} counts {status['count']}"
        assert others.keys() == ready.keys() - {name}, f"{name} sees {sorted(others)}"
        unreachable = {peer["id"] for peer in status["unreachable"]}
        assert not unreachable & ready.keys(), f"{name} does not reach {unreachable}"
        for peer in others.values():
            _check_link(name, peer, ready[peer["id"]]["current"])


def _check_link(name: str, peer: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    where = f"{name} of {peer['id']}"
    link = peer["link"]
    assert peer["ready"], f"{where}: not ready"
    assert peer["state"] == "live", f"{where}: {peer['state']}"
    assert link["knows_us"], f"{where}: it does not know us"
    assert peer["epoch"] == own["epoch"], f"{where}: {peer['epoch']}"
    assert peer["rooms"] == own["rooms"], f"{where}: {peer['rooms']} rooms, and it has {own['rooms']}"
    assert link["slice"]["applied"] == link["slice"]["tail"], f"{where}: {link['slice']}"


def check_balance(
    statuses: Mapping[str, Status | None], unconfirmed: Collection[tuple[str, str]] = ()
) -> None:
    """The books of each pair of these nodes balance, and nothing is on its way.

    The sender's own sum (*sent = delivered + repaired + lost + in flight*) says nothing: what is in flight is what its
    receiver has not accounted for. So nothing may be in flight, and the receiver's numbers, each of which it counted
    where that happened, have to add up to what the sender numbered, and to be what the sender believes. Of the
    `unconfirmed` (sender, receiver) the sender does not hear what the receiver says, so what it believes may be old."""
    for name, status in statuses.items():
        assert status is not None, f"{name} is not in the cluster"
        for peer in status["pool"]:
            sent = peer["link"]["sent"]
            other = statuses.get(peer["id"])
            back = {entry["id"]: entry for entry in other["pool"]} if other is not None else {}
            assert name in back, f"{peer['id']} does not see {name}"
            received = back[name]["link"]["received"]
            where = f"{name} to {peer['id']}: {sent} and {received}"
            assert received["held"] == 0, where
            counted = received["delivered"] + received["repaired"] + received["lost"]
            assert counted == received["notifications"] == sent["notifications"], where
            if (name, peer["id"]) in unconfirmed:
                continue
            assert sent["in_flight"] == 0, where
            for key in ("delivered", "repaired", "lost"):
                assert sent[key] == received[key], f"{key}: {where}"


def check_hand_over(name: str, status: Status) -> None:
    """What the server of a node gave its mesh was numbered, and what came in order was given to the server. Only of
    nodes all of whose peers are in their first life: a link takes its numbers with it. Each notification of a test is
    for one room."""
    told = status["current"]["clients"]
    links = [peer["link"] for peer in status["pool"]]
    sent = sum(link["sent"]["notifications"] for link in links)
    received = sum(link["received"]["delivered"] + link["received"]["repaired"] for link in links)
    assert told["forwarded"] == sent, f"{name} forwarded {told['forwarded']}, and its mesh sent {sent}"
    assert told["received"] == received, f"{name}: the mesh had {received}, the server {told['received']}"


def check_clients(name: str, status: Status, seen: Told) -> None:
    """What a node did for its clients is what they saw, and it dropped nothing. Only of nodes whose clients are all
    attached: what was on its way to others, nobody knows."""
    counted = status["current"]["clients"]
    told = Told(
        attached=counted["attached"],
        published=counted["published"],
        delivered=counted["delivered"],
        losses=counted["losses_announced"],
    )
    assert told == seen, f"{name} counts {told}, and its clients {seen}"
    assert counted["held"] == 0, f"{name} holds {counted['held']} back"
    drops = (status["current"]["dropped"], counted["dropped"], counted["frames_dropped"])
    dropped = {reason: count for reasons in drops for reason, count in reasons.items() if count}
    assert not dropped, f"{name} dropped {dropped}"
