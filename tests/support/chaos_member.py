"""A node that can be ended and started again under its name and on its ports, and the memory of how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import trio

from support.chaos_socket import OpenStream
from support.processes import Node, running_node


@attrs.frozen
class End:
    """How the test ended a running node."""

    at: float
    """When it began to; trio's clock."""
    is_killed: bool
    """Without a goodbye."""


@attrs.define(eq=False)
class Member:
    """A place in the cluster: one running node at a time, always with the same name and ports."""

    name: str
    settings: dict[str, Any]
    _redis: str
    _nursery: trio.Nursery
    _prefix: Sequence[str] = ()
    _open_stream: OpenStream = trio.open_tcp_stream
    env: Mapping[str, str] = attrs.field(factory=dict)
    """Added to the environment in which it is started: by it a node can be one of another release."""
    ends: dict[Node, End] = attrs.field(factory=dict)
    """Its former lives."""
    _running: Node | None = None
    _end: trio.Event = attrs.field(factory=trio.Event)
    _ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def node(self) -> Node:
        """The running node."""
        assert self._running is not None, f"{self.name} does not run"
        return self._running

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended since, by the test."""
        return self._running is not None

    async def start(self) -> Node:
        """Start it; return when it listens."""
        assert self._running is None, f"{self.name} runs"
        self._end, self._ended = trio.Event(), trio.Event()
        node: Node = await self._nursery.start(self._run)
        self._running = node
        return node

    async def kill(self) -> None:
        """End it without a goodbye (SIGKILL); return when it is gone."""
        self.ends[self.node] = End(trio.current_time(), is_killed=True)
        self.node.kill()
        await self.stop()

    async def stop(self) -> None:
        """Let it stop in order (SIGTERM); return when it is gone."""
        node = self.node
        end = self.ends.setdefault(node, End(trio.current_time(), is_killed=False))
        self._running = None
        self._end.set()
        await self._ended.wait()
        assert end.is_killed or node.child.exit_code == 0, f"{node.id} ended with {node.child.exit_code}"

    async def _run(self, *, task_status: trio.TaskStatus[Node]) -> None:
        try:
            async with running_node(
                redis=self._redis,
                name=self.name,
                settings=self.settings,
                prefix=self._prefix,
                open_stream=self._open_stream,
                env=self.env,
            ) as node:
                task_status.started(node)
                await self._end.wait()
        finally:
            self._ended.set()
