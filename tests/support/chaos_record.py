"""What clients sent and what they saw, and the verdict over both: exactly once, in order, or announced.

An author is one connection that publishes: it numbers its messages 1, 2, 3…. A subscriber is one connection in one
room. Both belong to a topic, the collection in which they publish and subscribe. What holds of each subscriber, for
each author of its topic:

    - it sees what was sent after its subscribe returned and was acknowledged: once, and in the author's order
    - what it does not see was announced to it as lost: after it was sent, before anything behind it arrived, and by
      a number that is neither too small nor too large, if one was named
    - an announcement without a number stands for what nobody can count, and for nothing else: the last words of a
      node that ended, and what a node published that could not know of the room
    - what was sent and never acknowledged (the node died) it may see or not
    - two subscribers see the messages of one node in the same order, whoever wrote them

It refuses to know sockets and clocks: times are seconds of any one clock, given with each call. Its own tests plant
each fault that it has to find.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from itertools import pairwise

import attrs

SHOWN = 10
"""Of the violations of one kind; one fault of the product often breaks thousands of messages."""

LAST_WORDS_S = 1.0
"""Two heartbeats: what a node said earlier than that before its end, it has spoken of in a heartbeat, too. It was known
to be missing, and could be asked for."""


@attrs.define(eq=False)
class Author:
    """One connection that publishes on `node`."""

    name: str
    node: str
    topic: str
    number: int
    """Of this author among all, from 0."""
    is_attached: bool = True
    acknowledged: int = 0
    """How many of its messages were."""
    last_acknowledged: int = 0
    refused: set[int] = attrs.field(factory=set)
    """Messages that the node did not take, because it was about to stop."""
    sent_at: array[float] = attrs.field(factory=lambda: array("d"))
    acknowledged_at: array[float] = attrs.field(factory=lambda: array("d"))
    """By then it was published; never, for what is not acknowledged."""
    node_ended_at: float = math.inf
    """When this life of its node began to end."""

    @property
    def sent(self) -> int:
        """How many messages it sent: also the number of the last."""
        return len(self.sent_at)

    def sends(self, at: float) -> int:
        """It is about to send its next message; returns the number."""
        self.sent_at.append(at)
        self.acknowledged_at.append(math.inf)
        return len(self.sent_at)

    @property
    def unanswered(self) -> int:
        """How many of its messages were neither acknowledged nor refused, yet."""
        return self.sent - self.acknowledged - len(self.refused)

    def is_acknowledged(self, number: int) -> bool:
        """Whether the node said that it took the message."""
        return self.acknowledged_at[number - 1] != math.inf

    def got_acknowledged(self, number: int, at: float) -> None:
        """The node said that it took the message. Raises `ValueError` when it says so twice, or of nothing."""
        if not 1 <= number <= self.sent or self.is_acknowledged(number):
            raise ValueError(
                f"{self.name}: an acknowledgement of {number}, of {self.sent} sent, is one too many"
            )
        self.acknowledged_at[number - 1] = at
        self.acknowledged += 1
        self.last_acknowledged = max(self.last_acknowledged, number)


@attrs.define(eq=False)
class Followed:
    """What one subscriber saw of one author."""

    author: Author
    next: int
    """The lowest number that is neither seen nor missing."""
    is_begun: bool = False
    """Whether anything was seen. What was sent before the subscribe returned need not be, but if, then from
    somewhere on without a hole."""
    missing: dict[int, float] = attrs.field(factory=dict)
    """What was passed over, and when that showed."""
    numbers: array[int] = attrs.field(factory=lambda: array("L"))
    """What was seen, as it came."""
    arrived_at: array[float] = attrs.field(factory=lambda: array("d"))

    def saw(self, number: int, at: float) -> str | None:
        """One arrived; returns what is wrong with that."""
        self.numbers.append(number)
        self.arrived_at.append(at)
        expected, begun = self.next, self.is_begun
        self.is_begun = True
        if number >= expected:
            if number > expected:
                self.missing |= dict.fromkeys(range(expected, number), at)
            self.next = number + 1
            return None
        if not begun:
            self.next = number + 1
            return None
        if self.missing.pop(number, None) is not None:
            return f"{number} came after {expected - 1}: out of order"
        return f"{number} came twice"


@attrs.define(eq=False)
class Announcement:
    """A loss that a subscriber was told of: notifications of `node` for its room, so many (None: nobody can know)."""

    node: str
    count: int | None
    at: float
    reached: float
    """When that was sent which the subscriber had seen last of that node. What comes from one node comes in order: what
    it took before that is not lost."""


@attrs.define(eq=False)
class Subscriber:
    """One connection in one room, from the moment at which its subscribe returned."""

    name: str
    node: str
    topic: str
    _authors: dict[str, Author]
    since: dict[str, int]
    """By author: the last number sent before the subscribe returned."""
    is_attached: bool = True
    followed: dict[str, Followed] = attrs.field(factory=dict)
    announcements: list[Announcement] = attrs.field(factory=list)
    faults: list[str] = attrs.field(factory=list)
    """What was wrong with what arrived."""
    unknown_to: set[str] = attrs.field(factory=set)
    """Nodes that were cut off when it subscribed: they did not know of its room, and published past it."""
    order: dict[str, array[int]] = attrs.field(factory=dict)
    """By node: its messages in the order in which they came, as number of the author << 32 | number."""
    seen: int = 0

    def saw(self, author: str, number: int, node: str, at: float) -> None:
        """A message arrived that says to come from that author and node."""
        self.seen += 1
        followed = self.followed.get(author)
        if followed is None:
            known = self._authors.get(author)
            if known is None or known.topic != self.topic:
                self.faults.append(f"{self.name}: a message of {author}, who does not publish here")
                return
            followed = self.followed[author] = Followed(known, self.since.get(author, 0) + 1)
            self.order.setdefault(known.node, array("Q"))
        if node != followed.author.node or not 1 <= number <= followed.author.sent:
            self.faults.append(f"{self.name}: {author} never sent {number} from {node}")
            return
        if number in followed.author.refused:
            self.faults.append(f"{self.name}: {number} of {author} arrived although it was refused")
        self.order[node].append(followed.author.number << 32 | number)
        fault = followed.saw(number, at)
        if fault is not None:
            self.faults.append(f"{self.name}: of {author}, {fault}")

    def told_of_loss(self, node: str, count: int | None, at: float) -> None:
        """It was told that notifications of that node for its room are lost."""
        seen = (followed for followed in self.followed.values() if followed.author.node == node)
        reached = (followed.author.sent_at[followed.numbers[-1] - 1] for followed in seen if followed.numbers)
        self.announcements.append(Announcement(node, count, at, max(reached, default=-math.inf)))

    def missing(self) -> Iterator[tuple[Author, int, float]]:
        """What it did not see although it was sent after its subscribe: author, number, and when that showed (never,
        for what is behind the last that it saw; such are only missing while it is attached)."""
        for author in self._authors.values():
            if author.topic != self.topic:
                continue
            followed = self.followed.get(author.name)
            if followed is not None:
                yield from ((author, number, found) for number, found in followed.missing.items())
            begin = followed.next if followed is not None else self.since.get(author.name, 0) + 1
            if self.is_attached:
                yield from ((author, number, math.inf) for number in range(begin, author.sent + 1))

    def misses_something(self) -> bool:
        """Whether anything acknowledged is still to come, or to be announced."""
        for author in self._authors.values():
            followed = self.followed.get(author.name)
            begin = followed.next if followed is not None else self.since.get(author.name, 0) + 1
            if author.topic != self.topic or begin > author.last_acknowledged:
                continue
            if not any(told.node == author.node for told in self.announcements):
                return True  # nearly always; what follows takes its time
            return any(True for _ in self.unannounced())
        return False

    def unannounced(self) -> Iterator[str]:
        """What is missing and was acknowledged, and that no announcement covers; and announcements of more than is
        missing."""
        by_node: dict[str, list[tuple[Author, int, float]]] = {}
        for entry in self.missing():
            by_node.setdefault(entry[0].node, []).append(entry)
        told = {announcement.node for announcement in self.announcements}
        for node in sorted(by_node.keys() | told):
            announcements = [told for told in self.announcements if told.node == node]
            yield from self._compare(node, by_node.get(node, []), announcements)

    def _compare(
        self, node: str, missing: list[tuple[Author, int, float]], announcements: list[Announcement]
    ) -> Iterator[str]:
        left = [math.inf if told.count is None else told.count for told in announcements]
        for author, number, found_at in sorted(missing, key=lambda entry: entry[2]):
            fitting = [
                index
                for index, told in enumerate(announcements)
                if left[index] and self._can_stand_for(told, author, number, found_at)
            ]
            if fitting:
                left[min(fitting, key=left.__getitem__)] -= 1  # those with a number first
            elif author.is_acknowledged(number):
                yield f"{self.name}: {number} of {author.name} on {node} was acknowledged, and is missing unannounced"
        too_many = sum(count for count in left if count != math.inf)
        if too_many and self.is_attached:
            yield f"{self.name}: {too_many} more of {node} were announced as lost than are missing"

    def _can_stand_for(self, told: Announcement, author: Author, number: int, found_at: float) -> bool:
        """Whether a missing message may be one of those that were announced as lost."""
        published_by = author.acknowledged_at[number - 1]
        if not author.sent_at[number - 1] <= told.at <= found_at or published_by < told.reached:
            return False
        is_last_word = published_by >= author.node_ended_at - LAST_WORDS_S
        return told.count is not None or is_last_word or author.node in self.unknown_to


@attrs.define(eq=False)
class Record:
    """All authors and subscribers of one test."""

    authors: dict[str, Author] = attrs.field(factory=dict)
    subscribers: list[Subscriber] = attrs.field(factory=list)

    def author(self, node: str, topic: str) -> Author:
        """A new author on a node."""
        number = len(self.authors)
        author = Author(f"author-{number}", node, topic, number)
        self.authors[author.name] = author
        return author

    def subscriber(self, node: str, topic: str) -> Subscriber:
        """A new subscriber on a node, whose subscribe returned just now."""
        since = {name: author.sent for name, author in self.authors.items()}
        name = f"subscriber-{len(self.subscribers)} on {node}"
        subscriber = Subscriber(name, node, topic, self.authors, since)
        self.subscribers.append(subscriber)
        return subscriber

    def waits_for(self) -> str | None:
        """Who still misses something, in words; None when nobody does."""
        for author in self.authors.values():
            if author.is_attached and author.unanswered:
                return f"{author.name} sent {author.sent}, of which {author.unanswered} are not answered"
        for subscriber in self.subscribers:
            if subscriber.is_attached and subscriber.misses_something():
                return f"{subscriber.name} has seen {subscriber.seen} and misses something"
        return None

    def violations(self) -> list[str]:
        """Everything that was broken, shortened; empty when all is well."""
        found: list[str] = []
        for subscriber in self.subscribers:
            for kind in (subscriber.faults, list(subscriber.unannounced())):
                found += kind[:SHOWN]
                if len(kind) > SHOWN:
                    found.append(f"… and {len(kind) - SHOWN} more like that")
        found += [
            f"{author.name} is attached, and {author.unanswered} of its messages were never answered"
            for author in self.authors.values()
            if author.is_attached and author.unanswered
        ]
        return [*found, *self._disagreements()]

    def _disagreements(self) -> Iterator[str]:
        """Messages of one node that two subscribers saw in different orders."""
        seen: dict[tuple[str, str], list[Subscriber]] = {}
        for subscriber in self.subscribers:
            for node in subscriber.order:
                seen.setdefault((subscriber.topic, node), []).append(subscriber)
        for (_, node), subscribers in seen.items():
            model = max(subscribers, key=lambda subscriber: len(subscriber.order[node]))
            rank: dict[int, int] | None = None
            for other in subscribers:
                if other.order[node] == model.order[node]:
                    continue
                if rank is None:
                    rank = {entry: place for place, entry in enumerate(model.order[node])}
                places = [rank[entry] for entry in other.order[node] if entry in rank]
                if any(later < earlier for earlier, later in pairwise(places)):
                    yield f"{model.name} and {other.name} saw the messages of {node} in different orders"
