"""The parts of docs/reference that are made from the code, so that they cannot say something else.

    python -m support.reference_parts        writes them (from the folder tests, or with it on PYTHONPATH)

A part is between two HTML comments of its page: `<!-- made from the code: name -->` and `<!-- end -->`. A reason is
the docstring of what it explains: whoever changes a limit changes its reason in the same place.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import attrs
import msgspec
import structlog

from cluster.config import MeshConfig
from cluster.core import messages
from cluster.core.identity import Card, Near
from plugins.cluster.config import ClusterConfig
from plugins.cluster.plugin import ClusterPlugin
from server.config import LoadedConfig
from server.core.errors import CATALOGUE
from server.core.limits import Limits
from server.node import assemble
from support.autobahn_results import JUDGED, Row, Verdict, expected
from support.documents import ROOT

REFERENCE = ROOT / "docs" / "reference"

# -- Pages -----------------------------------------------------------------------------------------------------------


def updated(page: Path) -> str:
    """Return the page's text with its parts as the code has them. Raises KeyError for a part that nobody makes."""

    def replaced(found: re.Match[str]) -> str:
        return f"{found[1]}\n{PARTS[found[2]]()}\n<!-- end -->"

    return re.sub(
        r"(<!-- made from the code: ([\w ]+) -->)\n.*?<!-- end -->",
        replaced,
        page.read_text(),
        flags=re.DOTALL,
    )


def pages_with_parts() -> list[Path]:
    """Return the pages that have such parts."""
    return [
        page for page in sorted(REFERENCE.glob("*.md")) if "<!-- made from the code: " in page.read_text()
    ]


def table(headings: str, rows: Iterator[tuple[str, ...]]) -> str:
    """Return a Markdown table; `headings` are separated by a bar."""
    columns = [heading.strip() for heading in headings.split("|")]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# -- Limits ----------------------------------------------------------------------------------------------------------

NOT_LIMITS: Mapping[str, tuple[str, ...]] = {
    "cluster/adapters/curve.py": ("OTHER_LANGUAGE", "FAILED_HANDSHAKES"),
    "cluster/adapters/mending.py": ("BREAKS",),
    "cluster/adapters/zap.py": ("REQUEST_FRAMES",),
    "cluster/core/identity.py": ("PROTOCOL",),
    "cluster/core/weights.py": ("NOTIFICATION_OVERHEAD", "CHANGE_OVERHEAD"),
    "server/cli/cluster.py": ("WIDE", "PIPED_WIDTH"),
    "server/cli/failure.py": ("FAILED", "MISUSED"),
    "server/cli/up.py": ("SHOWN_LINES", "FEW_LINES"),
    "server/cli/proof.py": ("PUBLISHES",),
    "server/config.py": ("PORT",),
    "server/core/deflate.py": ("LEVEL", "MEMORY_LEVEL"),
    "server/core/encodings.py": ("COMPRESSION_LEVEL",),
    "server/core/frames.py": ("RSV1",),
    "server/core/splitting.py": ("UNKNOWN", "NO_FRAME"),
    "server/core/names.py": ("ENTROPY_BYTES",),
}
"""Numbers with a name that bound nothing: versions, exit codes, widths, kinds of events."""


@attrs.frozen
class Constant:
    """A number with a name, and why it is what it is."""

    module: str
    name: str
    value: float
    reason: str


def constants(package: str) -> Iterator[Constant]:
    """Yield the public numbers of the modules below a folder, but for those that limit nothing, and those of tests."""
    for path in sorted((ROOT / package).rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        if "/testing" in module:
            continue
        explained = dict(_explained(ast.parse(path.read_text()).body))
        for name, reason in explained.items():
            if not name.isupper() or name.startswith("_") or name in NOT_LIMITS.get(module, ()):
                continue
            value = getattr(importlib.import_module(module.removesuffix(".py").replace("/", ".")), name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield Constant(module, name, value, reason)


def _explained(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield each name that is assigned to, with the docstring behind it; without one, with that of the next."""
    waiting: list[str] = []
    for statement in body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                waiting.append(name)
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield from ((name, text) for name in waiting)
                waiting = []
            case _:
                yield from ((name, "") for name in waiting)
                waiting = []
    yield from ((name, "") for name in waiting)


def node_limits() -> str:
    """What can be set in the table [limits]."""
    fields = attrs.fields_dict(Limits)
    return table(
        "limit | default | why",
        (
            (f"`{name}`", _quantity(value, fields[name].metadata["unit"]), fields[name].metadata["help"])
            for name, value in attrs.asdict(Limits()).items()
        ),
    )


def mesh_limits() -> str:
    """The mesh's own, as they are with the configuration's defaults."""
    found = MeshConfig().limits()
    tree = ast.parse(inspect.getsource(type(found)))
    (declared,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    reasons = dict(_explained(declared.body))
    return table(
        "limit | default | why",
        (
            (f"`{name}`", _mesh_quantity(name, value), reasons[name])
            for name, value in attrs.asdict(found).items()
        ),
    )


def _mesh_quantity(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return _quantity(value, "bytes")
    return _quantity(value, "seconds" if isinstance(value, float) else "")


AREAS: Mapping[str, str] = {
    "cluster/": "mesh",
    "server/core/koncorde/": "filters",
    "server/cli/": "commands",
    "": "clients",
}
"""What the modules below a folder are about; the first that fits counts."""


def fixed(area: str) -> Callable[[], str]:
    """Those that nobody can set, in one area."""

    def made() -> str:
        return table(
            "limit | value | why",
            (
                (f"`{each.name}`<br>{each.module}", _quantity(each.value, _unit(each.name)), each.reason)
                for package in ("server", "cluster", "plugins")
                for each in constants(package)
                if next(about for folder, about in AREAS.items() if each.module.startswith(folder)) == area
            ),
        )

    return made


def _unit(name: str) -> str:
    for ending, unit in (
        ("_PER_S", "per second"),
        ("_BYTES", "bytes"),
        ("_MS", "milliseconds"),
        ("_S", "seconds"),
    ):
        if name.endswith(ending):
            return unit
    return ""


def _quantity(value: float, unit: str) -> str:
    if unit == "bytes":
        for name, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size and value % size == 0:
                return f"{value // size} {name}"
    text = f"{value:,}" if isinstance(value, int) else f"{value:,g}"
    short = {"seconds": "s", "milliseconds": "ms"}.get(unit, unit)
    return f"{text} {short}".strip()


# -- The mesh's messages ---------------------------------------------------------------------------------------------


def message_table(union: UnionType) -> Callable[[], str]:
    """The members of a union of messages."""

    def made() -> str:
        return table(
            "tag | message | fields | meaning",
            (
                (str(cls.__struct_config__.tag), f"`{cls.__name__}`", _fields(cls), inspect.getdoc(cls) or "")
                for cls in get_args(union)
            ),
        )

    return made


def struct_table(*classes: type[msgspec.Struct]) -> Callable[[], str]:
    """Structures without a tag."""

    def made() -> str:
        return table(
            "structure | fields | meaning",
            ((f"`{cls.__name__}`", _fields(cls), inspect.getdoc(cls) or "") for cls in classes),
        )

    return made


def _fields(cls: type[msgspec.Struct]) -> str:
    info = msgspec.inspect.type_info(cls)
    assert isinstance(info, msgspec.inspect.StructType)
    shared = messages.Message.__struct_fields__ if issubclass(cls, messages.Message) else ()
    return "<br>".join(
        f"`{field.name}` {_kind(field.type)}" for field in info.fields if field.name not in shared
    )


def _kind(kind: Any) -> str:
    match kind:
        case msgspec.inspect.StructType(cls=cls) | msgspec.inspect.NamedTupleType(cls=cls):
            return cls.__name__
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(_kind(each) for each in types)
        case msgspec.inspect.ListType(item_type=item, max_length=most):
            return f"list of {_kind(item)}" + (f", at most {most:,}" if most else "")
        case msgspec.inspect.DictType(key_type=key, value_type=value, max_length=most):
            return f"map of {_kind(key)} to {_kind(value)}" + (f", at most {most:,}" if most else "")
        case msgspec.inspect.TupleType(item_types=items):
            return f"({', '.join(_kind(each) for each in items)})"
        case msgspec.inspect.StrType(max_length=most) | msgspec.inspect.BytesType(max_length=most):
            name = "text" if isinstance(kind, msgspec.inspect.StrType) else "bytes"
            return f"{name} ≤ {most:,}" if most else name
        case msgspec.inspect.IntType():
            return "number"
        case msgspec.inspect.BoolType():
            return "flag"
        case msgspec.inspect.NoneType():
            return "nothing"
        case _:
            raise AssertionError(f"no word for {kind}")


# -- The Autobahn suite ----------------------------------------------------------------------------------------------


def autobahn_table() -> str:
    """What every run of the suite must show."""
    verdicts = [verdict for verdict in Verdict if verdict is not Verdict.FAILED]

    def figures(row: Row) -> tuple[str, ...]:
        return tuple(str(row.counts.get(verdict) or "") for verdict in verdicts)

    rows = [(f"{row.section.number}. {row.section.title}", *figures(row)) for row in expected()]
    totals = (str(sum(row.counts.get(verdict, 0) for row in expected())) for verdict in verdicts)
    headings = " | ".join(["section", *(verdict.value for verdict in verdicts)])
    return table(headings, iter([*rows, ("all", *totals)]))


def autobahn_exceptions() -> str:
    """The cases that do not simply pass, with reasons."""
    return table(
        "case | counts as | closed with | why",
        (
            (f"`{known.cases}`", known.verdict.value, str(known.close_code), known.reason)
            for known in JUDGED.known
        ),
    )


# -- The API ---------------------------------------------------------------------------------------------------------


def action_table() -> str:
    """Every action of a node with the cluster plugin."""
    config = LoadedConfig(plugins={"cluster": (ClusterPlugin, ClusterConfig())})
    actions = assemble(config, structlog.get_logger()).app.actions

    def rows() -> Iterator[tuple[str, ...]]:
        for action in actions:
            routes = "<br>".join(f"`{verb} {path}`" for verb, path in action.http)
            said = (inspect.getdoc(action.call) or "").split("\n\n")[0]
            yield (
                f"`{action.controller}:{action.name}`",
                routes or "WebSocket or `POST /_query`",
                said,
                "yes" if action.is_public else "",
            )

    return table("action | route | what it does | public", rows())


def error_table() -> str:
    """Every error that a client can get, but for plugins' own."""
    return table(
        "id | status | code | message",
        (
            (f"`{kind.id}`", str(kind.status), f"{kind.code}", re.sub(r"\{\d?\}", "…", kind.template))
            for kind in CATALOGUE.values()
        ),
    )


PARTS: Mapping[str, Callable[[], str]] = {
    "node limits": node_limits,
    "mesh limits": mesh_limits,
    "fixed limits of clients": fixed("clients"),
    "fixed limits of filters": fixed("filters"),
    "fixed limits of the mesh": fixed("mesh"),
    "fixed limits of the commands": fixed("commands"),
    "published": message_table(messages.Publication),
    "asked": message_table(messages.Question),
    "answered": message_table(messages.Reply),
    "changes": message_table(messages.Change),
    "structures": struct_table(messages.Notification, messages.LinkReport),
    "card": struct_table(Card, Near),
    "autobahn results": autobahn_table,
    "autobahn exceptions": autobahn_exceptions,
    "actions": action_table,
    "errors": error_table,
}


if __name__ == "__main__":
    for page in pages_with_parts():
        page.write_text(updated(page))
