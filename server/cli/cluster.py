"""`shoal status`, `health`, `reset`, `drain` and `watch`: asking a running cluster through any of its nodes.

`health` is made for scripts: exit code 0 when the node is ready, 1 when it says that it is not, 2 when nothing answers.
The others end with 0 when they were answered, else with 1; all say the reason on standard error.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from typing import Any, NoReturn, TypeVar, cast

import attrs
import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from server.cli.client import Answer, NoAnswer, Trust, ask, is_url
from server.cli.failure import FAILED, MISUSED, fail
from server.cli.status_table import remarks, status_table

WIDE = 130
"""Columns of a terminal from which on the mesh's addresses fit into the table, too."""

PIPED_WIDTH = 200
"""Columns where no terminal says how many it has."""

F = TypeVar("F", bound=Callable[..., Any])

WATCH_INTERVAL_S = 1.0
"""Between two looks: fast enough to watch a node join, slow enough to read."""

DRAIN_INTERVAL_S = 0.2
"""Between two questions for how many clients are left."""


def _checked_url(_: click.Context, __: click.Parameter, url: str) -> str:
    if not is_url(url):
        raise click.BadParameter(f"{url!r} is not an HTTP URL such as http://127.0.0.1:7512.")
    return url.rstrip("/")


@attrs.frozen
class Asked:
    """The node that a command asks."""

    url: str
    trust: Trust

    def __str__(self) -> str:
        return self.url

    def ask(self, path: str, method: str = "GET", body: dict[str, Any] | None = None) -> Answer:
        """Return its answer. Raises NoAnswer."""
        return ask(self.url, path, method, body=body, trust=self.trust)


def _asks_a_node(command: F) -> F:
    """Give the command the options that say which node to ask, as `node`."""

    @click.option(
        "--url",
        default="http://127.0.0.1:7512",
        show_default=True,
        envvar="SHOAL_URL",
        callback=_checked_url,
        help="Any node of the cluster; also as SHOAL_URL.",
    )
    @click.option(
        "--ca",
        metavar="FILE",
        envvar="SSL_CERT_FILE",
        help="For https: certificate (PEM) of who signed the node's; also as SSL_CERT_FILE. "
        "Without it, whom this machine believes.",
    )
    @click.option(
        "--tls-name",
        metavar="NAME",
        envvar="SHOAL_TLS_NAME",
        help="For https: the name in the node's certificate, if the URL has another; also as SHOAL_TLS_NAME.",
    )
    @wraps(command)
    def asking(url: str, ca: str | None, tls_name: str | None, **options: Any) -> Any:
        return command(node=Asked(url, Trust(ca, tls_name)), **options)

    return cast("F", asking)


def _token_option(command: F) -> F:
    return click.option(
        "--token",
        envvar="SHOAL_CLUSTER_ADMIN_TOKEN",
        help="The node's cluster.admin_token; needed from other machines. Also as SHOAL_CLUSTER_ADMIN_TOKEN.",
    )(command)


@click.command()
@_asks_a_node
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, for programs.")
def status(node: Asked, as_json: bool) -> None:
    """Show the nodes of the cluster, as one of them sees it; of that one also why it is not ready."""
    answer = _asked(node, "/_plugin/cluster/status")
    if as_json:
        click.echo(json.dumps(answer.result, indent=2, ensure_ascii=False))
    else:
        console = _console()
        console.print(
            status_table(answer.result, time.time(), is_wide=_is_wide(console)),
            *remarks(answer.result),
            sep="\n",
        )


@click.command(short_help="Tell by words and exit code whether a node is ready.")
@_asks_a_node
def health(node: Asked) -> None:
    """Tell whether a node is ready: exit code 0 yes, 1 no, 2 nothing answers."""
    try:
        answer = node.ask("/_plugin/cluster/health")
    except NoAnswer as error:
        fail(str(error), MISUSED)
    if answer.status != 200:
        fail(f"The node at {node} is not ready: {answer.reason}", FAILED)
    click.echo(answer.result)


@click.command(short_help="Make all nodes read each other's rooms anew.")
@_asks_a_node
@_token_option
def reset(node: Asked, token: str | None) -> None:
    """Make all nodes forget what they know of each other and learn it anew. Clients stay attached and subscribed."""
    click.echo(_asked(node, "/_plugin/cluster/reset", "POST", token).result)


@click.command(short_help="Send the clients of one node to the others.")
@_asks_a_node
@_token_option
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds for the clients to go; then it ends with 1.",
)
def drain(node: Asked, token: str | None, wait_s: float) -> None:
    """Send the clients of the node at --url to the others, and wait until it has none: it can be stopped then.

    The node takes no more clients, says 503 as its health, and stays in the cluster until it is stopped.
    """
    until = time.monotonic() + wait_s
    told = -1
    while left := int(_asked(node, "/_plugin/cluster/drain", "POST", token).result["clients"]):
        if left != told:
            click.echo(f"{left} clients are still attached")
            told = left
        if time.monotonic() > until:
            fail(f"The node at {node} still has {left} clients.", FAILED)
        time.sleep(DRAIN_INTERVAL_S)
    click.echo("drained")


@click.command()
@_asks_a_node
def watch(node: Asked) -> None:
    """Show the nodes of the cluster until Ctrl-C."""
    console = _console()
    with suppress(KeyboardInterrupt):
        if console.is_terminal:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                _look_again_and_again(node, console, partial(live.update, refresh=True))
        else:
            _look_again_and_again(node, console, console.print)


def _look_again_and_again(node: Asked, console: Console, show: Callable[[Group | Text], None]) -> NoReturn:
    while True:
        show(_look(node, is_wide=_is_wide(console)))
        time.sleep(WATCH_INTERVAL_S)


def _console() -> Console:
    """Return where to print: as wide as the terminal, or as a program that reads it can take."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def _is_wide(console: Console) -> bool:
    return console.width >= WIDE


def _look(node: Asked, *, is_wide: bool) -> Group | Text:
    try:
        answer = node.ask("/_plugin/cluster/status")
    except NoAnswer as error:
        return Text(str(error), style="red")
    if answer.status != 200:  # its mesh is not started, or it is of a version that says no more than that
        return Text(f"The node at {node} is not ready: {answer.reason}", style="yellow")
    now = time.time()
    seen = f"as {node} sees it at {time.strftime('%H:%M:%S', time.localtime(now))}; Ctrl-C ends this"
    table = status_table(answer.result, now, is_wide=is_wide)
    return Group(table, *remarks(answer.result), Text(seen, style="dim"))


def _asked(node: Asked, path: str, method: str = "GET", token: str | None = None) -> Answer:
    """Return the answer, if it is a success; else end the command with the reason."""
    try:
        answer = node.ask(path, method, None if token is None else {"token": token})
    except NoAnswer as error:
        fail(str(error), FAILED)
    if answer.status != 200:
        fail(f"The node at {node} could not do this: {answer.reason}", FAILED)
    return answer
