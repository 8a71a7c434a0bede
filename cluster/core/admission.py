"""Who is let in, and who lets us in: hello, welcome and refusal, and the cards by which nodes learn of each other.

A card is believed if its seal fits; it then makes a link (`cluster.core.peers`). Cards come from the pool, with a
hello or a welcome, and a welcome hands on those of others, so that one seed is enough to find everybody while the
pool is away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cluster.core import messages
from cluster.core.effects import Answer, AskAt, Belief, Effect, Publish
from cluster.core.identity import LATEST_BOOT, Card, Epoch, Me
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.peers import Peers
from cluster.core.readiness import Readiness
from cluster.errors import CardError

OpenCard = Callable[[bytes], Card]
"""The card in sealed bytes; raises `CardError` for one that is not of this cluster."""

SealCard = Callable[[Card], bytes]

FOREIGN_AT_MOST = 1000
"""Nodes of another protocol that are remembered: more than a full mesh can have."""

KEPT_OUT = "the handshake failed: is the secret the same on both?"


class Admission:
    """The door of one node."""

    def __init__(
        self,
        *,
        me: Me,
        peers: Peers,
        readiness: Readiness,
        limits: Limits,
        open_card: OpenCard,
        seeds: Sequence[str],
        now: float,
    ) -> None:
        self.later_self: Epoch | None = None
        """The latest life under our own name that somebody knows of."""
        self.bad_cards = 0
        self.refusals = 0
        self.foreign_in_pool: dict[str, Card] = {}
        """Nodes of this cluster that speak no version of the protocol that we speak, as of the last visit to the
        pool."""
        self._foreign_callers: dict[str, tuple[Card, float]] = {}
        """The same of those that said hello, and when they did last."""
        self._me = me
        self._peers = peers
        self._readiness = readiness
        self._limits = limits
        self._open_card = open_card
        self._seeds = tuple(seeds)
        self._ask_seeds_at = now
        self._seed_refusals: dict[str, str] = {}

    @property
    def foreign(self) -> dict[str, Card]:
        """All nodes of this cluster that speak no version of the protocol that we speak: those in the pool, and those
        that called lately."""
        return {node: card for node, (card, _) in self._foreign_callers.items()} | self.foreign_in_pool

    @property
    def refused_by(self) -> list[tuple[str, str | None, str]]:
        """Who did not let us in when it was asked last: its address, its name unless it is a seed that we know no
        more of, and why, in its words. A peer that is live did: it was a second connection that failed."""
        refusing = [
            (link.card.router, link.id, link.refusal)
            for link in self._peers.links.values()
            if link.refusal is not None and not link.is_live
        ]
        known = {address for address, _, _ in refusing}
        seeds = [(seed, None, why) for seed, why in self._seed_refusals.items() if seed not in known]
        return [*refusing, *seeds]

    def next_deadline(self) -> float:
        """When `time_passed` will have something to do; `inf` when there is nothing to expect."""
        return self._ask_seeds_at if self._seeds else float("inf")

    def time_passed(self, now: float, out: list[Effect]) -> None:
        """Greet the seeds that are not linked. Forget who called so long ago that a peer would not be missed any
        more."""
        since = now - self._limits.forget_after
        for node in [node for node, (_, called_at) in self._foreign_callers.items() if called_at < since]:
            del self._foreign_callers[node]
        if now < self.next_deadline():
            return
        self._ask_seeds_at = now + self._limits.greet_at_most
        cards = [self._me.card, *(link.card for link in self._peers.alive())]
        linked = {
            address for card in cards for address in (card.router, card.seen_from(self._me.card).router)
        }
        for seed in linked:
            self._seed_refusals.pop(seed, None)  # it is asked as a peer now, and what it says is on its link
        hello = messages.Hello(self._me.id, self._me.epoch, self._me.sealed_card, self._me.nonce())
        out += [AskAt(seed, messages.encode(hello)) for seed in self._seeds if seed not in linked]

    def pool_was_read(self, sealed: Iterable[bytes], now: float, out: list[Effect]) -> set[str]:
        """Learn the cards of all nodes that are in the pool; returns the names of those that we can work with."""
        before, self.foreign_in_pool = self.foreign_in_pool, {}
        learned = self.learn_all(sealed, "the pool", now, out)
        for node, card in self.foreign_in_pool.items():
            if node not in before or before[node].epoch.boot != card.epoch.boot:
                fields = {"peer": node, "version": card.version, "reason": card.versions_with(self._me.card)}
                out.append(Belief("peer speaks another protocol", fields, is_warning=True))
        return learned

    def learn_all(self, sealed: Iterable[bytes], source: str, now: float, out: list[Effect]) -> set[str]:
        """Learn the cards of others; returns their names."""
        learned: set[str] = set()
        for card_bytes in sealed:
            card = self._try_card(card_bytes, source, out)
            if card is None:
                continue
            if card.id == self._me.id:
                self.heard_of_self(card.epoch)
            elif not card.speaks_with(self._me.card):
                self._found_foreign(card, out)
            elif not self._peers.has_left(card):
                learned.add(card.id)
                self._learn(card, card_bytes, now, out)
        self._readiness.found(learned)
        return learned

    def greeted(self, identity: bytes, hello: messages.Hello, now: float, out: list[Effect]) -> None:
        """Somebody says hello: let it in, or say why not."""
        name = _shown(hello.origin)
        card = self._try_card(hello.card, f"hello from {name}", out)
        refusal = self._why_refuse(hello, card)
        if card is None or refusal is not None:
            reason, known = refusal or ("", None)
            self.refusals += 1
            if _is_worth_a_line(self.refusals):
                fields = {"peer": name, "reason": reason, "count": self.refusals}
                out.append(Belief("hello refused", fields, is_warning=True))
            if card is not None and not card.speaks_with(self._me.card):
                self._note_foreign_caller(card, now)
            answer = messages.Refused(self._me.id, self._me.epoch, hello.nonce, reason, known)
            out.append(Answer(identity, messages.encode(answer)))
            return
        link = self._learn(card, hello.card, now, out)
        link.heard(now, out)
        others = [
            other.sealed_card for other in self._peers.alive() if other is not link and other.sealed_card
        ]
        welcome = messages.Welcome(
            self._me.id,
            self._me.epoch,
            self._me.sealed_card,
            hello.nonce,
            others[: messages.CARDS_PER_WELCOME],
        )
        out.append(Answer(identity, messages.encode(welcome)))
        probe = messages.Probe(self._me.id, self._me.epoch, hello.nonce)
        topic = messages.notify_topic(card.id, card.epoch.boot)
        out.append(Publish(messages.encode_published(topic, probe)))

    def welcomed(self, node: str, welcome: messages.Welcome, now: float, out: list[Effect]) -> None:
        """The node, or the seed of that address, lets us in."""
        card = self._try_card(welcome.card, f"welcome from {node}", out)
        is_expected = card is not None and (card.id == node or node in self._seeds)
        if card is None or not is_expected or card.epoch != welcome.epoch or card.id == self._me.id:
            return
        if not card.speaks_with(self._me.card):
            return  # it would not have let us in
        self._seed_refusals.pop(node, None)
        known = self._peers.links.get(card.id)
        link = self._learn(card, welcome.card, now, out)
        link.refusal = None
        link.heard(now, out)
        if link is known:
            link.replica.welcomed(welcome.nonce, now, out)
        self.learn_all([welcome.card, *welcome.others], f"welcome from {node}", now, out)

    def refused(self, node: str, refusal: messages.Refused, out: list[Effect]) -> None:
        """The node does not let us in."""
        if refusal.known is not None:
            self.heard_of_self(refusal.known)
        self._note_refusal(node, refusal.reason, out)

    def kept_out(self, node: str, out: list[Effect]) -> None:
        """The node, or the seed of that address, does not take our key, or we do not take its."""
        self._note_refusal(node, KEPT_OUT, out)

    def heard_of_self(self, epoch: Epoch) -> None:
        """Somebody knows this life under our own name."""
        if epoch.boot < LATEST_BOOT:  # no clock says more: a lie
            self.later_self = max(epoch, self.later_self or epoch)

    def _note_refusal(self, node: str, reason: str, out: list[Effect]) -> None:
        link = self._peers.links.get(node)
        if link is not None and link.is_known_to_peer:
            return  # it has let us in since
        if link is not None:
            before, link.refusal = link.refusal, reason
        elif node in self._seeds:
            before, self._seed_refusals[node] = self._seed_refusals.get(node), reason
        else:
            return
        if before != reason:
            out.append(Belief("refused by peer", {"peer": node, "reason": reason}, is_warning=True))

    def _why_refuse(self, hello: messages.Hello, card: Card | None) -> tuple[str, Epoch | None] | None:
        """The reason for people, and the epoch known of the asker if it is that."""
        if card is None:
            return "the card is not of this cluster: is the secret the same on all nodes?", None
        if card.id != hello.origin or card.epoch != hello.epoch:
            return "the card belongs to somebody else", None
        if card.id == self._me.id:
            return "that is this node's own name: give each node another", None
        if not card.speaks_with(self._me.card):
            return f"no protocol version in common: {card.versions_with(self._me.card)}", None
        if self._peers.has_just_left(card):
            return "this life of it has said farewell", None
        link = self._peers.links.get(card.id)
        if link is not None and card.epoch.boot < link.epoch.boot:  # of the same life an earlier turn will do
            return "a later life of this name is known", link.epoch
        return None

    def _found_foreign(self, card: Card, out: list[Effect]) -> None:
        """It cannot be talked with; a life of it before that could is over."""
        if card.id in self.foreign_in_pool or len(self.foreign_in_pool) < FOREIGN_AT_MOST:
            self.foreign_in_pool[card.id] = card
        link = self._peers.links.get(card.id)
        if link is not None and link.epoch.boot < card.epoch.boot:
            self._peers.forget(link, out)

    def _note_foreign_caller(self, card: Card, now: float) -> None:
        if card.id in self._foreign_callers or len(self._foreign_callers) < FOREIGN_AT_MOST:
            self._foreign_callers[card.id] = card, now

    def _learn(self, card: Card, sealed: bytes, now: float, out: list[Effect]) -> Link:
        self._foreign_callers.pop(card.id, None)
        link = self._peers.learn(card, now, out)
        if link.card is card:
            link.sealed_card = sealed
        return link

    def _try_card(self, sealed: bytes, source: str, out: list[Effect]) -> Card | None:
        try:
            return self._open_card(sealed)
        except CardError as error:
            self.bad_cards += 1
            if _is_worth_a_line(self.bad_cards):
                fields = {"source": source, "error": str(error), "count": self.bad_cards}
                out.append(Belief("bad card", fields, is_warning=True))
            return None


def _shown(name: str) -> str:
    """A name that nobody has vouched for, harmless to the terminal that shows the log."""
    return name if name.isprintable() else ascii(name)


def _is_worth_a_line(count: int) -> bool:
    """The 1st, 2nd, 4th, 8th… of a kind: whoever repeats it does not fill the log."""
    return count & (count - 1) == 0
