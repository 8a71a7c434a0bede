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
        self.is_peer_given_rooms = False
        """Whether the peer was ever given our rooms: before, it has nothing to say to them."""
        self._is_last_word_known = False
        self._is_end_told = False

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
        self.is_peer_given_rooms = True

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

    @property
    def is_complete(self) -> bool:
        """Whether everything that the peer is known to have sent is here, or given up."""
        return self.received.missing() is None

    def learn_last(self, tail: int, now: float, out: list[Effect]) -> None:
        """The peer says farewell, and how far the stream went: nothing comes behind that."""
        self._is_last_word_known = True
        self.learn_tail(tail, now, out)

    def broke_off(self, out: list[Effect]) -> None:
        """The peer is gone, and did not say how far the stream went. It may have said something last that nobody heard:
        to which rooms, nobody can know, so all are told; once."""
        may_have_spoken = self.is_peer_given_rooms or self.received.tail > 0
        if may_have_spoken and not (self._is_last_word_known or self._is_end_told):
            self._is_end_told = True
            out.append(Lost(self._peer, None, None))

    def went_on(self) -> None:
        """It was only away: should it go for good, that is to be told."""
        self._is_end_told = False

    def ended(self, out: list[Effect]) -> None:
        """This life of the peer is over: what is missing went with it, and what waited for that need not wait."""
        self.broke_off(out)
        self._give_up(out)

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
