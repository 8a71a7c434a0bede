"""The mesh as a trio service: the thin shell around `cluster.core`.

It reads the clock, the sockets and the pool, tells the core, and does what the core says. What it knows itself is
only how to wait: for the next deadline, for the next visit to the pool, for peers to have applied something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import attrs
import msgspec
import structlog
import trio

from cluster.config import MeshConfig, refuse_open_address
from cluster.core import effects as fx
from cluster.core.effects import Effect
from cluster.core.identity import PROTOCOL, Card, Epoch, Near
from cluster.core.messages import HEARTBEAT_TOPIC, STATE_TOPIC
from cluster.core.node import MeshNode
from cluster.errors import AddressError
from cluster.health import Health
from cluster.ports import Addresses, Observer, Pool, Transport
from cluster.visits import Log, PoolVisits

RESET_LIMIT_S = 5.0
"""How long `reset` waits for all peers: ten heartbeats at the default."""

LEAVE_LIMIT_S = 2.5
"""How long leaving may take when the pool does not answer: longer than the core waits for peers. The card expires by
itself."""

Defer = Callable[[Callable[[], None]], None]


@attrs.frozen(kw_only=True)
class Identity:
    """Who this node is for people and for other nodes; `started_at` is wall clock, milliseconds since 1970, and
    `protocol` the lowest and highest version of the mesh protocol that it says to speak."""

    node_id: str
    started_at: int
    host: str = ""
    url: str = ""
    version: str = ""
    protocol: tuple[int, int] = (PROTOCOL, PROTOCOL)
    near: Near | None = None
    """More addresses to bind, for peers at the same site."""


@asynccontextmanager
async def open_mesh(
    config: MeshConfig,
    identity: Identity,
    *,
    transport: Transport,
    pool: Pool,
    observer: Observer,
    defer: Defer,
    log: Log | None = None,
) -> AsyncIterator[Mesh]:
    """Take part in the mesh until the end of the context, then leave it with a goodbye.

    `defer(flush)` has to call `flush` once, soon: at the end of the embedder's turn of the loop. Raises `BindError` and
    `ConfigurationError` before anything is sent. That the pool is away is no error: the node goes on trying.
    The goodbye is said when all living peers have what they were sent, or do not get it within two seconds; on
    cancellation, too. All in all leaving takes `LEAVE_LIMIT_S` at the most.
    """
    near = identity.near
    extra = None if near is None else Addresses(near.pub, near.router)
    for address in (config.bindings.pub, config.bindings.router, *(attrs.astuple(extra) if extra else ())):
        refuse_open_address(address, config.secret)
    keys = config.keys()
    async with transport.open(config.bindings.pub, config.bindings.router, extra, keys) as addresses:
        card = Card(
            id=identity.node_id,
            epoch=Epoch(identity.started_at, 0),
            pub=addresses.pub,
            router=addresses.router,
            url=identity.url,
            version=identity.version,
            protocol=identity.protocol,
            host=identity.host,
            started_at=identity.started_at,
            near=msgspec.UNSET if near is None else near,
            server_key="" if keys is None else keys.server.public.hex(),
            key="" if keys is None else keys.own.public.hex(),
        )
        mesh = Mesh(
            config=config,
            card=card,
            transport=transport,
            pool=pool,
            observer=observer,
            defer=defer,
            log=log or structlog.get_logger("cluster"),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mesh.run)
            try:
                yield mesh
            finally:
                await mesh.leave("shutdown")


class Mesh:
    """One node of a running mesh. All methods belong to the trio thread."""

    def __init__(
        self,
        *,
        config: MeshConfig,
        card: Card,
        transport: Transport,
        pool: Pool,
        observer: Observer,
        defer: Defer,
        log: Log,
    ) -> None:
        sealer = config.sealer()
        self._config = config
        self._transport = transport
        self._observer = observer
        self._defer = defer
        self._log = log
        self._limits = config.limits()
        self._core = MeshNode(
            card,
            self._limits,
            seal=sealer.seal,
            open_card=sealer.open,
            now=trio.current_time(),
            seeds=config.seeds,
        )
        self._is_flush_due = False
        self._unconnectable: set[str] = set()
        """Peers whose card names no possible address; said once, although they are tried again."""
        self._barriers: deque[tuple[tuple[Epoch, int], trio.Event]] = deque()
        self._changed = trio.Event()
        self.health = Health(self._core, lasts_s=self._limits.deaf_after, log=log)
        """Whether this node may be relied on."""
        self._wake_clock = trio.Event()
        self._sleeps_until = float("-inf")
        self._visits = PoolVisits(pool, self._core, config, log, self._read_cards)
        self._life = trio.CancelScope(shield=True)
        self._has_ended = trio.Event()
        self.overloads = 0
        """How often a peer's queue was found full. What is published for that peer until it takes again is repaired
        from the log; ZeroMQ does not tell how many frames that were."""
        self.strangers = 0
        """Connections to the mesh's ports that were not let in."""

    # -- what the embedder says --

    def open_room(self, room: str, description: bytes, count: int) -> None:
        """This node has `count` subscribers in the room; peers are told with the next flush. Raises `ValueError` for a
        description that no frame can carry (`PAYLOAD_BYTES`), and for what is no room id or count."""
        self._core.say.open_room(room, description, count)
        self._flush_soon()

    def count_room(self, room: str, count: int) -> None:
        """The number of subscribers changed. Raises `KeyError` for a room that was not opened."""
        self._core.say.count_room(room, count)
        self._flush_soon()

    def close_room(self, room: str) -> None:
        """This node has no subscriber in the room any more."""
        self._core.say.close_room(room)
        self._flush_soon()

    def notify(self, node: str, rooms: Sequence[str], payload: bytes) -> None:
        """Send a notification to rooms of a peer, however many. Raises `ValueError` for a payload that no frame can
        carry (`PAYLOAD_BYTES`), and for what is no room id."""
        self._core.say.notify(node, rooms, payload)
        self._flush_soon()

    def flush(self) -> None:
        """Publish what was said."""
        self._is_flush_due = False
        self._perform(self._core.flush(trio.current_time()))

    async def settled(self) -> list[str]:
        """Wait until every living peer has applied all that was said so far.

        Returns the peers that had not within `timers.wait_for_missing_rooms`: an empty list is success. Cancelling
        it has no effect on the peers."""
        self.flush()
        position = (self._core.epoch, self._core.say.state_tail)
        if self._core.settled_up_to() >= position:
            return []
        done = trio.Event()
        barrier = (position, done)
        self._barriers.append(barrier)
        try:
            with trio.move_on_after(self._config.timers.wait_for_missing_rooms / 1000):
                await done.wait()
        finally:
            if not done.is_set():
                self._barriers.remove(barrier)
        return [] if done.is_set() else self._core.unsettled(*position)

    async def reset(self) -> list[str]:
        """Make every node take a new epoch and read every slice again; attached clients notice nothing.

        Returns the peers that had not done it within `RESET_LIMIT_S`. Cancelled, the reset goes on without us."""
        self._perform(self._core.reset(trio.current_time()))
        with trio.move_on_after(RESET_LIMIT_S):
            while self._core.epochs.reset_waits_for():
                await self._changed.wait()
        return self._core.epochs.reset_waits_for()

    def drain(self) -> None:
        """Tell the peers, and whoever asks, that clients are not to come here any more. All else goes on."""
        self._core.drain(trio.current_time())
        self.health.grew_stale()
        self._turn_over()

    async def joined(self) -> None:
        """Wait until clients may come: this node knows the rooms of all that it found, and they know that it is here.

        It does not wait for ever: not for a peer that does not answer, nor for anybody within `timers.discover_timeout`
        and not for a pool that fails when nothing else says who is there. Who is found later, is told what that means:
        some of what this node's clients published may not have been sent to it."""
        has_other_ways = bool(self._config.seeds)
        with trio.move_on_after(self._limits.unheard_after):
            while self._core.is_joining() and (self.pool_failed_since is None or has_other_ways):
                await self._changed.wait()
        self._core.serve()

    # -- what the embedder asks --

    @property
    def core(self) -> MeshNode:
        """The beliefs of this node, to be read."""
        return self._core

    @property
    def pool_failed_since(self) -> float | None:
        """When the pool stopped answering, trio's clock; None while it answers."""
        return self._visits.failed_since

    @property
    def pool_failure(self) -> str:
        """What was the matter with the pool the last time."""
        return self._visits.failure

    # -- what arrives --

    def published(self, frames: Sequence[bytes]) -> int:
        """From peers' PUB sockets."""
        now, before = trio.current_time(), self._core.rubbish.count
        for frame in frames:
            self._perform(self._core.published(frame, now))
        self._turn_over()
        return self._core.rubbish.count - before

    def asked(self, questions: Sequence[tuple[bytes, bytes]]) -> int:
        """From peers' DEALERs."""
        now, before = trio.current_time(), self._core.rubbish.count
        for sender, frame in questions:
            self._perform(self._core.asked(sender, frame, now))
        self._turn_over()
        return self._core.rubbish.count - before

    def answered(self, node: str, frames: Sequence[bytes]) -> int:
        """From a peer's ROUTER."""
        now, before = trio.current_time(), self._core.rubbish.count
        for frame in frames:
            self._perform(self._core.answered(node, frame, now))
        self._turn_over()
        return self._core.rubbish.count - before

    def hung_up(self, node: str) -> None:
        """The connection to a peer was closed at its end, or broke."""
        self._perform(self._core.hung_up(node, trio.current_time()))
        self._turn_over()

    def kept_out(self, node: str | None) -> None:
        """A handshake failed."""
        if node is None:
            self.strangers += 1
            if self.strangers & (self.strangers - 1) == 0:  # whoever repeats it does not fill the log
                self._log.warning("stranger kept out", count=self.strangers)
        else:
            self._perform(self._core.kept_out(node))

    # -- its life --

    async def run(self) -> None:
        """Take part until `leave` has ended: to leave in order, a node has to hear and to be heard. To cancel it has
        no effect."""
        try:
            with self._life:
                await self._take_part()
        finally:
            self._has_ended.set()
            self._changed.set()

    async def _take_part(self) -> None:
        card = self._core.card
        self._log.info("mesh bound", pub=card.pub, router=card.router, cluster=self._config.name)
        for topic in (HEARTBEAT_TOPIC, STATE_TOPIC, self._core.epochs.notify_topic):
            self._transport.subscribe(topic)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._transport.run, self)
            nursery.start_soon(self._keep_time)
            nursery.start_soon(self._visits.run)

    async def leave(self, reason: str) -> None:
        """Take the card out of the pool, say goodbye to the peers when they have all they were sent, and end `run`;
        within `LEAVE_LIMIT_S`, and also when cancelled."""
        with trio.move_on_after(LEAVE_LIMIT_S, shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._visits.end)
                self._perform(self._core.leave(reason, trio.current_time()))
                self._turn_over()
                while not (self._core.leaving.is_over or self._has_ended.is_set()):
                    await self._changed.wait()
        self._life.cancel()
        with trio.CancelScope(shield=True):
            await self._has_ended.wait()
            await self._visits.aclose()

    async def _keep_time(self) -> None:
        while True:
            self._sleeps_until = self._core.next_deadline()
            with trio.move_on_at(self._sleeps_until):
                await self._wake_clock.wait()
            self._wake_clock = trio.Event()
            now = trio.current_time()
            if now >= self._core.next_deadline():
                self._perform(self._core.time_passed(now))
                self.health.grew_stale()
                self._turn_over()
                self.health.note()

    def _read_cards(self, cards: list[bytes] | None) -> None:
        if cards is not None:
            self._perform(self._core.cards_read(cards, trio.current_time()))
        self._turn_over()

    # -- doing what the core says --

    def _perform(self, effects: Iterable[Effect]) -> None:  # noqa: PLR0912 - one case for each effect
        for effect in effects:
            match effect:
                case fx.Publish(frame):
                    if not self._transport.publish(frame):
                        self._overloaded()
                case fx.Deliver(node, items):
                    self._observer.deliver(node, items)
                case fx.Ask(node, frame):
                    self._transport.ask(node, frame)  # False is loss like any other: the core asks again
                case fx.AskAt(address, frame):
                    self._transport.ask_at(address, frame)
                case fx.Answer(identity, frame):
                    self._transport.answer(identity, frame)
                case fx.PeerRoom(node, room, description, count):
                    self._observer.peer_room(node, room, description, count)
                case fx.PeerRoomCounted(node, room, count):
                    self._observer.peer_room_counted(node, room, count)
                case fx.PeerRoomClosed(node, room):
                    self._observer.peer_room_closed(node, room)
                case fx.PeerAway(node):
                    self._observer.peer_away(node)
                case fx.PeerBack(node):
                    self._observer.peer_back(node)
                case fx.PeerGone(node):
                    self._observer.peer_gone(node)
                case fx.Lost(node, count, rooms):
                    self._observer.lost(node, count, rooms)
                case fx.Connect(card):
                    self._connect(card)
                case fx.Disconnect(node):
                    self._transport.disconnect(node)
                    self._unconnectable.discard(node)
                case fx.Announce():
                    self._visits.hurry()
                case fx.MoveTopic(former, topic):
                    self._transport.unsubscribe(former)
                    self._transport.subscribe(topic)
                case fx.Belief(event, fields, is_warning, is_repeated):
                    self.health.grew_stale()
                    log = self._log
                    (log.warning if is_warning else log.debug if is_repeated else log.info)(event, **fields)

    def _connect(self, card: Card) -> None:
        try:
            self._transport.connect(card.seen_from(self._core.card))
        except AddressError as error:  # the fault of who wrote the card: only that peer is out
            if card.id not in self._unconnectable:
                self._unconnectable.add(card.id)
                self._log.warning("peer cannot be connected to", peer=card.id, error=str(error))
        else:
            self._unconnectable.discard(card.id)

    def _overloaded(self) -> None:
        self.overloads += 1
        if self.overloads & (self.overloads - 1) == 0:  # the 1st, 2nd, 4th, 8th…: overload fills no log
            self._log.warning("a peer cannot keep up", times=self.overloads)

    def _turn_over(self) -> None:
        """All that was at hand is done: flush what it caused, and see who was waiting for it."""
        self._observer.turn_over()
        self.health.judge()
        if self._barriers:
            self._lift_barriers()
        self._changed.set()
        self._changed = trio.Event()
        if self._core.next_deadline() < self._sleeps_until:
            self._wake_clock.set()

    def _lift_barriers(self) -> None:
        settled = self._core.settled_up_to()
        while self._barriers and self._barriers[0][0] <= settled:
            self._barriers.popleft()[1].set()

    def _flush_soon(self) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            self._defer(self.flush)
