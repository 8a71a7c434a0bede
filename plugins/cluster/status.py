"""The cluster as one node sees it, for operators: Kuzzle's three fields per node, and what helps at night.

`pool` are the other nodes that are alive. `unreachable` are those that were, or whose card is in the pool, and that
do not answer now. `foreign` cannot be talked with, and `refused_by` do not let this one in. Times are milliseconds:
`…_at` since 1970, others durations.
"""

import time
from collections.abc import Mapping
from math import isfinite
from typing import Any

import trio

from cluster import Mesh
from cluster.core.identity import Card
from cluster.core.link import Link
from cluster.core.liveness import Health
from server.plugin import Core


def cluster_status(mesh: Mesh, server: Core, dropped: Mapping[str, int]) -> dict[str, Any]:
    """The result of `cluster/cluster:status`."""
    core = mesh.core
    alive = [link for link in core.links if link.health in (Health.UP, Health.SILENT)]
    others = [link for link in core.links if link.health in (Health.DOWN, Health.UNHEARD)]
    return {
        "count": 1 + len(alive),
        "current": {
            **_node(core.card),
            "ready": mesh.health.why_not_ready() is None,
            "state": mesh.health.standing.value,
            "reasons": [reason.why for reason in mesh.health.reasons()],
            "rooms": core.say.rooms,
            "epoch": str(core.epoch),
            "pool": _pool(mesh),
            "overloads": mesh.overloads,
            "dropped": {**core.say.dropped, **dropped},
            "clients": _clients(server),
            "bad_frames": core.rubbish.count,
            "bad_cards": core.admission.bad_cards,
            "refusals": core.admission.refusals,
            "strangers": mesh.strangers,
            "stale_frames": core.stale_frames,
        },
        "pool": [_peer(link, mesh) for link in sorted(alive, key=lambda link: link.id)],
        "unreachable": [_peer(link, mesh) for link in sorted(others, key=lambda link: link.id)],
        "foreign": [
            {**_node(card), "reason": card.versions_with(core.card)}
            for card in core.admission.foreign.values()
        ],
        "refused_by": [
            {"id": node, "router": address, "reason": why} for address, node, why in core.admission.refused_by
        ],
    }


def _node(card: Card) -> dict[str, Any]:
    return {
        "id": card.id,
        "pub": card.pub,
        "router": card.router,
        "url": card.url,
        "host": card.host,
        "version": card.version,
        "protocol": list(card.protocol),
        "started_at": card.started_at,
    }


def _peer(link: Link, mesh: Mesh) -> dict[str, Any]:
    now = trio.current_time()
    received, sent, accounted = link.mailbox.received, link.outgoing, link.accounted
    return {
        **_node(link.card),
        "ready": link.is_live and link.has_applied(mesh.core.epoch, 0) and link.takes_clients,
        "state": _state(link),
        "rooms": len(link.replica.slice),
        "epoch": str(link.epoch),
        "link": {
            "first_connected_at": None
            if link.replica.connected_at is None
            else _wall_ms(now - link.replica.connected_at),
            "heard_ms_ago": round(1000 * (now - link.liveness.last_heard)),
            "knows_us": link.is_known_to_peer,
            "refusal": link.refusal,
            "hears": link.hearing.hears(now),
            "hears_ms_ago": round(1000 * (now - link.hearing.told_at)),
            "is_heard": link.hearing.is_heard(now),
            "is_heard_ms_ago": _heard_ms_ago(link, now),
            "complaint": link.replica.complaint,
            "slice": {"applied": link.replica.position, "tail": link.replica.tail},
            "sent": {
                "notifications": sent.tail,
                "delivered": accounted.delivered,
                "repaired": accounted.repaired,
                "lost": accounted.lost,
                "in_flight": sent.tail - accounted.position,
                "log_bytes": sent.bytes_logged,
            },
            "received": {
                "notifications": received.position,
                "delivered": received.delivered - received.repaired,
                "repaired": received.repaired,
                "lost": received.lost,
                "duplicates": received.duplicates,
                "held": received.held,
                "held_bytes": received.held_bytes,
            },
            "gaps": link.gaps,
            "bad_frames": link.bad_frames,
            "resyncs": link.replica.resyncs,
        },
    }


def _heard_ms_ago(link: Link, now: float) -> int | None:
    arrived_at = link.hearing.arrived_at
    return round(1000 * (now - arrived_at)) if isfinite(arrived_at) else None


def _state(link: Link) -> str:
    """One word for the table: how the peer is, or else how far we are with it."""
    return link.replica.sync.value if link.health is Health.UP else link.health.value


def _clients(server: Core) -> dict[str, Any]:
    """What became of the notifications for this node's own clients, per recipient; drops by reason."""
    told, written = server.realtime.counters, server.outbox
    return {
        "attached": server.gate.clients,
        "handshakes_failed": server.gate.handshakes_failed,
        "published": told.published,
        "delivered": told.delivered,
        "held": told.held,
        "received": told.received,
        "forwarded": told.forwarded,
        "lost": told.lost,
        "losses_announced": told.losses_announced,
        "dropped": told.dropped,
        "frames_sent": written.frames_sent,
        "bytes_sent": written.bytes_sent,
        "refused": {reason.value: count for reason, count in server.refused.by_reason.items()},
        "frames_dropped": {reason.value: count for reason, count in written.frames_dropped.items()},
    }


def _pool(mesh: Mesh) -> dict[str, Any]:
    failed_since = mesh.pool_failed_since
    if failed_since is None:
        return {"reachable": True, "unreachable_since": None}
    away = trio.current_time() - failed_since
    return {"reachable": False, "unreachable_since": _wall_ms(away), "error": mesh.pool_failure}


def _wall_ms(seconds_ago: float) -> int:
    return int(1000 * (time.time() - seconds_ago))
