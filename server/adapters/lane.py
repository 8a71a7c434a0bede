"""The fast lane: what nearly every client sends, and nothing else, is taken here.

    socket --one read--> FrameSplitter -- texts --------------> receive     (no task, lock or channel per message)
                                       |- ping, pong, close --> answered
                                       `- anything else ------> handed back: from there on it is trio-websocket's

A message through trio-websocket costs two switches of tasks and about 25 µs, and its tasks and buffers would be most of
what a client costs; few ever send a frame that needs it. The lane has no task of its own: who runs the client runs it.
It refuses to buffer: a message larger than one read is not for it.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from server.adapters.inflating import InflatingWire
from server.adapters.turn import Turn
from server.adapters.wire import Wire
from server.core.frames import Opcode, echoed_close, pong_frame
from server.core.limits import Limits
from server.core.splitting import FrameSplitter

READ_BYTES: Final = 16_384
"""One read. Of the smallest fragments it holds 2,700: 15 ms of work for wsproto, in which nobody else runs."""

FLOOD_BYTES: Final = 65_536
"""One read after one that was full: who sends so much has what it sends joined better, at a fourth less of a core for
each publish. Work in one go is bounded by time, not by this."""

Receive = Callable[[list[str]], Awaitable[None]]
"""Takes plain text messages, in order; returns when the next may come."""


class Lane:
    """What one client sends, as long as it is common."""

    __slots__ = ("_receive", "frames", "turn", "wire")

    def __init__(self, wire: Wire | InflatingWire, turn: Turn, limits: Limits, receive: Receive) -> None:
        self.wire = wire
        self.turn = turn
        self._receive = receive
        self.frames = FrameSplitter(message_bytes=limits.request_bytes, kept_bytes=READ_BYTES)

    async def run(self) -> bytes:
        """Take what the client sends. Returns what is not for the lane as soon as there is some; empty at the end."""
        data = b""
        most = READ_BYTES
        while True:
            texts, control, passed = self.frames.split(data)
            data = b""
            if texts:
                await self._receive(texts)
                del texts  # it would be kept for as long as nothing comes
            if passed:
                return passed
            if control is None:
                if not self.turn.flush():
                    await self.turn.caught_up()
                wanted = most - self.frames.bytes_kept
                data = await self.wire.receive(wanted)
                if not data:
                    return b""
                most = FLOOD_BYTES if len(data) == wanted else READ_BYTES
            elif control.opcode is Opcode.CLOSE:
                self.wire.outbox.finish(echoed_close(control.payload))
                return b""
            elif control.opcode is Opcode.PING:
                with self.turn:
                    self.wire.outbox.write(pong_frame(control.payload))
                if self.turn.is_long:
                    await self.turn.let_others()
