"""The `server` controller: what this node is and what it can do.

It reports what there is: a service that a node does not have (storage, for now) is not called healthy.
"""

import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any, Final

import attrs

from server.core.actions import ActionTable, action
from server.core.errors import ApiError
from server.core.identity import NodeInfo
from server.core.requests import Request

KUZZLE_API: Final = "2.56.0"
"""The version of Kuzzle whose API this is. Clients look at it to know how to talk."""


@attrs.define(eq=False)
class ServerController:
    """`server:*`."""

    _node: NodeInfo
    _actions: ActionTable
    _plugins: Mapping[str, dict[str, Any]]
    """By name: what `info` tells of each."""
    _now_ms: Callable[[], int]
    _why_not_ready: Callable[[], str | None]
    name: str = "server"

    @action(http=[("GET", "/_now")])
    def now(self, request: Request) -> dict[str, Any]:  # noqa: ARG002 - every action takes the request
        """Tell the time of this node."""
        return {"now": self._now_ms()}

    @action(http=[("GET", "/"), ("GET", "/_serverInfo")])
    def info(self, request: Request) -> dict[str, Any]:  # noqa: ARG002
        """Describe this node: version, API, load."""
        return {
            "serverInfo": {
                "kuzzle": {
                    "version": KUZZLE_API,
                    "api": {"routes": self._routes()},
                    "nodeVersion": f"Python {platform.python_version()}",
                    "memoryUsed": _memory_used(),
                    "uptime": f"{(self._now_ms() - self._node.started_at) / 1000:.3f}s",
                    "plugins": dict(self._plugins),
                    "application": {},
                    "system": {"cpus": os.cpu_count(), "memory": _memory()},
                },
                "shoal": {
                    "version": self._node.version,
                    "node": self._node.id,
                    "host": self._node.host,
                    "url": self._node.url(),
                    "startedAt": self._node.started_at,
                },
                "services": {},
            }
        }

    @action(http=[("GET", "/_healthCheck")])
    def health_check(self, request: Request) -> dict[str, Any]:
        """Say that the node is healthy; `core.fatal.service_unavailable`, with the reason, when it is not."""
        request.string("services", "")  # names services to look at: of those that exist, none so far
        reason = self._why_not_ready()
        if reason is not None:
            raise ApiError("core.fatal.service_unavailable", reason)
        return {"status": "green", "services": {}}

    @action(http=[("GET", "/_publicApi")], public=True)
    def public_api(self, request: Request) -> dict[str, Any]:  # noqa: ARG002
        """List every action and its routes, plugins' included. The SDK takes its HTTP routes from here."""
        return self._routes()

    @action(http=[("GET", "/_adminExists")])
    def admin_exists(self, request: Request) -> dict[str, Any]:  # noqa: ARG002
        """Tell whether there is an administrator. There are no users yet."""
        return {"exists": False}

    def _routes(self) -> dict[str, Any]:
        listed: dict[str, Any] = {}
        for entry in self._actions:
            told: dict[str, Any] = {"action": entry.name, "controller": entry.controller}
            if entry.http:
                told["http"] = [{"verb": verb, "url": path, "path": path} for verb, path in entry.http]
            listed.setdefault(entry.controller, {})[entry.name] = told
        return listed


def _memory_used() -> int:
    """Return the bytes of memory that this process has now, or where the system does not say, had at most."""
    try:
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        return resident_pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        # macOS counts in bytes here, others in KiB.
        return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _memory() -> dict[str, int]:
    """Return the machine's memory in bytes, as far as the system says."""
    names = {"free": "SC_AVPHYS_PAGES", "total": "SC_PHYS_PAGES"}
    page = os.sysconf("SC_PAGE_SIZE")
    return {told: os.sysconf(name) * page for told, name in names.items() if name in os.sysconf_names}
