"""How a command says that it cannot go on: what went wrong and what to do, on standard error, and an exit code."""

from typing import NoReturn

import click

FAILED = 1
"""The world was not as needed: a port is taken, a node is not ready."""

MISUSED = 2
"""What was asked for makes no sense: a wrong option, a configuration that cannot be used."""


def fail(message: str, exit_code: int = FAILED) -> NoReturn:
    """End the command with a message for a person."""
    click.secho("shoal: ", fg="red", bold=True, nl=False, err=True)
    click.echo(message, err=True)
    raise SystemExit(exit_code)
