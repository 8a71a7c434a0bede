"""A simulated world for the mesh's shell: the real `Mesh` of each node, on memory adapters, under trio's mock clock.

The same plans are played as with the cores alone (`support.scenario`), as far as this world has such faults: loss,
cuts, crashes, goodbyes, restarts, resets, and a pool that is away or empty. The laws are the same.

A seed determines everything, also the order in which tasks run that are ready at the same moment: trio shuffles them on
purpose, and is asked here to shuffle them by our dice. So a seed replays exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any
from zlib import crc32

import attrs
import trio
import trio.testing

from cluster import Bindings, Identity, Mesh, MeshConfig, Notification, open_mesh
from cluster.adapters.memory import MemoryNetwork, MemoryPool, MemoryTransport
from cluster.core import effects as fx
from cluster.core.effects import Effect
from cluster.core.identity import Card
from cluster.errors import PoolUnavailable
from cluster.ports import Arrivals
from cluster.testing import Law, LawBroken, Ledger, SimNode, Weather, laws
from cluster.testing.excuses import Excuses
from cluster.testing.network import split
from cluster.testing.watching import watch
from support import actions as act
from support.actions import Action
from support.ears import Ears
from support.plans import Plan
from support.scenario import DEAD_WITHIN_S, HEALED_WITHIN_S, QUIET_S, SETTLED_S

FIRST_BOOT = 1_000_000


@attrs.define
class Outcome:
    """What came of a plan."""

    history: list[str] = attrs.field(factory=list)
    simulated_s: float = 0.0
    notifications: int = 0
    told: int = 0
    """A checksum of everything that the nodes were told, and when."""
    broken: LawBroken | None = None


def play_shells(plan: Plan) -> Outcome:
    """Play the plan with real shells and see whether the laws hold."""
    outcome = Outcome()
    try:
        with _fixed_schedule(plan.dice):
            trio.run(_play, plan, outcome, clock=trio.testing.MockClock(autojump_threshold=0))
    except* LawBroken as group:
        outcome.broken = _first_of(group)
    return outcome


@contextmanager
def _fixed_schedule(seed: int) -> Iterator[None]:
    """Let trio shuffle tasks by these dice. It has no public way to say so; its plugin for hypothesis does the same."""
    scheduler: Any = trio._core._run
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = True, Random(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = before


def _first_of(group: BaseExceptionGroup[LawBroken]) -> LawBroken:
    error = group.exceptions[0]
    return _first_of(error) if isinstance(error, BaseExceptionGroup) else error


async def _play(plan: Plan, outcome: Outcome) -> None:
    forget_after = int(plan.limits.get("forget_after", 60))
    async with trio.open_nursery() as nursery:
        world = ShellWorld(nursery, plan.dice, MeshConfig(retry_join=forget_after))
        began = trio.current_time()
        for action in plan.actions:
            if await world.perform(action):
                outcome.history.append(f"{trio.current_time() - began:8.3f} {action}")
        outcome.history.append(f"{trio.current_time() - began:8.3f} peace")
        await world.make_peace()
        outcome.simulated_s = trio.current_time() - began
        outcome.notifications = len(world.ledger.notifications)
        outcome.told = world.told_sum
        nursery.cancel_scope.cancel()


class ShellWorld:
    """Nodes, a network and a pool in one trio loop. `seed` is for what is lost."""

    def __init__(self, nursery: trio.Nursery, seed: int, config: MeshConfig) -> None:
        self.config = config
        self.nodes: dict[str, SimNode] = {}
        self.weather = Weather()
        self.cuts: dict[tuple[str, str], bool] = {}
        self.deaf: set[str] = set()
        self.mute: set[str] = set()
        self.broken_at: dict[frozenset[str], float] = {}
        self.ledger = Ledger(self.nodes)
        self.excuses = Excuses(self.nodes, self, config.limits())
        self.network = MemoryNetwork()
        self.network.is_lost = self._is_lost
        self.pool = MemoryPool()
        self._nursery = nursery
        self._dice = Random(seed)
        self._shells: dict[str, _Shell] = {}
        self._frames = 0
        self.told_sum = 0
        self._last_boot = FIRST_BOOT

    async def perform(self, action: Action) -> bool:
        """Do it, if this world can; whether anything was done."""
        match action:
            case act.Wait(seconds):
                await self._pass(seconds)
                return False
            case act.Start(node, clock_ms, seeds) if node not in self.nodes:
                await self._start(node, clock_ms, seeds)
            case act.Crash(node) if node in self.nodes:
                await self._end(node, is_dead=True)
            case act.Leave(node) if node in self.nodes:
                await self._end(node, is_dead=False)
            case act.Publish(node, rooms, times) if node in self.nodes:
                for _ in range(times):
                    self._shells[node].publish(rooms)
            case act.Open(node, room, count) if node in self.nodes:
                self._shells[node].open_room(room, count)
            case act.Close(node, room) if node in self.nodes and room in self.nodes[node].rooms:
                self._shells[node].close_room(room)
            case act.Reset(node) if node in self.nodes:
                self._shells[node].reset()
            case act.Deafen(node) if node in self.nodes:
                self.deaf.add(node)
            case act.Silence(node) if node in self.nodes:
                self.mute.add(node)
            case act.Block(sender, receiver):
                self.cuts[sender, receiver] = False
            case act.Partition(groups):
                self.cuts.update(dict.fromkeys(split(groups), False))
            case act.Weather(loss, direct_loss) if loss is not None or direct_loss is not None:
                self.weather.loss = self.weather.loss if loss is None else loss
                self.weather.direct_loss = self.weather.direct_loss if direct_loss is None else direct_loss
            case act.Heal():
                self._heal()
            case act.Pool(is_up):
                self.pool.failure = None if is_up else "the world has taken it away"
            case act.Flush():
                self.pool.flush()
            case _:  # makes no sense now, or is for the cores alone: time stands still for nobody here
                return False
        return True

    async def make_peace(self) -> None:
        """The faults end. Raises `LawBroken` unless all is well soon."""
        self._heal()
        limits = self.config.limits()
        await self._until(lambda: laws.is_converged(self.nodes), HEALED_WITHIN_S)
        await self._until(self._is_settled, DEAD_WITHIN_S)
        await self._pass(SETTLED_S)
        laws.check_at_rest(self.nodes, self.ledger, self.config.limits())
        before = self._frames
        await self._pass(QUIET_S)
        laws.check_quiet(self.nodes, self._frames - before, QUIET_S, limits)

    def told(self, node: SimNode, effect: Effect) -> None:
        """A node is told something."""
        now = trio.current_time()
        self.told_sum = crc32(f"{now} {node.name} {effect}".encode(), self.told_sum)
        watch(effect, node, self.ledger, self.excuses, now)
        node.tell(effect, now)

    # -- what happens --

    async def _start(self, name: str, clock_ms: int, seeds: Sequence[str]) -> None:
        self._last_boot = max(self._last_boot + 1, FIRST_BOOT + round(1000 * trio.current_time()))
        shell = self._shells[name] = _Shell(self, name, self._last_boot + clock_ms)
        await self._nursery.start(shell.live, [_router(seed) for seed in seeds])

    async def _end(self, name: str, *, is_dead: bool) -> None:
        shell, node = self._shells.pop(name), self.nodes[name]
        self.deaf.discard(name)
        self.mute.discard(name)
        self.excuses.look(trio.current_time(), trio.current_time())
        node.is_leaving = True
        for room in list(node.rooms):
            shell.close_room(room)
        if is_dead:
            shell.is_dead = True
            shell.mesh.core._peers.links.clear()  # a process that is killed waits for nobody
            del self.nodes[name]
        shell.scope.cancel()
        await shell.ended.wait()
        self.ledger.ended.add(node.life)
        self.nodes.pop(name, None)

    async def _pass(self, seconds: float) -> None:
        self.excuses.look(trio.current_time(), trio.current_time() + seconds)
        await trio.sleep(seconds)

    async def _until(self, condition: Callable[[], bool], at_most: float) -> None:
        deadline = trio.current_time() + at_most
        while not condition():
            if trio.current_time() >= deadline:
                laws.check_at_rest(self.nodes, self.ledger, self.config.limits())
                raise LawBroken(Law.PROGRESS, f"it did not come true within {at_most} s")
            await trio.sleep(0.01)

    def _is_settled(self) -> bool:
        is_ready = all(shell.mesh.health.why_not_ready() is None for shell in self._shells.values())
        return is_ready and not laws.has_ghosts(self.nodes)

    def _heal(self) -> None:
        self.excuses.look(trio.current_time(), trio.current_time())
        for kind in (self.cuts, self.deaf, self.mute):
            kind.clear()
        self.weather = Weather()
        self.pool.failure = None

    def _is_lost(self, sender_pub: str, receiver_pub: str, frame: bytes) -> bool:
        self._frames += 1
        pair = (_name_at(sender_pub), _name_at(receiver_pub))
        chance = self.weather.loss if frame[0] < 0x80 else self.weather.direct_loss  # a topic, or an array
        is_dead = any(name not in self.nodes for name in pair)
        return is_dead or pair in self.cuts or (chance > 0 and self._dice.random() < chance)


class _Shell:
    """One life of one node: an `Observer` that turns what it is told back into effects, and a log that does."""

    def __init__(self, world: ShellWorld, name: str, boot: int) -> None:
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.is_dead = False
        """Killed: nothing that it still does reaches anybody."""
        self._is_serving = False
        """Whether clients may have come."""
        self.mesh: Mesh
        self._world = world
        self.name = name
        self._boot = boot
        self._node: SimNode
        self._nursery: trio.Nursery

    async def live(
        self, seeds: Sequence[str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take part until cancelled."""
        bindings = Bindings(pub=_pub(self.name), router=_router(self.name))
        config = attrs.evolve(self._world.config, bindings=bindings, seeds=tuple(seeds))
        identity = Identity(node_id=self.name, started_at=self._boot)
        transport, pool = _Transport(self), _Pool(self)
        with self.scope:
            async with open_mesh(
                config, identity, transport=transport, pool=pool, observer=self, defer=self._defer, log=self
            ) as self.mesh:
                self._node = SimNode(self.name, self.mesh.core, self._boot, Random(0))
                self._world.nodes[self.name] = self._node
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._serve)
                    task_status.started()
                    await trio.sleep_forever()
        self.ended.set()

    @property
    def world(self) -> ShellWorld:
        """Where it lives."""
        return self._world

    # -- what its embedder does --

    def open_room(self, room: str, count: int) -> None:
        """Somebody subscribes, and waits until everybody knows."""
        self._node.rooms[room] = (b"", count)
        self.mesh.open_room(room, b"", count)
        self._world.ledger.opened(self._node, room)
        self._nursery.start_soon(self._settle, room)

    def close_room(self, room: str) -> None:
        """The last subscriber goes."""
        del self._node.rooms[room]
        self._world.ledger.closed(self._node, room)
        self.mesh.close_room(room)

    def publish(self, rooms: Sequence[str]) -> None:
        """To every node that, as this one believes, has one of the rooms."""
        if not self._is_serving:
            return
        receivers = set()
        for peer, theirs in self._node.view.items():
            concerned = tuple(room for room in rooms if room in theirs)
            link = self._node.link(peer)
            if concerned and link is not None:
                payload = self._world.ledger.say(
                    self._node, (peer, link.epoch.boot), concerned, trio.current_time()
                )
                self.mesh.notify(peer, concerned, payload)
                receivers.add(peer)
        self._world.ledger.publishes(self._node, tuple(rooms), receivers, trio.current_time())

    def reset(self) -> None:
        """Somebody asks for a reset."""
        self._nursery.start_soon(self.mesh.reset)

    async def _serve(self) -> None:
        await self.mesh.joined()
        self._is_serving = True

    async def _settle(self, room: str) -> None:
        """Guarantee 1, as an embedder has it: those who hold this node's slice know the room. (Who is only joining
        reads it with the rest before it is ready.)"""
        late = await self.mesh.settled()
        if late or room not in self._node.rooms:
            return
        for link in self.mesh.core.links:
            peer = self._world.nodes.get(link.id)
            is_live = link.is_live and link.is_known_to_peer
            if is_live and peer and peer.boot == link.epoch.boot and room not in peer.view.get(self.name, {}):
                raise LawBroken(
                    Law.SETTLED, f"{self.name} holds {room} for settled, and {link.id} does not know it"
                )

    def _defer(self, flush: Callable[[], None]) -> None:
        self._nursery.start_soon(_at_the_end_of_the_turn, flush)

    # -- what it is told --

    def connected(self, card: Card) -> None:
        """Its mesh connects to a peer."""
        self._node.boots[card.id] = card.epoch.boot
        self._world.ledger.connected(self._node, card.id, card.epoch.boot, trio.current_time())

    def subscribed(self) -> None:
        """Its mesh has another topic for notifications: it began a new life."""
        boot = self.mesh.core.epoch.boot
        if boot != self._node.boot:
            self._world.ledger.ended.add(self._node.life)
            self._node.began_new_life(boot, trio.current_time())

    def peer_room(self, node: str, room: str, description: bytes, count: int) -> None:
        self._told(fx.PeerRoom(node, room, description, count))

    def peer_room_counted(self, node: str, room: str, count: int) -> None:
        self._told(fx.PeerRoomCounted(node, room, count))

    def peer_room_closed(self, node: str, room: str) -> None:
        self._told(fx.PeerRoomClosed(node, room))

    def peer_away(self, node: str) -> None:
        self._told(fx.PeerAway(node))

    def peer_back(self, node: str) -> None:
        self._told(fx.PeerBack(node))

    def peer_gone(self, node: str) -> None:
        self._told(fx.PeerGone(node))

    def deliver(self, node: str, items: Sequence[Notification]) -> None:
        self._told(fx.Deliver(node, items))

    def lost(self, node: str, count: int | None, rooms: Mapping[str, int] | None) -> None:
        self._told(fx.Lost(node, count, None if rooms is None else dict(rooms)))

    def turn_over(self) -> None:
        self._world.ledger.turn_ended(self._node)

    def debug(self, event: str, **fields: object) -> None:
        self._told(fx.Belief(event, fields, is_repeated=True))

    def info(self, event: str, **fields: object) -> None:
        self._told(fx.Belief(event, fields))

    warning = info

    def _told(self, effect: Effect) -> None:
        if not self.is_dead:
            self._world.told(self._node, effect)


class _Transport(MemoryTransport):
    """Tells of connections and topics, too."""

    def __init__(self, shell: _Shell) -> None:
        super().__init__(shell.world.network)
        self._shell = shell

    async def run(self, arrivals: Arrivals) -> None:
        await super().run(Ears(arrivals, lambda: self._shell.name in self._shell.world.deaf))

    def publish(self, frame: bytes) -> bool:
        return self._shell.name in self._shell.world.mute or super().publish(frame)

    def connect(self, card: Card) -> None:
        self._shell.connected(card)
        super().connect(card)

    def subscribe(self, topic: bytes) -> None:
        self._shell.subscribed()
        super().subscribe(topic)


class _Pool:
    """The world's pool, which a dead node does not reach any more."""

    def __init__(self, shell: _Shell) -> None:
        self._shell = shell

    async def beat(self, node: str, card: bytes, lifetime_ms: int) -> list[bytes]:
        return await (await self._reach()).beat(node, card, lifetime_ms)

    async def withdraw(self, node: str, card: bytes) -> None:
        await (await self._reach()).withdraw(node, card)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _reach(self) -> MemoryPool:
        await trio.lowlevel.checkpoint()
        if self._shell.is_dead:
            raise PoolUnavailable("this node is dead")
        return self._shell.world.pool


async def _at_the_end_of_the_turn(flush: Callable[[], None]) -> None:
    await trio.lowlevel.checkpoint()
    flush()


def _pub(name: str) -> str:
    return f"tcp://127.0.0.1:{7000 + ord(name)}"


def _router(name: str) -> str:
    return f"tcp://127.0.0.1:{8000 + ord(name)}"


def _name_at(pub: str) -> str:
    return chr(int(pub.rpartition(":")[2]) - 7000)
