"""The command line's table of contents: which commands there are, each loaded when it is used.

A node is started many times more often than its help is read, and in little memory: `shoal serve` must not pay for the
tables and pictures of the other commands.
"""

import importlib
from collections.abc import Mapping
from importlib.metadata import version

import click

COMMANDS: Mapping[str, str] = {
    "up": "server.cli.up:up",
    "serve": "server.cli.serve:serve",
    "status": "server.cli.cluster:status",
    "health": "server.cli.cluster:health",
    "reset": "server.cli.cluster:reset",
    "watch": "server.cli.cluster:watch",
    "config": "server.cli.config:config",
}
"""By name, in the order of a newcomer's first day."""


class LazyGroup(click.Group):
    """A group of commands that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (as above)
        """Return the command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("shoal"), message="shoal %(version)s")
def shoal() -> None:
    """A realtime server that scales out by itself.

    Try `shoal up`: three nodes on this machine that find each other.
    """
