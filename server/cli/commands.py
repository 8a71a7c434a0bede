"""The command line's table of contents: which commands there are, each loaded when it is used.

A node is started many times more often than its help is read, and in little memory: `shoal serve` must not pay for the
tables and pictures of the other commands.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

import click

COMMANDS: Mapping[str, str] = {
    "up": "server.cli.up:up",
    "serve": "server.cli.serve:serve",
    "status": "server.cli.cluster:status",
    "health": "server.cli.cluster:health",
    "reset": "server.cli.cluster:reset",
    "drain": "server.cli.cluster:drain",
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
        if cmd_name != "serve":
            return _command(module, name)
        with _without_rich():
            return _command(module, name)


def _command(module: str, name: str) -> click.Command:
    command: click.Command = getattr(importlib.import_module(module), name)
    return command


@contextmanager
def _without_rich() -> Iterator[None]:
    """Let nothing import rich meanwhile: structlog does when it is there, for tracebacks that a node does not print.

    That is 5 MB of every node's memory and a sixth of its start. Later imports find it.
    """
    if "rich" in sys.modules:
        yield
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # so that importing it fails: docs of the import system, 5.3.1
    try:
        yield
    finally:
        del sys.modules["rich"]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("shoal"), message="shoal %(version)s")
def shoal() -> None:
    """A realtime server that scales out by itself.

    Try `shoal up`: three nodes on this machine that find each other.
    """
