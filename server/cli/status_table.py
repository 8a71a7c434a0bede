"""The cluster's status as a table for people. Takes the answer apart with care: it may come from another version."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

STATE_STYLES = {"live": "green", "silent": "yellow", "down": "red", "unheard": "red"}
"""Any other state is on its way to one of these."""


def status_table(status: dict[str, Any], now_s: float, *, is_wide: bool) -> Table:
    """Return a table of the nodes in an answer to `cluster/cluster:status`.

    `now_s` is the time since the epoch; a wide table has the addresses of the mesh, too.
    """
    away = status.get("unreachable") or []
    nodes = [status.get("current") or {}, *(status.get("pool") or []), *away]
    total = status.get("count", len(nodes) - len(away))
    table = Table(
        title=f"{total} node{'s' if total != 1 else ''}" + (f", {len(away)} unreachable" if away else ""),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    columns = ["node", "state", "rooms", "clients at", "up for", "version"]
    if is_wide:
        columns += ["publishes at", "answers at"]
    for column in columns:
        table.add_column(column, overflow="fold")
    for at, node in enumerate(nodes):
        table.add_row(
            Text(str(node.get("id", "?")), style="bold" if at == 0 else ""),
            state_text(str(node.get("state", "?"))),
            str(node.get("rooms", "")),
            str(node.get("url", "")),
            age(node.get("started_at"), now_s),
            str(node.get("version", "")),
            *([str(node.get("pub", "")), str(node.get("router", ""))] if is_wide else []),
        )
    return table


def state_text(state: str) -> Text:
    """Return a node's state in its colour."""
    return Text(state, style=STATE_STYLES.get(state, "cyan"))


def age(started_at: Any, now_s: float) -> str:
    """Return how long ago a time in epoch-milliseconds was, in its two largest units; empty when it is none.

    0 is none: it is what a card says that does not say it."""
    if not isinstance(started_at, int | float) or not started_at:
        return ""
    seconds = max(0, int(now_s - started_at / 1000))
    for unit, size, below, below_size in (
        ("d", 86_400, "h", 3_600),
        ("h", 3_600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // below_size} {below}"
    return f"{seconds} s"
