"""What can be set about a node, and how a node's configuration is put together.

One TOML file, environment variables and flags, in rising order of strength; one table per part of the node
and one per plugin, each typed by an attrs class:

    [server]   where it listens, who may come in, which plugins it runs
    [limits]   every bound of the node
    [log]      what is logged, and how
    [<name>]   one table for each plugin in server.plugins, typed by the plugin's own class

It refuses unknown tables, keys and variables: a setting that is silently not applied costs somebody an
evening.
"""

import importlib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import attrs
from attrs import field, validators

from server.core.callers import TrustedProxies
from server.core.limits import Limits
from server.core.origins import EVERYTHING, AllowedOrigins
from server.settings import (
    ConfigError,
    Layer,
    did_you_mean,
    environment_layer,
    environment_names,
    read_table,
    rows,
)

__all__ = [
    "ConfigError",
    "Limits",
    "LoadedConfig",
    "LogConfig",
    "PluginClass",
    "ServerConfig",
    "find_plugin",
    "load",
]

T = TypeVar("T")

PORT = 7512
"""Where clients of this API look for a server when nobody tells them."""

MAX_NAME = 64
"""Characters: what the mesh takes, and what is still read as a name."""

MAX_WORKERS = 64
"""Every worker is linked to every other: 64 are some 2,000 links on one machine. Larger machines are rare."""

PLUGIN_GROUP = "shoal.plugins"
"""The group of entry points under which installed packages offer plugins."""


@attrs.frozen(kw_only=True)
class ServerConfig:
    """Where the node listens, who may come in, and which plugins it runs."""

    host: str = field(
        default="127.0.0.1",
        metadata={
            "help": "Address to listen on. The default can be reached from this machine only; "
            "`0.0.0.0` listens on every IPv4 address, `::` on every address."
        },
    )
    port: int = field(
        default=PORT,
        validator=validators.and_(validators.ge(0), validators.le(65535)),
        metadata={"help": "TCP port for HTTP and WebSocket. 0 takes any free port."},
    )
    name: str = field(
        default="",
        metadata={
            "help": "Id of this node, unique in its cluster. Empty: a new one at each start, such as "
            "`brave-otter-3f9c`. Several workers have it with a number: `brave-otter-3f9c-1` and so on."
        },
    )
    workers: int = field(
        default=1,
        metadata={
            "help": "Processes that share the port, each a node of its own: one keeps one core busy. They need the "
            "plugin `cluster`. Limits are for each of them. [Several cores](../guides/deploy.md#several-cores).",
        },
    )
    url: str = field(
        default="",
        metadata={
            "help": "URL at which clients reach this node, shown to the other nodes and by `shoal status`. "
            "Empty: made from the host and the port, with `https` when there is a certificate."
        },
    )
    tls_certificate: str = field(
        default="",
        metadata={
            "help": "File (PEM) with this node's certificate, followed by those of the authorities between it and the "
            "one that clients know. With it and `tls_key` the port speaks TLS, and nothing else. Read anew at SIGHUP. "
            "[TLS](../guides/deploy.md#tls)."
        },
    )
    tls_key: str = field(
        default="",
        metadata={"help": "File (PEM) with the private key of `tls_certificate`, without a passphrase."},
    )
    anonymous: bool = field(
        default=True,
        metadata={"help": "Whether clients that did not log in may use the API."},
    )
    allowed_origins: tuple[str, ...] = field(
        default=(EVERYTHING,),
        metadata={
            "help": "Web pages that may use this node, by their origin: `https://app.example`, "
            "`https://*.example.com`, or `*` for all. Others are answered with 401. [Who needs this]"
            "(../guides/security.md#pages-of-strangers)."
        },
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Networks of the proxies in front of this node, such as `10.0.0.5` or `10.1.0.0/24`: what they say "
            "of a client's address (`X-Forwarded-For`) is believed. Name no network in which clients are. [Behind a "
            "proxy](../guides/deploy.md#who-the-client-is)."
        },
    )
    proxy_protocol: bool = field(
        default=False,
        metadata={
            "help": "Whether the trusted proxies begin each connection with a header of the PROXY protocol, version 1 "
            "or 2. Then a connection of theirs without one is closed; others are served as ever."
        },
    )
    compression: bool = field(
        default=False,
        metadata={
            "help": "Whether to compress messages for WebSocket clients that offer it (permessage-deflate): fewer "
            "bytes, more work. [When that pays](../guides/deploy.md#compression), and who should leave it off."
        },
    )
    plugins: tuple[str, ...] = field(
        default=("cluster",),
        metadata={
            "help": "Plugins to run: names of entry points of the group `shoal.plugins`, or dotted names "
            "such as `package.module:Class`."
        },
    )

    @workers.validator
    def _workers_are_a_few(self, _: object, workers: int) -> None:
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(
                f"workers must be from 1 to {MAX_WORKERS}, not {workers}: one keeps one core busy, and no more are "
                "needed than the machine has cores"
            )

    @allowed_origins.validator
    def _origins_are_what_browsers_send(self, _: object, entries: tuple[str, ...]) -> None:
        try:
            AllowedOrigins(entries)
        except ValueError as error:
            raise ValueError(f"allowed_origins: {error}") from error

    @trusted_proxies.validator
    def _proxies_are_networks(self, _: object, networks: tuple[str, ...]) -> None:
        try:
            TrustedProxies(networks)
        except ValueError as error:
            raise ValueError(
                f"trusted_proxies: {error}; write an address such as 10.0.0.5 or fd00::5, or a network such as "
                "10.1.0.0/24 or fd00:1::/64"
            ) from error

    @name.validator
    def _name_is_safe_everywhere(self, _: object, name: str) -> None:
        if name and not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_NAME - 1}}}", name):
            raise ValueError(
                f"name must be 1 to {MAX_NAME} letters, digits, '-', '_' or '.', and begin with a letter or a digit: "
                "it becomes part of topics, keys and URLs"
            )

    def __attrs_post_init__(self) -> None:
        if self.proxy_protocol and not self.trusted_proxies:
            raise ValueError(
                "proxy_protocol needs trusted_proxies: the header says who the client is, and is taken from no one else"
            )
        if bool(self.tls_certificate) != bool(self.tls_key):
            there, missing = "tls_certificate", "tls_key"
            if self.tls_key:
                there, missing = missing, there
            raise ValueError(f"{there} is set without {missing}: TLS needs both, or neither for plain HTTP")
        if self.workers > 1 and len(self.name) > MAX_NAME - len(f"-{MAX_WORKERS}"):
            raise ValueError(
                f"name must have at most {MAX_NAME - len(f'-{MAX_WORKERS}')} characters: its workers are called "
                f'"{self.name}-1" and so on'
            )


@attrs.frozen(kw_only=True)
class LogConfig:
    """What is logged on standard error, and how."""

    level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata={"help": "The least severe level that is logged."}
    )
    format: Literal["auto", "console", "json"] = field(
        default="auto",
        metadata={
            "help": "`console` is for people, `json` for machines, one object per line. `auto` is `console` "
            "on a terminal and `json` elsewhere."
        },
    )


class PluginClass(Protocol):
    """What the configuration needs to know of a plugin: its name, and the attrs class of its table."""

    name: ClassVar[str]
    config: ClassVar[type]


@attrs.frozen(kw_only=True)
class LoadedConfig:
    """The effective configuration of a node, and where each value came from."""

    server: ServerConfig = field(factory=ServerConfig)
    limits: Limits = field(factory=Limits)
    log: LogConfig = field(factory=LogConfig)
    plugins: Mapping[str, tuple[Any, Any]] = field(factory=dict)
    """By name: the plugin's class and its settings object, in the order of `server.plugins`."""
    origins: Mapping[str, str] = field(factory=dict)
    """By `table.key`: `default`, `file shoal.toml`, `environment SHOAL_SERVER_PORT` or `flag --port`."""

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield (table.key, value as text with secrets masked, origin) for every setting."""
        tables = {"server": self.server, "limits": self.limits, "log": self.log}
        tables |= {name: settings for name, (_, settings) in self.plugins.items()}
        for table, settings in tables.items():
            for key, value in rows(table, settings):
                yield key, value, self.origins.get(key, "default")


def load(
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    find: Callable[[str], Any] | None = None,
) -> LoadedConfig:
    """Return the node's configuration from a TOML file, the environment and flags.

    `flags` are values by `table.key`, such as `{"server.port": 7513, "cluster.redis": "redis://…"}`; a flag
    whose value is None was not given. `find` turns an entry of `server.plugins` into a plugin's class, by
    default as `find_plugin` does. Raises ConfigError with every problem found.
    """
    sources = _Sources(file, environ, {key: value for key, value in flags.items() if value is not None})
    server = sources.read("server", ServerConfig)
    limits = sources.read("limits", Limits)
    log = sources.read("log", LogConfig)
    if server is None or limits is None or log is None:
        # Which other tables exist depends on the plugins, and those are not known.
        raise ConfigError(sources.problems)

    plugins = {}
    for entry in server.plugins:
        try:
            plugin = (find or find_plugin)(entry)
        except ConfigError as error:
            sources.problems += [
                f"{sources.origins['server.plugins']}: {problem}" for problem in error.problems
            ]
            continue
        if plugin.name in sources.classes:
            sources.problems.append(f'server.plugins: the name "{plugin.name}" (of {entry}) is already taken')
            continue
        plugins[plugin.name] = (plugin, sources.read(plugin.name, plugin.config))
    sources.refuse_unknown()
    if sources.problems:
        raise ConfigError(sources.problems)
    return LoadedConfig(server=server, limits=limits, log=log, plugins=plugins, origins=sources.origins)


def find_plugin(entry: str) -> Any:
    """Return the plugin class that an entry of `server.plugins` names.

    `package.module:Class` is imported; any other entry is the name of an entry point of the group
    `shoal.plugins`. Raises ConfigError when there is none, or when importing it fails.
    """
    points = {point.name: point for point in entry_points(group=PLUGIN_GROUP)}
    try:
        if ":" in entry:
            module, _, name = entry.partition(":")
            return getattr(importlib.import_module(module), name)
        if entry in points:
            return points[entry].load()
    except (
        Exception
    ) as error:  # a plugin is foreign code: whatever its import raises is reported as its fault
        why = f'the plugin "{entry}" could not be imported: {type(error).__name__}: {error}'
        raise ConfigError([why]) from error
    installed = ", ".join(sorted(points)) or "none"
    raise ConfigError(
        [
            f'no plugin is called "{entry}"{did_you_mean(entry, points)}. '
            f'Installed here: {installed}; or name a class as "package.module:Class"'
        ]
    )


class _Sources:
    """The three sources of one configuration, what was read from them, and the problems found."""

    def __init__(self, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> None:
        self._file = f"file {file}"
        self._tables = _parsed(file) if file else {}
        self._environ = environ
        self._flags = flags
        self.classes: dict[str, type] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []

    def read(self, table: str, cls: type[T]) -> T | None:
        """Return the settings of a table, or None when they have problems."""
        self.classes[table] = cls
        in_file = self._tables.get(table, {})
        if not isinstance(in_file, dict):
            self.problems.append(f"{self._file}: {table} is a table: write [{table}] on a line of its own")
            in_file = {}
        prefix = f"{table}."
        flags = {key.removeprefix(prefix): v for key, v in self._flags.items() if key.startswith(prefix)}
        layers = [
            Layer(source=self._file, values=in_file),
            environment_layer(self._environ, table, cls),
            Layer(source="flag", values=flags, origins={key: flag_origin(key) for key in flags}),
        ]
        try:
            settings, origins = read_table(table, cls, layers)
        except ConfigError as error:
            self.problems += error.problems
            return None
        self.origins |= origins
        return settings

    def refuse_unknown(self) -> None:
        """Note a problem for each table, variable and flag that nothing reads."""
        tables = ", ".join(self.classes)
        hint = "a plugin's table counts when the plugin is in server.plugins"
        for table in self._tables.keys() - self.classes.keys():
            near = did_you_mean(table, self.classes)
            self.problems.append(
                f"{self._file}: unknown table [{table}]{near}. The tables are: {tables}; {hint}"
            )
        for key in self._flags:
            table, _, name = key.partition(".")
            if table not in self.classes:
                why = f'{flag_origin(name)} sets {key}, but the plugin "{table}" is not in server.plugins'
                self.problems.append(why)
        known = set(_COMMANDS_VARIABLES)
        for table, cls in self.classes.items():
            known.update(environment_names(table, cls).values())
        for name in sorted(self._environ.keys() - known):
            if name.startswith("SHOAL_") and not _is_service_link(name, self._environ[name]):
                near = did_you_mean(name, known)
                self.problems.append(f"environment {name}: there is no such setting{near}; {hint}")


OWN_TABLES: Mapping[str, type] = {"server": ServerConfig, "limits": Limits, "log": LogConfig}
"""The tables that a node has without any plugin."""

_COMMANDS_VARIABLES = ("SHOAL_CONFIG", "SHOAL_URL", "SHOAL_TLS_NAME")
"""Read by the commands themselves: where the file is, which node to ask, and what its certificate calls it."""


def flag_origin(key: str) -> str:
    """Return how the origin of a value given by flag is told: the flag is named like its key's last part."""
    return f"flag --{key.rpartition('.')[2].replace('_', '-')}"


def _parsed(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            return tomllib.load(opened)
    except FileNotFoundError as error:
        raise ConfigError([f"file {file}: there is no such file"]) from error
    except OSError as error:
        raise ConfigError([f"file {file}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"file {file}: is not valid TOML: {error}"]) from error


def _is_service_link(name: str, value: str) -> bool:
    """Tell whether Kubernetes set the variable by itself, as it does in every pod for a Service named shoal-…

    It sets SHOAL_SERVICE_HOST, SHOAL_SERVICE_PORT…, SHOAL_PORT=tcp://… and SHOAL_PORT_7512_TCP…: not our
    settings, and no reason not to start.
    """
    return bool(re.search(r"_SERVICE_(HOST|PORT)|_PORT_\d+_(TCP|UDP|SCTP)", name)) or "://" in value
