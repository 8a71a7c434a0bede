"""Who is told of an event: the hooks and pipes of all plugins, called in order.

The order is the one in which plugins were loaded and, within a plugin, that of its text. For one
event the pipes come first; then the hooks see the outcome.

It refuses to let a hook harm anybody (its failure is logged and goes no further), and to let a pipe
hang a request. Hooks that wait are tasks, and there is a bound on how many: over it, the hook is not
told, which is counted and logged.
"""

import math
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Final

import attrs
import trio

from server.core.errors import ApiError
from server.core.limits import Limits
from server.events import (
    ACTION_EVENTS,
    Event,
    Listener,
    RequestEvent,
    RequestFailed,
    RequestSucceeded,
    action_event_name,
    unheard,
)

SAY_AGAIN_S: Final = 60.0
"""A listener that fails or is slow on every request is reported once a minute, with how often it was."""


@attrs.frozen(eq=False)
class Listeners:
    """Who listens to one event."""

    pipes: tuple[Listener, ...] = ()
    hooks: tuple[Listener, ...] = ()
    waits: bool = False
    """Whether a pipe among them has to be awaited."""


@attrs.frozen(eq=False)
class ActionListeners:
    """Who listens to the requests for one action, looked up once."""

    before: Listeners
    after: Listeners
    failed: Listeners
    succeeded: Listeners
    refused: Listeners
    is_quiet: bool
    """Nobody does: the request takes the short way."""
    waits: bool
    """Some pipe among them has to be awaited: the request takes the long way."""


class Dispatch:
    """Calls the listeners. Node-wide; `run` must be running for hooks that wait to be told."""

    def __init__(self, limits: Limits, log: Any, clock: Callable[[], float] = perf_counter) -> None:
        self.hooks_skipped = 0
        """Times that a hook was not told since too many were still at work."""
        self._limits = limits
        self._log = log
        self._clock = clock
        self._listeners: list[Listener] = []
        self._by_event: dict[tuple[str, type[Event]], Listeners] = {}
        self._by_action: dict[tuple[str, str], ActionListeners] = {}
        self._nursery: trio.Nursery | None = None
        self._hooks_at_work = 0
        self._reports: dict[tuple[Listener, str], _Report] = {}

    def add(self, listeners: Iterable[Listener]) -> None:
        """Add a plugin's listeners, behind those that are there."""
        self._listeners.extend(listeners)
        self._by_event.clear()
        self._by_action.clear()

    def warn_of_unheard(self, actions: Iterable[tuple[str, str]]) -> None:
        """Log each listener that no event of this node can reach: probably a typing error."""
        for listener in unheard(self._listeners, actions):
            self._log.warning(
                "listener hears nothing",
                plugin=listener.plugin,
                target=str(listener.target),
                hint="no event of this node has that name",
            )

    def listeners(self, name: str, kind: type[Event]) -> Listeners:
        """Return who listens to events of this name and type."""
        key = (name, kind)
        found = self._by_event.get(key)
        if found is None:
            hearing = [listener for listener in self._listeners if listener.hears(name, kind)]
            pipes = tuple(listener for listener in hearing if listener.is_pipe)
            if not issubclass(kind, RequestEvent):
                pipes = ()
            hooks = tuple(listener for listener in hearing if not listener.is_pipe)
            found = Listeners(pipes, hooks, any(pipe.is_async for pipe in pipes))
            self._by_event[key] = found
        return found

    def for_action(self, controller: str, action: str) -> ActionListeners:
        """Return who listens to requests for an action that exists. The hot path."""
        key = (controller, action)
        found = self._by_action.get(key)
        if found is None:
            before, after, failed = (
                self.listeners(action_event_name(controller, kind.moment, action), kind)
                for kind in ACTION_EVENTS
            )
            succeeded = self.listeners(RequestSucceeded.name, RequestSucceeded)
            refused = self.listeners(RequestFailed.name, RequestFailed)
            every = (before, after, failed, succeeded, refused)
            found = self._by_action[key] = ActionListeners(
                *every,
                is_quiet=not any(some.pipes or some.hooks for some in every),
                waits=any(some.waits for some in every),
            )
        return found

    def for_refusals(self) -> ActionListeners:
        """Return who listens to requests that are refused before there is an action."""
        found = self._by_action.get(("", ""))
        if found is None:
            refused = self.listeners(RequestFailed.name, RequestFailed)
            nobody = Listeners()
            is_quiet = not (refused.pipes or refused.hooks)
            found = ActionListeners(nobody, nobody, nobody, nobody, refused, is_quiet, refused.waits)
            self._by_action["", ""] = found
        return found

    # -- Pipes -------------------------------------------------------------------------------

    def ask(self, listeners: Listeners, event: RequestEvent) -> None:
        """Run the pipes, none of which waits, then tell the hooks.

        Raises ApiError when a pipe refuses or fails: the pipes behind it are not asked then.
        """
        for pipe in listeners.pipes:
            started = self._clock()
            try:
                pipe.call(event)
            except ApiError:
                raise
            except Exception as error:
                raise self._failed(pipe, event) from error
            self._check_speed(pipe, event, self._clock() - started)
        self.tell(listeners, event)

    async def ask_waiting(self, listeners: Listeners, event: RequestEvent) -> None:
        """Do as `ask` does for pipes that may wait; one that waits too long is a 504."""
        timeout_ms = self._limits.pipe_timeout_ms
        for pipe in listeners.pipes:
            started = self._clock()
            try:
                with trio.move_on_after(timeout_ms / 1000) as scope:
                    answer = pipe.call(event)
                    if pipe.is_async and answer is not None:
                        await answer
            except ApiError:
                raise
            except Exception as error:
                raise self._failed(pipe, event) from error
            if scope.cancelled_caught:
                name = event.event_name
                self._report(pipe, "pipe timed out", event=name, timeout_ms=timeout_ms)
                raise ApiError("plugin.runtime.pipe_timeout", pipe.plugin, name, str(timeout_ms))
            self._check_speed(pipe, event, self._clock() - started)
        self.tell(listeners, event)

    def _failed(self, pipe: Listener, event: RequestEvent) -> ApiError:
        # Each one, since the answer tells people to look here for it.
        self._log.exception(
            "pipe failed", plugin=pipe.plugin, event_name=event.event_name, request_id=event.request.id
        )
        return ApiError("plugin.runtime.unexpected_error", event.request.id)

    def _check_speed(self, pipe: Listener, event: RequestEvent, took_s: float) -> None:
        if took_s * 1000 > self._limits.pipe_warning_ms:
            self._report(pipe, "pipe is slow", event=event.event_name, took_ms=math.ceil(took_s * 1000))

    # -- Hooks -------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Tell the hooks of an event that no pipe can take part in."""
        self.tell(self.listeners(event.event_name, type(event)), event)

    def tell(self, listeners: Listeners, event: Event) -> None:
        """Tell the hooks. Never raises; does not wait for those that do."""
        for hook in listeners.hooks:
            if hook.is_async:
                self._start(hook, event)
                continue
            try:
                hook.call(event)
            except Exception:
                self._report(hook, "hook failed", event=event.event_name, exc_info=True)

    def _start(self, hook: Listener, event: Event) -> None:
        if self._nursery is None or self._hooks_at_work >= self._limits.hooks_in_flight:
            self.hooks_skipped += 1
            self._report(hook, "hook skipped", event=event.event_name, at_work=self._hooks_at_work)
            return
        self._hooks_at_work += 1
        self._nursery.start_soon(self._run_hook, hook, event)

    async def _run_hook(self, hook: Listener, event: Event) -> None:
        try:
            answer = hook.call(event)
            if answer is not None:
                await answer
        except Exception:
            self._report(hook, "hook failed", event=event.event_name, exc_info=True)
        finally:
            self._hooks_at_work -= 1

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Be the place where hooks wait. Runs until cancelled, which cancels them."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    # -- What is said of listeners -----------------------------------------------------------

    def _report(self, listener: Listener, what: str, *, event: str, **facts: Any) -> None:
        """Log it at most once a minute per listener and fault, with how often it happened since."""
        report = self._reports.setdefault((listener, what), _Report())
        now = self._clock()
        report.times += 1
        if now < report.say_again_at:
            return
        self._log.warning(what, plugin=listener.plugin, event_name=event, times=report.times, **facts)
        report.times, report.say_again_at = 0, now + SAY_AGAIN_S


@attrs.define
class _Report:
    times: int = 0
    say_again_at: float = -math.inf
