"""The notifications that one life of a peer sends us: in order, once, and if one cannot be had any more, announced.

The stream is numbered from 1 for that life of the peer and this life of us, so nothing needs to be agreed before it is
followed: what was published before our subscription reached the peer shows as missing and is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cluster.core import messages
from cluster.core.effects import Belief, Deliver, Effect, Lost
from cluster.core.following import AskAgain, Follower
from cluster.core.limits import Limits
from cluster.core.messages import Notification
from cluster.core.streams import Inbound
from cluster.core.weights import notification_weight


class Mailbox:
    """What a peer sends to us."""

    def __init__(self, peer: str, limits: Limits, ask: AskAgain) -> None:
        self._peer = peer
        self._follower: Follower[Notification] = Follower(
            peer, "notify", limits, weigh=notification_weight, ask=ask, give_up=self._lose
        )
        self.received = self._follower.stream
        self._heartbeat = limits.heartbeat
        self._forget_at = 0.0
        self._recent: set[str] = set()
        self._earlier: set[str] = set()
        self._is_last_word_told = False

    @property
    def gaps(self) -> int:
        """How often something was found missing."""
        return self._follower.gaps

    @property
    def repair_at(self) -> float | None:
        """When to ask again for what is missing."""
        return self._follower.repair_at

    def resume(self, received: Inbound[Notification]) -> None:
        """We had followed this stream before, that far."""
        received.forget_held()
        self.received = self._follower.stream = received

    def take(self, batch: messages.Notify, now: float, out: list[Effect]) -> None:
        """Notifications from the peer's PUB socket."""
        self._deliver(self._follower.take(batch.first, batch.items, now, out), out)

    def take_resent(self, again: messages.ResentNotify, now: float, out: list[Effect]) -> None:
        """Notifications that were asked for again."""
        self._deliver(self._follower.take_resent(again.first, again.items, now, out), out)

    def cut(self, cut: messages.CutNotify, now: float, out: list[Effect]) -> None:
        """Something that is missing cannot be had any more: say so to whom it concerns, and go on."""
        before = cut.first + len(cut.rooms) if cut.rooms else cut.oldest
        missing = self.received.missing()
        if missing is None or not cut.first <= missing[0] < before <= self.received.tail + 1:
            return  # an answer to a question that has been settled since, or nonsense
        told = enumerate(cut.rooms, cut.first)
        rooms = Counter(room for number, those in told if self.received.lacks(number) for room in those)
        self._lose(before, now, out, rooms if cut.rooms else None)

    def learn_tail(self, tail: int, now: float, out: list[Effect]) -> None:
        """The peer says how far the stream goes."""
        self._follower.learn_tail(tail, now, out)

    def heartbeat(self, tail: int, now: float, out: list[Effect]) -> None:
        """The same, in a heartbeat."""
        self.learn_tail(tail, now, out)
        if now >= self._forget_at:  # while much is said, heartbeats come more often than that
            self._forget_at = now + self._heartbeat
            self._earlier, self._recent = self._recent, set()

    def ask_anew(self, now: float) -> None:
        """What was asked last may not have arrived: ask again when something does."""
        self._follower.ask_anew(now)

    def repair(self, now: float, out: list[Effect]) -> None:
        """Ask again for what is missing, if it is time to."""
        self._follower.repair(now, out)

    def answered_badly(self) -> None:
        """Something came from the peer that cannot be read, and may have been the answer."""
        self._follower.answered_badly()

    def _lose(self, before: int, now: float, out: list[Effect], rooms: dict[str, int] | None = None) -> None:
        """What is missing before that number will not come: say so, and go on."""
        lost, ready = self._follower.give_up(before, now, out)
        self._tell_loss(lost, rooms, out)
        self._deliver(ready, out)

    # -- the end of a stream --

    def closed(self, tail: int, out: list[Effect]) -> None:
        """The peer leaves, and says how far the stream went: what is missing goes with it."""
        self._is_last_word_told = True
        self.received.learn_tail(tail)
        self._give_up(out)

    def broke_off(self, out: list[Effect]) -> None:
        """The peer fell silent, or a new life of it began: it may have said something last that nobody heard, so
        those to whom it spoke in its last two heartbeats are told, once. Everybody is, if something is known to be
        missing: only the peer can say for whom that was."""
        rooms = self._recent | self._earlier
        is_missing = self.received.missing() is not None
        if (rooms or is_missing) and not self._is_last_word_told:
            out.append(Lost(self._peer, None, None if is_missing else dict.fromkeys(sorted(rooms), 0)))
        self._is_last_word_told = True

    def ended(self, out: list[Effect]) -> None:
        """This life of the peer is over: what is missing went with it, and what waited for that need not wait."""
        self.broke_off(out)
        self._give_up(out)

    def went_on(self) -> None:
        """It was only away: should it fall silent again, that is to be told again."""
        self._is_last_word_told = False

    def _give_up(self, out: list[Effect]) -> None:
        if self.received.missing() is not None:
            lost, ready = self.received.give_up(self.received.tail + 1)
            self._tell_loss(lost, None, out)
            self._deliver(ready, out)

    def _tell_loss(self, count: int, rooms: dict[str, int] | None, out: list[Effect]) -> None:
        out.append(Lost(self._peer, count, rooms))
        out.append(Belief("notifications lost", {"peer": self._peer, "count": count}, is_warning=True))

    def _deliver(self, items: Sequence[Notification], out: list[Effect]) -> None:
        if items:
            out.append(Deliver(self._peer, items))
            for item in items:
                self._recent.update(item.rooms)
