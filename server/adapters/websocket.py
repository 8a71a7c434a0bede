"""One WebSocket client: messages in, replies and notifications out.

    socket -> MessageStream.receive_some -> trio-websocket -> _receive -> App -> outbox -> socket
                                            (pong, close)  -> MessageStream.send_all -^

trio-websocket reads frames and answers pings and closes. What we write ourselves goes past it, framed already,
into the same outbox. It refuses to close with code 1000, and to let trio-websocket close by itself (which would):
when it is us who end the connection, the last frame is written here, the session ends, and what still comes in is
not looked at.

A message through trio-websocket costs two switches of tasks and about 25 µs. A reader that takes plain text frames
off the stream before trio-websocket sees them belongs into `MessageStream.receive_some`, and hands them to the same
`WebSocketClient._receive`.
"""

from collections.abc import Awaitable
from typing import Final

import attrs
import trio
from structlog.typing import FilteringBoundLogger
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from server.adapters.turn import Turn
from server.adapters.wire import Wire
from server.app import App
from server.core.frames import CloseCode, close_frame, ends_with_close, is_close, is_pong, text_frame
from server.core.heads import plain_handshake
from server.core.limits import Limits
from server.core.responses import Response
from server.core.session import Session

READ_BYTES: Final = 16_384
"""One read. Of the smallest fragments it holds 2,700: 15 ms of work for wsproto, in which nobody else runs."""

OVERFLOW_REASON: Final = "too slow: more is waiting for this client than the server keeps"
RESTART_REASON: Final = "service restart"


@attrs.frozen
class Upgrade:
    """A sound WebSocket handshake, and what the client sent behind it."""

    key: bytes
    trailing: bytes
    protocol: bytes = b""
    """The subprotocol that is agreed to; empty: none."""


class WebSocketClient:
    """One client, from its handshake to its end."""

    def __init__(self, wire: Wire, app: App, turn: Turn, limits: Limits, log: FilteringBoundLogger) -> None:
        self._wire = wire
        self._outbox = wire.outbox
        self._app = app
        self._turn = turn
        self._limits = limits
        self._log = log
        self._in_flight = 0
        self._room = trio.Event()
        """Set when a request was answered, while the reader waits for that."""
        self._is_stopping = False
        self._work: trio.Nursery | None = None
        """Reads, and the requests under way: ends before the connection does."""
        self._session: Session | None = None
        self._is_upgraded = False

    async def run(self, upgrade: Upgrade) -> None:
        """Serve the client until it or we end the connection, then take leave. Cancelled: it just ends.

        Requests under way when the client is gone are cancelled.
        """
        if self._is_stopping:
            await self._wire.depart()
            return
        stream = MessageStream(self._wire, self._turn, self._limits, upgrade)
        self._outbox.overflow_frame = close_frame(CloseCode.INTERNAL_ERROR, OVERFLOW_REASON)
        try:
            async with trio.open_nursery() as work:
                self._work = work
                self._outbox.on_overflow = work.cancel_scope.cancel
                request = await wrap_server_stream(
                    work,
                    stream,
                    # None are queued: one that waits would delay the flush of those before it.
                    message_queue_size=0,
                    max_message_size=self._limits.request_bytes,
                    receive_buffer_size=READ_BYTES,
                )
                connection = await request.accept(subprotocol=upgrade.protocol.decode() or None)
                self._is_upgraded = True
                self._session = self._app.open_session(
                    "websocket", self._wire.remote, self._outbox.write, self.close
                )
                stream.open()
                await self._read(connection, stream, self._session)
                work.cancel_scope.cancel()
        except* LocalProtocolError:
            # trio-websocket has sent a close frame (1009), and tried to answer what came behind the message.
            pass
        except* Exception as failure:
            # A fault of this node: the client shall hear of it, and everyone else keep theirs.
            self._log.error("client failed", client=self._wire.remote, exc_info=failure)
            self._outbox.finish(close_frame(CloseCode.INTERNAL_ERROR, "internal error"))
        finally:
            self._work = None
            if self._session is not None:
                self._app.close_session(self._session)
            self._turn.flush()
        await self._wire.depart(is_farewell=ends_with_close)

    def close(self, code: int, reason: str) -> None:
        """End the connection with this code and reason, after what waits already. The caller is not kept waiting."""
        frame = close_frame(code, reason)
        # A client that was not told yet that this is a WebSocket now could not read the frame.
        self._outbox.finish(frame if self._is_upgraded else b"")
        if self._work is not None:
            self._work.cancel_scope.cancel()

    def stop(self) -> None:
        """Take no more requests; end the connection when those under way are answered."""
        self._is_stopping = True
        if not self._in_flight:
            self.close(CloseCode.SERVICE_RESTART, RESTART_REASON)

    def sweep(self, most: int) -> None:
        """Count one more sweep without traffic; end the connection when there were more than `most` in a row."""
        self._outbox.quiet_sweeps += 1
        if self._outbox.quiet_sweeps > most:
            self.close(CloseCode.GOING_AWAY, f"no traffic for {self._limits.idle_s:g} s")

    # -- Messages ---------------------------------------------------------------------------------------------------

    async def _read(self, connection: WebSocketConnection, stream: "MessageStream", session: Session) -> None:
        while True:
            try:
                message = await connection.get_message()
            except ConnectionClosed as closed:
                # Said by trio-websocket when it finds a frame that must not be; it does not say it to the client.
                if closed.reason is not None and closed.reason.code in _FAULTS:
                    self._outbox.finish(close_frame(closed.reason.code, closed.reason.reason or ""))
                return
            stream.unclaimed_bytes = 0
            if self._in_flight >= self._limits.requests_in_flight:
                await self._wait_for_room()
            with self._turn:
                self._receive(message, session)
            if stream.is_waiting:
                # That was the last message of one read: else `stream` flushes, when it is asked for more.
                self._turn.flush()

    def _receive(self, message: str | bytes, session: Session) -> None:
        if not message or self._is_stopping or self._work is None or not self._outbox.is_open:
            return
        answer = self._app.receive_message(session, message)
        if isinstance(answer, Response):
            self._reply(answer)
        elif answer is not None:
            self._in_flight += 1
            self._work.start_soon(self._reply_later, answer)

    async def _reply_later(self, answer: Awaitable[Response]) -> None:
        try:
            self._reply(await answer)
        finally:
            self._in_flight -= 1
            self._room.set()
            if self._is_stopping and not self._in_flight:
                self.close(CloseCode.SERVICE_RESTART, RESTART_REASON)

    def _reply(self, response: Response) -> None:
        self._outbox.write(text_frame(response.envelope(room=True)))
        if response.on_sent is not None:
            response.on_sent()

    async def _wait_for_room(self) -> None:
        self._turn.flush()
        while self._in_flight >= self._limits.requests_in_flight:
            self._room = trio.Event()
            await self._room.wait()


_FAULTS: Final = frozenset((CloseCode.PROTOCOL_ERROR, CloseCode.BAD_TEXT))


class MessageStream(trio.abc.Stream):
    """The stream that trio-websocket sits on: the handshake once more, then the socket; writes go to the outbox."""

    def __init__(self, wire: Wire, turn: Turn, limits: Limits, upgrade: Upgrade) -> None:
        self._wire = wire
        self._turn = turn
        self._handshake = plain_handshake(upgrade.key, upgrade.protocol)
        self._trailing = upgrade.trailing
        self._opened = trio.Event()
        # Room for the frames' own bytes, also of a message in many fragments.
        self._most_unclaimed = limits.request_bytes + limits.request_bytes // 8 + 2 * READ_BYTES
        self.unclaimed_bytes = 0
        """Read since the last message, less what pings account for. trio-websocket bounds a message by its characters
        and not by its fragments: one without an end, of empty fragments, would grow for ever."""
        self.is_waiting = False
        """Whether all that was read has been looked at, and trio-websocket waits for more."""

    def open(self) -> None:
        """Let pass what the client sent behind its handshake. Before that, wsproto would lose it."""
        self._opened.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what came in, empty at the end. Being asked for more ends the reader's turn."""
        if self._handshake:
            handshake, self._handshake = self._handshake, b""
            return handshake
        if not self._opened.is_set():
            await self._opened.wait()
        self._turn.flush()
        most = max_bytes or READ_BYTES
        if self._trailing:
            await trio.lowlevel.checkpoint()
            data, self._trailing = self._trailing[:most], self._trailing[most:]
        else:
            self.is_waiting = True
            data = await self._wire.receive(most)
            self.is_waiting = False
        self.unclaimed_bytes += len(data)
        if self.unclaimed_bytes > self._most_unclaimed:
            self._wire.outbox.finish(
                close_frame(CloseCode.TOO_BIG, "a message of too many bytes or fragments")
            )
            return b""
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue what trio-websocket writes: the handshake's answer, pongs, and one close frame."""
        frame = bytes(data)
        if is_close(frame):
            self._wire.outbox.finish(frame)
            return
        if is_pong(frame):
            self.unclaimed_bytes -= len(frame) + 4  # the ping had a mask, too
        self._wire.outbox.write(frame)

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: the outbox takes or refuses, but does not wait."""

    async def aclose(self) -> None:
        """Do nothing: whoever runs the connection takes leave of the client."""
