"""One HTTP/1.1 client: requests in, answers out, in order.

    socket -> h11 -> head checked -> body gathered and decoded -> App.http -> answer -> outbox

h11 frames; the checks that it leaves to us are in server/core/heads.py. Pipelined requests are worked on one after the
other, and their answers leave in one write. A request that cannot be used is answered with a bare error object and the
connection ends, since nobody knows where the next request would begin. A sound WebSocket handshake is answered
and ends the work here; what came behind it is left unread. It refuses to wait for ever: for a head, a body, the next
request, or a client that does not read.
"""

import time
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import h11
import trio
from structlog.typing import FilteringBoundLogger

from server.adapters.admission import Admission
from server.adapters.turn import Turn
from server.adapters.wire import Wire
from server.app import App
from server.core.callers import Caller
from server.core.deflate import agreed
from server.core.encodings import BodyDecoder, Encoding, choose_encoding, encode
from server.core.errors import ApiError
from server.core.heads import (
    WEBSOCKET_VERSION,
    asks_for_websocket,
    check_head,
    declared_length,
    headers_by_name,
    split_target,
    switching_protocols,
    websocket_key,
    websocket_protocol,
)
from server.core.limits import Limits
from server.core.responses import Response
from server.core.routes import HttpCall
from server.core.session import Session

READ_BYTES: Final = 16_384
"""One read. Of the smallest chunks of a body it holds 2,700: 10 ms of work for h11, in which nobody else runs."""

GATHERED_BYTES: Final = 65_536
"""Answers to pipelined requests that are gathered before they are sent."""

GATHERED_ANSWERS: Final = 32
"""Pipelined requests worked on before their answers are sent: h11 keeps what it read of the others meanwhile. Others
have their turn earlier, when these take long."""

INLINE_ENCODING_BYTES: Final = 65_536
"""Larger answers are compressed in a thread. Below, the work (0.2 ms) is hardly more than that of changing threads."""

_CORS: Final = (
    ("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,OPTIONS,HEAD"),
    (
        "Access-Control-Allow-Headers",
        "Content-Type, Access-Control-Allow-Headers, Authorization, X-Requested-With, Content-Encoding, "
        "Content-Length, X-Kuzzle-Volatile",
    ),
    ("Access-Control-Allow-Credentials", "true"),
)

_OURS: Final = frozenset(
    ("connection", "content-encoding", "content-length", "date", "keep-alive", "transfer-encoding", "upgrade")
)
"""Headers that say how the answer is sent: an action that sets one of them does not know that."""

Headers = Iterable[tuple[str, str]]


class HttpClient:
    """One client, until it leaves, misbehaves, or asks for a WebSocket."""

    def __init__(
        self,
        wire: Wire,
        app: App,
        turn: Turn,
        limits: Limits,
        log: FilteringBoundLogger,
        *,
        admission: Admission,
        caller: Caller,
        may_deflate: bool = False,
    ) -> None:
        """Take a wire, who decides, and who is at its other end, which may be a proxy; `may_deflate` says whether to
        agree to compression when a WebSocket client offers it."""
        self._wire = wire
        self._admission = admission
        self._caller = caller
        self._outbox = wire.outbox
        self._app = app
        self._turn = turn
        self._limits = limits
        self._log = log
        self._may_deflate = may_deflate
        self._h11 = h11.Connection(h11.SERVER, limits.header_bytes)
        self._session: Session | None = None
        """The client's. Through a proxy the next request may be another's: then it ends, and that one has its own."""
        self._is_first = True
        self._is_head = False
        """Whether the present request is a HEAD, whose answer has no body."""
        self._cors: Headers = _CORS
        """What the answer to the present request allows the page that asks; empty when it may not ask."""
        self._gathered = 0
        """Answers since the last write."""
        self._most_gathered_bytes = min(GATHERED_BYTES, limits.outbox_bytes)
        self._is_stopping = False
        self._waiting: trio.CancelScope | None = None
        """While the next request is waited for: nothing is lost when that ends."""

    async def run(self) -> bool:
        """Serve the client until it leaves, or up to a WebSocket handshake; tell whether it speaks WebSocket now."""
        try:
            return await self._serve()
        finally:
            if self._session is not None:
                self._app.close_session(self._session)
            self._turn.flush()

    async def refuse(self, error: ApiError) -> None:
        """Answer whatever the client may want with this error, and part."""
        self._refuse(error)
        await self._wire.depart()

    def stop(self) -> None:
        """Take no more requests; one under way is still answered."""
        self._is_stopping = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _serve(self) -> bool:
        try:
            while True:
                request = await self._next_request()
                if request is None:
                    # Nothing is under way in either direction: there is no leave to take.
                    await self._send()
                    return False
                if asks_for_websocket(request.headers):
                    return await self._upgrade(request)
                headers = headers_by_name(request.headers)
                await self._answer(headers, await self._execute(request, headers))
                if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                    break
                self._h11.start_next_cycle()
                self._is_head = False
                self._cors = _CORS
                if (
                    self._gathered >= GATHERED_ANSWERS
                    or self._turn.is_long
                    or self._outbox.bytes_waiting >= self._most_gathered_bytes
                ):
                    await self._send()
                    await trio.lowlevel.checkpoint()
        except ApiError as error:
            self._refuse(error)
        except Exception:
            # A fault of this node: the client shall hear of it, and everyone else keep theirs.
            self._log.exception("request failed", client=self._wire.remote)
            self._refuse(ApiError("core.fatal.unexpected_error", self._wire.remote))
        await self._wire.depart()
        return False

    async def _upgrade(self, request: h11.Request) -> bool:
        try:
            key = websocket_key(request)
            extension = agreed(request.headers) if self._may_deflate else b""
        except ApiError as error:
            self._refuse(error, (("Sec-WebSocket-Version", WEBSOCKET_VERSION.decode()),))
            await self._wire.depart()
            return False
        try:
            self._let_in(headers_by_name(request.headers))
        except ApiError as error:
            self._refuse(error)
            await self._wire.depart()
            return False
        self._next_event()  # the end of the request, which has no body
        await self._send()
        if self._is_stopping:
            await self._wire.depart()
            return False
        self._wire.unread, _ = self._h11.trailing_data
        self._wire.is_deflated = bool(extension)
        self._outbox.write(switching_protocols(key, websocket_protocol(request.headers), extension))
        return True

    def _let_in(self, headers: Mapping[str, str]) -> None:
        """Hear who asks for a WebSocket. Raises ApiError when it gets none."""
        caller = self._admission.as_told(self._caller, headers)
        self._check_origin(caller, headers)
        if (reason := self._app.gate.why_closed) is not None:
            raise ApiError("cluster.node.not_ready", reason)
        account = self._wire.account
        if account is None:  # it came through a proxy, which is not counted itself
            account = self._admission.enter(caller)
        self._wire.belongs_to(caller, account)
        self._wire.is_from_page = "origin" in headers

    def _check_origin(self, caller: Caller, headers: Mapping[str, str]) -> None:
        try:
            self._admission.check_origin(caller, headers)
        except ApiError:
            self._cors = ()
            raise

    async def _execute(self, request: h11.Request, headers: Mapping[str, str]) -> Response:
        body = await self._body(request, headers)
        path, query = split_target(request.target)
        caller = self._admission.as_told(self._caller, headers)
        call = HttpCall(request.method.decode(), path, query, headers, body, caller.remote)
        try:
            self._check_origin(caller, headers)
            self._admission.check_rate(caller, self._wire.account)
        except ApiError as error:
            return self._app.refuse_call(call, error)
        session = self._session_of(caller, is_from_page="origin" in headers)
        with self._turn:
            answer = self._app.http(call, session)
        if isinstance(answer, Response):
            return answer
        self._turn.flush()
        return await answer

    def _session_of(self, caller: Caller, *, is_from_page: bool) -> Session:
        session = self._session
        if session is not None and session.remote == caller.remote:
            session.is_forwarded, session.is_from_page = caller.is_forwarded, is_from_page
            return session
        if session is not None:
            self._app.close_session(session)
        self._session = self._app.open_session(
            "http", caller.remote, is_forwarded=caller.is_forwarded, is_from_page=is_from_page
        )
        return self._session

    # -- Reading ----------------------------------------------------------------------------------------------------

    async def _next_request(self) -> h11.Request | None:
        """Return the next request's head; None when there is none, or the client has been idle for long enough."""
        event = self._next_event()
        if event is h11.NEED_DATA:
            await self._send()
            event = await self._awaited_head()
        if isinstance(event, h11.Request):
            self._is_first = False
            self._is_head = event.method == b"HEAD"
            check_head(event, self._limits.header_bytes)
            return event
        return None  # h11.ConnectionClosed, or nothing came

    async def _awaited_head(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        # Between two requests a client may be idle; with the first byte of a request, or of a connection, the limit
        # for heads begins.
        is_idle = not self._is_first and not self._h11.trailing_data[0]
        patience = self._limits.keep_alive_s if is_idle else self._limits.header_s
        event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED] = h11.NEED_DATA
        with trio.move_on_after(patience) as self._waiting:
            while event is h11.NEED_DATA and not self._is_stopping:
                await self._receive()
                if is_idle:
                    is_idle = False
                    self._waiting.deadline = trio.current_time() + self._limits.header_s
                event = self._next_event()
        self._waiting = None
        if event is h11.NEED_DATA and not is_idle and not self._is_stopping:
            raise ApiError("network.http.request_timeout")
        return event

    async def _body(self, request: h11.Request, headers: Mapping[str, str]) -> bytes:
        decoder = BodyDecoder(headers.get("content-encoding", ""), self._limits.request_bytes)
        if declared_length(request.headers) > self._limits.request_bytes:
            raise ApiError("network.http.request_too_large")
        with trio.move_on_after(self._limits.body_s):
            while True:
                match self._next_event():
                    case h11.Data(data=data):
                        decoder.feed(data)
                    case h11.EndOfMessage():
                        return decoder.finish()
                    case _:
                        await self._receive_body()
        raise ApiError("network.http.request_timeout")

    async def _receive_body(self) -> None:
        if self._h11.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self._outbox.write(self._h11.send(go_on))
        await self._send()
        await self._receive()

    async def _receive(self) -> None:
        self._h11.receive_data(await self._wire.receive(READ_BYTES))

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                raise ApiError("network.http.headers_too_large") from None
            raise ApiError("network.http.unexpected_error", str(error)) from None

    # -- Answering --------------------------------------------------------------------------------------------------

    async def _answer(self, headers: Mapping[str, str], response: Response) -> None:
        body = response.envelope(room=False)
        encoding = Encoding.IDENTITY
        extra = []
        if len(body) >= self._limits.compress_from_bytes:
            encoding = choose_encoding(headers.get("accept-encoding", ""))
            extra.append(("Vary", "Accept-Encoding"))
            body = await self._encoded(body, encoding)
        extra += self._admission.allow_origin(headers) if self._cors else (("Vary", "Origin"),)
        if self._is_stopping or self._app.gate.why_closed is not None:
            extra.append(("Connection", "close"))
        with self._turn:
            self._write(response, body, encoding, extra)
            if response.on_sent is not None:
                response.on_sent()

    async def _encoded(self, body: bytes, encoding: Encoding) -> bytes:
        if encoding is Encoding.IDENTITY or len(body) <= INLINE_ENCODING_BYTES:
            return encode(body, encoding)
        self._turn.flush()
        return await trio.to_thread.run_sync(encode, body, encoding, abandon_on_cancel=True)

    def _refuse(self, error: ApiError, extra: Headers = ()) -> None:
        """Answer what is no request, or none that may be acted upon; the connection ends with it."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        response = Response(status=error.status, error=error, is_bare=True)
        self._write(
            response, response.envelope(room=False), Encoding.IDENTITY, (*extra, ("Connection", "close"))
        )

    def _write(self, response: Response, body: bytes, encoding: Encoding, extra: Headers) -> None:
        of_the_answer = {name.lower(): (name, value) for name, value in response.http_headers()}
        lines = [
            *(line for name, line in of_the_answer.items() if name not in _OURS),
            *(
                line
                for line in (*self._cors, *extra)
                if line[0] == "Vary" or line[0].lower() not in of_the_answer
            ),
            ("Content-Encoding", encoding.value),
            ("Content-Length", str(len(body))),
            ("Date", _http_date(int(time.time()))),
        ]
        head = h11.Response(status_code=response.status, headers=lines, reason=_reason(response.status))
        self._outbox.write(
            self._h11.send(head)
            + (b"" if self._is_head else self._h11.send(h11.Data(data=body)))
            + self._h11.send(h11.EndOfMessage())
        )
        self._gathered += 1

    async def _send(self) -> None:
        """Send what was gathered, and wait until the client has taken it."""
        self._gathered = 0
        if not self._turn.flush():
            await self._turn.caught_up()
        await self._outbox.drained()


@lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


@lru_cache
def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:  # a status of a plugin's own
        return b""
