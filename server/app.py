"""What every protocol calls: clients come and go, messages and HTTP calls are decoded, executed and answered.

    message, call ─ decode ─ server/execution.py ─ the response

It never raises for what a client sent: it answers. It refuses to know sockets, and what an action does.
"""

from collections.abc import Callable
from typing import Any

from server.core.actions import ActionTable
from server.core.errors import ApiError
from server.core.requests import MessageError, decode_message
from server.core.responses import Response
from server.core.routes import HEALTH_PATH, READY_PATH, VERBS, HttpCall, request_id_of
from server.core.session import Session, Write
from server.dispatch import Dispatch
from server.events import ConnectionClosed, ConnectionOpened
from server.execution import Answer, Execution, Phase
from server.gate import Gate
from server.realtime import Realtime


class App:
    """The API of a node. One per node."""

    def __init__(
        self,
        *,
        node_id: str,
        actions: ActionTable,
        dispatch: Dispatch,
        realtime: Realtime,
        new_id: Callable[[], str],
        now_ms: Callable[[], int],
        log: Any,
        is_open: bool = True,
    ) -> None:
        """Only remember. `is_open` is whether anonymous callers may use the whole API."""
        self.execution = Execution(
            node_id=node_id,
            actions=actions,
            dispatch=dispatch,
            new_id=new_id,
            now_ms=now_ms,
            log=log,
            is_open=is_open,
        )
        self.execute = self.execution.execute
        """Execute a request that was decoded elsewhere."""
        self.gate = Gate()
        self.actions = actions
        self.realtime = realtime
        self._dispatch = dispatch
        self._node_id = node_id
        self._new_id = new_id
        self._now_ms = now_ms
        self._readiness: list[Callable[[], str | None]] = []

    # -- Clients -------------------------------------------------------------------------------------------------

    def open_session(
        self,
        protocol: str,
        remote: str,
        write: Write | None = None,
        close: Callable[[int, str], None] | None = None,
        *,
        is_forwarded: bool = False,
        is_from_page: bool = False,
    ) -> Session:
        """Attach a client. A lasting one (`websocket`) gives how to write to it and how to close it: see `Session`."""
        session = Session(
            id=self._new_id(),
            protocol=protocol,
            remote=remote,
            is_forwarded=is_forwarded,
            is_from_page=is_from_page,
        )
        if write is not None:
            session.write = write
        if close is not None:
            session.close = close
        self._dispatch.emit(ConnectionOpened(session))
        return session

    def close_session(self, session: Session) -> None:
        """Detach a client: it leaves all its rooms. To be called once per session, however it ended."""
        self.realtime.leave_all(session)
        self._dispatch.emit(ConnectionClosed(session))

    # -- Protocols -----------------------------------------------------------------------------------------------

    def receive_message(self, session: Session, data: str | bytes) -> Answer | None:
        """Execute what one WebSocket message asks for. None, and nothing to send, for an empty message."""
        if not data:
            return None
        try:
            request = decode_message(data, session, self._new_id, self._now_ms())
        except MessageError as error:
            return self._malformed(error)
        return self.execute(request)

    def http(self, call: HttpCall, session: Session) -> Answer:
        """Execute what one HTTP request asks for. The answer to HEAD has a body: it is the adapter's not to send it."""
        if call.method == "OPTIONS":
            return self._plain(call, result={})
        if call.method not in VERBS:
            return self._plain(call, error=ApiError("network.http.unsupported_verb", call.method))
        if call.method in ("GET", "HEAD") and call.path in (HEALTH_PATH, READY_PATH):
            reason = self.why_not_ready() if call.path == READY_PATH else None
            return self._plain(
                call, error=None if reason is None else ApiError("cluster.node.not_ready", reason)
            )
        try:
            request = self.actions.routes.request_for(call, session, self._new_id, self._now_ms())
        except MessageError as error:
            return self._malformed(error, is_pretty=_is_pretty(call))
        request.is_pretty = _is_pretty(call)
        return self.execute(request)

    def refuse_message(self, session: Session, data: str | bytes, error: ApiError) -> Response | None:
        """Answer a WebSocket message with an error, and do nothing of what it asks for.

        A heartbeat is answered as ever: a client that hears none gives the connection up, and comes back.
        """
        if not data:
            return None
        try:
            request = decode_message(data, session, self._new_id, self._now_ms())
        except MessageError as malformed:
            return self._malformed(malformed)
        return self.execution.refuse(request, error)

    def refuse_call(self, call: HttpCall, error: ApiError) -> Response:
        """Answer an HTTP request with an error, and do nothing of what it asks for."""
        return self._plain(call, error=error)

    def _plain(self, call: HttpCall, *, result: Any = None, error: ApiError | None = None) -> Response:
        """Answer without an action: what asks may be a load balancer, and the node may not serve yet or any more."""
        return Response(
            status=200 if error is None else error.status,
            request_id=request_id_of(call, self._new_id),
            result=result,
            error=error,
            node=self._node_id,
            is_pretty=_is_pretty(call),
        )

    def _malformed(self, error: MessageError, *, is_pretty: bool = False) -> Response:
        response = error.response
        if response.fixed is None:
            response.node, response.is_pretty = self._node_id, is_pretty
        return response

    # -- Readiness -----------------------------------------------------------------------------------------------

    def add_readiness(self, check: Callable[[], str | None]) -> None:
        """Add a check: it returns why the node is not ready, or None when it is."""
        self._readiness.append(check)

    def why_not_ready(self) -> str | None:
        """Return the first reason why this node should get no new clients, None when it should."""
        phase = self.execution.phase
        if phase is not Phase.SERVING:
            return f"the node is {phase.value}"
        if (reason := self.gate.why_closed) is not None:
            return reason
        return next((reason for check in self._readiness if (reason := check()) is not None), None)


def _is_pretty(call: HttpCall) -> bool:
    return "pretty" in call.query.split("&")
