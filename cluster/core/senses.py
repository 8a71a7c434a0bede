"""Whether this node hears and is heard: a judgement over itself, by canaries on the way that notifications take.

A canary is a batch without notifications, published under the receiver's notify topic: to each peer to which nothing
was said lately, and to this node itself. What comes back from itself tells its own faults from those of others, also
where there are only two nodes and each could blame the other:

    nothing comes under its own notify topic, from nobody       it is deaf: its SUB, or who reads it, is dead
    others come, and nothing of its own comes back              it is mute: its PUB sends nothing
    its own comes back, and nothing of two or more others       it is cut off from what they publish
    its own comes back, and two or more say they miss it        they are cut off from what it publishes

One peer that cannot be heard, or does not hear, is no fault of this node: that is said of the link, and once for each
change. Time is an argument; no sockets, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from cluster.core import messages
from cluster.core.effects import Belief, Effect
from cluster.core.identity import Me
from cluster.core.limits import Limits
from cluster.core.link import Link
from cluster.core.standing import NotReady, Standing

WITNESSES = 2
"""Peers that have to agree before a fault on the way is held for this node's: of two nodes that do not hear each
other, nobody can say which is at fault."""


class Senses:
    """What one node believes of its own hearing and voice."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limit = limits.deaf_after
        self._overdue = limits.deaf_after - limits.heartbeat
        self._canary_every = limits.canary_every
        self._told_at = now
        self._echoed_at = now
        self._sound_since = now
        self.complaint: NotReady | None = None
        """What is wrong; None when nothing is."""
        self.is_own_fault = False
        """Whether its own sockets are at fault, for certain, and not the way to others: clients are better off
        elsewhere."""

    @property
    def is_impaired(self) -> bool:
        """Whether what others publish does not reach this node, or what it publishes does not reach them."""
        return self.complaint is not None

    def is_in_doubt(self, now: float) -> bool:
        """Whether a canary should go with each heartbeat until one arrives: something is wrong, and it is to be known
        soon that it no longer is; or the last canary is missing. One of its own can get lost where nothing is wrong: it
        was under way to the topic of a life that is over, say, or was said when this node was still mute."""
        return self.is_impaired or now >= self._told_at + self._canary_every

    def told(self, now: float) -> None:
        """Something came under this node's notify topic, from whomever."""
        self._told_at = now

    def overheard(self, message: messages.Publication, me: Me, now: float) -> None:
        """Something came from somebody who is no peer: what this node published itself, under whatever topic?"""
        if message.origin == me.id and message.epoch.boot == me.epoch.boot:
            self._echoed_at = now
            if isinstance(message, messages.Notify):
                self._told_at = now

    def stalled(self, seconds: float, now: float) -> None:
        """This node did not run for so long: what did not arrive meanwhile says nothing."""
        self._told_at = min(self._told_at + seconds, now)
        self._echoed_at = min(self._echoed_at + seconds, now)
        self._sound_since = now

    def judge(self, links: Collection[Link], now: float, out: list[Effect]) -> None:
        """Judge anew."""
        before, own = self.complaint, self._why_not_itself(now)
        self.is_own_fault = own is not None
        self.complaint = own or self._why_not_the_way(links, now)
        if before is None and self.complaint is not None:
            out.append(Belief("deaf or mute", {"reason": self.complaint.why}, is_warning=True))
        elif before is not None and self.complaint is None:
            self._sound_since = now
            out.append(Belief("hears and is heard again", {"was": before.why}))
        for link in links:
            if link.is_live:
                self._judge_link(link, now, out)

    def next_deadline(self) -> float:
        """When `judge` may find something; that all is well again is found with the next heartbeat."""
        if self.complaint is not None:
            return float("inf")
        return min(self._told_at, self._echoed_at) + self._limit

    def _why_not_itself(self, now: float) -> NotReady | None:
        if now >= self._told_at + self._limit:
            return NotReady(
                Standing.DEAF, "it is deaf: nothing that is published for it arrives, not even from itself"
            )
        if now >= self._echoed_at + self._limit:
            return NotReady(
                Standing.MUTE,
                "it is mute: what it publishes does not come back to it, and what others publish arrives",
            )
        return None

    def _why_not_the_way(self, links: Iterable[Link], now: float) -> NotReady | None:
        if now - self._sound_since < self._limit:
            return None  # what others say of us is from before
        limit = self._limit
        live = [link for link in links if link.is_live]
        if len(live) >= WITNESSES and all(self._is_cut_off(link, now) for link in live):
            return NotReady(
                Standing.DEAF, f"it hears nothing that {_names(live)} publish for it, although they answer"
            )
        witnesses = [link for link in live if _hears_others(link, limit)]
        if len(witnesses) >= WITNESSES and all(link.hearing.is_heard(now) is False for link in witnesses):
            return NotReady(Standing.MUTE, f"none of {_names(witnesses)} hears what it publishes for them")
        return None

    def _judge_link(self, link: Link, now: float, out: list[Effect]) -> None:
        """Say of a single link that one of its directions does not work, or works again.

        Who is deaf or mute itself says that, and nothing of its links: what came to it, or back to it, later than what
        is missing shows that it is not."""
        hearing = link.hearing
        may_judge = self.complaint is None and now - self._sound_since >= self._limit
        is_deaf = not hearing.hears(now) and (
            hearing.deaf.is_believed
            or (
                may_judge and self._told_at >= hearing.told_at + self._overdue and self._is_cut_off(link, now)
            )
        )
        is_mute = hearing.is_heard(now) is not True and (
            hearing.mute.is_believed
            or (
                may_judge
                and self._echoed_at >= hearing.arrived_at + self._overdue
                and hearing.is_heard(now) is False
            )
        )
        if hearing.deaf.seems(is_deaf, now):
            _say_of_link(link, is_deaf, "what it publishes for this node does not arrive", out)
        if hearing.mute.seems(is_mute, now):
            _say_of_link(link, is_mute, "what this node publishes for it does not arrive, it says", out)

    def _is_cut_off(self, link: Link, now: float) -> bool:
        """Whether the peer was still heard by other ways when a canary of it was overdue: it has not just died."""
        told_at = link.hearing.told_at
        return now >= told_at + self._limit and link.liveness.witnessed_at >= told_at + self._overdue


def _hears_others(link: Link, limit: float) -> bool:
    """Whether the peer is a good witness: it hears somebody. (It says nothing of itself.)"""
    return any(report.told_ms < 1000 * limit for report in link.peer_links.values())


def _say_of_link(link: Link, is_wrong: bool, what: str, out: list[Effect]) -> None:
    if is_wrong:
        out.append(Belief("link deaf or mute", {"peer": link.id, "reason": what}, is_warning=True))
    else:
        out.append(Belief("link works again", {"peer": link.id, "was": what}))


def _names(links: Sequence[Link]) -> str:
    return ", ".join(sorted(link.id for link in links))
