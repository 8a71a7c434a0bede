"""What waits for the reply to a subscribe: notifications of the new room must not overtake it.

The SDK starts to listen on a channel when it reads the reply; what came before would be lost on it.
The bound is `limits.held_notifications`. Over it the client is closed with a reason, connects and subscribes anew:
nothing is lost in silence, and nothing waits without end.
"""

from typing import Final

import attrs

from server.core.frames import CloseCode
from server.core.session import Session

NO_ROOM: Final = "no_room"
"""A notification came for a room that nobody here is in any more."""
UNREADABLE: Final = "unreadable"
"""Another node sent something that is no notification."""
HELD_TOO_MANY: Final = "held_too_many"
"""More came for a new subscriber, before the reply to its subscribe, than may be held."""
LEFT_BEFORE_REPLY: Final = "left_before_reply"
"""It was held for a subscriber that left before the reply to its subscribe."""


@attrs.define(eq=False)
class DeliveryCounters:
    """What became of every notification, counted per recipient."""

    published: int = 0
    """Notifications made on this node."""
    delivered: int = 0
    """Put into the outbox of a client of this node."""
    held: int = 0
    """Waiting, now, for the reply to a subscribe."""
    forwarded: int = 0
    """Sent to other nodes, per node and room."""
    received: int = 0
    """Come from other nodes, per room."""
    lost: int = 0
    """Lost on the way from other nodes, as far as they could be counted."""
    losses_announced: int = 0
    """Messages to clients that said so."""
    dropped: dict[str, int] = attrs.field(
        factory=lambda: dict.fromkeys((NO_ROOM, UNREADABLE, HELD_TOO_MANY, LEFT_BEFORE_REPLY), 0)
    )
    """By reason. What outboxes drop is counted there."""


@attrs.define(eq=False)
class Hold:
    """Stands in for one member of one channel until the reply is out."""

    session: Session
    limit: int
    counters: DeliveryCounters
    _frames: list[bytes] = attrs.field(factory=list)
    _is_over: bool = False

    def write(self, *frames: bytes, joined: bytes = b"") -> None:  # noqa: ARG002 - each waits for itself
        """Keep frames. The engine counted them as delivered; they are not, yet."""
        self.counters.delivered -= len(frames)
        if self._is_over:
            self.counters.dropped[HELD_TOO_MANY] += len(frames)
            return
        self._frames += frames
        self.counters.held += len(frames)
        if len(self._frames) > self.limit:
            self._is_over = True
            self.discard(HELD_TOO_MANY)
            self.session.close(
                CloseCode.INTERNAL_ERROR, "too many notifications before the reply to a subscribe"
            )

    def release(self) -> None:
        """Send what was kept, in order."""
        for frame in self._frames:
            self.session.write(frame)
        self.counters.held -= len(self._frames)
        self.counters.delivered += len(self._frames)
        self._frames.clear()

    def discard(self, reason: str) -> None:
        """Give up what was kept."""
        self.counters.held -= len(self._frames)
        self.counters.dropped[reason] += len(self._frames)
        self._frames.clear()
