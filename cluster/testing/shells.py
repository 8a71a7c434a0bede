"""What is around the cores of a world, as the shell of a real node is around its core: it reads the sockets, looks at
the clock, visits the pool, and does what the core says.

A node that is paused, or busy, does nothing of it; what arrives waits for it as in its sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from cluster.core import effects as fx
from cluster.core.admission import OpenCard
from cluster.core.effects import Effect
from cluster.core.limits import Limits
from cluster.testing.clock import Clock
from cluster.testing.excuses import Excuses
from cluster.testing.ledger import Ledger
from cluster.testing.network import Network
from cluster.testing.nodes import SimNode
from cluster.testing.pool import SimPool
from cluster.testing.watching import watch

VISITING = float("-inf")
"""When the next visit to the pool is due while one is going on."""


class Shells:
    """The shells of all nodes of one world."""

    def __init__(
        self,
        nodes: dict[str, SimNode],
        *,
        clock: Clock,
        network: Network,
        pool: SimPool,
        ledger: Ledger,
        excuses: Excuses,
        limits: Limits,
        boots: set[tuple[str, int]],
        open_card: OpenCard,
    ) -> None:
        self._nodes = nodes
        self._clock = clock
        self._network = network
        self._pool = pool
        self._ledger = ledger
        self._excuses = excuses
        self._limits = limits
        self._boots = boots
        self._open_card = open_card
        self.turn_ended: Callable[[SimNode], None] = lambda _node: None
        """Told at the end of each turn, when all that the core said is done."""
        network.published = self._published
        network.asked = self._asked
        network.answered = self._answered
        network.hung_up = self._hung_up

    def is_gone(self, node: SimNode) -> bool:
        """Whether this life of the node is over."""
        return self._nodes.get(node.name) is not node

    def turn(self, node: SimNode, effects: Iterable[Effect]) -> None:
        """Do what the core of the node said in one turn of its loop."""
        self.perform(node, effects)
        self._ledger.turn_ended(node)
        self.turn_ended(node)
        self.schedule_tick(node)

    def schedule_tick(self, node: SimNode) -> None:
        """See to it that the core is told of the time when it wants to be."""
        due = max(node.core.next_deadline(), self._clock.now, node.paused_until, node.busy_until)
        if due < node.ticks_at:
            node.ticks_at = due
            self._clock.at(due, self._tick, node, due)

    def _tick(self, node: SimNode, due: float) -> None:
        if self.is_gone(node) or node.ticks_at != due:
            return  # an earlier one was scheduled meanwhile
        node.ticks_at = float("inf")
        if node.is_reading(self._clock.now):
            self.turn(node, node.core.time_passed(self._clock.now))
        else:
            self.schedule_tick(node)

    def wake(self, node: SimNode) -> None:
        """It looks at all that waits, one socket after the other, and at its clock: in any order, as with trio."""
        if self.is_gone(node) or not node.is_reading(self._clock.now):
            return
        waiting, node.inbox = node.inbox, []
        sockets: dict[str, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {"clock": []}
        for socket, handle, arguments in waiting:
            sockets.setdefault(socket, []).append((handle, arguments))
        order = list(sockets)
        node.dice.shuffle(order)
        for socket in order:
            for handle, arguments in sockets[socket]:
                handle(*arguments)
            if socket == "clock":
                self.turn(node, node.core.time_passed(self._clock.now))
        if node.reads_every:
            node.busy_until = self._clock.now + node.reads_every
            self._clock.at(node.busy_until, self.wake, node)
        self.schedule_tick(node)

    # -- the pool --

    def plan_visit(self, node: SimNode, when: float) -> None:
        """Visit the pool at that time, unless it is visited sooner."""
        if when < node.visits_at:
            node.visits_at = when
            self._clock.at(when, self._visit_pool, node, when)

    def _visit_pool(self, node: SimNode, due: float) -> None:
        if self.is_gone(node) or node.is_leaving or node.visits_at != due:
            return
        if not node.is_reading(self._clock.now):
            node.inbox.append(("pool", self._visit_pool, (node, due)))
            return
        node.visits_at = VISITING
        node.is_announcing = False
        self._pool.visit(node.name, node.core.sealed_card, partial(self._read_cards, node))

    def _read_cards(self, node: SimNode, cards: list[bytes] | None) -> None:
        if self.is_gone(node) or node.is_leaving:
            return
        if not node.is_reading(self._clock.now):
            node.inbox.append(("pool", self._read_cards, (node, cards)))
            return
        node.visits_at = float("inf")
        if cards is None:
            node.core.pool_failed("the world has taken it away")
        else:
            for card in map(self._open_card, cards):
                node.carded_at[card.id, card.epoch.boot] = self._clock.now
            self.turn(node, node.core.cards_read(cards, self._clock.now))
        self.plan_visit(
            node, self._clock.now if node.is_announcing else self._clock.now + self._limits.heartbeat
        )

    # -- what arrives --

    def _published(self, node: SimNode, sender: SimNode, frame: bytes) -> None:
        node.heard_at[sender.life] = self._clock.now
        self.turn(node, node.core.published(frame, self._clock.now))

    def _asked(self, node: SimNode, sender: SimNode, identity: bytes, frame: bytes) -> None:
        node.heard_at[sender.life] = self._clock.now
        self.turn(node, node.core.asked(identity, frame, self._clock.now))

    def _answered(self, node: SimNode, sender: SimNode, asked_as: str, frame: bytes) -> None:
        node.heard_at[sender.life] = self._clock.now
        self.turn(node, node.core.answered(asked_as, frame, self._clock.now))

    def _hung_up(self, node: SimNode, peer: str) -> None:
        if self.is_gone(node):
            return
        if not node.is_reading(self._clock.now):
            node.inbox.append((f"monitor {peer}", self._hung_up, (node, peer)))
            return
        self.turn(node, node.core.hung_up(peer, self._clock.now))

    # -- what the core says --

    def perform(self, node: SimNode, effects: Iterable[Effect]) -> None:  # noqa: PLR0912 - one case for each
        """Do what the core of the node says."""
        network = self._network
        given_up: list[tuple[str, int]] = []
        told_of: list[tuple[str, int]] = []
        for effect in effects:
            match effect:
                case fx.Publish(frame):
                    network.publish(node, frame)
                case fx.Ask(peer, frame):
                    network.ask(node, peer, frame)
                case fx.AskAt(address, frame):
                    network.ask_at(node, address, frame)
                case fx.Answer(identity, frame):
                    network.answer(identity, frame)
                case fx.Connect(card):
                    node.boots[card.id] = card.epoch.boot
                    self._ledger.connected(node, card.id, card.epoch.boot, self._clock.now)
                    network.connect(node, card)
                case fx.Disconnect(peer):
                    network.disconnect(node, peer)
                case fx.Announce():
                    node.is_announcing = True
                    self.plan_visit(node, self._clock.now)
                case fx.MoveTopic(former, topic):
                    network.subscribe(node, (*(known for known in node.topics if known != former), topic))
                    self._ledger.ended.add(node.life)
                    node.began_new_life(node.core.epoch.boot, self._clock.now)
                    self._boots.add(node.life)
                case _:
                    if isinstance(effect, fx.PeerGone):
                        given_up.append((effect.node, node.boots[effect.node]))
                    elif isinstance(effect, fx.Lost) and effect.count is None and effect.rooms is None:
                        told_of.append((effect.node, node.boots[effect.node]))
                    watch(effect, node, self._ledger, self._excuses, self._clock.now)
                    node.tell(effect, self._clock.now)
        for peer, boot in given_up:
            if node.boots[peer] == boot:  # and no later life of it is known
                self._excuses.check_giving_up(node, peer, self._clock.now)
        for peer, boot in told_of:
            if node.boots[peer] == boot:
                self._excuses.check_last_words(node, peer, self._clock.now)
