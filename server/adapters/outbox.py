"""The way out to one client: queued, joined, and written without waiting.

    write ... write  --end of the turn-->  one non-blocking send
                                             all taken: nothing remains
                                             not all:   the rest waits for the socket, in a task that exists only then

What may wait is bounded (server/core/outbox.py). A client over its bound gets the rest of the frame that it is reading
and one last frame that says why; a client that does not even take that is cut off after a grace. A write never blocks,
never raises and never ends another's work: the connection's own nursery is cancelled, by deadline or at once.
It refuses to wait for anyone, except in `drained`, for those who have nothing else to do (HTTP).
"""

import socket
from collections.abc import Callable

import trio
from structlog.typing import FilteringBoundLogger

from server.adapters.turn import Turn
from server.core.limits import Limits
from server.core.outbox import DropReason, FrameQueue, OutboxCounters


class Outbox:
    """Everything that is written to one client passes here, in order."""

    __slots__ = (
        "_blocked",
        "_deferred_flush",
        "_is_flush_due",
        "_life",
        "_limits",
        "_log",
        "_queue",
        "_remote",
        "_socket",
        "_turn",
        "_unblocked",
        "on_overflow",
        "overflow_frame",
        "quiet_sweeps",
    )

    def __init__(
        self,
        sock: socket.socket,
        remote: str,
        turn: Turn,
        life: trio.Nursery,
        *,
        limits: Limits,
        counters: OutboxCounters,
        log: FilteringBoundLogger,
    ) -> None:
        """Take a non-blocking socket, and the nursery that is the connection's life: it ends with the client."""
        self._socket = sock
        self._remote = remote
        self._turn = turn
        self._life = life
        self._limits = limits
        self._log = log
        self._queue = FrameQueue(limits.outbox_bytes, counters)
        self._is_flush_due = False
        self._blocked = False
        self._unblocked = trio.Event()
        self._deferred_flush = self.flush  # bound once, not once per turn
        self.overflow_frame = b""
        """What a client over its bound is told last."""
        self.on_overflow: Callable[[], None] = _nobody
        """Called when the client went over its bound. Must not raise, nor write."""
        self.quiet_sweeps = 0
        """Idle sweeps since something was last read from or taken by the client; see the listener."""

    @property
    def is_open(self) -> bool:
        """Whether frames are still accepted."""
        return self._queue.is_open

    @property
    def is_empty(self) -> bool:
        """Whether everything was handed to the kernel, or dropped."""
        return self._queue.is_empty

    @property
    def bytes_waiting(self) -> int:
        """What waits, without the frame that is being written."""
        return self._queue.bytes_waiting

    def write(self, frame: bytes) -> None:
        """Queue one whole frame, to be sent at the end of the turn. Never blocks, never raises."""
        if not self._queue.put(frame):
            self._no_room(frame)
        elif not self._is_flush_due:
            self._is_flush_due = True
            self._turn.defer(self._deferred_flush)

    def finish(self, last: bytes = b"") -> None:
        """Write `last` after all that waits, then no more. The client has `limits.close_s` to take it and to go."""
        if self._queue.is_open:
            self._queue.finish(last)
            self._end_soon()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it now."""
        self._is_flush_due = self._blocked
        if not self._blocked and not self._send():
            self._block()

    async def drained(self) -> None:
        """Send what waits; return when the kernel has all of it or the client is lost."""
        self.flush()
        while self._blocked:
            await self._unblocked.wait()

    def lose(self, reason: DropReason = DropReason.LOST) -> None:
        """Give up: what waits is dropped and counted."""
        self._queue.lose(reason)

    # -- Writing --------------------------------------------------------------------------------------------------

    def _send(self) -> bool:
        """Send until nothing waits (True) or the socket takes no more (False)."""
        while chunk := self._queue.take():
            try:
                count = self._socket.send(chunk)
            except BlockingIOError:
                return False
            except OSError:
                # The connection is broken. What it still holds for us to read is read: the reader finds out itself.
                self._queue.lose(DropReason.LOST)
                self._end_soon()
                return True
            self.quiet_sweeps = 0
            self._queue.sent(count)
            if count < len(chunk):
                return False
        return True

    def _block(self) -> None:
        self._blocked = True
        self._is_flush_due = True  # the task below flushes: nobody else needs to
        self._unblocked = trio.Event()
        self._life.start_soon(self._unblock)

    async def _unblock(self) -> None:
        while True:
            with trio.move_on_after(self._limits.stall_s) as patience:
                await trio.lowlevel.wait_writable(self._socket)
            if patience.cancelled_caught:
                self._log.info("client stalled", client=self._remote, stall_s=self._limits.stall_s)
                self._queue.lose(DropReason.STALLED)
                self._life.cancel_scope.cancel()
            if self._send():
                break
        self._blocked = self._is_flush_due = False
        self._unblocked.set()

    # -- Over the bound -------------------------------------------------------------------------------------------

    def _no_room(self, frame: bytes) -> None:
        if self._queue.is_open and not self._blocked:
            # All of it was queued in this very turn: the client had no chance yet to take anything.
            self.flush()
            if self._queue.put(frame):
                if not self._is_flush_due:
                    self._is_flush_due = True
                    self._turn.defer(self._deferred_flush)
                return
        if self._queue.is_open:
            waiting = self._queue.bytes_waiting
            self._log.info("slow client closed", client=self._remote, bytes_waiting=waiting)
            self._queue.cut(self.overflow_frame, DropReason.SLOW)
            self._queue.counters.drop(DropReason.SLOW)
            self._end_soon()
            self.on_overflow()
        else:
            self._queue.counters.drop(self._queue.closed_for)

    def _end_soon(self) -> None:
        scope = self._life.cancel_scope
        scope.deadline = min(scope.deadline, trio.current_time() + self._limits.close_s)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._turn.defer(self._deferred_flush)


def _nobody() -> None:
    """Stand in where nobody needs to know."""
