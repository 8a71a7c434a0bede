"""`shoal config`: the effective configuration, and where each value came from."""

import os
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.cli.failure import MISUSED, fail
from server.cli.reference import bundled_tables, reference
from server.config import ConfigError, load
from server.loading import find_plugin


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="SHOAL_CONFIG",
    help="TOML file with the configuration; also as SHOAL_CONFIG.",
)
@click.option(
    "--reference", "as_reference", is_flag=True, help="Print what can be set, as Markdown, and end."
)
def config(file: Path | None, as_reference: bool) -> None:
    """Print the effective configuration and where each value came from. Secrets are masked."""
    if as_reference:
        click.echo(reference(bundled_tables()), nl=False)
        return
    try:
        loaded = load(file, os.environ, {}, find_plugin)
    except ConfigError as error:
        fail(
            "The configuration cannot be used:\n" + "\n".join(f"  {line}" for line in error.problems), MISUSED
        )
    console = Console()
    if not console.is_terminal:
        for key, value, origin in loaded.rows():
            click.echo(f"{key} = {value}  # {origin}")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("setting", "value", "from"):
        table.add_column(column, overflow="fold")
    for key, value, origin in loaded.rows():
        style = "dim" if origin == "default" else "bold"
        table.add_row(Text(key), Text(value, style=style), Text(origin, style=style))
    console.print(table)
