"""A world to test the mesh in: many nodes, one clock, one seed, no I/O.

The world runs real cores (`MeshNode`) over a simulated network and pool, crashes and restarts nodes, pauses them and
slows them down, and watches that the laws of the mesh hold. All chance comes from one seed, so a history replays
exactly. It is product code: whoever embeds the mesh can test with it.

    world = World(Random(7))
    a, b = world.start("a"), world.start("b")
    world.run(2.0)
    world.check_at_rest()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from random import Random

import msgspec

from cluster.core.identity import PROTOCOL, Card, Epoch
from cluster.core.limits import Limits
from cluster.core.messages import FRAME_BYTES, HEARTBEAT_TOPIC, STATE_TOPIC
from cluster.core.node import MeshNode
from cluster.keys import Sealer
from cluster.testing import bounds, laws
from cluster.testing.clock import Clock, TimeStandsStill
from cluster.testing.excuses import Excuses
from cluster.testing.ledger import Ledger
from cluster.testing.network import CONNECTION_LIMIT_S, Network, Weather
from cluster.testing.nodes import Law, LawBroken, Life, SimNode
from cluster.testing.pool import SimPool
from cluster.testing.shells import Shells

FIRST_BOOT = 1_000_000
"""What the wall clocks of this world say at its beginning, milliseconds."""

GOODBYE_S = 0.1
"""How long after a node has left everybody who could hear it has drawn the consequences."""

_SEALER = Sealer(None)
_open_card = lru_cache(1000)(_SEALER.open)  # the same few cards are read again and again

SAID_WITHIN_S = 3.0
"""How long a node may be deaf or mute before it says so."""


class NotInTime(LawBroken):
    """What was waited for did not come true."""


class World:
    """Nodes, a network, a pool and a clock."""

    __slots__ = (
        "_boots",
        "_seed",
        "clock",
        "excuses",
        "former",
        "ledger",
        "limits",
        "network",
        "nodes",
        "pool",
        "shells",
    )

    def __init__(self, random: Random, limits: Limits | None = None, frame_bytes: int = FRAME_BYTES) -> None:
        self.limits = limits or Limits()
        self.nodes: dict[str, SimNode] = {}
        self.former: list[SimNode] = []
        """Those that have crashed or left."""
        self.clock = Clock()
        self.pool = SimPool(self.clock)
        self._seed = random.getrandbits(64)
        self.network = Network(self.clock, self.nodes, self._seed, frame_bytes)
        self.ledger = Ledger(self.nodes)
        self.excuses = Excuses(self.nodes, self.network, self.limits)
        self._boots: set[tuple[str, int]] = set()
        self.shells = Shells(
            self.nodes,
            clock=self.clock,
            network=self.network,
            pool=self.pool,
            ledger=self.ledger,
            excuses=self.excuses,
            limits=self.limits,
            boots=self._boots,
            open_card=_open_card,
        )
        self.shells.turn_ended = self._turn_ended

    @property
    def now(self) -> float:
        """Seconds since the world began."""
        return self.clock.now

    @property
    def weather(self) -> Weather:
        """What befalls every connection; to be changed at will."""
        return self.network.weather

    # -- the life of nodes --

    def start(
        self,
        name: str,
        boot: int | None = None,
        seeds: Sequence[str] = (),
        protocol: tuple[int, int] = (PROTOCOL, PROTOCOL),
    ) -> SimNode:
        """A new life of a node, on the addresses of that name. `boot` is what its wall clock says, `seeds` names nodes
        that it may ask for the others, `protocol` is the range of versions that it says to speak."""
        if name in self.nodes:
            raise ValueError(f"{name} is running")
        boot = self.wall_clock(name) if boot is None else boot
        self._boots.add((name, boot))
        card = Card(
            id=name,
            epoch=Epoch(boot, 0),
            pub=f"mem://{name}/pub",
            router=f"mem://{name}/router",
            protocol=protocol,
        )
        core = MeshNode(
            card,
            self.limits,
            seal=_SEALER.seal,
            open_card=_open_card,
            now=self.now,
            seeds=[f"mem://{seed}/router" for seed in seeds],
        )
        dice = Random(f"{self._seed} {name} {boot}")  # noqa: S311 - a world replays, and hides nothing
        node = self.nodes[name] = SimNode(name, core, boot, dice)
        node.topics = (HEARTBEAT_TOPIC, STATE_TOPIC, core.epochs.notify_topic)
        self.shells.plan_visit(node, self.now)
        self.shells.schedule_tick(node)
        return node

    def wall_clock(self, name: str, wrong_by_ms: int = 0) -> int:
        """Milliseconds; never the same twice for one name, since no two lives of it begin in one millisecond."""
        boot = FIRST_BOOT + round(1000 * self.now) + wrong_by_ms
        while (name, boot) in self._boots:
            boot += 1
        return boot

    def crash(self, node: SimNode) -> None:
        """It is gone, without a word; its connections close, which those who can be reached notice."""
        self._end(node, is_orderly=False)

    def leave(self, node: SimNode) -> None:
        """Its embedder goes; it says goodbye, and is gone when its peers have heard it, or it has waited for long."""
        self.excuses.look(self.now, self.now)
        node.is_leaving = True
        node.awaited = {
            peer.life for peer in self.nodes.values() if self.excuses.can_repair(peer, node, self.now)
        }
        node.heard_by = set(node.awaited)
        for room in list(node.rooms):
            self.ledger.closed(node, room)
        node.rooms.clear()
        self.pool.withdraw(node.name)
        self.shells.turn(node, node.core.leave("test", self.now))

    def pause(self, node: SimNode, seconds: float) -> None:
        """It does not run; what arrives waits for it, as in its sockets."""
        node.paused_until = max(node.paused_until, self.now + seconds)
        self.excuses.absent(node.name, self.now, node.paused_until)
        self.clock.at(node.paused_until, self.shells.wake, node)
        self.clock.at(self.now + CONNECTION_LIMIT_S, self._oversleep, node, node.paused_until)

    def slow_down(self, node: SimNode, reads_every: float) -> None:
        """It looks at its sockets and its clock only so often, seconds; 0 is at once."""
        node.reads_every = reads_every
        node.busy_until = self.now + reads_every
        self.clock.at(node.busy_until, self.shells.wake, node)

    def wake_all(self) -> None:
        """No node is paused or slow any more."""
        for node in list(self.nodes.values()):
            if node.paused_until > self.now:
                self.excuses.absent(node.name, self.now, self.now)
            node.paused_until = min(node.paused_until, self.now)
            node.busy_until = min(node.busy_until, self.now)
            node.reads_every = 0.0
            self.shells.wake(node)

    # -- faults --

    def cut(self, sender: SimNode | str, receiver: SimNode | str, *, holds: bool = False) -> None:
        """Nothing goes from one to the other any more: it is lost, or `holds` and comes when the cut has healed. The
        way back is not touched."""
        self.network.cut(_name(sender), _name(receiver), holds=holds)

    def deafen(self, node: SimNode) -> None:
        """Nothing that comes to its SUB is read any more; all else of it works."""
        self._impair(node, self.network.deaf)

    def silence(self, node: SimNode) -> None:
        """Nothing leaves its PUB any more; all else of it works."""
        self._impair(node, self.network.mute)

    def heal(self) -> None:
        """No cuts, fair weather, a pool, and everybody hears and speaks: the faults end. Who is paused stays so."""
        self.excuses.look(self.now, self.now)
        for name in self.network.deaf | self.network.mute:
            self.nodes[name].healed_at = self.now
        self.network.restore()
        self.pool.restore()

    # -- what embedders do --

    def open_room(self, node: SimNode, room: str, description: bytes = b"", count: int = 1) -> None:
        """The node has subscribers in a room; told at once."""
        self.open_rooms(node, [room], description, count)

    def open_rooms(
        self, node: SimNode, rooms: Iterable[str], description: bytes = b"", count: int = 1
    ) -> None:
        """The same for many rooms, in one turn."""
        for room in rooms:
            node.rooms[room] = (description, count)
            node.core.say.open_room(room, description, count)
            self.ledger.opened(node, room)
        self.shells.turn(node, node.core.flush(self.now))

    def close_room(self, node: SimNode, room: str) -> None:
        """The node has no subscriber in the room any more."""
        node.rooms.pop(room, None)
        self.ledger.closed(node, room)
        node.core.say.close_room(room)
        self.shells.turn(node, node.core.flush(self.now))

    def reset(self, node: SimNode) -> None:
        """`cluster:reset` was asked of the node."""
        self.shells.turn(node, node.core.reset(self.now))

    def outbid(self, node: SimNode) -> None:
        """The node finds the card of a later life of its name, whose own addresses nobody needs."""
        later = msgspec.structs.replace(node.core.card, epoch=Epoch(node.core.epoch.boot + 1, 0))
        self.shells.turn(node, node.core.cards_read([_SEALER.seal(later)], self.now))

    def publish(self, node: SimNode, *rooms: str) -> list[str]:
        """Notify every node that, as this one believes, has one of the rooms; returns those. It need not have joined:
        this embedder is rasher than `Mesh.joined` would have it be."""
        node.core.serve()
        receivers = []
        for peer, theirs in node.view.items():
            concerned = tuple(room for room in rooms if room in theirs)
            link = node.link(peer)
            if concerned and link is not None:
                payload = self.ledger.say(node, (peer, link.epoch.boot), concerned, self.now)
                node.core.say.notify(peer, concerned, payload)
                self.ledger.in_parts(payload, [item.rooms for item in node.core.say.unsent(peer)])
                receivers.append(peer)
        self.ledger.publishes(node, rooms, set(receivers), self.now)
        self.shells.turn(node, node.core.flush(self.now))
        return receivers

    # -- time --

    def run(self, seconds: float) -> None:
        """Let time pass. Raises `LawBroken`."""
        self.excuses.look(self.now, self.now + seconds)
        try:
            self.clock.run(seconds)
        except TimeStandsStill as error:
            raise LawBroken(Law.PROGRESS, str(error)) from error

    def run_until(self, condition: Callable[[], bool], at_most: float) -> float:
        """Let time pass until the condition holds; returns how long it took. Raises `NotInTime` after `at_most`
        seconds."""
        began = self.now
        end = began + at_most
        while not condition():
            if self.now >= end:
                raise NotInTime(Law.PROGRESS, f"it did not come true within {at_most} s")
            self.run(min(0.01, end - self.now))
        return self.now - began

    # -- laws --

    def is_converged(self) -> bool:
        """Whether every node is connected to and live with every other, and sees its slice as it is."""
        return self.network.is_connected() and not self.is_anybody_leaving() and laws.is_converged(self.nodes)

    def is_anybody_leaving(self) -> bool:
        """Whether any node has begun to leave, and is not gone yet."""
        return any(node.is_leaving for node in self.nodes.values())

    def is_settled(self) -> bool:
        """Whether every node says that it is ready, and knows who is dead."""
        return not laws.has_ghosts(self.nodes) and all(
            node.core.why_not_ready() is None for node in self.nodes.values()
        )

    def waits_for_news(self) -> bool:
        """Whether any node still looks for one that is gone, and would have to say what that means."""
        return laws.waits_for_news(self.nodes, self.ledger)

    def check_bounds(self) -> None:
        """Raises `LawBroken` when something has grown over its bound."""
        for node in self.nodes.values():
            laws.check_bounds(node, self.limits)
            bounds.check_weights(node, self.limits)

    def check_at_rest(self) -> None:
        """What must hold some time after the faults ended. Raises `LawBroken`."""
        self.check_bounds()
        laws.check_at_rest(self.nodes, self.ledger, self.limits)

    def check_quiet(self, seconds: float) -> None:
        """Let time pass in which nobody says anything, and look at what is sent. Raises `LawBroken`."""
        before = self.network.frames_sent
        self.run(seconds)
        laws.check_quiet(self.nodes, self.network.frames_sent - before, seconds, self.limits)

    # -- what becomes of nodes --

    def _turn_ended(self, node: SimNode) -> None:
        if node.core.leaving.has_parted:
            self._check_patience(node)
        if node.core.leaving.is_over and not self.shells.is_gone(node):
            self._has_left(node)

    def _has_left(self, node: SimNode) -> None:
        self.excuses.look(self.now, self.now)
        hearing = [
            peer
            for peer in self.nodes.values()
            if peer.life in node.heard_by and self.excuses.is_at_most_lossy(peer, node, self.now)
        ]
        self.clock.at(self.now + GOODBYE_S, self._check_goodbye, node.life, hearing)
        self._end(node, is_orderly=True)

    def _check_patience(self, node: SimNode) -> None:
        awaited, node.awaited = node.awaited, set()
        self.excuses.look(self.now, self.now)
        for peer in self.nodes.values():
            if peer.life not in awaited or not self.excuses.can_repair(peer, node, self.now):
                continue
            missing = len(self.ledger.unheard(peer, node.life)) - peer.lost[node.life]
            if missing:
                raise LawBroken(Law.PATIENT, f"{node.name} parts, and {peer.name} lacks {missing} of it")

    def _end(self, node: SimNode, *, is_orderly: bool) -> None:
        self.ledger.ended.add(node.life)
        self.former.append(self.nodes.pop(node.name))
        self.network.gone(node, is_orderly=is_orderly)

    def _oversleep(self, node: SimNode, until: float) -> None:
        if not self.shells.is_gone(node) and node.paused_until == until > self.now:
            self.network.overslept(node)

    def _impair(self, node: SimNode, those: set[str]) -> None:
        if node.name not in those:
            those.add(node.name)
            self.excuses.look(self.now, self.now)
            self.clock.at(self.now + SAID_WITHIN_S, self._check_complaint, node, those, self.now)

    def _check_complaint(self, node: SimNode, those: set[str], since: float) -> None:
        if (
            self.shells.is_gone(node)
            or node.name not in those
            or self.excuses.was_absent_since(node.name, since)
        ):
            return
        if not node.core.senses.is_impaired and node.healed_at <= since:
            raise LawBroken(
                Law.HONEST, f"{node.name} is deaf or mute since {since:.3f} s, and does not say so"
            )

    def _check_goodbye(self, life: Life, hearing: list[SimNode], *, has_waited: bool = False) -> None:
        for node in hearing:
            if not node.is_reading(self.now) and not has_waited:  # stopped just then: it hears it later
                looks_at = max(node.paused_until, node.busy_until) + GOODBYE_S
                self.clock.at(looks_at, partial(self._check_goodbye, life, [node], has_waited=True))
                continue
            if node.name in self.network.deaf:  # since then: it has to ask before it knows
                continue
            link = node.link(life[0])
            if not self.shells.is_gone(node) and link is not None and (link.id, link.epoch.boot) == life:
                raise LawBroken(Law.NO_GHOSTS, f"{node.name} still waits for {life}, who said goodbye")


def _name(node: SimNode | str) -> str:
    return node if isinstance(node, str) else node.name
