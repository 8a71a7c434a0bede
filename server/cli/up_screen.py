"""What `shoal up` shows: on a terminal a live table under what was said, elsewhere a plain line per change."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType

import attrs
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

STYLES = {"starting": "cyan", "joining": "cyan", "ready": "green", "not ready": "yellow", "ended": "red"}


@attrs.define
class NodeView:
    """What is known of one node."""

    number: int
    port: int
    id: str = ""
    """Empty until the node said it."""
    url: str = ""
    pid: int = 0
    state: str = "starting"
    """`starting` → `joining` (it listens) → `ready` ⇄ `not ready`; `ended` from anywhere."""
    reason: str = ""
    """Why it is not ready, or how it ended."""
    count: int = 0
    """How many nodes it sees, itself included."""
    rooms: int = 0
    """How many rooms its own clients are in."""

    @property
    def name(self) -> str:
        """How a message calls the node."""
        return self.id or f"node {self.number}"


class _Console(Console):
    """Leaves it to the screen what to do when nobody reads any more; rich would end the program on the spot."""

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()
        raise BrokenPipeError


class Screen:
    """Where `shoal up` speaks. A context manager: on a terminal the table is there as long as the context lasts."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _Console(highlight=False)
        self.is_gone = False
        """Whether the terminal was closed, or the program that read what is said here ended. Nothing is raised then."""
        self._live: Live | None = None
        self._shown: dict[int, tuple[str, str]] = {}

    def __enter__(self) -> "Screen":
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            with self._noting_loss():
                self._live.stop()
            self._live = None

    def say(self, *lines: str | Text) -> None:
        """Print lines that stay. They are not wrapped: what is to be copied stays in one piece."""
        with self._noting_loss():
            for line in lines:
                self.console.print(line, soft_wrap=True, markup=False)

    def head(self, line: str) -> None:
        """Print a line that stays, and stands out."""
        self.say(Text(line, style="bold"))

    def good(self, line: str) -> None:
        """Print a line that stays and says that something worked."""
        self.say(Text.assemble(("✓ ", "bold green"), line))

    def hint(self, what: str, command: str) -> None:
        """Print something to try: what it does, and a line to copy."""
        self.say(Text(f"  # {what}", style="dim"), f"  {command}", "")

    def show(self, nodes: Sequence[NodeView]) -> None:
        """Show the nodes as they are now."""
        if self._live:
            with self._noting_loss():
                self._live.update(node_table(nodes), refresh=True)
            return
        for node in nodes:
            now = (node.state, _news(node))
            if node.state != "starting" and self._shown.get(node.number) != now:
                self._shown[node.number] = now
                self.say(_line(node))

    @contextmanager
    def _noting_loss(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self.is_gone = True


def node_table(nodes: Sequence[NodeView]) -> Table:
    """Return the table of the nodes, with what Ctrl-C does under it."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption="Ctrl-C ends all of it.",
        caption_justify="left",
        caption_style="dim",
    )
    for column in ("node", "state", "clients at", "process", "rooms", "sees"):
        table.add_column(column, no_wrap=column != "sees", overflow="fold")
    for node in nodes:
        is_ready = node.state == "ready"
        table.add_row(
            Text(node.name, style="bold" if node.id else "dim"),
            Text(node.state, style=STYLES.get(node.state, "")),
            node.url or f"port {node.port}",
            str(node.pid or ""),
            str(node.rooms) if is_ready else "",
            _sees(node) if is_ready else Text(node.reason, style="dim"),
        )
    return table


def _line(node: NodeView) -> str:
    match node.state:
        case "joining":
            return f"{node.name} listens at {node.url} (process {node.pid})"
        case "ready":
            return f"{node.name} is ready and sees {_sees(node)}"
        case state:
            return f"{node.name}: {state}" + (f" ({node.reason})" if node.reason else "")


def _news(node: NodeView) -> str:
    """Return what of a node in its state is worth a new line when it changes."""
    match node.state:
        case "ready":
            return _sees(node)
        case "joining":  # its reason may change at each look
            return ""
        case _:
            return node.reason


def _sees(node: NodeView) -> str:
    return f"{node.count} node{'s' if node.count != 1 else ''}"
