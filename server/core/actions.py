"""API actions: how a controller declares them, and the one table of all that a node has.

    class Greeter:
        name = "greeter"

        @action(http=[("GET", "/hello")])
        def say_hello(self, request: Request) -> object:      # API name: greeter:sayHello
            return {"text": "hello"}

An action is a plain function when it can answer at once, which costs nothing beyond the call; it is a coroutine
function, or returns an awaitable, when it has to wait.
It refuses two controllers of one name, two actions of one name and two routes of one shape.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

import attrs

from server.core.errors import ApiError
from server.core.requests import Request
from server.core.routes import Route, RouteTable

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__shoal_action__"


class Controller(Protocol):
    """A named group of actions; any object with a `name` and methods marked with `@action` is one."""

    @property
    def name(self) -> str:
        """Lower case letters, digits and hyphens."""


@attrs.frozen
class _Declaration:
    name: str
    http: tuple[tuple[str, str], ...]
    is_public: bool


@attrs.frozen
class Action:
    """One action of one controller, ready to be called."""

    controller: str
    name: str
    http: tuple[tuple[str, str], ...]
    is_public: bool
    """Answers anonymous callers also when anonymous use of the API is shut."""
    call: Callable[[Request], Any]


def action(*, http: Sequence[tuple[str, str]] = (), public: bool = False, name: str = "") -> Callable[[F], F]:
    """Mark a method as an API action.

    `http` lists its routes as (verb, path); `public` opens it to everybody, even when anonymous use is shut;
    `name` is its API name, by default the method's in camel case.
    """

    def mark(function: F) -> F:
        declared = _Declaration(name or _camel_case(function.__name__), tuple(http), public)
        setattr(function, _MARK, declared)
        return function

    return mark


def actions_of(controller: Controller, prefix: str = "", route_prefix: str = "") -> Iterator[Action]:
    """Yield the actions of a controller, in the order of the class's text."""
    seen: dict[str, Any] = {}
    for cls in reversed(type(controller).__mro__):
        seen.update(vars(cls))
    for attribute, function in seen.items():
        declared = getattr(function, _MARK, None)
        if isinstance(declared, _Declaration):
            yield Action(
                controller=prefix + controller.name,
                name=declared.name,
                http=tuple((verb, route_prefix + path) for verb, path in declared.http),
                is_public=declared.is_public,
                call=getattr(controller, attribute),
            )


class ActionCollisionError(ValueError):
    """A name is taken already; the message says which."""


CONTROLLER_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")


@attrs.define(eq=False)
class ActionTable:
    """Every action of a node, by controller and name, and the routes that lead to them."""

    routes: RouteTable = attrs.field(factory=RouteTable)
    _controllers: dict[str, dict[str, Action]] = attrs.field(factory=dict)

    def add(self, controller: Controller, prefix: str = "", route_prefix: str = "") -> None:
        """Add all actions of a controller.

        Raises `ActionCollisionError`, `RouteCollisionError`, or ValueError for a name or route that is none.
        """
        if not CONTROLLER_NAME.fullmatch(controller.name):
            raise ValueError(
                f"{controller.name!r} cannot name a controller: lower case letters, digits and hyphens"
            )
        name = prefix + controller.name
        if name in self._controllers:
            raise ActionCollisionError(f'there is a controller "{name}" already')
        actions: dict[str, Action] = {}
        for entry in actions_of(controller, prefix, route_prefix):
            if entry.name in actions:
                raise ActionCollisionError(f'the controller "{name}" has two actions "{entry.name}"')
            actions[entry.name] = entry
        if not actions:
            raise ValueError(f'the controller "{name}" has no actions: mark its methods with @action')
        for entry in actions.values():
            for verb, path in entry.http:
                self.routes.add(Route(verb, path, name, entry.name))
        self._controllers[name] = actions

    def find(self, controller: str, name: str) -> Action:
        """Return the action; ApiError `controller_not_found` or `action_not_found`."""
        actions = self._controllers.get(controller)
        if actions is None:
            raise ApiError("api.process.controller_not_found", controller)
        found = actions.get(name)
        if found is None:
            raise ApiError("api.process.action_not_found", controller, name)
        return found

    def is_public(self, controller: str, name: str) -> bool:
        """Tell whether anonymous callers may always call it; not when there is no such action."""
        found = self._controllers.get(controller, {}).get(name)
        return found is not None and found.is_public

    def __iter__(self) -> Iterator[Action]:
        for actions in self._controllers.values():
            yield from actions.values()


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
