"""One WebSocket client: messages in, replies and notifications out.

    socket -> Lane ------(plain text)------> receive -> App -> outbox -> socket
                 `-> trio-websocket -(other)-^  `-(pong, close)---^

trio-websocket did the handshake, reads what is no plain text, and answers pings and closes. What we write ourselves
goes past it, framed already, into the same outbox. It refuses to close with code 1000, and to let trio-websocket close
by itself (which would): when it is us who end the connection, the last frame is written here, the session ends, and
what still comes in is not looked at.
"""

from collections.abc import Awaitable, Iterable, Iterator
from typing import Final

import trio
from structlog.typing import FilteringBoundLogger
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from server.adapters.lane import READ_BYTES, Lane, Upgrade
from server.adapters.turn import Turn
from server.adapters.wire import Wire
from server.app import App
from server.core.frames import CloseCode, close_frame, ends_with_close, text_frame
from server.core.limits import Limits
from server.core.responses import Response
from server.core.session import Session

OVERFLOW_REASON: Final = "too slow: more is waiting for this client than the server keeps"
RESTART_REASON: Final = "service restart"


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
        lane = Lane(self._wire, self._turn, self._limits, upgrade)
        self._outbox.overflow_frame = close_frame(CloseCode.INTERNAL_ERROR, OVERFLOW_REASON)
        try:
            async with trio.open_nursery() as work:
                self._work = work
                self._outbox.on_overflow = work.cancel_scope.cancel
                request = await wrap_server_stream(
                    work,
                    lane,
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
                lane.open(self.receive)
                await self._read(connection, lane)
                work.cancel_scope.cancel()
        except* LocalProtocolError:
            # trio-websocket has sent a close frame (1009), and tried to answer what came behind the message.
            pass
        except* Exception as failure:
            self._fail(failure)
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

    def _fail(self, failure: BaseException) -> None:
        """Heed a fault of this node: the client shall hear of it, and everyone else keep theirs."""
        self._log.error("client failed", client=self._wire.remote, exc_info=failure)
        self.close(CloseCode.INTERNAL_ERROR, "internal error")

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

    async def _read(self, connection: WebSocketConnection, lane: Lane) -> None:
        """Take the messages that trio-websocket reads."""
        while True:
            try:
                message = await connection.get_message()
            except ConnectionClosed as closed:
                # Said by trio-websocket when it finds a frame that must not be; it does not say it to the client.
                if closed.reason is not None and closed.reason.code in _FAULTS:
                    self._outbox.finish(close_frame(closed.reason.code, closed.reason.reason or ""))
                return
            await self.receive((message,))
            lane.passed_on_is_received()

    async def receive(self, messages: Iterable[str | bytes]) -> None:
        """Do what these messages ask for, in their order. Waits only while as many requests as may be are under way.

        Whoever calls this flushes. A fault of this node ends the connection, and is not raised: trio-websocket's task,
        which is one of the callers, would lose it.
        """
        waiting = iter(messages)
        try:
            while self._receive(waiting):
                self._turn.flush()
                while self._in_flight >= self._limits.requests_in_flight:
                    self._room = trio.Event()
                    await self._room.wait()
        except Exception as failure:
            self._fail(failure)

    def _receive(self, messages: Iterator[str | bytes]) -> bool:
        """Take messages until there are no more (False), or no room for another request (True)."""
        session, most = self._session, self._limits.requests_in_flight
        with self._turn:
            for message in messages:
                if not message or session is None or self._is_stopping or self._work is None:
                    continue
                if not self._outbox.is_open:
                    continue
                answer = self._app.receive_message(session, message)
                if isinstance(answer, Response):
                    self._reply(answer)
                elif answer is not None:
                    self._in_flight += 1
                    self._work.start_soon(self._reply_later, answer)
                    if self._in_flight >= most:
                        return True
        return False

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


_FAULTS: Final = frozenset((CloseCode.PROTOCOL_ERROR, CloseCode.BAD_TEXT))
