"""Programs in Node.js as part of a test, with packages exactly as a lock file says.

A test is skipped, saying why, where there is no Node, one that is too old, or no way to its packages.
"""

import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import attrs
import pytest
import trio

from server.cli.children import Child, open_child

NODE_AT_LEAST = (20, 10)
"""The first that has --experimental-websocket."""

INSTALL_LIMIT_S = 120.0
"""For two packages, through whatever lies between here and the registry."""

STEP_LIMIT_S = 60.0
"""For a scenario to get to its next event; above the patience of the scenario itself, which says more when it fails."""


class Server(Protocol):
    """What a scenario talks to: a node, or a proxy in front of nodes, on 127.0.0.1."""

    @property
    def port(self) -> int:
        """Its TCP port."""


@attrs.frozen(eq=False)
class Scenario:
    """A running scenario, see sdk/session.cjs for its side."""

    _child: Child

    async def reached(self, event: str) -> dict[str, Any]:
        """Wait until the scenario tells `event`; return what it tells with it.

        Raises ChildEnded, with what the scenario said last, when it fails first.
        """
        with trio.fail_after(STEP_LIMIT_S):
            line = await self._child.line(rf'^\{{"event":"{event}".*')
        facts: dict[str, Any] = json.loads(line[0])
        return facts

    async def say(self, cue: str) -> None:
        """Give the scenario a cue that it waits for."""
        stdin = self._child.process.stdin
        assert stdin is not None
        await stdin.send_all(cue.encode() + b"\n")

    async def passed(self) -> None:
        """Wait for the scenario's end, which must be a good one."""
        with trio.fail_after(STEP_LIMIT_S):
            ended = await self._child.wait()
        assert ended.exit_code == 0, "\n".join([str(ended), *ended.tail])


async def run_scenario(
    package: Path,
    name: str,
    servers: Sequence[Server],
    *,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> None:
    """Run a scenario from beginning to end. Parameters as for `open_scenario`."""
    async with open_scenario(package, name, servers, env=env, options=options) as scenario:
        await scenario.passed()


@asynccontextmanager
async def open_scenario(
    package: Path,
    name: str,
    servers: Sequence[Server],
    *,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> AsyncIterator[Scenario]:
    """Run sdk/<name>.cjs of a package against `servers` until the block ends.

    `env` is added to the environment, `options` are Node's own.
    """
    node = await node_program()
    await install_packages(package)
    addresses = [{"host": "127.0.0.1", "port": one.port} for one in servers]
    environment = {**os.environ, **(env or {}), "SHOAL_NODES": json.dumps(addresses)}
    command = [node, "--no-warnings", *options, str(package / "sdk" / f"{name}.cjs")]
    async with open_child(name, command, env=environment) as child:
        yield Scenario(child)


async def node_program() -> str:
    """Return the path of a Node that is new enough."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is not installed")
    done = await trio.run_process([program, "--version"], capture_stdout=True)
    found = re.match(r"v(\d+)\.(\d+)", done.stdout.decode())
    if found is None or (int(found[1]), int(found[2])) < NODE_AT_LEAST:
        pytest.skip(
            f"Node.js {'.'.join(map(str, NODE_AT_LEAST))} or later is needed, not {done.stdout.decode()}"
        )
    return program


async def install_packages(package: Path) -> None:
    """Install what package-lock.json says, unless exactly that is there."""
    wanted = _locked(package / "package-lock.json")
    if _locked(package / "node_modules" / ".package-lock.json") == wanted:
        return
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    # Scripts of packages are not run: nothing that is installed here needs one.
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    with trio.move_on_after(INSTALL_LIMIT_S) as waiting:
        done = await trio.run_process(
            command, cwd=package, capture_stderr=True, capture_stdout=True, check=False
        )
    if waiting.cancelled_caught:
        pytest.skip(f"npm ci took more than {INSTALL_LIMIT_S:g} s")
    if done.returncode:
        pytest.skip(f"npm ci failed: {done.stderr.decode(errors='replace')[-1000:]}")


def _locked(path: Path) -> dict[str, str] | None:
    """Return the integrity of each package by its place in node_modules."""
    if not path.is_file():
        return None
    packages = json.loads(path.read_text())["packages"]
    return {place: entry["integrity"] for place, entry in packages.items() if place}
