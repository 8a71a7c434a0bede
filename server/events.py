"""What happens in a node, as typed events, and how a plugin says that it wants to know.

A *hook* watches: it is told after the fact, and whatever it does or fails to do harms nothing.
A *pipe* takes part: it is asked on the way, may change what the event carries, and refuses
the request by raising.

Every event has Kuzzle's name where Kuzzle has the event. Listeners name an event
(`realtime:beforePublish`), a pattern (`realtime:*`, `*:before*`, `*`) or a type (`KuzzleStart`).
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, ClassVar, Final, TypeVar

import attrs

from server.core.errors import ApiError
from server.core.identity import NodeInfo
from server.core.requests import Request
from server.core.responses import Response
from server.core.session import Session

F = TypeVar("F", bound=Callable[..., Any])

# -- Events of the node: hooks only ------------------------------------------------------------


class Event:
    """Something that happened."""

    name: ClassVar[str] = ""

    @property
    def event_name(self) -> str:
        """What listeners call it. The events of actions are named after the action: see `ActionEvent`."""
        return self.name


@attrs.frozen
class KuzzleStart(Event):
    """The node serves: its plugins run and its listener is open."""

    name: ClassVar[str] = "core:kuzzleStart"
    node: NodeInfo


@attrs.frozen
class Shutdown(Event):
    """The node begins to stop: it answers 503 from now on."""

    name: ClassVar[str] = "kuzzle:shutdown"


@attrs.frozen
class ConnectionOpened(Event):
    """A client attached."""

    name: ClassVar[str] = "connection:new"
    session: Session


@attrs.frozen
class ConnectionClosed(Event):
    """A client is gone, and has left all its rooms."""

    name: ClassVar[str] = "connection:remove"
    session: Session


@attrs.frozen
class RoomOpened(Event):
    """A room got its first subscriber on this node."""

    name: ClassVar[str] = "room:new"
    room_id: str
    index: str
    collection: str


@attrs.frozen
class RoomClosed(Event):
    """The last subscriber on this node left a room."""

    name: ClassVar[str] = "room:remove"
    room_id: str
    index: str
    collection: str


# -- Events of a request: hooks and pipes ------------------------------------------------------


class RequestEvent(Event):
    """A request is on its way. Pipes may change what these events carry."""

    request: Request


class ActionEvent(RequestEvent):
    """Named `<controller>:<moment><Action>`, such as `realtime:beforePublish`."""

    moment: ClassVar[str]

    @property
    def event_name(self) -> str:
        """Return the name for this request's action."""
        return action_event_name(self.request.controller or "", self.moment, self.request.action or "")


@attrs.define
class BeforeAction(ActionEvent):
    """The action is about to run. A pipe may change the request."""

    moment: ClassVar[str] = "before"
    request: Request


@attrs.define
class AfterAction(ActionEvent):
    """The action is done. A pipe may set another `result`."""

    moment: ClassVar[str] = "after"
    request: Request
    result: Any


@attrs.define
class ActionFailed(ActionEvent):
    """The action, or a pipe before or after it, refused. A pipe may set another `error`."""

    moment: ClassVar[str] = "error"
    request: Request
    error: ApiError


@attrs.define
class RequestSucceeded(RequestEvent):
    """The response of any successful request, last before it is sent. A pipe may change it."""

    name: ClassVar[str] = "request:onSuccess"
    request: Request
    response: Response


@attrs.define
class RequestFailed(RequestEvent):
    """The response of any failed request, last before it is sent. A pipe may change it."""

    name: ClassVar[str] = "request:onError"
    request: Request
    response: Response


NODE_EVENTS: Final = (KuzzleStart, Shutdown, ConnectionOpened, ConnectionClosed, RoomOpened, RoomClosed)
REQUEST_EVENTS: Final = (RequestSucceeded, RequestFailed)
ACTION_EVENTS: Final = (BeforeAction, AfterAction, ActionFailed)


def action_event_name(controller: str, moment: str, action: str) -> str:
    """Return `realtime:beforePublish` for realtime, before, publish."""
    return f"{controller}:{moment}{action[:1].upper()}{action[1:]}"


# -- Listening ---------------------------------------------------------------------------------

Target = str | type[Event]
Listening = Callable[[Any], Awaitable[None] | None]

_MARK = "__shoal_listens__"
_NAME = re.compile(r"[A-Za-z0-9_/:*-]+")


class ListenerError(ValueError):
    """A hook or a pipe is declared on something that it can never hear; the message says why."""


@attrs.frozen
class Declaration:
    """What `@hook` or `@pipe` was given."""

    target: Target
    is_pipe: bool


@attrs.frozen(eq=False)
class Listener:
    """A hook or a pipe of one plugin."""

    plugin: str
    target: Target
    is_pipe: bool
    call: Listening
    is_async: bool
    matches_name: Callable[[str], bool]

    def hears(self, name: str, kind: type[Event]) -> bool:
        """Tell whether it listens to events of this name and type."""
        return issubclass(kind, self.target) if isinstance(self.target, type) else self.matches_name(name)


def hook(*targets: Target) -> Callable[[F], F]:
    """Let a plugin's method be told of events: `@hook(KuzzleStart, "connection:*")`.

    It is called with the event; what it raises is logged and goes no further. A coroutine function
    runs beside the work of the node and is not waited for.
    """
    return _declare(targets, is_pipe=False)


def pipe(*targets: Target) -> Callable[[F], F]:
    """Let a plugin's method take part in requests: `@pipe("realtime:beforePublish")`.

    It is called with the event, may change what it carries, and refuses by raising `PluginApiError` or
    `ApiError`. A coroutine function is waited for, within `limits.pipe_timeout_ms`.
    """
    return _declare(targets, is_pipe=True)


def listeners_of(plugin: str, source: object) -> Iterator[Listener]:
    """Yield the hooks and pipes among an object's methods, in the order of its class's text.

    Raises `ListenerError` for one that could never be called.
    """
    attributes: dict[str, Any] = {}
    for cls in reversed(type(source).__mro__):
        attributes.update(vars(cls))
    for attribute, function in attributes.items():
        for declared in getattr(function, _MARK, ()):
            try:
                matches_name = _checked(declared)
            except ListenerError as error:
                raise ListenerError(f"{type(source).__qualname__}.{attribute}: {error}") from None
            yield Listener(
                plugin=plugin,
                target=declared.target,
                is_pipe=declared.is_pipe,
                call=getattr(source, attribute),
                is_async=inspect.iscoroutinefunction(function),
                matches_name=matches_name,
            )


def _declare(targets: tuple[Target, ...], *, is_pipe: bool) -> Callable[[F], F]:
    if not targets:
        raise ListenerError("say which events: @hook('realtime:*')")

    def mark(function: F) -> F:
        earlier = getattr(function, _MARK, ())
        setattr(function, _MARK, (*earlier, *(Declaration(target, is_pipe) for target in targets)))
        return function

    return mark


def _checked(declared: Declaration) -> Callable[[str], bool]:
    target = declared.target
    if isinstance(target, type):
        if not issubclass(target, Event):
            raise ListenerError(f"{target.__name__} is not a type of event")
        if declared.is_pipe and not issubclass(target, RequestEvent):
            raise ListenerError(f"{target.__name__} cannot be piped: it already happened. Use @hook")
        return _never
    if not _NAME.fullmatch(target):
        raise ListenerError(f"{target!r} is not the name of an event: write it like 'realtime:beforePublish'")
    if declared.is_pipe and target in {event.name for event in NODE_EVENTS}:
        raise ListenerError(f"{target!r} cannot be piped: it already happened. Use @hook")
    pattern = re.compile(".*".join(re.escape(part) for part in target.split("*")))
    return lambda name: pattern.fullmatch(name) is not None


def _never(_name: str) -> bool:
    return False


def unheard(listeners: Iterable[Listener], actions: Iterable[tuple[str, str]]) -> Iterator[Listener]:
    """Yield the listeners whose target no event of a node with these (controller, action) pairs has."""
    known: list[tuple[str, type[Event]]] = [(event.name, event) for event in (*NODE_EVENTS, *REQUEST_EVENTS)]
    for controller, action in actions:
        known += [(action_event_name(controller, event.moment, action), event) for event in ACTION_EVENTS]
    for listener in listeners:
        if not any(listener.hears(name, kind) for name, kind in known):
            yield listener
