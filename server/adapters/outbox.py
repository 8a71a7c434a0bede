"""The way out to one client: queued, joined, and written without waiting.

    write ... write  --end of the turn-->  one non-blocking send
                                             all taken: nothing remains
                                             not all:   the rest waits for the socket, in a task that exists only then

What may wait is bounded (server/core/outbox.py). A client over its bound gets the rest of the frame that it is reading
and one last frame that says why; a client that does not even take that is cut off after a grace. A write never blocks,
never raises and never ends another's work: the client's own scope, its `life`, is cancelled, by deadline or at once.
It refuses to wait for anyone, except in `drained`, for those who have nothing else to do.
"""

import socket
from collections.abc import Sequence
from typing import Protocol

import trio
from structlog.typing import FilteringBoundLogger

from server.adapters.turn import Turn
from server.core.limits import Limits
from server.core.outbox import DropReason, FrameQueue, OutboxCounters


class Connection(Protocol):
    """What is written to: a non-blocking socket, or what does for TLS as a socket does (server/adapters/tls.py)."""

    def fileno(self) -> int:
        """Return the descriptor to wait for."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Take some bytes; return how many. Raises BlockingIOError when it takes none now, OSError when never again."""

    def shutdown(self, how: int, /) -> None:
        """Say that nothing follows. Raises as `send` does, and may be called again."""


class Outbox:
    """Everything that is written to one client passes here, in order."""

    __slots__ = (
        "_deferred_flush",
        "_is_flush_due",
        "_limits",
        "_log",
        "_queue",
        "_socket",
        "_tasks",
        "_turn",
        "_unblocked",
        "is_blocked",
        "life",
        "overflow_frame",
        "quiet_sweeps",
        "remote",
    )

    def __init__(
        self,
        sock: Connection,
        remote: str,
        turn: Turn,
        tasks: trio.Nursery,
        *,
        limits: Limits,
        counters: OutboxCounters,
        log: FilteringBoundLogger,
    ) -> None:
        """Take a connection, and a nursery for the task that waits when the socket is full."""
        self._socket = sock
        self.remote = remote
        """Who the client is, for the log."""
        self._turn = turn
        self._tasks = tasks
        self._limits = limits
        self._log = log
        self._queue = FrameQueue(limits.outbox_bytes, counters)
        self._is_flush_due = False
        self._unblocked: trio.Event | None = None
        """While somebody waits for that."""
        self._deferred_flush = self.flush  # bound once, not once per turn
        self.is_blocked = False
        """Whether something waits that the socket did not take."""
        self.life = trio.CancelScope()
        """What is done for the client at present: ends when the client takes nothing any more."""
        self.overflow_frame = b""
        """What a client over its bound is told last."""
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

    @property
    def is_behind(self) -> bool:
        """Whether half of what may wait does: the client is to take that before it asks for more."""
        return 2 * self._queue.bytes_waiting > self._limits.outbox_bytes

    def write(self, *frames: bytes, joined: bytes = b"") -> None:
        """Queue whole frames, to be sent at the end of the turn; if this is the end, at once. Never blocks or raises.

        `joined` is all of them in one piece, from who has that."""
        if self._turn.is_flushing and not self._is_flush_due and self._send_at_once(frames, joined):
            return
        if not self._queue.put(*frames):
            self._no_room(frames)
        elif not self._is_flush_due:
            self._is_flush_due = True
            self._turn.defer(self._deferred_flush)

    def finish(self, last: bytes = b"") -> None:
        """Write `last` after all that waits, then no more: the client is told that nothing follows."""
        if self._queue.is_open:
            self._queue.finish(last)
            self._flush_soon()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it now."""
        self._is_flush_due = self.is_blocked
        if not self.is_blocked and not self._send():
            self._block()

    async def drained(self) -> None:
        """Send what waits; return when the kernel has all of it or the client is lost."""
        self.flush()
        while self.is_blocked:
            if self._unblocked is None:
                self._unblocked = trio.Event()
            await self._unblocked.wait()

    def begin(self) -> trio.CancelScope:
        """Return the scope of what is done for the client from now on."""
        self.life = trio.CancelScope()
        return self.life

    def last_moments(self) -> trio.CancelScope:
        """Finish; return the scope in which to wait for the client to take what waits and to go.

        That is `limits.close_s`, or no time at all for a client that is lost.
        """
        self.finish()
        self.flush()
        patience_s = 0.0 if self._queue.is_lost else self._limits.close_s
        self.life = trio.CancelScope(deadline=trio.current_time() + patience_s)
        return self.life

    def lose(self) -> None:
        """Give up: what waits is dropped and counted. The socket may be closed then."""
        self._queue.lose(DropReason.LOST)
        if self.is_blocked:
            trio.lowlevel.notify_closing(self._socket)

    # -- Writing --------------------------------------------------------------------------------------------------

    def _send_at_once(self, frames: tuple[bytes, ...], joined: bytes) -> bool:
        """Send frames behind which nothing waits; False (and nothing done) when they have to be queued. What the socket
        does not take of them, waits."""
        chunk = joined or b"".join(frames)
        queue = self._queue
        if len(chunk) > queue.limit:  # more than may wait; or nothing is accepted any more
            return False
        try:
            count = self._socket.send(chunk)
        except OSError:  # full, or broken: `_send` will see to that
            return False
        self.quiet_sweeps = 0
        turn = self._turn
        turn.sends_left -= 1
        if not turn.sends_left:
            turn.look_at_clock()
        if count == len(chunk):
            counters = queue.counters
            counters.bytes_sent += count
            counters.frames_sent += len(frames)
        else:
            queue.put(*frames)
            queue.sent(count)
            self._block()
        return True

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
                self.life.deadline = min(self.life.deadline, trio.current_time() + self._limits.close_s)
                return True
            self.quiet_sweeps = 0
            self._queue.sent(count)
            if count < len(chunk):
                return False
        return self._queue.is_open or self._shut()

    def _shut(self) -> bool:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:  # TLS has a word for it, and no room
            return False
        except OSError:
            pass  # it is gone
        return True

    def _block(self) -> None:
        self.is_blocked = True
        self._is_flush_due = True  # the task below flushes: nobody else needs to
        self._tasks.start_soon(self._unblock)

    async def _unblock(self) -> None:
        try:
            while not self._queue.is_lost:
                with trio.move_on_after(self._limits.stall_s) as patience:
                    await trio.lowlevel.wait_writable(self._socket)
                if patience.cancelled_caught:
                    self._log.info("client stalled", client=self.remote, stall_s=self._limits.stall_s)
                    self._queue.lose(DropReason.STALLED)
                    self.life.cancel()
                if self._send():
                    break
        except trio.ClosedResourceError:
            pass  # it was given up
        self.is_blocked = self._is_flush_due = False
        if self._unblocked is not None:
            self._unblocked.set()
            self._unblocked = None

    # -- Over the bound -------------------------------------------------------------------------------------------

    def _no_room(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            if self._queue.put(frame):
                self._flush_soon()
            else:
                self._no_room_for(frame)

    def _no_room_for(self, frame: bytes) -> None:
        if self._queue.is_open and not self.is_blocked:
            # All of it was queued in this very turn: the client had no chance yet to take anything.
            self.flush()
            if self._queue.put(frame):
                self._flush_soon()
                return
        if self._queue.is_open:
            waiting = self._queue.bytes_waiting
            self._log.info("slow client closed", client=self.remote, bytes_waiting=waiting)
            self._queue.cut(self.overflow_frame, DropReason.SLOW)
            self._queue.counters.drop(DropReason.SLOW)
            self._flush_soon()
            self.life.cancel()
        else:
            self._queue.counters.drop(self._queue.closed_for)

    def _flush_soon(self) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            self._turn.defer(self._deferred_flush)
