"""Why a node may have been silent to another: the faults of a world, and until when each was felt.

Nobody may be suspected, called away or given up on without such a reason. That two nodes cannot talk is none either
while a third one hears both.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from cluster.core.limits import Limits
from cluster.core.senses import WITNESSES
from cluster.testing.network import Weather
from cluster.testing.nodes import Law, LawBroken, SimNode

T = TypeVar("T")

FELT_FOR_S = 1.5
"""How long after its end a fault excuses: a connection is tried again after 0.7 seconds at the latest, and the next
heartbeat comes half a second after it is there."""

WAKING_S = 0.1
"""How long after it was stopped a node cannot know yet who else is gone."""


REPAIRABLE_LOSS = 0.1
"""Share of published frames without which a second is enough for everything to be asked for and to come."""


class Faults(Protocol):
    """What befalls the connections of a world now, and when one between two nodes broke last."""

    weather: Weather
    cuts: dict[tuple[str, str], bool]
    deaf: set[str]
    mute: set[str]
    broken_at: dict[frozenset[str], float]


class Excuses:
    """The faults of one world, as far as they concern who hears whom."""

    def __init__(self, nodes: dict[str, SimNode], network: Faults, limits: Limits) -> None:
        self._nodes = nodes
        self._network = network
        self._limits = limits
        self._bad_weather_until = -FELT_FOR_S
        self._foul_until = -FELT_FOR_S
        self._absent_since: dict[str, float] = {}
        self._absent_until: dict[str, float] = {}
        self._impaired_until: dict[str, float] = {}
        self._cut_until: dict[frozenset[str], float] = {}

    def absent(self, name: str, now: float, until: float) -> None:
        """The node does not run, or only now and then."""
        if self._absent_until.get(name, -FELT_FOR_S) < now:
            self._absent_since[name] = now
        self._absent_until[name] = until

    def look(self, now: float, until: float) -> None:
        """Note the faults of this moment: they last until then, at least."""
        weather = self._network.weather
        if not weather.is_fair:
            self._bad_weather_until = max(until, self._bad_weather_until)
        if not weather.is_fair and weather != Weather(loss=min(weather.loss, REPAIRABLE_LOSS)):
            self._foul_until = max(until, self._foul_until)
        for cut in self._network.cuts:
            _prolong(self._cut_until, frozenset(cut), until)
        for name in self._network.deaf | self._network.mute:
            _prolong(self._impaired_until, name, until)
        for node in self._nodes.values():
            if node.reads_every:
                self.absent(node.name, now, max(until, self._absent_until.get(node.name, until)))

    def can_repair(self, node: SimNode, other: SimNode, now: float) -> bool:
        """Whether the two are live with each other, and nothing worse is the matter than some loss."""
        is_live = _hears(node, other.name) and _hears(other, node.name)
        return is_live and self.is_at_most_lossy(node, other, now)

    def is_at_most_lossy(self, node: SimNode, other: SimNode, now: float) -> bool:
        """Whether nothing has been the matter between the two for a while but that some of what was published got
        lost: what is said a few times arrives."""
        return not self._is_excused(node.name, other.name, now, bad_weather_until=self._foul_until)

    def check_suspicion(self, node: SimNode, peer: str, now: float) -> None:
        """The node finds a peer silent. Raises `LawBroken` when it has no reason to."""
        if self._is_running(node, peer) and not self._is_excused(node.name, peer, now):
            raise LawBroken(
                Law.NO_FALSE_DEATH, f"{node.name} does not hear {peer}, although nothing is the matter"
            )

    def check_death(self, node: SimNode, peer: str, now: float) -> None:
        """The node calls a peer dead, which it had heard before. Raises `LawBroken` when it must not."""
        self.check_suspicion(node, peer, now)
        if not self._is_running(node, peer):
            return
        if node.heard_at.get((peer, node.boots[peer]), -1) <= node.linked_at[peer]:
            return  # known by its card only: others who hear it cannot help
        if self._has_just_woken(node, now):
            stopped_at = self._absent_since[node.name]
            if not self._is_excused(node.name, peer, stopped_at, besides=node.name):
                raise LawBroken(Law.NO_FALSE_DEATH, f"{node.name} was stopped itself, and calls {peer} dead")
        for witness in self._nodes.values():
            if (
                witness.name in (node.name, peer)
                or not _hears(witness, peer)
                or not _hears(node, witness.name)
            ):
                continue
            if not self._is_excused(node.name, witness.name, now) and not self._is_excused(
                witness.name, peer, now
            ):
                raise LawBroken(
                    Law.NO_FALSE_DEATH, f"{node.name} calls {peer} dead, although {witness.name} hears both"
                )

    def check_last_words(self, node: SimNode, peer: str, now: float) -> None:
        """The node tells everybody that a peer may have taken something with it. Raises `LawBroken` when that peer
        lives, and nothing looks like its end: what was under way when a connection broke is heard a little later."""
        if node.began_at == now or not self._is_running(node, peer) or self._is_long_silent(node, peer, now):
            return
        felt_for = self._limits.down_after + self._limits.silent_after + WAKING_S
        broken_at = self._network.broken_at.get(frozenset((node.name, peer)), -felt_for)
        if (absent_until := self._absent_until.get(node.name, -felt_for)) >= broken_at:
            broken_at = min(absent_until, now)  # it looks only now
        if now - broken_at > felt_for:
            raise LawBroken(
                Law.NO_FALSE_DEATH,
                f"{node.name} tells of the last words of {peer}, which lives, and closed nothing",
            )

    def check_giving_up(self, node: SimNode, peer: str, now: float) -> None:
        """The node drops everything of a life of a peer. Raises `LawBroken` when that life goes on and was heard."""
        if node.began_at == now or not self._is_running(node, peer):
            return
        if not self._is_long_silent(node, peer, now):
            raise LawBroken(Law.NO_FALSE_DEATH, f"{node.name} gives {peer} up, which it heard lately")

    def check_complaint(self, node: SimNode, now: float) -> None:
        """The node calls itself deaf or mute. Raises `LawBroken` when that is not true, nor looks like it: then two
        others at least are not to be heard, or do not hear; one of them may have died since."""
        if now <= self._impaired_until.get(node.name, -FELT_FOR_S) + FELT_FOR_S:
            return
        others = [
            link.id for link in node.core.links if link.is_live and self._is_excused(node.name, link.id, now)
        ]
        if len(others) < WITNESSES:
            raise LawBroken(Law.HONEST, f"{node.name} hears and is heard: {node.core.why_not_ready()}")

    def was_absent_since(self, name: str, when: float) -> bool:
        """Whether the node was stopped, or slow, at any time after that."""
        return self._absent_until.get(name, -FELT_FOR_S) > when

    def _is_running(self, node: SimNode, peer: str) -> bool:
        other = self._nodes.get(peer)
        return other is not None and not other.is_leaving and other.boot == node.boots.get(peer)

    def _is_long_silent(self, node: SimNode, peer: str, now: float) -> bool:
        silent_s = now - node.heard_at.get((peer, node.boots[peer]), node.began_at)
        # A closed connection counts like a silence that has lasted for a while.
        return silent_s >= self._limits.forget_after - self._limits.silent_after - 0.001

    def _has_just_woken(self, node: SimNode, now: float) -> bool:
        return 0 <= now - self._absent_until.get(node.name, -FELT_FOR_S) < WAKING_S

    def _is_excused(
        self, a: str, b: str, now: float, besides: str = "", bad_weather_until: float | None = None
    ) -> bool:
        """Whether any fault explains a silence between the two, besides the absence of one."""
        pair = frozenset((a, b))
        never = -FELT_FOR_S
        felt_until = FELT_FOR_S + max(
            self._bad_weather_until if bad_weather_until is None else bad_weather_until,
            *(self._absent_until.get(name, never) for name in (a, b) if name != besides),
            *(self._impaired_until.get(name, never) for name in (a, b)),
            self._cut_until.get(pair, never),
            self._network.broken_at.get(pair, never),
        )
        return now <= felt_until


def _prolong(ends: dict[T, float], what: T, until: float) -> None:
    ends[what] = max(until, ends.get(what, until))


def _hears(node: SimNode, peer: str) -> bool:
    link = node.link(peer)
    return link is not None and link.is_live
