"""What was really said in a simulated world, and to whom: the truth that beliefs and deliveries are compared with.

The ledger checks what can be checked at once: every delivery, every barrier that lifts, every publish.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, count

import attrs

from cluster.core.effects import Deliver
from cluster.core.identity import Epoch
from cluster.core.liveness import Health
from cluster.core.mailbox import Mailbox
from cluster.core.messages import Notification
from cluster.testing.nodes import Law, LawBroken, Life, SimNode


@attrs.frozen
class Said:
    """One notification: the lives that it was from and for, and the rooms."""

    origin: Life
    receiver: Life
    rooms: tuple[str, ...]
    at: float
    parts: int = 1
    """In how many numbered items it was said, this one included, if it is the first of them."""


@attrs.frozen
class _Barrier:
    position: tuple[Epoch, int]
    room: str


class Ledger:
    """The truth about one world."""

    def __init__(self, nodes: dict[str, SimNode]) -> None:
        self.said: dict[tuple[Life, Life], list[int]] = defaultdict(list)
        """Numbers of the notifications said, by the lives of their origin and receiver."""
        self.notifications: dict[int, Said] = {}
        self.missed: dict[tuple[Life, Life, str], float] = {}
        """When an origin last published for a room without knowing (any more, or yet) that the receiver has it: the
        receiver has to be told in the end."""
        self.mailboxes: dict[tuple[Life, Life], Mailbox] = {}
        """How the first life follows the second."""
        self._nodes = nodes
        self._numbers = count(1)
        self.ended: set[Life] = set()
        """Lives that are over, however they ended."""
        self._delivered: dict[tuple[Life, Life], int] = {}
        self._barriers: dict[SimNode, list[_Barrier]] = {}
        self._settled: dict[tuple[Life, str], set[Life]] = defaultdict(set)
        """Which lives have confirmed to know an open room of a life."""
        self._forgot: set[tuple[Life, Life]] = set()
        """Lives that were told that another, which lives on, is gone."""

    # -- rooms, and guarantee 1 --

    def opened(self, node: SimNode, room: str) -> None:
        """A node says a room; a barrier behind it may lift later."""
        if (node.life, room) not in self._settled:
            barrier = _Barrier((node.core.epoch, node.core.say.state_tail), room)
            self._barriers.setdefault(node, []).append(barrier)

    def closed(self, node: SimNode, room: str) -> None:
        """A node does not have the room any more."""
        self._settled.pop((node.life, room), None)
        self.missed = {key: when for key, when in self.missed.items() if key[1:] != (node.life, room)}
        self._barriers[node] = [barrier for barrier in self._barriers.get(node, ()) if barrier.room != room]

    def turn_ended(self, node: SimNode) -> None:
        """Something happened at the node. Raises `LawBroken` when a barrier lifts before everybody knows the room."""
        barriers = self._barriers.get(node)
        if not barriers:
            return
        settled = node.core.settled_up_to()
        self._barriers[node] = [barrier for barrier in barriers if barrier.position > settled]
        for barrier in barriers:
            if barrier.position <= settled:
                self.settled(node, barrier.room)

    def gone(self, node: SimNode, peer: str) -> None:
        """The node is told that a peer is gone: from now on it may not know the peer's rooms."""
        other = self._nodes.get(peer)
        if other is not None:
            self._forgot.add((node.life, other.life))

    def publishes(self, node: SimNode, rooms: tuple[str, ...], receivers: set[str], now: float) -> None:
        """The node publishes for those whom it knows to have a room. Raises `LawBroken` when it should know of more."""
        for other in self._nodes.values():
            if other is node or other.name in receivers:
                continue
            for room in rooms:
                knowing = self._settled.get((other.life, room))
                if knowing is None:
                    continue
                if node.life in knowing and (node.life, other.life) not in self._forgot:
                    raise LawBroken(
                        Law.SETTLED,
                        f"{node.name} publishes to {room} and not to {other.name}, whose barrier for it had lifted",
                    )
                self.missed[node.life, other.life, room] = now

    def settled(self, node: SimNode, room: str) -> None:
        """The node holds the room for known everywhere. Raises `LawBroken` when it is not."""
        knowing = self._settled[node.life, room]
        for link in node.core.links:
            peer = self._nodes.get(link.id)
            if peer is None or peer.boot != link.epoch.boot:
                continue
            is_carried_over = link.health is Health.UNHEARD and peer.life in node.carried_over
            if not link.is_alive and not is_carried_over:
                continue
            if (peer.life, node.life) in self._forgot:
                continue  # it confirmed, and then gave this node up: what it does not send meanwhile is announced
            if room not in peer.view.get(node.name, {}) or peer.boots.get(node.name) != node.boot:
                raise LawBroken(
                    Law.SETTLED, f"{node.name} holds {room} for settled, and {peer.name} does not know it"
                )
            knowing.add(peer.life)

    # -- notifications, and guarantee 2 --

    def say(self, origin: SimNode, receiver: Life, rooms: tuple[str, ...], now: float) -> bytes:
        """A notification is about to be said; returns its payload."""
        number = next(self._numbers)
        self.said[origin.life, receiver].append(number)
        self.notifications[number] = Said(origin.life, receiver, rooms, now)
        return b"%d" % number

    def in_parts(self, payload: bytes, parts: Sequence[Sequence[str]]) -> None:
        """It was said in one numbered item, or, having too many rooms for that, in several that count for themselves.
        Raises `LawBroken` unless each room is in one of them, in its turn."""
        number = int(payload)
        whole = self.notifications[number]
        if tuple(chain.from_iterable(parts)) != whole.rooms:
            raise LawBroken(Law.IN_ORDER, f"{whole} was said as {parts}")
        if len(parts) == 1:
            return
        self.notifications[number] = attrs.evolve(whole, rooms=tuple(parts[0]), parts=len(parts))
        for part in parts[1:]:
            number = next(self._numbers)
            self.said[whole.origin, whole.receiver].append(number)
            self.notifications[number] = Said(whole.origin, whole.receiver, tuple(part), whole.at)

    def unheard(self, node: SimNode, origin: Life) -> list[int]:
        """What that life said to this node's life, and was not given to it."""
        return sorted(set(self.said[origin, node.life]) - set(node.delivered[origin]))

    def delivered(self, node: SimNode, delivery: Deliver) -> None:
        """A node is given notifications. Raises `LawBroken` unless they are its own, once and in order."""
        origin = (delivery.node, node.boots[delivery.node])
        pair = (origin, node.life)
        last = self._delivered.get(pair, 0)
        numbers = [self._number_of(item) for item in delivery.items]
        for number, item in zip(numbers, delivery.items, strict=True):
            said = self.notifications[number]
            if (said.origin, said.receiver, said.rooms) != (origin, node.life, tuple(item.rooms)):
                raise LawBroken(Law.IN_ORDER, f"{node.life} got {item} from {origin}; it was {said}")
            if number <= last:
                raise LawBroken(
                    Law.IN_ORDER,
                    f"{node.name} got {number} from {origin} after {last}: not once and in order",
                )
            last = number
        self._delivered[pair] = last
        node.delivered[origin] += numbers

    def _number_of(self, item: Notification) -> int:
        """Parts of one notification have the same payload: they are told apart by their rooms."""
        first = int(item.payload)
        parts = range(first, first + self.notifications[first].parts)
        return next(
            (number for number in parts if self.notifications[number].rooms == tuple(item.rooms)), first
        )

    def connected(self, node: SimNode, peer: str, boot: int, now: float) -> None:
        """A node began a link to a life of a peer, or connects to it anew."""
        link = node.link(peer)
        pair = (node.life, (peer, boot))
        if link is not None and self.mailboxes.get(pair) is not link.mailbox:
            self.mailboxes[pair] = link.mailbox
            node.linked_at[peer] = now
