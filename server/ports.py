"""What the node asks of others, as they see it: interfaces with their guarantees.

A plugin such as the cluster gives the realtime engine a `Relay`; the listener gives the node a `Turn`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol


class Turn(Protocol):
    """One turn of the loop: what it caused is gathered and flushed at its end."""

    def defer(self, flush: Callable[[], None], /) -> None:
        """Call `flush` once, at the end of the present turn."""

    def flush(self) -> bool:
        """Run what was deferred, now; False when some is left over, since it would take too long."""

    def has_time(self) -> bool:
        """Whether what is flushed may go on: others do not wait for long yet."""

    def leave_over(self, go_on: Callable[[], None], /) -> None:
        """Call `go_on` once, in a later turn: what is flushed in this one has taken long enough."""


class Relay(Protocol):
    """The way to the other nodes, for rooms and their notifications.

    All calls but `settled` are synchronous, come in the order in which things happened, never
    block and never raise; what cannot be sent is the relay's to count and to announce.
    """

    def room_opened(self, room_id: str, description: bytes, count: int) -> None:
        """Say that this node has a room, with `count` subscribers.

        The description is JSON and opaque to the relay. It is said again, with a new description
        that replaces the one before, when what subscribers of the room want has changed.
        """

    def room_counted(self, room_id: str, count: int) -> None:
        """Say that a room that was opened has `count` (at least 1) subscribers on this node now."""

    def room_closed(self, room_id: str) -> None:
        """Say that the last subscriber on this node left the room."""

    async def settled(self) -> bool:
        """Return when every live peer has applied all of the above that was said before this call.

        False when one did not in time. Can be cancelled at any moment; nothing is undone by it.
        """

    def forward(self, node: str, room_ids: Sequence[str], payload: bytes) -> None:
        """Send a notification to one node, for the rooms that it has subscribers in. The hot path."""
