"""The fast lane: plain text messages go straight to the client's code, past trio-websocket, which gets all the rest.

    socket --one read--> FrameSplitter -- texts --------> receive       (no task, lock or channel per message)
                                       `- other bytes --> trio-websocket, unchanged

A message through trio-websocket costs two switches of tasks and about 25 µs; most clients never send one that needs it.
The lane is the stream that trio-websocket sits on: being asked for more bytes is what drives it. So there is still one
reader per client, and whatever ends that one ends this. What trio-websocket writes goes to the outbox.

The order of a client's messages holds also between the two ways: before the texts behind a message that was passed on,
the lane waits until that was received. It refuses to buffer: a message larger than one read is trio-websocket's.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from server.adapters.turn import Turn
from server.adapters.wire import Wire
from server.core.frames import CloseCode, close_frame, is_close, is_pong
from server.core.heads import plain_handshake
from server.core.limits import Limits
from server.core.splitting import FrameSplitter

READ_BYTES: Final = 16_384
"""One read. Of the smallest fragments it holds 2,700: 15 ms of work for wsproto, in which nobody else runs."""


@attrs.frozen
class Upgrade:
    """A sound WebSocket handshake, and what the client sent behind it."""

    key: bytes
    trailing: bytes
    protocol: bytes = b""
    """The subprotocol that is agreed to; empty: none."""


class Lane(trio.abc.Stream):
    """The stream that trio-websocket sits on: the handshake once more, then what is no plain text message."""

    def __init__(self, wire: Wire, turn: Turn, limits: Limits, upgrade: Upgrade) -> None:
        self._wire = wire
        self._turn = turn
        self._handshake = plain_handshake(upgrade.key, upgrade.protocol)
        self._trailing = upgrade.trailing
        self._receive: Callable[[list[str]], Awaitable[None]] = _nobody
        self._opened = trio.Event()
        self._frames = FrameSplitter(message_bytes=limits.request_bytes, kept_bytes=READ_BYTES)
        self._messages_received = 0
        """Of those that were passed on."""
        self._was_received = trio.Event()
        # Room for the frames' own bytes, also of a message in many fragments.
        self._most_unclaimed = limits.request_bytes + limits.request_bytes // 8 + 2 * READ_BYTES
        self._unclaimed_bytes = 0
        """Passed on since the last message, less what pings account for. trio-websocket bounds a message by its
        characters and not by its fragments: one without an end, of empty fragments, would grow for ever."""
        self._is_dry = False
        """Whether trio-websocket has looked at all that was passed on, and more is waited for."""

    def open(self, receive: Callable[[list[str]], Awaitable[None]]) -> None:
        """Let pass what the client sent behind its handshake; before that, wsproto would lose it.

        `receive` takes the plain text messages, in order, and returns when the next may come.
        """
        self._receive = receive
        self._opened.set()

    def passed_on_is_received(self) -> None:
        """Hear that a message that was passed on has come out of trio-websocket and was received."""
        self._messages_received += 1
        self._unclaimed_bytes = 0
        self._was_received.set()
        if self._is_dry:
            # That was the last message of one read: else the lane flushes, when it is asked for more.
            self._turn.flush()

    # -- Reading --------------------------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002 (one read is below it)
        """Return the next bytes that are trio-websocket's, empty at the end. Plain text before them is received."""
        if self._handshake:
            handshake, self._handshake = self._handshake, b""
            return handshake
        if not self._opened.is_set():
            await self._opened.wait()
        data = b""
        while True:
            before = self._frames.messages_passed
            texts, passed = self._frames.split(data)
            if texts:
                if self._messages_received < before:
                    await self._received(before)
                self._unclaimed_bytes = 0
                await self._receive(texts)
            if passed:
                return self._claimed(passed)
            self._turn.flush()
            data = await self._read(READ_BYTES - self._frames.bytes_kept)
            if not data:
                return b""

    async def _read(self, most: int) -> bytes:
        if self._trailing:
            await trio.lowlevel.checkpoint()
            data, self._trailing = self._trailing[:most], self._trailing[most:]
            return data
        self._is_dry = True
        data = await self._wire.receive(most)
        self._is_dry = False
        return data

    async def _received(self, count: int) -> None:
        """Wait until so many of the messages that were passed on are received, or this is cancelled with the reader."""
        self._turn.flush()
        while self._messages_received < count:
            self._was_received = trio.Event()
            await self._was_received.wait()

    def _claimed(self, passed: bytes) -> bytes:
        """Count what is passed on; return the end of the stream instead of it when it is too much."""
        self._unclaimed_bytes += len(passed)
        if self._unclaimed_bytes <= self._most_unclaimed:
            return passed
        self._wire.outbox.finish(close_frame(CloseCode.TOO_BIG, "a message of too many bytes or fragments"))
        return b""

    # -- Writing --------------------------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue what trio-websocket writes: the handshake's answer, pongs, and one close frame."""
        frame = bytes(data)
        if is_close(frame):
            self._wire.outbox.finish(frame)
            return
        if is_pong(frame):
            self._unclaimed_bytes -= len(frame) + 4  # the ping had a mask, too
        self._wire.outbox.write(frame)

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: the outbox takes or refuses, but does not wait."""

    async def aclose(self) -> None:
        """Do nothing: whoever runs the connection takes leave of the client."""


async def _nobody(_texts: list[str]) -> None:
    """Stand in until the lane is open, when nothing is read."""
