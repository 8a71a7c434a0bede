"""Which action an HTTP request means.

    HttpCall  --RouteTable.request_for-->  Request        or a `MessageError` with the answer

Paths are matched segment by segment, each percent-decoded on its own; a literal segment is preferred to a placeholder,
and a trailing slash does not count. Path parameters and the query string become top-level arguments; the path is
stronger. What the query string may not set is what has its own place: controller, action, body, the token.

It refuses two routes with the same shape when it is built, not when a request comes.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import attrs

from server.core.bodies import gathered, read_body
from server.core.errors import ApiError
from server.core.requests import MessageError, Request, request_from
from server.core.responses import Response
from server.core.session import Session
from server.core.values import JsonError, decode_json

VERBS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
"""What CORS announces, too."""

QUERY_PATH: Final = "/_query"
"""Takes any API request as a JSON body."""

HEALTH_PATH: Final = "/_healthcheck"
"""Answers as long as the process does."""

READY_PATH: Final = "/_ready"
"""Says whether the node should get clients."""

_OWN_VERBS: Final = {QUERY_PATH: "POST", HEALTH_PATH: "GET", READY_PATH: "GET"}
"""What leads to no action, or to any."""

MAX_QUERY_FIELDS: Final = 200
"""Arguments in one query string: several times what any action takes."""

MAX_REQUEST_ID_CHARS: Final = 128
"""Of `X-Kuzzle-Request-Id`, which goes into logs and back into a header: three uuids long."""

_NOT_FROM_A_URL = frozenset(("controller", "action", "body", "jwt", "requestId", "volatile"))


@attrs.frozen
class HttpCall:
    """One HTTP request as the listener read it. The body is whole, content-decoded and within its size limit."""

    method: str
    path: str
    """As sent: percent-encoded, without the query."""
    query: str = ""
    """As sent, without the question mark."""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """Names in lower case."""
    body: bytes = b""
    remote: str = ""


@attrs.frozen
class Route:
    """One way to reach an action over HTTP."""

    verb: str
    path: str
    """With placeholders such as `/:index/:collection/_publish`."""
    controller: str
    action: str


class RouteCollisionError(ValueError):
    """Two actions claim the same verb and path; the message names both."""


@attrs.define(eq=False)
class _Step:
    """The routes behind one path segment."""

    literals: "dict[str, _Step]" = attrs.field(factory=dict)
    placeholder: "_Step | None" = None
    routes: dict[str, Route] = attrs.field(factory=dict)
    """By verb: the routes that end here."""


@attrs.define(eq=False)
class RouteTable:
    """All routes of a node."""

    _root: _Step = attrs.field(factory=_Step)
    _all: list[Route] = attrs.field(factory=list)

    def add(self, route: Route) -> None:
        """Add a route. Raises `RouteCollisionError`, and ValueError for a path or verb that can never be asked for."""
        if route.verb not in VERBS[:5]:
            raise ValueError(
                f"{route.controller}:{route.action}: {route.verb!r} is not one of {', '.join(VERBS[:5])}"
            )
        if not route.path.startswith("/"):
            raise ValueError(f"{route.controller}:{route.action}: the path {route.path!r} must start with /")
        step = self._root
        for segment in _segments(route.path):
            if segment.startswith(":"):
                step.placeholder = step.placeholder or _Step()
                step = step.placeholder
            else:
                step = step.literals.setdefault(segment, _Step())
        other = step.routes.get(route.verb)
        if other is not None:
            raise RouteCollisionError(
                f"{route.verb} {route.path} of {route.controller}:{route.action} is already taken by "
                f"{other.controller}:{other.action} ({other.path})"
            )
        step.routes[route.verb] = route
        self._all.append(route)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._all)

    def request_for(
        self, call: HttpCall, session: Session, new_id: Callable[[], str], now_ms: int
    ) -> Request:
        """Return the request that this call means. Raises `MessageError` with the answer when it means none."""
        request_id = request_id_of(call, new_id)
        body = _body(call)
        volatile = _volatile(call, request_id)
        if call.path.rstrip("/") == QUERY_PATH and call.method == "POST":
            queried = _queried(body, call, request_id, volatile)
            return request_from(queried, session, new_id, now_ms, fixed_id=request_id)

        route, parameters = self._find(call, request_id)
        message: dict[str, Any] = {
            name: value
            for name, value in _query_arguments(call, request_id).items()
            if name not in _NOT_FROM_A_URL
        }
        message.update(parameters)
        message.update(
            controller=route.controller, action=route.action, body=body, jwt=_token(call), volatile=volatile
        )
        request = request_from(message, session, new_id, now_ms, fixed_id=request_id)
        request.are_texts = True
        return request

    def _find(self, call: HttpCall, request_id: str) -> tuple[Route, dict[str, str]]:
        segments = [unquote(segment, errors="replace") for segment in _segments(call.path)]
        allowed = {_OWN_VERBS[call.path]} if call.path in _OWN_VERBS else set[str]()
        verb = "GET" if call.method == "HEAD" else call.method
        for step, values in _steps(self._root, segments, 0, ()):
            route = step.routes.get(verb)
            if route is not None:
                return route, dict(zip(_placeholders(route.path), values, strict=True))
            allowed.update(step.routes)
        if not allowed:
            raise _refused(request_id, ApiError("network.http.url_not_found", call.path))
        if "GET" in allowed:
            allowed.add("HEAD")
        allow = ", ".join(sorted(allowed | {"OPTIONS"}))
        refusal = _refused(
            request_id, ApiError("network.http.method_not_allowed", call.method, call.path, allow)
        )
        refusal.response.allow = allow
        raise refusal


def _queried(body: Any, call: HttpCall, request_id: str, volatile: dict[str, Any] | None) -> dict[str, Any]:
    """Return the API request in the body; what it lacks may come from the headers."""
    if not isinstance(body, dict):
        raise _refused(
            request_id, ApiError("network.http.body_parse_failed", "an API request is a JSON object")
        )
    message = dict(body)
    if message.get("jwt") is None:
        message["jwt"] = _token(call)
    if message.get("volatile") is None:
        message["volatile"] = volatile
    return message


def _segments(path: str) -> list[str]:
    return path.strip("/").split("/") if path.strip("/") else []


def _placeholders(path: str) -> list[str]:
    return [segment[1:] for segment in _segments(path) if segment.startswith(":")]


def _steps(
    step: _Step, segments: list[str], depth: int, values: tuple[str, ...]
) -> Iterator[tuple[_Step, tuple[str, ...]]]:
    """Yield where the segments can lead, the most literal way first. As deep as the longest route, at most."""
    if depth == len(segments):
        if step.routes:
            yield step, values
        return
    literal = step.literals.get(segments[depth])
    if literal is not None:
        yield from _steps(literal, segments, depth + 1, values)
    if step.placeholder is not None and segments[depth]:
        yield from _steps(step.placeholder, segments, depth + 1, (*values, segments[depth]))


def request_id_of(call: HttpCall, new_id: Callable[[], str]) -> str:
    """Return the id that the client gave to its request, or a new one."""
    given = call.headers.get("x-kuzzle-request-id", "")
    # One that cannot be sent back as it is would only confuse: it gets a fresh one.
    return (
        given
        if 0 < len(given) <= MAX_REQUEST_ID_CHARS and given.isascii() and given.isprintable()
        else new_id()
    )


def _token(call: HttpCall) -> str | None:
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _body(call: HttpCall) -> Any:
    if not call.body:
        return None
    try:
        return read_body(call.body, call.headers.get("content-type", ""))
    except ApiError as error:
        raise MessageError(Response(status=error.status, error=error, is_bare=True)) from None


def _volatile(call: HttpCall, request_id: str) -> dict[str, Any] | None:
    text = call.headers.get("x-kuzzle-volatile")
    if text is None:
        return None
    try:
        volatile = decode_json(text)
    except JsonError as error:
        raise _refused(request_id, ApiError("network.http.volatile_parse_failed", str(error))) from None
    if not isinstance(volatile, dict):
        raise _refused(request_id, ApiError("network.http.volatile_parse_failed", "not an object"))
    return volatile


def _query_arguments(call: HttpCall, request_id: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(call.query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        problem = f"more than {MAX_QUERY_FIELDS} arguments in the query string"
        raise _refused(request_id, ApiError("network.http.unexpected_error", problem)) from None
    return gathered(pairs)


def _refused(request_id: str, error: ApiError) -> MessageError:
    return MessageError(Response(status=error.status, request_id=request_id, error=error))
