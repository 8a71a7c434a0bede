"""trio-websocket, put on top of the lane for a client that sends what is not common: fragments, binary, faults, …

    socket --one read--> FrameSplitter -- texts ----------------------------> receive
                                       `- all else --> trio-websocket -- messages -^

It sits on a stream that plays the handshake to it once more, and then gives it what is no plain text message. Being
asked for more bytes is what drives the stream: there is still one reader per client, and whatever ends that one ends
this. What trio-websocket writes goes to the outbox.

The order of a client's messages holds also between the two ways: before the texts behind a message that was passed on,
the stream waits until that was received. It refuses to let trio-websocket end a connection by itself with code 1000.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from server.adapters.lane import READ_BYTES, Lane
from server.adapters.outbox import Outbox
from server.core.frames import CloseCode, close_frame, is_close, is_pong
from server.core.limits import Limits

Receive = Callable[[Sequence[str | bytes]], Awaitable[None]]
"""Takes messages, in order; returns when the next may come."""

_HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
"""The client's own was answered long ago, and trio-websocket needs none of what was in it."""

_FAULTS: Final = frozenset((CloseCode.PROTOCOL_ERROR, CloseCode.BAD_TEXT))

_BAD_TEXT: Final = "text that is not UTF-8"
"""Said for the library, which repeats Python's decoder: a codec, and a position in some part of the message."""


async def take_over(lane: Lane, passed: bytes, limits: Limits, receive: Receive) -> None:
    """Take what a client sends, `passed` and all that follows it in the lane, to its end."""
    stream = _Stream(lane, passed, limits, receive)
    try:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(
                nursery,
                stream,
                # None are queued: one that waits would delay the flush of those before it.
                message_queue_size=0,
                max_message_size=limits.request_bytes,
                receive_buffer_size=READ_BYTES,
            )
            await _take(await request.accept(), lane.wire.outbox, stream, receive)
            nursery.cancel_scope.cancel()
    except* LocalProtocolError:
        # trio-websocket has sent a close frame (1009), and tried to answer what came behind the message.
        pass


async def _take(connection: WebSocketConnection, outbox: Outbox, stream: "_Stream", receive: Receive) -> None:
    stream.open()
    while True:
        try:
            message = await connection.get_message()
        except ConnectionClosed as closed:
            # Said by trio-websocket when it finds a frame that must not be; it does not say it to the client.
            if closed.reason is not None and closed.reason.code in _FAULTS:
                is_text = closed.reason.code == CloseCode.BAD_TEXT
                reason = _BAD_TEXT if is_text else closed.reason.reason or ""
                outbox.finish(close_frame(closed.reason.code, reason))
            return
        await receive((message,))
        await stream.passed_on_is_received()


class _Stream(trio.abc.Stream):
    """What trio-websocket sits on."""

    def __init__(self, lane: Lane, passed: bytes, limits: Limits, receive: Receive) -> None:
        self._wire = lane.wire
        self._turn = lane.turn
        self._frames = lane.frames
        self._passed = passed
        self._receive = receive
        self._handshake = _HANDSHAKE
        self._is_accepted = False
        self._opened = trio.Event()
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

    def open(self) -> None:
        """Let pass what comes behind the handshake; before that, wsproto would lose it."""
        self._opened.set()

    async def passed_on_is_received(self) -> None:
        """Hear that a message that was passed on has come out of trio-websocket and was received."""
        self._messages_received += 1
        self._unclaimed_bytes = 0
        self._was_received.set()
        # If this was the last message of one read; else the stream flushes, when it is asked for more.
        if self._is_dry and not self._turn.flush():
            await self._turn.caught_up()

    # -- Reading --------------------------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:  # noqa: ARG002 (one read is below it)
        """Return the next bytes that are trio-websocket's, empty at the end. Plain text before them is received."""
        if self._handshake:
            handshake, self._handshake = self._handshake, b""
            return handshake
        if not self._opened.is_set():
            await self._opened.wait()
        if self._passed:  # one read of a flood is too much for wsproto to be given in one go
            await trio.lowlevel.checkpoint()
            passed, self._passed = self._passed[:READ_BYTES], self._passed[READ_BYTES:]
            return self._claimed(passed)
        data = b""
        while True:
            before = self._frames.messages_passed
            texts, _, passed = self._frames.split(data)
            if texts:
                if self._messages_received < before:
                    await self._received(before)
                self._unclaimed_bytes = 0
                await self._receive(texts)
            if passed:
                return self._claimed(passed)
            if not self._turn.flush():
                await self._turn.caught_up()
            self._is_dry = True
            data = await self._wire.receive(READ_BYTES - self._frames.bytes_kept)
            self._is_dry = False
            if not data:
                return b""

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
        """Queue what trio-websocket writes: pongs, and one close frame. Its answer to the handshake comes first."""
        frame = bytes(data)
        if not self._is_accepted:
            self._is_accepted = True
        elif is_close(frame):
            self._wire.outbox.finish(frame)
        else:
            if is_pong(frame):
                self._unclaimed_bytes -= len(frame) + 4  # the ping had a mask, too
            self._wire.outbox.write(frame)

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: the outbox takes or refuses, but does not wait."""

    async def aclose(self) -> None:
        """Do nothing: whoever runs the connection takes leave of the client."""
