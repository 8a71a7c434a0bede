"""The laws of the mesh that are checked by looking at all nodes: some hold at every moment, some when all is quiet.

Those that are checked while something happens (deliveries, barriers, deaths) are in `ledger` and `excuses`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cluster.core.limits import Limits
from cluster.core.liveness import Health
from cluster.testing.ledger import Ledger
from cluster.testing.nodes import Law, LawBroken, Life, SimNode

Nodes = Mapping[str, SimNode]


def is_converged(nodes: Nodes) -> bool:
    """Whether every node is live with every other, and sees its slice as it is."""
    return all(
        node.seen(other.name) == other.rooms and _is_live(node, other)
        for node in nodes.values()
        for other in nodes.values()
        if node is not other
    )


def has_ghosts(nodes: Nodes) -> bool:
    """Whether any node believes in nodes that are not there."""
    return any(_ghosts(node, nodes) for node in nodes.values())


def check_bounds(node: SimNode, limits: Limits) -> None:
    """What must hold at every moment: nothing grows over its bound."""
    for link in node.core.links:
        received = link.mailbox.received
        bounds = {
            "log bytes": (link.outgoing.bytes_logged, limits.notify_log_bytes),
            "remains": (link.outgoing.oldest - link.outgoing.first_remains, limits.cut_items),
            "held notifications": (received.held, limits.held_items + 1),
            "held changes": (link.replica.held, limits.held_items + 1),
            "confirmed": (link.accounted.position, link.outgoing.tail),
        }
        for name, (value, bound) in bounds.items():
            if value > bound:
                raise LawBroken(
                    Law.BOUNDS, f"{node.name} for {link.id}: {value} {name}, and the bound is {bound}"
                )


def waits_for_news(nodes: Nodes, ledger: Ledger) -> bool:
    """Whether any node still looks for a life that is over and has taken something with it, which nobody was told."""
    return any(
        (link.id, link.epoch.boot) in ledger.ended and ledger.unheard(node, (link.id, link.epoch.boot))
        for node in nodes.values()
        for link in node.core.links
    )


def check_at_rest(nodes: Nodes, ledger: Ledger, limits: Limits) -> None:
    """What must hold some time after the faults ended: views and slices equal, no ghosts, nothing lost in silence."""
    for node in nodes.values():
        if ghosts := _ghosts(node, nodes):
            raise LawBroken(Law.NO_GHOSTS, f"{node.name} believes in {sorted(ghosts)}, who are not there")
        reason = node.core.why_not_ready()
        if reason is not None:
            raise LawBroken(Law.READY, f"{node.name} is not ready: {reason}")
        for other in nodes.values():
            if node is not other:
                _check_views(node, other)
                _check_balance(node, other, ledger)
        _check_former_lives(node, ledger)
        _check_last_words(node, ledger, limits)
        _check_rooms_told(node, ledger)
    _check_what_was_missed(nodes, ledger)


def _ghosts(node: SimNode, nodes: Nodes) -> set[str]:
    seen = {peer for peer, rooms in node.view.items() if rooms} - node.away
    alive = {link.id for link in node.core.links if link.is_alive}
    return (seen | alive) - nodes.keys()


def _check_views(node: SimNode, other: SimNode) -> None:
    if not _is_live(node, other):
        raise LawBroken(
            Law.EQUAL_VIEWS, f"{node.name} is not live with {other.name}: {_believed(node, other)}"
        )
    if node.seen(other.name) != other.rooms:
        raise LawBroken(
            Law.EQUAL_VIEWS,
            f"{node.name} sees {node.view.get(other.name)} of {other.name}: it is {other.rooms}",
        )


def _check_balance(node: SimNode, other: SimNode, ledger: Ledger) -> None:
    """Sent = delivered + lost, by what was said and by the books of both sides."""
    said = len(ledger.said[other.life, node.life])
    got = len(node.delivered[other.life])
    lost = node.lost[other.life]
    ours, theirs = other.link(node.name), node.link(other.name)
    if ours is None or theirs is None:
        raise LawBroken(Law.EQUAL_VIEWS, f"{node.name} and {other.name} do not know each other")
    received = theirs.mailbox.received
    account = (
        f"{other.name} said {said} to {node.name} in {ours.outgoing.tail} numbers: "
        f"{got} arrived, {lost} are announced as lost; {other.name} believes {ours.accounted}, {node.name} counts "
        f"{received.delivered} and {received.lost} up to {received.position}"
    )
    is_balanced = said == ours.outgoing.tail == received.position == got + lost
    is_counted = (received.delivered, received.lost) == (got, lost)
    is_known = ours.accounted.position == ours.outgoing.tail and ours.accounted.lost == lost
    if not (is_balanced and is_counted and is_known):
        raise LawBroken(Law.BALANCE, account)


def _check_what_was_missed(nodes: Nodes, ledger: Ledger) -> None:
    running = {node.life: node for node in nodes.values()}
    for (origin, receiver, room), when in ledger.missed.items():
        node = running.get(receiver)
        if node is None or origin not in running or room not in node.rooms:
            continue
        if not any(
            told_at >= when and life == origin and (rooms is None or room in rooms)
            for told_at, life, rooms in node.announced
        ):
            raise LawBroken(
                Law.ANNOUNCED,
                f"{node.name} missed what {origin} published to {room} at {when:.3f} s, and is not told",
            )


def _check_former_lives(node: SimNode, ledger: Ledger) -> None:
    """What arrived of a life that is over was given on, and what is known to be missing was announced."""
    current = {link.id: link.mailbox for link in node.core.links}
    for (follower, life), mailbox in ledger.mailboxes.items():
        received = mailbox.received
        if follower != node.life or current.get(life[0]) is mailbox:
            continue
        if received.held or received.position < received.tail:
            raise LawBroken(
                Law.ANNOUNCED,
                f"{node.name} gave {life} up at {received.position} of {received.tail}, with {received.held} held",
            )


def _check_last_words(node: SimNode, ledger: Ledger, limits: Limits) -> None:
    """Whatever a life that is over took with it, those for whom it was are told, after it was said."""
    gone = [life for life in ledger.ended if ledger.said.get((life, node.life))]
    looked_for = {(link.id, link.epoch.boot) for link in node.core.links}
    for origin in sorted(gone):
        if origin in looked_for:
            continue  # it may come back, as far as the node knows: `waits_for_news`
        for number in ledger.unheard(node, origin):
            said = ledger.notifications[number]
            rooms = {room for room in said.rooms if room in node.rooms}
            if not rooms or _was_held_for_gone(node, origin, said.at, limits):
                continue
            if not any(
                when >= said.at and life == origin and (told is None or told >= rooms)
                for when, life, told in node.announced
            ):
                raise LawBroken(
                    Law.ANNOUNCED,
                    f"{number} for {rooms} of {node.name} died with {origin}, and they are not told",
                )


def _was_held_for_gone(node: SimNode, origin: Life, said_at: float, limits: Limits) -> bool:
    """Whether all rooms had been told of the origin's end when it spoke, and the node never had a sign that it lived
    on: no frame of it arrived since, and no card that was not from before. So it is if the line between them broke, or
    one of them was stopped for long, and the origin ended before the line was whole again, and before the node, running
    and with a pool that answers, read a card of it. After any such sign its end has to be told once more."""
    told_at = max(
        (when for when, life, told in node.announced if life == origin and told is None and when <= said_at),
        default=None,
    )
    if told_at is None:
        return False
    carded_at = node.carded_at.get(origin, float("-inf")) - limits.card_lifetime
    return max(node.heard_at.get(origin, said_at), carded_at) <= told_at


def _check_rooms_told(node: SimNode, ledger: Ledger) -> None:
    """Whoever is told of a loss is told for the right rooms."""
    for origin, told in node.lost_rooms.items():
        really: Counter[str] = Counter()
        for number in ledger.unheard(node, origin):
            really.update(ledger.notifications[number].rooms)
        if told is not None and told - really:
            raise LawBroken(
                Law.ANNOUNCED, f"{node.name} is told of losses from {origin} in {told}: they were in {really}"
            )


def check_quiet(nodes: Nodes, frames: int, seconds: float, limits: Limits) -> None:
    """Where nobody says anything, there is a heartbeat to each peer now and then, a canary more seldom, and nothing
    else."""
    links = len(nodes) * (len(nodes) - 1)
    absent = sum(1 for node in nodes.values() for link in node.core.links if link.id not in nodes)
    between_canaries = limits.canary_every - limits.heartbeat / 2
    expected = links * (seconds / limits.heartbeat + 1 + seconds / between_canaries + 1)
    allowed = expected + absent * 4 * seconds
    if frames > allowed:
        raise LawBroken(
            Law.QUIET,
            f"{frames} frames in {seconds} quiet seconds: {expected:.0f} heartbeats and canaries were due",
        )


def _is_live(node: SimNode, other: SimNode) -> bool:
    link = node.link(other.name)
    return link is not None and link.is_live and link.health is Health.UP and link.epoch == other.core.epoch


def _believed(node: SimNode, other: SimNode) -> str:
    link = node.link(other.name)
    return (
        "not known" if link is None else f"{link.replica.sync.value}, {link.health.value}, epoch {link.epoch}"
    )
