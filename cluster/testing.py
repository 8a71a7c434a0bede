"""A world to test the mesh in: many nodes, one clock, one seed, no I/O.

The world carries the frames of real cores (`MeshNode`) over pipes that keep the order of one sender, as ZeroMQ does,
and that can lose, delay, cut and heal on purpose; it keeps a pool, crashes and restarts nodes, and pauses them. All
chance comes from one `random.Random`, so a seed replays exactly. It is product code: whoever embeds the mesh can
test with it.

    world = World(random.Random(7))
    a, b = world.start("a"), world.start("b")
    world.run(2.0)
    world.check_at_rest()
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count
from random import Random

import attrs

from cluster.core import effects as fx
from cluster.core.effects import Effect
from cluster.core.identity import Card, Epoch
from cluster.core.limits import Limits
from cluster.core.liveness import Health
from cluster.core.messages import HEARTBEAT_TOPIC, STATE_TOPIC
from cluster.core.node import MeshNode
from cluster.keys import Sealer

LATENCY_S = 0.0002
"""From one node to another and nothing else on the way."""

CARD_LIFETIME_S = 2.5


class LawBroken(AssertionError):
    """The mesh did what it must never do; the message says which law and where."""


@attrs.define(eq=False)
class SimNode:
    """One life of one node in a world, and what its embedder was told."""

    name: str
    core: MeshNode
    boot: int
    process: int
    """Tells this process from others of that name, as a connection would."""
    topics: set[bytes] = attrs.field(factory=set)
    peers: dict[str, Card] = attrs.field(factory=dict)
    dials: dict[str, int] = attrs.field(factory=lambda: defaultdict(int))
    """How often it has connected to each peer: an answer to an earlier connection does not arrive."""
    boots: dict[str, int] = attrs.field(factory=dict)
    """The life of each peer that it was connected to last."""
    rooms: dict[str, tuple[bytes, int]] = attrs.field(factory=dict)
    """Its own rooms."""
    view: dict[str, dict[str, tuple[bytes, int]]] = attrs.field(factory=dict)
    """The rooms of others, by node: what the embedder believes."""
    away: set[str] = attrs.field(factory=set)
    """Nodes whose rooms are kept although they do not answer."""
    delivered: dict[tuple[str, int], list[int]] = attrs.field(factory=lambda: defaultdict(list))
    """Numbers of the notifications that arrived in this life, by the life of their origin."""
    lost: dict[tuple[str, int], int] = attrs.field(factory=lambda: defaultdict(int))
    """How many were announced as lost in this life, by the life of their origin."""
    warned: list[tuple[str, dict[str, int] | None]] = attrs.field(factory=list)
    """Announcements of a loss that nobody can count: the origin, and the rooms."""
    beliefs: list[tuple[float, str, dict[str, object]]] = attrs.field(factory=list)
    ticks_at: float = float("inf")
    paused_until: float = 0.0
    inbox: list[Callable[[], None]] = attrs.field(factory=list)
    """What arrived while it was paused."""

    @property
    def life(self) -> tuple[str, int]:
        """Name and boot: what tells this life from others."""
        return self.name, self.boot


class World:
    """Nodes, pipes, a pool and a clock."""

    def __init__(self, random: Random, limits: Limits | None = None) -> None:
        self.now = 0.0
        self.random = random
        self.limits = limits or Limits()
        self.nodes: dict[str, SimNode] = {}
        self.is_pool_up = True
        self.loss = 0.0
        """Share of published frames that vanish."""
        self.delay = LATENCY_S
        """The longest time a frame takes."""
        self.is_lost: Callable[[SimNode, SimNode, bytes], bool] = lambda _from, _to, _frame: False
        """Frames to lose on purpose, besides chance."""
        self.sent: dict[tuple[tuple[str, int], tuple[str, int]], list[int]] = defaultdict(list)
        """Numbers of the notifications said, by the lives of their origin and receiver."""
        self._cuts: set[tuple[str, str]] = set()
        self._cards: dict[str, tuple[bytes, float]] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._numbers = count(1)
        self._processes = count(1)
        self._arrival: dict[tuple[str, str, str], float] = defaultdict(float)
        self._last_boot = 1000
        self._pool_beat = self.limits.heartbeat

    # -- what a test does --

    def start(self, name: str, boot: int | None = None, seeds: Sequence[str] = ()) -> SimNode:
        """A new life of a node, on the addresses of that name. `boot` is what its wall clock says, `seeds` names nodes
        that it may ask for the others."""
        if name in self.nodes:
            raise ValueError(f"{name} is running")
        self._last_boot += 1
        boot = boot if boot is not None else self._last_boot
        card = Card(id=name, epoch=Epoch(boot, 0), pub=f"mem://{name}/pub", router=f"mem://{name}/router")
        sealer = Sealer(None)
        core = MeshNode(
            card,
            self.limits,
            seal=sealer.seal,
            open_card=sealer.open,
            now=self.now,
            seeds=[f"mem://{seed}/router" for seed in seeds],
        )
        node = self.nodes[name] = SimNode(name, core, boot, next(self._processes))
        node.topics = {HEARTBEAT_TOPIC, STATE_TOPIC, core.notify_topic}
        self._visit_pool(node)
        self._schedule_tick(node)
        return node

    def crash(self, node: SimNode) -> None:
        """It is gone, without a word; its connections close, which those who can be reached notice."""
        del self.nodes[node.name]
        for peer in self.nodes.values():
            if node.name in peer.peers and (node.name, peer.name) not in self._cuts:
                self._at(self.now + LATENCY_S, partial(self._hang_up, peer, node.name))

    def leave(self, node: SimNode) -> None:
        """It says goodbye and goes."""
        self._perform(node, node.core.leave("test", self.now))
        if self.is_pool_up:
            self._cards.pop(node.name, None)
        self.crash(node)

    def pause(self, node: SimNode, seconds: float) -> None:
        """It does not run; what arrives waits for it, as in its sockets."""
        node.paused_until = self.now + seconds
        self._at(node.paused_until, lambda: self._wake(node))

    def wake_all(self) -> None:
        """No node is paused any more."""
        for node in self.nodes.values():
            node.paused_until = min(node.paused_until, self.now)
            self._wake(node)

    def cut(self, sender: SimNode | str, receiver: SimNode | str) -> None:
        """Nothing goes from one to the other any more; the way back is not touched."""
        self._cuts.add((_name(sender), _name(receiver)))

    def heal(self) -> None:
        """No cuts, no losses, and a pool: the faults end."""
        self._cuts.clear()
        self.loss = 0.0
        self.delay = LATENCY_S
        self.is_lost = lambda _from, _to, _frame: False
        self.is_pool_up = True

    def flush_pool(self) -> None:
        """The pool is empty, as a Redis that was restarted."""
        self._cards.clear()

    def open_room(self, node: SimNode, room: str, description: bytes = b"", count: int = 1) -> None:
        """The node has subscribers in a room; told at once."""
        node.rooms[room] = (description, count)
        node.core.say.open_room(room, description, count)
        self._perform(node, node.core.flush(self.now))

    def close_room(self, node: SimNode, room: str) -> None:
        """The node has no subscriber in the room any more."""
        node.rooms.pop(room, None)
        node.core.say.close_room(room)
        self._perform(node, node.core.flush(self.now))

    def reset(self, node: SimNode) -> None:
        """`cluster:reset` was asked of the node."""
        self._perform(node, node.core.reset(self.now))

    def publish(self, node: SimNode, room: str) -> list[str]:
        """Notify every node that, as this one believes, has the room; returns those."""
        receivers = [peer for peer, rooms in node.view.items() if room in rooms]
        for peer in receivers:
            link = next(link for link in node.core.links if link.id == peer)
            number = next(self._numbers)
            self.sent[node.life, (peer, link.epoch.boot)].append(number)
            node.core.say.notify(peer, [room], str(number).encode())
        self._perform(node, node.core.flush(self.now))
        self._schedule_tick(node)
        return receivers

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = end

    def run_until(self, condition: Callable[[], bool], at_most: float) -> float:
        """Let time pass until the condition holds; returns how long it took. Raises `LawBroken` after `at_most`
        seconds."""
        began = self.now
        while not condition():
            if self.now - began >= at_most:
                raise LawBroken(f"did not come true within {at_most} s")
            self.run(min(0.01, began + at_most - self.now))
        return self.now - began

    # -- laws --

    def is_converged(self) -> bool:
        """Whether every node is live with every other, and sees its slice as it is."""
        return all(
            _seen(node, other.name) == other.rooms and _is_live(node, other)
            for node in self.nodes.values()
            for other in self.nodes.values()
            if node is not other
        )

    def check_always(self) -> None:
        """What must hold at every moment: notifications come once and in order."""
        for node in self.nodes.values():
            for origin, numbers in node.delivered.items():
                said = self.sent[origin, node.life]
                if not _is_subsequence(numbers, said):
                    raise LawBroken(f"{node.name} got {numbers[-5:]} from {origin}: not once and in order")

    def check_at_rest(self) -> None:
        """What must hold some time after the faults ended: views and slices equal, no ghosts, nothing lost in
        silence."""
        self.check_always()
        for node in self.nodes.values():
            ghosts = {peer for peer, rooms in node.view.items() if rooms} - node.away - self.nodes.keys()
            if ghosts:
                raise LawBroken(f"{node.name} sees rooms of {ghosts}, who are not there")
            for other in self.nodes.values():
                if node is not other:
                    self._check_pair(node, other)

    def _check_pair(self, node: SimNode, other: SimNode) -> None:
        if not _is_live(node, other):
            raise LawBroken(f"{node.name} is not live with {other.name}: {_believed(node, other)}")
        if _seen(node, other.name) != other.rooms:
            raise LawBroken(
                f"{node.name} sees {node.view.get(other.name)} of {other.name}: it is {other.rooms}"
            )
        said = len(self.sent[other.life, node.life])
        got = len(node.delivered[other.life])
        lost = node.lost[other.life]
        ours = next(link for link in other.core.links if link.id == node.name)
        theirs = next(link for link in node.core.links if link.id == other.name).mailbox.received
        account = (
            f"{other.name} said {said} to {node.name} in {ours.outgoing.tail} numbers: {got} arrived, {lost} are "
            f"announced as lost; {other.name} believes {ours.accounted}, {node.name} counts {theirs.delivered} and "
            f"{theirs.lost} up to {theirs.position}"
        )
        # A number can stand for more than one, where a node was given up on for a while: then some loss is announced.
        is_balanced = ours.outgoing.tail == theirs.position == got + lost
        is_counted = (theirs.delivered, theirs.lost) == (got, lost)
        is_known = ours.accounted.position == ours.outgoing.tail and ours.accounted.lost == lost
        if not (is_balanced and is_counted and is_known and (said == got or lost)):
            raise LawBroken(account)

    # -- the machinery --

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _schedule_tick(self, node: SimNode) -> None:
        due = max(node.core.next_deadline(), self.now, node.paused_until)
        if due < node.ticks_at:
            node.ticks_at = due
            self._at(due, lambda: self._tick(node, due))

    def _tick(self, node: SimNode, due: float) -> None:
        if self._is_gone(node) or node.ticks_at != due:
            return  # an earlier one was scheduled meanwhile
        node.ticks_at = float("inf")
        if node.paused_until <= self.now:
            self._perform(node, node.core.time_passed(self.now))
        self._schedule_tick(node)

    def _visit_pool(self, node: SimNode) -> None:
        if self._is_gone(node):
            return
        self._at(self.now + self._pool_beat, lambda: self._visit_pool(node))
        if node.paused_until > self.now:
            return
        if not self.is_pool_up:
            node.core.pool_failed("the world has taken it away")
            return
        self._cards[node.name] = (node.core.sealed_card, self.now + CARD_LIFETIME_S)
        live = [card for card, expiry in self._cards.values() if expiry > self.now]
        self._perform(node, node.core.cards_read(live, self.now))

    def _wake(self, node: SimNode) -> None:
        if node.paused_until > self.now:
            return  # paused again meanwhile
        inbox, node.inbox = node.inbox, []
        for arrival in inbox:
            arrival()
        self._schedule_tick(node)

    def _perform(self, node: SimNode, effects: Iterable[Effect]) -> None:  # noqa: PLR0912 - one case for each
        for effect in effects:
            match effect:
                case fx.Publish(frame):
                    for receiver in list(self.nodes.values()):
                        is_connected = any(card.pub == node.core.card.pub for card in receiver.peers.values())
                        if is_connected and any(frame.startswith(topic) for topic in receiver.topics):
                            self._send("pub", node, receiver, frame)
                case fx.Ask(peer, frame):
                    card = node.peers.get(peer)
                    target = card and next(
                        (n for n in self.nodes.values() if n.core.card.router == card.router), None
                    )
                    if target:
                        self._send("ask", node, target, frame, f"{peer}#{node.dials[peer]}")
                case fx.AskAt(address, frame):
                    for target in list(self.nodes.values()):
                        if target.core.card.router == address:
                            self._send("ask", node, target, frame, f"{address}#{node.dials[address]}")
                case fx.Answer(identity, frame):
                    name, process, asked_as, dial = identity.decode().split("#")
                    asker = self.nodes.get(name)
                    if asker and asker.process == int(process):
                        self._send("answer", node, asker, frame, f"{asked_as}#{dial}")
                case fx.Connect(card):
                    node.peers[card.id] = card
                    node.boots[card.id] = card.epoch.boot
                    node.dials[card.id] += 1
                case fx.Disconnect(peer):
                    node.peers.pop(peer, None)
                case fx.Announce():
                    pass  # the next visit to the pool is soon enough here
                case fx.MoveTopic(former, topic):
                    node.topics = node.topics - {former} | {topic}
                    node.boot = node.core.epoch.boot
                    node.delivered.clear()
                    node.lost.clear()
                case _:
                    _tell(node, effect, self.now)

    def _send(self, pipe: str, sender: SimNode, receiver: SimNode, frame: bytes, asked_as: str = "") -> None:
        """`asked_as` is the name or address under which the asker knows whom it asks, and the number of that
        connection."""
        chance = self.loss if pipe == "pub" else 0.0
        if (sender.name, receiver.name) in self._cuts or self.is_lost(sender, receiver, frame):
            return
        if chance and self.random.random() < chance:
            return
        key = (pipe, sender.name, receiver.name)
        takes = LATENCY_S if self.delay == LATENCY_S else self.random.uniform(LATENCY_S, self.delay)
        self._arrival[key] = max(self._arrival[key], self.now + takes)  # a pipe keeps its order
        self._at(self._arrival[key], lambda: self._arrive(pipe, sender, receiver, frame, asked_as))

    def _arrive(self, pipe: str, sender: SimNode, receiver: SimNode, frame: bytes, asked_as: str) -> None:
        if self._is_gone(receiver):
            return
        if receiver.paused_until > self.now:
            receiver.inbox.append(lambda: self._arrive(pipe, sender, receiver, frame, asked_as))
            return
        core = receiver.core
        match pipe:
            case "pub":
                # SUB filters again on its side, as with ZeroMQ: what was given up while it was on its way is not read.
                if any(frame.startswith(topic) for topic in receiver.topics):
                    self._perform(receiver, core.published(frame, self.now))
            case "ask":
                # As ROUTER's identities: made for one connection, and void with it.
                identity = f"{sender.name}#{sender.process}#{asked_as}".encode()
                self._perform(receiver, core.asked(identity, frame, self.now))
            case _:
                peer, _, dial = asked_as.partition("#")
                if receiver.dials[peer] == int(dial):
                    self._perform(receiver, core.answered(peer, frame, self.now))
        self._schedule_tick(receiver)

    def _hang_up(self, node: SimNode, peer: str) -> None:
        if self._is_gone(node):
            return
        if node.paused_until > self.now:
            node.inbox.append(partial(self._hang_up, node, peer))
            return
        self._perform(node, node.core.hung_up(peer, self.now))
        self._schedule_tick(node)

    def _is_gone(self, node: SimNode) -> bool:
        return self.nodes.get(node.name) is not node


def _tell(node: SimNode, effect: Effect, now: float) -> None:
    """What the embedder does with what it is told."""
    match effect:
        case fx.PeerRoom(peer, room, description, count):
            node.view.setdefault(peer, {})[room] = (description, count)
        case fx.PeerRoomCounted(peer, room, count):
            node.view[peer][room] = (node.view[peer][room][0], count)
        case fx.PeerRoomClosed(peer, room):
            del node.view[peer][room]
        case fx.PeerAway(peer):
            node.away.add(peer)
        case fx.PeerBack(peer):
            node.away.discard(peer)
        case fx.PeerGone(peer):
            node.away.discard(peer)
            node.view.pop(peer, None)
        case fx.Deliver(peer, items):
            node.delivered[peer, node.boots[peer]] += [int(item.payload) for item in items]
        case fx.Lost(peer, None, rooms):
            node.warned.append((peer, rooms))
        case fx.Lost(peer, int(count)):
            node.lost[peer, node.boots[peer]] += count
        case fx.Belief(event, fields):
            node.beliefs.append((now, event, fields))
        case _:
            raise AssertionError(f"an effect for the sockets: {effect}")


def _is_live(node: SimNode, other: SimNode) -> bool:
    link = next((link for link in node.core.links if link.id == other.name), None)
    return link is not None and link.is_live and link.health is Health.UP and link.epoch == other.core.epoch


def _seen(node: SimNode, peer: str) -> dict[str, tuple[bytes, int]] | None:
    """The rooms that count for a node; None when the peer does not answer."""
    return None if peer in node.away else node.view.get(peer, {})


def _believed(node: SimNode, other: SimNode) -> str:
    link = next((link for link in node.core.links if link.id == other.name), None)
    return "not known" if link is None else f"{link.sync.value}, {link.health.value}, epoch {link.epoch}"


def _is_subsequence(part: list[int], whole: list[int]) -> bool:
    rest = iter(whole)
    return all(number in rest for number in part)


def _name(node: SimNode | str) -> str:
    return node if isinstance(node, str) else node.name
