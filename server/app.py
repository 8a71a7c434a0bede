"""The API of a node: from a decoded message or HTTP call to the response, in the order that the protocol fixes.

    message ─ decode ─ controller and action named ─ running? ─ token ─ rights ─ they exist ─ SDK version
            ─ pipes before ─ the action ─ pipes after ─ envelope

It never raises for what a client sent: it answers. What has no need to wait is answered inline, without a task or an
await; only if the action or a pipe on its way waits is the answer a coroutine, for the connection's own nursery.
It refuses to tell clients anything of an unexpected exception but where to look for it.
"""

import inspect
from collections.abc import Awaitable, Callable
from enum import Enum, unique
from typing import Any, Final

import trio

from server.core.actions import Action, ActionTable
from server.core.errors import ApiError
from server.core.requests import MessageError, Request, decode_message
from server.core.responses import Response
from server.core.routes import HEALTH_PATH, READY_PATH, VERBS, HttpCall, request_id_of
from server.core.session import ANONYMOUS, INTERNAL, Session, Write
from server.dispatch import ActionListeners, Dispatch
from server.events import (
    ActionFailed,
    AfterAction,
    BeforeAction,
    ConnectionClosed,
    ConnectionOpened,
    RequestFailed,
    RequestSucceeded,
)
from server.gate import Gate
from server.realtime import Realtime

Answer = Response | Awaitable[Response]

MINIMUM_JS_SDK: Final = "7"
"""Older ones of Kuzzle's JavaScript SDK speak another protocol."""


@unique
class Phase(Enum):
    """Where a node is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class App:
    """What every protocol calls. One per node."""

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
        self.phase = Phase.STARTING
        self.gate = Gate()
        self._started = trio.Event()
        self.actions = actions
        self.dispatch = dispatch
        self.realtime = realtime
        self._node_id = node_id
        self._new_id = new_id
        self._now_ms = now_ms
        self._log = log
        self._is_open = is_open
        self._readiness: list[Callable[[], str | None]] = []
        self._internal = Session(id=f"{node_id}-internal", protocol="internal", remote="", user=INTERNAL)

    # -- The node's life ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serve from now on; requests that came earlier have waited for this."""
        self.phase = Phase.SERVING
        self._started.set()

    def stop(self) -> None:
        """Answer 503 from now on; what is under way is finished."""
        self.phase = Phase.STOPPING
        self._started.set()

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
        self.dispatch.emit(ConnectionOpened(session))
        return session

    def close_session(self, session: Session) -> None:
        """Detach a client: it leaves all its rooms. To be called once per session, however it ended."""
        self.realtime.leave_all(session)
        self.dispatch.emit(ConnectionClosed(session))

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
        return self._sealed(request, self._response(request, None, error))

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
        if self.phase is not Phase.SERVING:
            return f"the node is {self.phase.value}"
        if (reason := self.gate.why_closed) is not None:
            return reason
        return next((reason for check in self._readiness if (reason := check()) is not None), None)

    # -- Requests ------------------------------------------------------------------------------------------------

    def execute(self, request: Request) -> Answer:
        """Execute a request: inline when nothing on its way waits, else the answer is to be awaited.

        An answer that is given up (its connection is gone) may be cancelled; what the action did stays done.
        """
        if self.phase is Phase.STARTING:
            return self._execute_when_started(request)
        try:
            action = self._admitted(request)
        except ApiError as error:
            listeners = self.dispatch.for_refusals()
            return (self._failed_waiting if listeners.waits else self._failed)(request, listeners, error)
        listeners = self.dispatch.for_action(action.controller, action.name)
        if listeners.waits:
            return self._execute_waiting(request, action, listeners)
        try:
            if not listeners.is_quiet:
                self.dispatch.ask(listeners.before, BeforeAction(request))
            result = action.call(request)
        except Exception as error:
            return self._failed(request, listeners, error)
        if type(result) is not dict and inspect.isawaitable(result):
            return self._succeeded_later(request, listeners, result)
        return self._succeeded(request, listeners, result)

    async def _execute_when_started(self, request: Request) -> Response:
        # Who comes in the second that plugins need to start is kept waiting: better than to be sent away.
        await self._started.wait()
        answer = self.execute(request)
        return answer if isinstance(answer, Response) else await answer

    def _admitted(self, request: Request) -> Action:
        """Return the action to call. Raises ApiError for the first check that fails, in the protocol's order."""
        controller, name = request.controller, request.action
        if not controller:
            raise ApiError("api.assert.missing_argument", "controller")
        if not name:
            raise ApiError("api.assert.missing_argument", "action")
        if "targets" in request.args and (request.index or request.collection):
            raise ApiError("api.assert.mutually_exclusive", "targets", "index, collection")
        if self.phase is Phase.STOPPING:
            raise ApiError("api.process.shutting_down")
        if request.jwt:
            # There are no users yet, so nobody was ever given a token.
            raise ApiError("security.token.invalid")
        is_anonymous = request.session.user is ANONYMOUS
        if is_anonymous and not self._is_open and not self.actions.is_public(controller, name):
            raise ApiError("security.rights.unauthorized", controller, name)
        action = self.actions.find(controller, name)
        if request.volatile is not None:
            _check_sdk(request.volatile)
        return action

    async def execute_inside(
        self,
        controller: str,
        action: str,
        *,
        index: str | None = None,
        collection: str | None = None,
        id: str | None = None,
        body: dict[str, Any] | None = None,
        volatile: dict[str, Any] | None = None,
        **args: Any,
    ) -> Any:
        """Call an action for a plugin: with all rights, without hooks and pipes. Raises what the action raises."""
        request = Request(
            id=self._new_id(),
            controller=controller,
            action=action,
            session=self._internal,
            received_at=self._now_ms(),
            index=index,
            collection=collection,
            document_id=id,
            body=body,
            volatile=volatile,
            args=args,
            protocol=self._internal.protocol,
        )
        result = self.actions.find(controller, action).call(request)
        return await result if inspect.isawaitable(result) else result

    # -- Outcomes, when nothing waits ------------------------------------------------------------------------------

    def _succeeded(self, request: Request, listeners: ActionListeners, result: Any) -> Response:
        if listeners.is_quiet:
            return self._sealed(request, self._response(request, result, None))
        try:
            after = AfterAction(request, result)
            self.dispatch.ask(listeners.after, after)
            done = RequestSucceeded(request, self._response(request, after.result, None))
            self.dispatch.ask(listeners.succeeded, done)
        except ApiError as error:
            return self._failed(request, listeners, error)
        return self._sealed(request, done.response)

    def _failed(self, request: Request, listeners: ActionListeners, raised: Exception) -> Response:
        error = self._told(request, raised)
        if listeners.is_quiet:
            return self._sealed(request, self._response(request, None, error))
        try:
            failed = ActionFailed(request, error)
            self.dispatch.ask(listeners.failed, failed)
            error = failed.error
        except ApiError as another:
            error = another
        refused = RequestFailed(request, self._response(request, None, error))
        try:
            self.dispatch.ask(listeners.refused, refused)
        except ApiError as another:
            refused.response = self._response(request, None, another)
        return self._sealed(request, refused.response)

    # -- Outcomes, when something waits ----------------------------------------------------------------------------

    async def _succeeded_later(
        self, request: Request, listeners: ActionListeners, result: Awaitable[Any]
    ) -> Response:
        try:
            outcome = await result
        except Exception as error:
            return self._failed(request, listeners, error)
        return self._succeeded(request, listeners, outcome)

    async def _execute_waiting(
        self, request: Request, action: Action, listeners: ActionListeners
    ) -> Response:
        ask = self.dispatch.ask_waiting
        try:
            await ask(listeners.before, BeforeAction(request))
            result = action.call(request)
            if inspect.isawaitable(result):
                result = await result
            after = AfterAction(request, result)
            await ask(listeners.after, after)
            done = RequestSucceeded(request, self._response(request, after.result, None))
            await ask(listeners.succeeded, done)
        except Exception as error:
            return await self._failed_waiting(request, listeners, error)
        return self._sealed(request, done.response)

    async def _failed_waiting(
        self, request: Request, listeners: ActionListeners, raised: Exception
    ) -> Response:
        error = self._told(request, raised)
        try:
            failed = ActionFailed(request, error)
            await self.dispatch.ask_waiting(listeners.failed, failed)
            error = failed.error
        except ApiError as another:
            error = another
        refused = RequestFailed(request, self._response(request, None, error))
        try:
            await self.dispatch.ask_waiting(listeners.refused, refused)
        except ApiError as another:
            refused.response = self._response(request, None, another)
        return self._sealed(request, refused.response)

    # -- Responses -----------------------------------------------------------------------------------------------

    def _told(self, request: Request, raised: Exception) -> ApiError:
        """Return what to tell the client of an exception: all of what is meant for it, nothing of what is not."""
        if isinstance(raised, ApiError):
            return raised
        self._log.error(
            "action failed unexpectedly",
            controller=request.controller,
            action=request.action,
            request_id=request.id,
            exc_info=raised,
        )
        return ApiError("core.fatal.unexpected_error", request.id)

    def _response(self, request: Request, result: Any, error: ApiError | None) -> Response:
        return Response(
            status=200 if error is None else error.status,
            request_id=request.id,
            controller=request.controller,
            action=request.action,
            index=request.index,
            collection=request.collection,
            volatile=request.volatile,
            result=result,
            error=error,
            headers=request.headers,
            node=self._node_id,
            on_sent=request.on_sent,
            is_pretty=request.is_pretty,
        )

    def _sealed(self, request: Request, response: Response) -> Response:
        """Return the response with its bytes settled: an action's result that is no JSON is found here."""
        room = request.session.is_lasting
        try:
            response.seal(room=room)
        except (TypeError, ValueError, RecursionError) as error:
            name = f"{request.controller}:{request.action}"
            self._log.error("result is not JSON", action=name, request_id=request.id, exc_info=error)
            request.volatile = None  # a pipe may have put it there
            told = ApiError("plugin.controller.unserializable_response", name)
            response = self._response(request, None, told)
            response.seal(room=room)
        return response


def _is_pretty(call: HttpCall) -> bool:
    return "pretty" in call.query.split("&")


def _check_sdk(volatile: dict[str, Any]) -> None:
    """Raise ApiError for a JavaScript SDK that is too old. Others say nothing of themselves, and are let in."""
    old = volatile.get("sdkVersion")
    name = volatile.get("sdkName")
    version = old
    if old is None and isinstance(name, str) and name.startswith("js@"):
        version = name.removeprefix("js@")
    if version is None:
        return
    major = str(version).partition(".")[0]
    # Only SDKs of old times announce themselves by `sdkVersion`.
    if old is not None or (major.isdecimal() and int(major) < int(MINIMUM_JS_SDK)):
        needed = f"min: {MINIMUM_JS_SDK}, max: none"
        raise ApiError("api.process.incompatible_sdk_version", str(version), needed)
