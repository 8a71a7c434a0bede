"""A first plugin, of the tutorial.

    PYTHONPATH=docs/examples SHOAL_SERVER_PLUGINS=harbor:Harbor shoal serve

It refuses boats without a name, notes when the others arrived, and counts them.
"""

from collections.abc import Sequence

from server.plugin import BeforeAction, Controller, Plugin, PluginApiError, Request, action, pipe


class Harbor(Plugin):
    """Looks at every boat before it is published."""

    name = "harbor"
    boats = 0

    @pipe("realtime:beforePublish")
    def look(self, event: BeforeAction) -> None:
        """Refuse a boat without a name, and note the time of arrival of all others."""
        request = event.request
        if (request.index, request.collection) != ("harbor", "boats"):
            return
        boat = request.require_body()
        if "name" not in boat:
            raise PluginApiError("harbor.boat.nameless", "a boat has a name", 400)
        self.boats += 1
        boat["arrived"] = request.received_at

    def controllers(self) -> Sequence[Controller]:
        """The plugin's own API: `harbor/boats:count`, or GET /_plugin/harbor/count."""
        return [Boats(self)]


class Boats:
    """`harbor/boats:*`."""

    name = "boats"

    def __init__(self, harbor: Harbor) -> None:
        self._harbor = harbor

    @action(http=[("GET", "/count")])
    def count(self, request: Request) -> int:  # noqa: ARG002 - every action takes the request
        """How many boats came by this node."""
        return self._harbor.boats
