"""What becomes of one request: checked, asked about, done, and answered, in the order that the protocol fixes.

    controller and action named ─ running? ─ token ─ rights ─ they exist ─ SDK version
    ─ pipes before ─ the action ─ pipes after ─ envelope

What has no need to wait is answered inline, without a task or an await; only if the action or a pipe on its way waits
is the answer a coroutine, for the connection's own nursery. It refuses to know where a request came from, and to tell
clients anything of an unexpected exception but where to look for it.
"""

import inspect
from collections.abc import Awaitable, Callable
from enum import Enum, unique
from typing import Any, Final

import trio

from server.core.actions import Action, ActionTable
from server.core.errors import ApiError
from server.core.requests import Request
from server.core.responses import Response
from server.core.session import ANONYMOUS, INTERNAL, Session
from server.dispatch import ActionListeners, Dispatch
from server.events import ActionFailed, AfterAction, BeforeAction, RequestFailed, RequestSucceeded

Answer = Response | Awaitable[Response]

MINIMUM_JS_SDK: Final = "7"
"""Older ones of Kuzzle's JavaScript SDK speak another protocol."""


@unique
class Phase(Enum):
    """Where a node is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class Execution:
    """Executes every request of one node, from clients and from plugins."""

    def __init__(
        self,
        *,
        node_id: str,
        actions: ActionTable,
        dispatch: Dispatch,
        new_id: Callable[[], str],
        now_ms: Callable[[], int],
        log: Any,
        is_open: bool,
    ) -> None:
        """Only remember. `is_open` is whether anonymous callers may use the whole API."""
        self.phase = Phase.STARTING
        self._started = trio.Event()
        self._node_id = node_id
        self._actions = actions
        self._dispatch = dispatch
        self._new_id = new_id
        self._now_ms = now_ms
        self._log = log
        self._is_open = is_open
        self._internal = Session(id=f"{node_id}-internal", protocol="internal", remote="", user=INTERNAL)

    def start(self) -> None:
        """Execute from now on; requests that came earlier have waited for this."""
        self.phase = Phase.SERVING
        self._started.set()

    def stop(self) -> None:
        """Answer 503 from now on; what is under way is finished."""
        self.phase = Phase.STOPPING
        self._started.set()

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
            listeners = self._dispatch.for_refusals()
            return (self._failed_waiting if listeners.waits else self._failed)(request, listeners, error)
        listeners = self._dispatch.for_action(action.controller, action.name)
        if listeners.waits:
            return self._execute_waiting(request, action, listeners)
        try:
            if not listeners.is_quiet:
                self._dispatch.ask(listeners.before, BeforeAction(request))
            result = action.call(request)
        except Exception as error:
            return self._failed(request, listeners, error)
        if type(result) is not dict and inspect.isawaitable(result):
            return self._succeeded_later(request, listeners, result)
        return self._succeeded(request, listeners, result)

    def refuse(self, request: Request, error: ApiError) -> Response:
        """Answer a request with an error, and do nothing of what it asks for."""
        return self._sealed(request, self._response(request, None, error))

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
        if is_anonymous and not self._is_open and not self._actions.is_public(controller, name):
            raise ApiError("security.rights.unauthorized", controller, name)
        action = self._actions.find(controller, name)
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
        result = self._actions.find(controller, action).call(request)
        return await result if inspect.isawaitable(result) else result

    # -- Outcomes, when nothing waits ------------------------------------------------------------------------------

    def _succeeded(self, request: Request, listeners: ActionListeners, result: Any) -> Response:
        if listeners.is_quiet:
            return self._sealed(request, self._response(request, result, None))
        try:
            after = AfterAction(request, result)
            self._dispatch.ask(listeners.after, after)
            done = RequestSucceeded(request, self._response(request, after.result, None))
            self._dispatch.ask(listeners.succeeded, done)
        except ApiError as error:
            return self._failed(request, listeners, error)
        return self._sealed(request, done.response)

    def _failed(self, request: Request, listeners: ActionListeners, raised: Exception) -> Response:
        error = self._told(request, raised)
        if listeners.is_quiet:
            return self._sealed(request, self._response(request, None, error))
        try:
            failed = ActionFailed(request, error)
            self._dispatch.ask(listeners.failed, failed)
            error = failed.error
        except ApiError as another:
            error = another
        refused = RequestFailed(request, self._response(request, None, error))
        try:
            self._dispatch.ask(listeners.refused, refused)
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
        ask = self._dispatch.ask_waiting
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
            await self._dispatch.ask_waiting(listeners.failed, failed)
            error = failed.error
        except ApiError as another:
            error = another
        refused = RequestFailed(request, self._response(request, None, error))
        try:
            await self._dispatch.ask_waiting(listeners.refused, refused)
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
