"""From the plugins that the configuration names to plugins that live: found, checked, made, registered, run.

A plugin is other people's code. Whatever it does wrong at its start becomes one `PluginError` that names the plugin,
says what failed and what to do; nothing of it is left half registered, since the node does not start then.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import trio

from server import config
from server.config import ConfigError
from server.core.actions import ActionTable
from server.dispatch import Dispatch
from server.events import listeners_of
from server.plugin import Context, Plugin, PluginError

ROUTE_PREFIX: Final = "/_plugin"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


class PluginCrash(PluginError):
    """A plugin failed and did not say why in its own words; the cause is what it raised."""


@attrs.frozen
class LoadedPlugin:
    """A plugin that is registered, and about to run."""

    name: str
    plugin: Plugin
    controllers: tuple[str, ...]
    """Their names in the API."""


def find_plugin(entry: str) -> type[Plugin]:
    """Return the plugin class that an entry of `server.plugins` names. Raises ConfigError when it names none."""
    found = config.find_plugin(entry)
    problem = _what_is_wrong(found)
    if problem is not None:
        raise ConfigError([f'"{entry}" is not a plugin: {problem}'])
    plugin: type[Plugin] = found
    return plugin


def _what_is_wrong(found: object) -> str | None:
    if not isinstance(found, type) or not issubclass(found, Plugin):
        return f"{found!r} is not a subclass of server.plugin.Plugin"
    name = getattr(found, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return (
            f"its `name` is {name!r}; it has to be lower case letters, digits and hyphens, such as `greeter`"
        )
    if not attrs.has(found.config):
        return f"its `config` is {found.config!r}; it has to be an attrs class"
    return None


def load_plugins(
    plugins: Mapping[str, tuple[Any, Any]],
    context_for: Callable[[type[Plugin]], Context],
    dispatch: Dispatch,
    actions: ActionTable,
) -> list[LoadedPlugin]:
    """Make each plugin with its settings, and register what it brings, in this order.

    Raises PluginError for the first that fails.
    """
    loaded = []
    for name, (cls, settings) in plugins.items():
        problem = _what_is_wrong(cls)
        if problem is not None:
            raise PluginError(f'"{name}" is not a plugin: {problem}')
        try:
            plugin = cls(settings, context_for(cls))
            controllers = plugin.controllers()
            dispatch.add(listeners_of(name, plugin))
            for controller in controllers:
                actions.add(controller, f"{name}/", f"{ROUTE_PREFIX}/{name}")
        except PluginError:
            raise
        except Exception as error:
            raise PluginCrash(
                f'the plugin "{name}" could not be made: {type(error).__name__}: {error}. Correct it, or its '
                f"table [{name}], or take it out of server.plugins"
            ) from error
        names = tuple(f"{name}/{controller.name}" for controller in controllers)
        loaded.append(LoadedPlugin(name, plugin, names))
    return loaded


async def start_plugins(plugins: Sequence[LoadedPlugin], nursery: trio.Nursery, patience_s: float) -> None:
    """Start each plugin's life in the nursery, one after the other; return when all are started.

    Raises PluginError for one that fails to, or takes longer than `patience_s`. One that fails later ends the nursery
    with its PluginError.
    """
    for loaded in plugins:
        with trio.move_on_after(patience_s) as patience:
            await nursery.start(_live, loaded)
        if patience.cancelled_caught:
            raise PluginError(
                f'the plugin "{loaded.name}" did not start within {patience_s:g} s (limits.plugin_start_s): its `run` '
                f"has to call task_status.started()"
            )


async def _live(loaded: LoadedPlugin, *, task_status: trio.TaskStatus[None]) -> None:
    status = _Status(task_status)
    try:
        await loaded.plugin.run(task_status=status)
    except Exception as error:
        raise _failure(loaded.name, error) from error
    status.started()


def _failure(name: str, error: Exception) -> PluginError:
    causes = _leaves(error)
    for cause in causes:
        if isinstance(cause, PluginError):
            return cause
    said = "; ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
    return PluginCrash(f'the plugin "{name}" failed: {said}')


def _leaves(error: Exception) -> list[Exception]:
    if isinstance(error, ExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


@attrs.define
class _Status(trio.TaskStatus[None]):
    """Lets a plugin that returns without a word count as started."""

    _inner: trio.TaskStatus[None]
    _is_started: bool = False

    def started(self, value: None = None) -> None:
        if not self._is_started:
            self._is_started = True
            self._inner.started(value)
