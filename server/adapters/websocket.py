"""One WebSocket client: messages in, replies and notifications out.

    socket -> Lane ---(common frames)---> receive -> App -> outbox -> socket
                `---> trio-websocket (from the first other frame on) -^

What we write goes, framed already, into the outbox. It refuses to close with code 1000 unless the client did: when it
is us who end the connection, the last frame is written here, the session ends, and what still comes in is not looked
at. A client that only listens costs one task, one cancel scope and no nursery: what else may be needed is made when it
is.
"""

from collections.abc import Awaitable, Iterator, Sequence
from typing import Final

import trio
from structlog.typing import FilteringBoundLogger

from server.adapters.admission import Admission
from server.adapters.inflating import InflatingWire
from server.adapters.lane import Lane
from server.adapters.library import take_over
from server.adapters.turn import Turn
from server.adapters.wire import Wire
from server.app import App
from server.core.deflate import SharedDeflate
from server.core.errors import ApiError
from server.core.frames import CloseCode, close_frame, ends_with_close, text_frame
from server.core.limits import Limits
from server.core.responses import Response
from server.core.session import Session, Write
from server.execution import Answer

_OVERFLOW_FRAME: Final = close_frame(
    CloseCode.INTERNAL_ERROR, "too slow: more is waiting for this client than the server keeps"
)
RESTART_REASON: Final = "service restart"


class WebSocketClient:
    """One client, from the answer to its handshake to its end."""

    __slots__ = (
        "_admission",
        "_app",
        "_deflate",
        "_granted",
        "_has_room",
        "_is_over",
        "_is_stopping",
        "_limits",
        "_log",
        "_outbox",
        "_rationed",
        "_session",
        "_tasks",
        "_turn",
        "_under_way",
        "_wire",
        "_write",
    )

    def __init__(
        self,
        wire: Wire,
        app: App,
        turn: Turn,
        tasks: trio.Nursery,
        admission: Admission,
        *,
        limits: Limits,
        log: FilteringBoundLogger,
        deflate: SharedDeflate | None = None,
    ) -> None:
        """Take a wire, a nursery for the requests that are not answered at once, who says how many there may be, and
        what compresses, if that was agreed with the client."""
        self._wire = wire
        self._outbox = wire.outbox
        self._app = app
        self._turn = turn
        self._tasks = tasks
        self._admission = admission
        account = wire.account
        self._rationed = None if account is None or account.requests is None else account
        """What the address takes up, if its requests are limited."""
        self._granted = 0
        """Of the messages at hand, how many may still be worked on, if so."""
        self._limits = limits
        self._log = log
        self._deflate = deflate
        self._write: Write = wire.outbox.write if deflate is None else deflate.before(wire.outbox.write)
        """For text frames; all others go into the outbox as they are."""
        self._session: Session | None = None
        self._under_way: set[trio.CancelScope] | None = None
        """The requests that are being worked on; None when there is none."""
        self._has_room: trio.Event | None = None
        """Set when a request was answered, while the reader waits for that."""
        self._is_stopping = False
        self._is_over = False
        """Nothing that comes in is looked at any more."""

    async def run(self) -> None:
        """Serve the client, whose handshake is answered, until it or we end the connection; then take leave.

        Cancelled: it just ends. Requests under way when the client is gone are cancelled, and have ended before its
        session does.
        """
        with self._outbox.begin() as life:
            if self._is_over:
                life.cancel()
            try:
                self._open()
                wire: Wire | InflatingWire = self._wire
                if self._deflate is not None:
                    wire = InflatingWire(self._wire, self._limits.request_bytes)
                lane = Lane(wire, self._turn, self._limits, self.receive)
                passed = await lane.run()
                if passed:
                    await take_over(lane, passed, self._limits, self.receive)
                if isinstance(wire, InflatingWire):
                    wire.tell_fault()
            except* Exception as failure:
                self._fail(failure)
            finally:
                self._is_over = True
                if self._under_way:
                    await self._give_up_requests(self._under_way)
                if self._session is not None:
                    self._app.close_session(self._session)
                self._turn.flush()
        await self._wire.depart(is_farewell=ends_with_close)

    def _open(self) -> None:
        self._outbox.overflow_frame = _OVERFLOW_FRAME
        wire = self._wire
        self._session = self._app.open_session(
            "websocket",
            wire.remote,
            self._write,
            self.close,
            is_forwarded=wire.is_forwarded,
            is_from_page=wire.is_from_page,
        )

    def close(self, code: int, reason: str) -> None:
        """End the connection with this code and reason, after what waits already. The caller is not kept waiting.

        Without effect on a connection that is ending.
        """
        if self._is_over:
            return
        self._is_over = True
        self._outbox.finish(close_frame(code, reason))
        self._outbox.life.cancel()

    def _fail(self, failure: BaseException) -> None:
        """Heed a fault of this node: the client shall hear of it, and everyone else keep theirs."""
        self._log.error("client failed", client=self._wire.remote, exc_info=failure)
        self.close(CloseCode.INTERNAL_ERROR, "internal error")

    def stop(self) -> None:
        """Take no more requests; end the connection when those under way are answered."""
        self._is_stopping = True
        if not self._under_way:
            self._send_away()

    def _send_away(self) -> None:
        self._app.realtime.tell_all()  # it is to get what was published before
        self.close(CloseCode.SERVICE_RESTART, RESTART_REASON)

    def sweep(self, most: int) -> None:
        """Count one more sweep without traffic; end the connection when there were more than `most` in a row."""
        self._outbox.quiet_sweeps += 1
        if self._outbox.quiet_sweeps > most:
            self.close(CloseCode.GOING_AWAY, f"no traffic for {self._limits.idle_s:g} s")

    # -- Messages ---------------------------------------------------------------------------------------------------

    async def receive(self, messages: Sequence[str | bytes]) -> None:
        """Do what these messages ask for, in their order; refuse those that are more than the address may ask for now.

        Waits while as many requests as may be are under way, and while the client does not take its answers; lets
        others have their turn when it took long.

        Whoever calls this flushes. A fault of this node ends the connection, and is not raised: trio-websocket's task,
        which is one of the callers, would lose it.
        """
        waiting = iter(messages)
        if self._rationed is not None:
            self._granted = self._admission.granted(self._rationed, len(messages), self._wire.remote)
        try:
            while self._receive(waiting):
                await self._turn.let_others()
                if self._outbox.is_behind:
                    await self._outbox.drained()
                while self._under_way and len(self._under_way) >= self._limits.requests_in_flight:
                    self._has_room = trio.Event()
                    await self._has_room.wait()
        except Exception as failure:
            self._fail(failure)

    def _receive(self, messages: Iterator[str | bytes]) -> bool:
        """Take messages until there are no more (False), or `receive` has to wait."""
        session = self._session
        execute = self._app.receive_message if self._rationed is None else self._execute_if_granted
        with self._turn:
            for message in messages:
                if session is None or self._is_stopping or self._is_over:
                    continue
                if not self._outbox.is_open:
                    continue
                answer = execute(session, message)
                if isinstance(answer, Response):
                    self._reply(answer)
                elif answer is not None and self._work_on(answer):
                    return True
                if self._turn.is_long or self._outbox.is_behind:
                    return True
        return False

    def _execute_if_granted(self, session: Session, message: str | bytes) -> Answer | None:
        if self._granted > 0:
            self._granted -= 1
            return self._app.receive_message(session, message)
        return self._app.refuse_message(session, message, ApiError("network.websocket.ratelimit_exceeded"))

    def _work_on(self, answer: Awaitable[Response]) -> bool:
        """Begin to wait for an answer; tell whether as many are waited for as may be."""
        if self._under_way is None:
            self._under_way = set()
        request = trio.CancelScope()
        self._under_way.add(request)
        self._tasks.start_soon(self._reply_later, answer, request, self._under_way)
        return len(self._under_way) >= self._limits.requests_in_flight

    async def _reply_later(
        self, answer: Awaitable[Response], request: trio.CancelScope, under_way: set[trio.CancelScope]
    ) -> None:
        try:
            with request:
                self._reply(await answer)
        except Exception as failure:
            self._fail(failure)
        finally:
            under_way.remove(request)
            if not under_way:
                self._under_way = None
            if self._has_room is not None:
                self._has_room.set()
            if self._is_stopping and not under_way:
                self._send_away()

    async def _give_up_requests(self, under_way: set[trio.CancelScope]) -> None:
        for request in under_way:
            request.cancel()
        with trio.CancelScope(shield=True):  # one of them may still subscribe the client to something
            while under_way:
                self._has_room = trio.Event()
                await self._has_room.wait()

    def _reply(self, response: Response) -> None:
        self._write(text_frame(response.envelope(room=True)))
        if response.on_sent is not None:
            response.on_sent()
