"""The configuration reference, written from the classes that define the configuration, so that it cannot be wrong."""

from collections.abc import Iterator, Mapping
from importlib.metadata import distribution
from typing import Any

from typed_settings.cls_utils import deep_options
from typed_settings.types import OptionInfo

from server.config import OWN_TABLES, PLUGIN_GROUP, find_plugin
from server.settings import environment_names, is_secret, metadata_of, shown, wanted

_HEAD = """\
<!-- Written by `make docs` from the configuration classes: change those, not this file. -->

# Configuration

A node takes its configuration from one TOML file (`shoal serve --config FILE`, or `SHOAL_CONFIG`), from environment
variables and from flags. A flag is stronger than a variable, a variable stronger than the file. `shoal config` shows
the values that count and where each came from. Secrets are never shown.

In the file, a setting `table.key` is written as `key = value` under `[table]`; one with two dots, `table.group.key`,
under `[table.group]`. Its variable is `SHOAL_TABLE_KEY`; lists are written there with commas in between.

A key that does not exist, or a value that is not allowed, stops the start with a message that names the place.
Variables that Kubernetes sets by itself for a Service named `shoal` are passed over.
"""


def bundled_tables() -> dict[str, type]:
    """Return the class behind each table of a node that runs all the plugins that come with it."""
    own = [point for point in distribution("shoal").entry_points if point.group == PLUGIN_GROUP]
    plugins = [find_plugin(point.name) for point in sorted(own, key=lambda point: point.name)]
    return {**OWN_TABLES, **{plugin.name: plugin.config for plugin in plugins}}


def reference(tables: Mapping[str, type]) -> str:
    """Return the reference of the tables as Markdown."""
    return "\n".join([_HEAD, *(line for table, cls in tables.items() for line in _section(table, cls))])


def _section(table: str, cls: type[Any]) -> Iterator[str]:
    yield f"## [{table}]"
    yield ""
    if cls.__doc__:
        yield from (cls.__doc__.strip(), "")
    variables = environment_names(table, cls)
    if not variables:
        yield from ("It has no settings.", "")
    for option in deep_options(cls):
        metadata = metadata_of(option)
        unit = f", in {metadata['unit']}" if metadata.get("unit") else ""
        hidden = " It is a secret." if is_secret(option) else ""
        yield f"### {table}.{option.path}"
        yield ""
        yield f"{_sentence(metadata.get('help', ''))}{hidden}"
        yield ""
        yield f"- Value: {wanted(option.cls)}{unit}"
        yield f"- Default: {_default(option)}"
        yield f"- Variable: `{variables[option.path]}`"
        yield ""


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def _default(option: OptionInfo) -> str:
    if option.has_no_default:
        return "none: it must be set"
    default = option.default.factory() if option.default_is_factory else option.default
    return "not set" if default is None else f"`{shown(default, is_secret=is_secret(option))}`"
