"""The plugin contract: everything that a plugin may import from the server, in one place.

    class Greeter(Plugin):
        name = "greeter"
        config = GreeterConfig                       # an attrs class: the table [greeter]

        @pipe("realtime:beforePublish")
        def stamp(self, event: BeforeAction) -> None: ...

A plugin is named in `server.plugins` by its entry point (group `shoal.plugins`) or as `package.module:Class`. The node
makes it with its configuration and a `Context`, registers its hooks, pipes, controllers and routes, then runs `run`.
What a plugin may reach of the node's inside is `Context.core`, and only if it says that it is `privileged`.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Protocol

import attrs
import trio

from server.core.actions import Action, Controller, action
from server.core.errors import ApiError, PluginApiError
from server.core.identity import NodeInfo, Worker
from server.core.outbox import OutboxCounters
from server.core.refusals import RefusalCounters
from server.core.requests import Request
from server.core.responses import Response
from server.core.session import Session, Write
from server.events import (
    ActionFailed,
    AfterAction,
    BeforeAction,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    KuzzleStart,
    RequestFailed,
    RequestSucceeded,
    RoomClosed,
    RoomOpened,
    Shutdown,
    hook,
    pipe,
)
from server.gate import Gate
from server.ports import Relay, Turn
from server.realtime import Realtime

__all__ = [
    "Action",
    "ActionFailed",
    "AfterAction",
    "Api",
    "ApiError",
    "BeforeAction",
    "ConnectionClosed",
    "ConnectionOpened",
    "Context",
    "Controller",
    "Core",
    "Event",
    "Gate",
    "KuzzleStart",
    "NoConfig",
    "NodeInfo",
    "OutboxCounters",
    "Plugin",
    "PluginApiError",
    "PluginError",
    "Realtime",
    "RefusalCounters",
    "Relay",
    "Request",
    "RequestFailed",
    "RequestSucceeded",
    "Response",
    "RoomClosed",
    "RoomOpened",
    "Session",
    "Shutdown",
    "Turn",
    "Worker",
    "action",
    "hook",
    "pipe",
]


class PluginError(Exception):
    """A plugin cannot be used, and the fault is in it or in how it is set up. The message names it and what to do."""


@attrs.frozen(kw_only=True)
class NoConfig:
    """The configuration of a plugin that has none."""


class Api(Protocol):
    """The node's API, for those who speak for other clients than plugins do."""

    def open_session(
        self,
        protocol: str,
        remote: str,
        write: Write,
        close: Callable[[int, str], None],
    ) -> Session:
        """Attach a client."""

    def close_session(self, session: Session) -> None:
        """Detach a client: it leaves all its rooms."""

    def execute(self, request: Request) -> Response | Awaitable[Response]:
        """Execute a request, inline when nothing on its way has to wait."""


@attrs.frozen(kw_only=True)
class Core:
    """The inside of the node, for privileged plugins."""

    realtime: Realtime
    turn: Turn
    app: Api
    outbox: OutboxCounters
    """What became of everything written to clients."""
    refused: RefusalCounters
    """Whom the front door turned away."""
    gate: Gate
    """Whether clients may come."""
    add_readiness: Callable[[Callable[[], str | None]], None]
    """Add a check that `GET /_ready` asks: it returns why the node is not ready, or None when it is."""


class Execute(Protocol):
    """Call an API action from inside the node."""

    async def __call__(
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
        """Return the action's result. Raises ApiError as a client would see it.

        It runs with all rights and without hooks and pipes, so that a pipe on an action may call that action.
        """


@attrs.frozen(kw_only=True)
class Context:
    """What a plugin is given of the node."""

    plugin: str
    """The plugin's name."""
    node: NodeInfo
    log: Any
    """A structlog logger that says which plugin speaks."""
    execute: Execute
    _core: Core | None

    @property
    def core(self) -> Core:
        """The inside of the node. Raises PluginError unless the plugin is privileged."""
        if self._core is None:
            raise PluginError(
                f'the plugin "{self.plugin}" asks for the core of the node, which only privileged plugins get: '
                f"set `privileged = True` in its class"
            )
        return self._core


class Plugin:
    """To be subclassed. Class attributes say what it is; methods say what it does."""

    name: ClassVar[str]
    """Lower case letters, digits and hyphens. Names its table, its controllers and its routes."""
    config: ClassVar[type] = NoConfig
    """The attrs class of its configuration."""
    privileged: ClassVar[bool] = False
    """Whether it needs `Context.core`."""
    connects_nodes: ClassVar[bool] = False
    """Whether it makes nodes know each other's subscribers. Several workers need one plugin that does."""
    runs_alone: ClassVar[bool] = False
    """Whether it would do harm in several workers of one server: then the server has one. A plugin that only wants
    some of its work done once can look at `context.node.worker`."""

    def __init__(self, config: Any, context: Context) -> None:
        """Only remember; the node is not there yet. Whoever overrides it takes the same two arguments."""
        self.settings = config
        self.context = context

    def controllers(self) -> Sequence[Controller]:
        """Return its controllers: `cluster` of the plugin `cluster` is `cluster/cluster` in the API.

        A route `("GET", "/health")` of theirs is `GET /_plugin/<plugin>/health`.
        """
        return ()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Live. Call `task_status.started()` as soon as clients may come.

        It is cancelled at the node's stop, and may use `finally` to leave gracefully: shielded, and in bounded time. It
        may return early when it has nothing to wait for. What it raises ends the node: a plugin that is silently gone
        is worse than a node that says so and is started again.
        """
        task_status.started()
        await trio.sleep_forever()
