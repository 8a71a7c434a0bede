"""The cluster's status as a table for people. Takes the answer apart with care: it may come from another version."""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

STATE_STYLES = {
    "live": "green",
    "silent": "yellow",
    "draining": "yellow",
    "leaving": "yellow",
    "waiting": "yellow",
    **dict.fromkeys(("down", "unheard", "deaf", "mute", "twin", "stalled"), "red"),
}
"""Any other state is on its way to one of these."""

REMARKS_AT_MOST = 20
"""Under a table: who needs more of them has `--json`."""


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
            state_text(str(node.get("state", "?")), is_ready=node.get("ready") is not False),
            str(node.get("rooms", "")),
            str(node.get("url", "")),
            age(node.get("started_at"), now_s),
            str(node.get("version", "")),
            *([str(node.get("pub", "")), str(node.get("router", ""))] if is_wide else []),
        )
    return table


def remarks(status: dict[str, Any]) -> list[Text]:
    """Return what has to be said below the table: why the node that was asked is not ready, and who does not work with
    it."""
    lines = list(_remarks(status))
    more = len(lines) - REMARKS_AT_MOST
    return lines[:REMARKS_AT_MOST] + ([Text(f"… and {more} more", style="dim")] if more > 0 else [])


def _remarks(status: dict[str, Any]) -> Iterator[Text]:
    current = status.get("current") or {}
    name = str(current.get("id", "?"))
    if current.get("ready") is False:
        for why in current.get("reasons") or ["it does not say why"]:
            yield Text(f"{name} is not ready: {why}", style="yellow")
    pool = current.get("pool") or {}
    if pool.get("reachable") is False and current.get("ready") is not False:
        yield Text(f"{name} finds no other nodes: {pool.get('error', '')}", style="yellow")
    for refusing in status.get("refused_by") or []:
        who = refusing.get("id") or refusing.get("router", "?")
        yield Text(f"{who} does not let {name} in: {refusing.get('reason', '')}", style="red")
    for foreign in status.get("foreign") or []:
        yield Text(
            f"{foreign.get('id', '?')} cannot work with {name}: {foreign.get('reason', '')}", style="red"
        )


def state_text(state: str, *, is_ready: bool = True) -> Text:
    """Return a node's state in its colour; of one that is live and takes no clients, or does not know all, that too."""
    if state == "live" and not is_ready:
        return Text("live, not ready", style="yellow")
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
