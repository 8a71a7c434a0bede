"""One table of settings: from a file, the environment and flags to one checked, frozen object.

What can be set is an attrs class; its fields are the keys. Rising in strength, a value comes from the class's
default, the TOML file, the environment, a flag. For each key it is remembered where its value came from.

It refuses to guess: an unknown key, a value of the wrong type or one that the class itself does not accept
is a problem that names the place, the key and what is allowed. All problems of a table are collected, so that
one attempt shows them all. Secret values are never part of a message. Nothing here opens a file or looks at
the process's environment by itself.
"""

import difflib
import math
import re
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from typed_settings.cls_utils import deep_options
from typed_settings.converters import TSConverter
from typed_settings.dict_utils import set_path
from typed_settings.loaders import EnvLoader
from typed_settings.types import OptionInfo, Secret, SettingsDict

T = TypeVar("T")

DEFAULT = "default"
"""The origin of a value that nobody set."""

MASK = "***"
"""What is shown in place of a secret."""


class ConfigError(Exception):
    """The configuration cannot be used; `problems` say what is wrong, where, and what is allowed."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@attrs.frozen
class Layer:
    """What one source says about one table."""

    source: str
    """How a message names the source, such as `file shoal.toml`."""
    values: Mapping[str, Any]
    """Nested like the table itself, or with dotted keys."""
    origins: Mapping[str, str] = attrs.field(factory=dict)
    """A more exact place per dotted key, such as `environment SHOAL_SERVER_PORT`."""
    is_text: bool = False
    """Whether values are text that must still be parsed, and not already of TOML's types."""

    def origin(self, key: str) -> str:
        """Return where the value of the dotted `key` was written."""
        return self.origins.get(key, self.source)


def environment_layer(environ: Mapping[str, str], table: str, cls: type[Any]) -> Layer:
    """Return what `environ` says about the keys of `cls`, as variables named SHOAL_<TABLE>_<KEY>."""
    variables = environment_names(table, cls)
    given = {key: name for key, name in variables.items() if name in environ}
    return Layer(
        source="environment",
        values={key: environ[name] for key, name in given.items()},
        origins={key: f"environment {name}" for key, name in given.items()},
        is_text=True,
    )


def environment_names(table: str, cls: type[Any]) -> dict[str, str]:
    """Return the variable that sets each dotted key of `cls`."""
    loader = EnvLoader(prefix=f"SHOAL_{re.sub(r'[^A-Z0-9]', '_', table.upper())}_")
    return {option.path: loader.get_envvar(option) for option in deep_options(cls)}


def read_table(table: str, cls: type[T], layers: Sequence[Layer]) -> tuple[T, dict[str, str]]:
    """Return the settings object of `table`, and the origin of each of its values by `table.key`.

    `layers` come in rising order of strength. Raises ConfigError with every problem found.
    """
    options = {option.path: option for option in deep_options(cls)}
    problems: list[str] = []
    chosen: dict[str, tuple[Layer, Any]] = {}
    for layer in layers:
        for key, value in _given(table, layer, options, problems):
            chosen[key] = (layer, value)

    values: SettingsDict = {}
    for key, option in options.items():
        if key in chosen:
            layer, value = chosen[key]
            try:
                set_path(values, key, _converted(option, value, is_text=layer.is_text))
            except (ValueError, TypeError):
                problems.append(_wrong_value(f"{table}.{key}", layer.origin(key), option, value))
        elif option.has_no_default:
            problems.append(f"{table}.{key} must be set: it has no default. It is {wanted(option.cls)}")
    origins = {key: chosen[key][0].origin(key) if key in chosen else DEFAULT for key in options}
    if problems:
        raise ConfigError(problems)
    try:
        built = _CONVERTER.structure(values, cls)
    except (
        Exception
    ) as error:  # the class may be a plugin's: whatever it raises says that it refuses its values
        raise ConfigError([_refused(table, error, options, chosen)]) from error
    return built, {f"{table}.{key}": origin for key, origin in origins.items()}


def rows(table: str, settings: Any) -> Iterator[tuple[str, str]]:
    """Yield each dotted key of a settings object with its value as text; secrets are masked."""
    for option in deep_options(type(settings)):
        value = settings
        for name in option.path.split("."):
            value = getattr(value, name)
        yield f"{table}.{option.path}", shown(value, is_secret=is_secret(option))


def is_secret(option: OptionInfo) -> bool:
    """Tell whether the option's value must not be shown: by its type, its metadata, or no part in its class's repr."""
    field = attrs.fields_dict(option.parent_cls)[option.name]
    return option.is_secret or field.repr is False or bool(field.metadata.get("secret"))


def metadata_of(option: OptionInfo) -> Mapping[str, Any]:
    """Return the metadata (`help`, `unit`, `secret`) that the class gives with the field."""
    metadata: Mapping[str, Any] = attrs.fields_dict(option.parent_cls)[option.name].metadata
    return metadata


def shown(value: object, *, is_secret: bool) -> str:
    """Return `value` as TOML would have it; a secret, or the password in a URL, as `***`."""
    match value:
        case Secret():
            return shown(value.get_secret_value(), is_secret=True)
        case None:
            return "not set"
        case "":
            return '""'
        case _ if is_secret:
            return MASK
        case bool():
            return "true" if value else "false"
        case Enum():
            return f'"{value.name}"'
        case str() | Path():
            return f'"{without_password(str(value))}"'
        case tuple() | list() | set() | frozenset():
            return f"[{', '.join(shown(item, is_secret=False) for item in value)}]"
        case _:
            return str(value)


def wanted(kind: Any) -> str:
    """Return in words what a value of the type `kind` looks like."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(shown(arg, is_secret=False) for arg in args)
    if origin in (Union, types.UnionType):
        return " or ".join(wanted(arg) for arg in args if arg is not type(None))
    if _is_collection(kind):
        return f"a list, each item {wanted(args[0])}" if args else "a list"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(f'"{name}"' for name in kind.__members__)
    return _WANTED.get(kind, "text" if _is_text_type(kind) else "a value of another type")


_CONVERTER = TSConverter(resolve_paths=False, strlist_sep=None)

_WANTED: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a path",
}


def _given(
    table: str, layer: Layer, options: Mapping[str, OptionInfo], problems: list[str]
) -> Iterator[tuple[str, Any]]:
    """Yield the known dotted keys that the layer sets; what is unknown becomes a problem."""
    pending = list(layer.values.items())
    while pending:
        key, value = pending.pop(0)
        inner = f"{key}."
        if key in options:
            yield key, value
        elif not any(known.startswith(inner) for known in options):
            problems.append(f"{layer.origin(key)}: {_unknown_key(table, key, options)}")
        elif isinstance(value, Mapping):
            pending += [(inner + name, nested) for name, nested in value.items()]
        else:
            keys = ", ".join(known.removeprefix(inner) for known in options if known.startswith(inner))
            problems.append(f"{layer.origin(key)}: {table}.{key} is a table with the keys {keys}")


def _unknown_key(table: str, key: str, options: Collection[str]) -> str:
    return f'[{table}] has no key "{key}"{did_you_mean(key, options)}. Its keys are: {", ".join(options)}'


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return a hint at the known word that is nearest to `word`, or nothing when none is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def _converted(option: OptionInfo, value: Any, *, is_text: bool) -> Any:
    """Return the value in the option's type. Raises ValueError or TypeError when it is not one."""
    if option.converter:
        return value
    if is_text and _is_collection(option.cls):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif not is_text and not _fits(value, option.cls):
        raise TypeError
    converted: Any = _CONVERTER.structure(value, option.cls)
    if isinstance(converted, float) and not math.isfinite(converted):
        raise ValueError
    return converted


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a TOML value is of the kind, without the conversions that a person would not expect.

    TOML has types of its own: `port = "7512"` and `enabled = 1` are mistakes there, not spellings.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is Literal:
        return any(type(arg) is type(value) and arg == value for arg in args)
    if _is_collection(kind):
        items = args[0] if args else Any
        return isinstance(value, list | tuple) and all(_fits(item, items) for item in value)
    if _is_text_type(kind):
        return isinstance(value, str)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind if kind in (bool, int) else True


def _is_collection(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (list, tuple, set, frozenset)


def _is_text_type(kind: Any) -> bool:
    if get_origin(kind) is Secret:
        return get_args(kind) == (str,)
    return isinstance(kind, type) and issubclass(kind, str) and not issubclass(kind, Enum)


def _wrong_value(key: str, origin: str, option: OptionInfo, value: Any) -> str:
    found = MASK if is_secret(option) else without_password(repr(value))
    return f"{origin}: {key} must be {wanted(option.cls)}, not {found}{_service_link_hint(origin, value)}"


def _service_link_hint(origin: str, value: Any) -> str:
    """Explain the variables that Kubernetes sets by itself for a Service named like one of our tables."""
    if origin.startswith("environment") and isinstance(value, str) and value.startswith("tcp://"):
        return " (Kubernetes sets such variables for each Service: set enableServiceLinks: false in the pod)"
    return ""


def _refused(
    table: str,
    error: Exception,
    options: Mapping[str, OptionInfo],
    chosen: Mapping[str, tuple[Layer, Any]],
) -> str:
    """Return why the class refused its values, with the place of each value that the reason names."""
    reason = str(error.args[0]) if error.args else repr(error)
    for key, (_, value) in chosen.items():
        if is_secret(options[key]) and value:
            reason = reason.replace(str(value), MASK)
    named = set(re.findall(r"\w+", reason))
    places = [
        f"{table}.{key} comes from {layer.origin(key)}"
        for key, (layer, _) in chosen.items()
        if key.rpartition(".")[2] in named
    ]
    return f"[{table}] {without_password(reason)}" + (f" ({'; '.join(places)})" if places else "")


def without_password(text: str) -> str:
    """Mask the password of every URL in the text."""
    return re.sub(r"(\w://[^:@/\s]*):\S*@", rf"\1:{MASK}@", text)
