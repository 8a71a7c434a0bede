"""The network of a simulated world: connections as ZeroMQ keeps them, and everything that can happen to them.

A node that connects to a peer has two channels to it: one of its SUB socket (what the peer publishes), one of a DEALER
(questions there, answers back). A channel is connected again whenever it breaks, after a while. What one
connection carries in one direction arrives in order and at most once, unless the weather is bad: what is in flight is
lost with its connection, a question that has not left yet waits for the next one, and nothing is published to whom no
connection is there. Two connections know nothing of each other's order. A frame that is too large is not read: it ends
the connection on which it comes.

All chance is drawn from one stream for each channel, so that a fault left out changes little elsewhere.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import count
from random import Random

import attrs

from cluster.core.identity import Card
from cluster.core.messages import FRAME_BYTES
from cluster.testing.clock import Clock
from cluster.testing.nodes import SimNode

LATENCY_S = 0.0002
"""From one node to another when the weather is fair."""

QUEUE_FRAMES = 10_000
"""Frames under way on a connection, in one direction; over it the newest is lost, as at the high-water mark."""

SEED_QUEUE = 4
"""Hellos that wait for a seed that is not there, as in the ZeroMQ adapter."""

RECONNECT_S = 0.05
RECONNECT_AT_MOST_S = 0.2
"""Between two attempts to connect: as in the ZeroMQ adapter."""

MENDED_S = 0.5
"""After a frame that was too large came to who had connected, until it is connected anew: as in the ZeroMQ adapter."""

CONNECT_LIMIT_S = 0.5
"""How long an attempt takes where nothing comes through: as there."""

DUPLICATE_LATE_S = 1.0
"""By how much a duplicate may come after the frame: two heartbeats."""

CONNECTION_LIMIT_S = 10.0
"""A connection over which nothing came for so long is given up: ZeroMQ's own heartbeat."""

TO_OWNER, TO_TARGET = 0, 1
"""The two directions of a connection; its owner is who connected."""

Cut = tuple[str, str]


def _nothing(_sender: SimNode, _receiver: SimNode, _frame: bytes) -> bool:
    return False


@attrs.define
class Weather:
    """What befalls every connection. Shares are between 0 and 1, times in seconds."""

    loss: float = 0.0
    """Share of published frames that vanish, as in an overloaded PUB socket."""
    direct_loss: float = 0.0
    """Share of direct frames that vanish: worse than ZeroMQ, for other transports."""
    duplication: float = 0.0
    """Share of published frames that arrive twice, the second time late: worse than ZeroMQ too."""
    delay: float = LATENCY_S
    """The longest time a frame takes."""
    queue: int = QUEUE_FRAMES
    """Frames under way on one connection in one direction."""
    is_lost: Callable[[SimNode, SimNode, bytes], bool] = _nothing
    """Frames to lose on purpose: by sender, receiver and content."""

    @property
    def is_fair(self) -> bool:
        """Whether nothing is lost, late or doubled."""
        return self == Weather()


@attrs.define(eq=False)
class _Wire:
    """One established connection of a channel."""

    number: int
    channel: Channel
    target: SimNode
    topics: tuple[bytes, ...]
    """What the owner had subscribed to, as far as the target knows."""
    is_open: bool = True
    """Whether more can be sent; what is under way may arrive although it was closed."""
    is_void: bool = False
    """What is under way is lost."""
    arrives_at: list[float] = attrs.field(factory=lambda: [0.0, 0.0])
    under_way: list[int] = attrs.field(factory=lambda: [0, 0])
    held: list[tuple[int, bytes]] = attrs.field(factory=list)
    """What waits for a stalled network: direction and frame."""


@attrs.define(eq=False)
class Channel:
    """A SUB's or DEALER's connection to one address, made again whenever it breaks."""

    owner: SimNode
    peer: str
    """The name (or address) under which the owner knows who is there."""
    address: str
    is_sub: bool
    dice: Random
    wire: _Wire | None = None
    is_dropped: bool = False
    wait: float = RECONNECT_S
    queue: deque[bytes] = attrs.field(factory=deque)
    """Questions that wait for a connection."""
    queue_at_most: int = QUEUE_FRAMES

    @property
    def target_name(self) -> str:
        """The name of whoever sits at the address."""
        return self.address.removeprefix("mem://").partition("/")[0]


class Network:
    """Channels and wires between the nodes of one world, and the faults that befall them.

    What arrives is told by calling the three functions that are set after construction. `frame_bytes` is the largest
    frame that a connection carries."""

    def __init__(
        self, clock: Clock, nodes: dict[str, SimNode], seed: int, frame_bytes: int = FRAME_BYTES
    ) -> None:
        self.weather = Weather()
        self._frame_bytes = frame_bytes
        self.frames_sent = 0
        self.broken_at: dict[frozenset[str], float] = {}
        """When a connection between two nodes broke, or could not take a frame, last."""
        self.cuts: dict[Cut, bool] = {}
        """From whom to whom nothing goes; True where it waits instead of being lost."""
        self.deaf: set[str] = set()
        """Nodes whose SUB gives nothing to its reader."""
        self.mute: set[str] = set()
        """Nodes whose PUB sends nothing."""
        self.published: Callable[[SimNode, SimNode, bytes], None]
        self.asked: Callable[[SimNode, SimNode, bytes, bytes], None]
        self.answered: Callable[[SimNode, SimNode, str, bytes], None]
        self.hung_up: Callable[[SimNode, str], None]
        self._clock = clock
        self._nodes = nodes
        self._seed = seed
        self._channels: dict[tuple[SimNode, str, bool], Channel] = {}
        self._wires: dict[int, _Wire] = {}
        self._subscribers: dict[SimNode, list[_Wire]] = {}
        self._numbers = count(1)
        self._opened: Counter[tuple[str, str, bool]] = Counter()

    # -- what a transport does --

    def connect(self, owner: SimNode, card: Card) -> None:
        """Both channels, anew."""
        self.disconnect(owner, card.id)
        self._open(owner, card.id, card.pub, is_sub=True)
        self._open(owner, card.id, card.router, is_sub=False)

    def disconnect(self, owner: SimNode, peer: str) -> None:
        """Neither channel any more, and nothing that waits in them."""
        for is_sub in (True, False):
            channel = self._channels.pop((owner, peer, is_sub), None)
            if channel is not None:
                self._drop(channel)

    def publish(self, sender: SimNode, frame: bytes) -> None:
        """To every node that is connected and, as far as is known here, subscribed; the sender hears itself, too."""
        if sender.name in self.mute:
            return
        if frame.startswith(sender.topics):
            self._clock.at(self._clock.now + LATENCY_S, self._return, sender, frame)
        for wire in tuple(self._subscribers.get(sender, ())):
            if frame.startswith(wire.topics):
                self._send(wire, TO_OWNER, frame)

    def ask(self, owner: SimNode, peer: str, frame: bytes) -> None:
        """To the peer's ROUTER, when there is a connection."""
        channel = self._channels.get((owner, peer, False))
        if channel is not None:
            self._ask(channel, frame)

    def ask_at(self, owner: SimNode, address: str, frame: bytes) -> None:
        """To whatever ROUTER is at the address."""
        channel = self._channels.get((owner, address, False))
        if channel is None:
            channel = self._open(owner, address, address, is_sub=False)
            channel.queue_at_most = SEED_QUEUE
        self._ask(channel, frame)

    def answer(self, identity: bytes, frame: bytes) -> None:
        """On the connection by which the question came, if it is still there."""
        wire = self._wires.get(int(identity))
        if wire is not None and wire.is_open:
            self._send(wire, TO_OWNER, frame)

    def subscribe(self, owner: SimNode, topics: tuple[bytes, ...]) -> None:
        """The node's topics changed; its peers hear of it in a moment."""
        owner.topics = topics
        for channel in self._channels_of(owner):
            if channel.is_sub and channel.wire is not None:
                self._clock.at(self._clock.now + LATENCY_S, setattr, channel.wire, "topics", topics)

    def is_connected(self) -> bool:
        """Whether every connection to a node that is there is established."""
        return all(
            channel.wire is not None
            for channel in self._channels.values()
            if channel.target_name in self._nodes and channel.owner.name != channel.target_name
        )

    # -- what befalls it --

    def cut(self, sender: str, receiver: str, *, holds: bool) -> None:
        """Nothing goes from one to the other: it is lost, or it waits as in TCP's buffers."""
        self.cuts[sender, receiver] = holds
        began = self._clock.now
        self._clock.at(began + CONNECTION_LIMIT_S, self._give_up_connections, (sender, receiver), holds)

    def restore(self) -> None:
        """No cuts, fair weather, and everybody hears and speaks."""
        self.cuts.clear()
        self.deaf.clear()
        self.mute.clear()
        self.weather = Weather()
        for wire in list(self._wires.values()):
            held, wire.held = wire.held, []
            for direction, frame in held:
                self._carry(wire, direction, frame)
            if wire.is_open and self._nodes.get(wire.target.name) is not wire.target:
                self._break(wire, is_void=True)  # dead for long, and nobody could say so

    def break_between(self, a: str, b: str) -> None:
        """All connections between the two are reset."""
        for wire in list(self._wires.values()):
            if wire.is_open and {wire.channel.owner.name, wire.target.name} == {a, b}:
                self._break(wire, is_void=True)

    def gone(self, node: SimNode, *, is_orderly: bool) -> None:
        """The process ended. In order, its last frames still leave; killed, only what has left its buffers does. The
        next life of that name has sockets of its own."""
        self.deaf.discard(node.name)
        self.mute.discard(node.name)
        for channel in self._channels_of(node):
            del self._channels[node, channel.peer, channel.is_sub]
            self._drop(channel, is_void=not is_orderly and channel.dice.random() < 0.5)
        for wire in list(self._wires.values()):
            if wire.target is node and wire.is_open:
                if self._is_cut(wire):
                    continue  # the owner learns of it when it gives the connection up
                self._break(wire, is_void=not is_orderly and wire.channel.dice.random() < 0.5)

    def overslept(self, node: SimNode) -> None:
        """The node did not react for so long that its peers have given up their connections to it."""
        for wire in list(self._wires.values()):
            if wire.is_open and node in (wire.target, wire.channel.owner):
                self._break(wire, is_void=wire.channel.dice.random() < 0.5)

    # -- channels --

    def _open(self, owner: SimNode, peer: str, address: str, *, is_sub: bool) -> Channel:
        name = (owner.name, address, is_sub)
        self._opened[name] += 1
        dice = Random(f"{self._seed} {name} {self._opened[name]}")  # noqa: S311 - a world replays, and hides nothing
        channel = Channel(owner, peer, address, is_sub, dice)
        self._channels[owner, peer, is_sub] = channel
        self._clock.at(self._clock.now + LATENCY_S, self._establish, channel)
        return channel

    def _channels_of(self, owner: SimNode) -> list[Channel]:
        return [channel for channel in self._channels.values() if channel.owner is owner]

    def _establish(self, channel: Channel) -> None:
        if channel.is_dropped or channel.wire is not None:
            return
        now, owner = self._clock.now, channel.owner
        target = self._nodes.get(channel.target_name)
        ways = {(owner.name, channel.target_name), (channel.target_name, owner.name)}
        is_cut = bool(self.cuts.keys() & ways)
        if target is None or is_cut or now < max(owner.paused_until, target.paused_until):
            again_at = now + channel.wait * channel.dice.uniform(0.9, 1.1) + is_cut * CONNECT_LIMIT_S
            self._clock.at(again_at, self._establish, channel)
            channel.wait = min(2 * channel.wait, RECONNECT_AT_MOST_S)
            return
        channel.wait = RECONNECT_S
        wire = channel.wire = _Wire(next(self._numbers), channel, target, owner.topics)
        self._wires[wire.number] = wire
        if channel.is_sub:
            self._subscribers.setdefault(target, []).append(wire)
        while channel.queue:
            self._send(wire, TO_TARGET, channel.queue.popleft())

    def _drop(self, channel: Channel, *, is_void: bool = True) -> None:
        channel.is_dropped = True
        if channel.wire is not None:
            self._close(channel.wire, is_void=is_void)

    def _break(self, wire: _Wire, *, is_void: bool) -> None:
        """The connection ends against its owner's will: it is told, and tries again."""
        channel = wire.channel
        self._close(wire, is_void=is_void)
        self._note_break(wire)
        if not channel.is_sub:
            self._clock.at(self._clock.now + LATENCY_S, self._tell_hung_up, channel)
        self._clock.at(
            self._clock.now + channel.wait * channel.dice.uniform(0.9, 1.1), self._establish, channel
        )

    def _close(self, wire: _Wire, *, is_void: bool) -> None:
        wire.is_open = False
        wire.is_void = is_void
        wire.held.clear()
        wire.channel.wire = None
        del self._wires[wire.number]
        if wire.channel.is_sub:
            self._subscribers[wire.target].remove(wire)

    def _tell_hung_up(self, channel: Channel) -> None:
        if not channel.is_dropped:
            self.hung_up(channel.owner, channel.peer)

    def _give_up_connections(self, cut: Cut, holds: bool) -> None:
        if self.cuts.get(cut) is holds:
            self.break_between(*cut)

    # -- frames --

    def _ask(self, channel: Channel, frame: bytes) -> None:
        if channel.wire is not None:
            self._send(channel.wire, TO_TARGET, frame)
        elif len(channel.queue) < min(channel.queue_at_most, self.weather.queue):
            channel.queue.append(frame)

    def _send(self, wire: _Wire, direction: int, frame: bytes) -> None:
        self.frames_sent += 1
        weather, channel = self.weather, wire.channel
        sender, receiver = (
            (wire.target, channel.owner) if direction == TO_OWNER else (channel.owner, wire.target)
        )
        holds = self.cuts.get((sender.name, receiver.name))
        if holds is False or weather.is_lost(sender, receiver, frame):
            return
        chance = weather.loss if channel.is_sub else weather.direct_loss
        if chance and channel.dice.random() < chance:
            return
        if wire.under_way[direction] + len(wire.held) >= weather.queue:
            self._note_break(wire)
        elif holds:
            wire.held.append((direction, frame))
        else:
            self._carry(wire, direction, frame)

    def _carry(self, wire: _Wire, direction: int, frame: bytes) -> None:
        weather, dice, now = self.weather, wire.channel.dice, self._clock.now
        takes = LATENCY_S if weather.delay == LATENCY_S else dice.uniform(LATENCY_S, weather.delay)
        when = wire.arrives_at[direction] = max(wire.arrives_at[direction], now + takes)
        wire.under_way[direction] += 1
        self._clock.at(when, self._arrive, wire, direction, frame)
        if weather.duplication and wire.channel.is_sub and dice.random() < weather.duplication:
            wire.under_way[direction] += 1
            self._clock.at(when + dice.uniform(0, DUPLICATE_LATE_S), self._arrive, wire, direction, frame)

    def _arrive(self, wire: _Wire, direction: int, frame: bytes) -> None:
        receiver = wire.channel.owner if direction == TO_OWNER else wire.target
        if wire.is_void or self._nodes.get(receiver.name) is not receiver:
            return
        if len(frame) > self._frame_bytes:
            if wire.is_open:
                wire.channel.wait = MENDED_S if direction == TO_OWNER else RECONNECT_S
                self._break(wire, is_void=True)
            return
        if receiver.is_reading(self._clock.now):
            self._hand_over(wire, direction, frame)
        else:
            receiver.inbox.append((_socket(wire, direction), self._hand_over, (wire, direction, frame)))

    def _hand_over(self, wire: _Wire, direction: int, frame: bytes) -> None:
        wire.under_way[direction] -= 1
        channel = wire.channel
        if wire.is_void or (channel.is_dropped and direction == TO_OWNER):
            return
        if direction == TO_TARGET:
            self.asked(wire.target, channel.owner, b"%d" % wire.number, frame)
        elif channel.is_sub:
            self._read(channel.owner, wire.target, frame)
        else:
            self.answered(channel.owner, wire.target, channel.peer, frame)

    def _return(self, sender: SimNode, frame: bytes) -> None:
        """What a node published comes back to itself; no network is on that way."""
        if self._nodes.get(sender.name) is not sender:
            return
        if sender.is_reading(self._clock.now):
            self._read(sender, sender, frame)
        else:
            sender.inbox.append(("sub", self._read, (sender, sender, frame)))

    def _read(self, reader: SimNode, sender: SimNode, frame: bytes) -> None:
        """SUB filters again on its side: what was given up while it was on its way is not read."""
        if reader.name not in self.deaf and frame.startswith(reader.topics):
            self.published(reader, sender, frame)

    def _is_cut(self, wire: _Wire) -> bool:
        return (wire.target.name, wire.channel.owner.name) in self.cuts

    def _note_break(self, wire: _Wire) -> None:
        self.broken_at[frozenset((wire.channel.owner.name, wire.target.name))] = self._clock.now


def _socket(wire: _Wire, direction: int) -> str:
    """Which socket of the receiver a frame arrives at: one reads each without regard to the others."""
    if direction == TO_TARGET:
        return "router"
    return "sub" if wire.channel.is_sub else f"dealer {wire.channel.peer}"


def split(groups: Iterable[Iterable[str]]) -> list[Cut]:
    """The cuts that part the groups from each other."""
    parts = [set(group) for group in groups]
    return [
        (sender, receiver)
        for part in parts
        for other in parts
        if part is not other
        for sender in sorted(part)
        for receiver in sorted(other)
    ]
