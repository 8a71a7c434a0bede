"""What waits to be written to one client, and what is given up when it takes too slowly.

    put ... put  ->  take  ->  (the socket takes some of it)  ->  sent

A frame is whatever was put as one piece: a WebSocket frame, an HTTP answer. The laws:

- bytes leave in the order in which frames were put, and a frame is never torn: once its first byte is sent, either the
  rest follows or nothing does;
- a frame is accepted as long as fewer than `limit` bytes wait behind the frame that is being written. So one frame
  may be larger than the limit, and what waits is never more than the limit and one frame;
- nothing is lost in silence: every frame put is sent, waits, or is counted as dropped with its reason.

It refuses to know the socket: no I/O, no clock. `put` is on the hot path and does nothing but append and add.
"""

from collections.abc import Iterator
from enum import Enum, unique
from typing import Final

import attrs

JOIN_BYTES: Final = 262_144
"""What is joined for one write. Joining copies, and what the kernel does not take is copied again the next time; its
send buffers start far below this and grow to a few megabytes."""


@unique
class DropReason(Enum):
    """Why a frame was not sent."""

    SLOW = "slow_client"
    """It was over the bound of a client that did not take what it was sent."""
    STALLED = "stalled_client"
    """It waited for a client that took nothing at all for too long."""
    LOST = "connection_lost"
    """It waited when the connection broke, or came after."""
    CLOSING = "closing"
    """It came after the last frame that the client was to get."""


@attrs.define(eq=False)
class OutboxCounters:
    """What became of the frames of all clients of one node."""

    frames_sent: int = 0
    """Handed to the kernel whole."""
    bytes_sent: int = 0
    frames_dropped: dict[DropReason, int] = attrs.field(factory=lambda: dict.fromkeys(DropReason, 0))

    def drop(self, reason: DropReason, count: int = 1) -> None:
        """Count frames that will never be sent."""
        self.frames_dropped[reason] += count


@attrs.define(eq=False)
class FrameQueue:
    """The frames of one client, from `put` to the kernel."""

    limit: int
    """In bytes. Zero once no more frames are accepted: that spares `put` a second question."""
    counters: OutboxCounters
    bytes_waiting: int = attrs.field(default=0, init=False)
    """Behind the frame that is being written."""
    _frames: list[bytes] = attrs.field(factory=list, init=False)
    _head: memoryview | None = attrs.field(default=None, init=False)
    """What is left of a frame of which the client has the beginning."""
    _lost: DropReason | None = attrs.field(default=None, init=False)

    def put(self, *frames: bytes) -> bool:
        """Queue frames; False (and nothing done) when there is no room for all of them, or nothing more is accepted."""
        if self.bytes_waiting >= self.limit:
            return False
        size = len(frames[0])
        if len(frames) > 1:
            size = sum(map(len, frames))
            if self.bytes_waiting + size > self.limit:
                return False
        self._frames += frames
        self.bytes_waiting += size
        return True

    @property
    def is_open(self) -> bool:
        """Whether frames are accepted at all."""
        return self.limit > 0

    @property
    def is_empty(self) -> bool:
        """Whether everything was sent or dropped."""
        return self._head is None and not self._frames

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be written any more."""
        return self._lost is not None

    @property
    def closed_for(self) -> DropReason:
        """Why a frame that comes when the queue is not open is dropped."""
        return self._lost or DropReason.CLOSING

    # -- Writing ------------------------------------------------------------------------------------------------

    def take(self) -> bytes | memoryview:
        """Return the next bytes to write, empty when there are none. What of it was written, `sent` must be told."""
        if self._head is None:
            if len(self._frames) == 1:
                return self._frames[0]
            if self.bytes_waiting <= JOIN_BYTES:
                return b"".join(self._frames)
        elif not self._frames or len(self._head) >= JOIN_BYTES:
            return self._head
        return b"".join(self._first_pieces())

    def _first_pieces(self) -> Iterator[bytes | memoryview]:
        size = 0
        if self._head is not None:
            size = len(self._head)
            yield self._head
        for frame in self._frames:
            if size >= JOIN_BYTES:
                return
            size += len(frame)
            yield frame

    def sent(self, count: int) -> None:
        """Note that the first `count` bytes of what `take` returned are written."""
        self.counters.bytes_sent += count
        if self._head is not None:
            if count < len(self._head):
                self._head = self._head[count:]
                return
            count -= len(self._head)
            self._head = None
            self.counters.frames_sent += 1
        if count == self.bytes_waiting:
            self.counters.frames_sent += len(self._frames)
            self._frames.clear()
            self.bytes_waiting = 0
            return
        whole = 0
        while count >= len(self._frames[whole]):
            count -= len(self._frames[whole])
            self.bytes_waiting -= len(self._frames[whole])
            whole += 1
        self.counters.frames_sent += whole
        if count:
            torn = self._frames[whole]
            self._head = memoryview(torn)[count:]
            self.bytes_waiting -= len(torn)
            whole += 1
        del self._frames[:whole]

    # -- Ending -------------------------------------------------------------------------------------------------

    def finish(self, last: bytes = b"") -> None:
        """Accept nothing after `last`, which follows what waits already. Without effect when not open."""
        if self.is_open:
            self.limit = 0
            self._append_last(last)

    def cut(self, last: bytes, reason: DropReason) -> None:
        """Drop every frame that was not begun, and accept nothing after `last`. Without effect when not open."""
        if self.is_open:
            self.limit = 0
            self._drop_waiting(reason)
            self._append_last(last)

    def lose(self, reason: DropReason) -> None:
        """Drop everything: nothing can be written any more. The first reason counts."""
        if self._lost is None:
            self._lost = reason
            self.limit = 0
            if self._head is not None:
                self._head = None
                self.counters.drop(reason)
            self._drop_waiting(reason)

    def _append_last(self, last: bytes) -> None:
        if last:
            self._frames.append(last)
            self.bytes_waiting += len(last)

    def _drop_waiting(self, reason: DropReason) -> None:
        self.counters.drop(reason, len(self._frames))
        self._frames.clear()
        self.bytes_waiting = 0
