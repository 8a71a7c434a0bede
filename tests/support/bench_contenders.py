"""Who is measured, and what is asked of it: tasks, Shoal itself, and what every contender needs.

A contender gives a script for the load generator, whatever protocol is spoken on top of WebSocket. Messages are the
same for all: a JSON object of 200 bytes, which Shoal is given as a document's body. What Shoal sends for it is larger,
since a notification says more than the message; that is its own affair, and counts against it. The others are in
`support.bench_peers`.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs
import trio

from server.cli.children import guarded, open_child
from server.cli.embedded_redis import find_program
from server.cli.up import free_ports_from
from support.bench_load import Script
from support.bench_machine import SERVER_CORE, pinned
from support.processes import Node, running_node

START_S: Final = 30.0

REDIS_PORT: Final = 26_379
"""The first free port from here on."""

CONNECTIONS: Final = 11_000
"""What Shoal's nodes allow: 10,000 subscribers, and whoever publishes and asks beside them."""

ROOM: Final = "%1$d"
"""The number of a room, where the generator is to write it."""

EVALUATED: Final = json.dumps(
    {
        "and": [
            {"equals": {"kind": "order"}},
            {"range": {"price": {"gte": 10, "lt": 100}}},
            {"exists": "text"},
            {"not": {"in": {"kind": ["draft", "offer"]}}},
        ]
    }
)
"""A filter of several terms, all of which have to be looked at, since every message satisfies it."""

BY_NUMBER: Final = '{"equals":{"room":%1$d}}'
"""A filter that only the messages for one room satisfy."""

TEN_OF_TEN: Final = '{"range":{"price":{"gt":%1$d}}}'
"""A filter that differs for each of ten rooms, all of which every message satisfies."""


@attrs.frozen
class Task:
    """What is asked: publishes of one publisher, to rooms in turn, with the subscribers shared out among them."""

    subscribers: int = 1
    rooms: int = 1
    each: int = 1
    """Rooms that one subscriber is in."""
    matching: int = 1
    """Rooms that every publish is for; then all are."""
    window: int = 1
    """Publishes under way at once."""
    pace: int = 0
    """Publishes a second; 0 for as many as the window lets through."""
    payload_bytes: int = 200
    filter: str = "{}"
    """Of Shoal's rooms, which are all in one collection if it has the room's number, and else each in its own."""
    http: bool = False
    """Whether publishing is over HTTP; the window is then over answers."""
    nodes: int = 1
    """The publisher is on the first, and the subscribers are on the last."""
    reached: int = 1
    """With how many nodes the subscribers are, counted from the last."""
    workers: int = 0
    """Processes that share the port of a node with subscribers (`--workers`), each a node of the cluster; 0 for a node
    that is one by itself, and in no cluster unless there are others."""
    cores: tuple[int, ...] = (SERVER_CORE,)
    """That the nodes run on."""
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    """Of Shoal's nodes, other than the defaults."""

    def common(self) -> dict[str, list[str | int]]:
        """Return what the script says for everyone."""
        return {
            "subscribers": [self.subscribers],
            "rooms": [self.rooms * self.matching],
            "each": [self.each],
            "fan": [self.fan],
            "window": [self.window],
            "pace": [self.pace],
        }

    @property
    def fan(self) -> int:
        """Deliveries that one publish is for."""
        assert self.subscribers * self.each % self.rooms == 0
        return self.subscribers * self.each // self.rooms


@attrs.frozen
class Running:
    """A contender that listens: the load's script for it, and its processes, the one with the subscribers last."""

    script: Script
    pids: list[int]
    nodes: list[Node] = attrs.field(factory=list)
    """Shoal's."""


@attrs.frozen
class Contender:
    """One server, or the bare limit; `start` runs what a task needs for as long as the stack lasts."""

    name: str
    start: Callable[[AsyncExitStack, Task], Awaitable[Running]]
    is_peer: bool = True


@asynccontextmanager
async def running(contender: Contender, task: Task) -> AsyncIterator[Running]:
    """Run what is needed, on the servers' core."""
    async with AsyncExitStack() as stack:
        yield await contender.start(stack, task)


def message(payload_bytes: int) -> str:
    """Return a JSON object of so many bytes, with the number of a room in it."""
    start = f'{{"room":{ROOM},"kind":"order","price":50,"text":"'
    # The number has one to five digits: taken for three.
    return start + "x" * (payload_bytes - (len(start) - len(ROOM) + 3) - 2) + '"}'


async def open_redis_over_tcp(stack: AsyncExitStack) -> str:
    """Run a Redis on the servers' core, over TCP since not every peer speaks to a Unix socket; return its URL."""
    port = free_ports_from(REDIS_PORT, 1)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command = guarded([*pinned(SERVER_CORE), str(find_program()), *options])
    child = await stack.enter_async_context(open_child("redis", command))
    with trio.fail_after(START_S):
        await child.line("Ready to accept connections")
    return f"redis://127.0.0.1:{port}/0"


# -- Shoal ---------------------------------------------------------------------------------------------------------


async def _shoal(stack: AsyncExitStack, task: Task) -> Running:
    redis = await open_redis_over_tcp(stack) if task.nodes > 1 or task.workers else None
    processes = [1] * (task.nodes - task.reached) + [max(1, task.workers)] * task.reached
    settings = {"limits.connections": CONNECTIONS, **task.settings}
    nodes = [
        await stack.enter_async_context(
            running_node(
                redis=redis,
                name=f"node-{number}",
                prefix=pinned(*task.cores),
                settings=settings | ({"server.workers": workers} if workers > 1 else {}),
            )
        )
        for number, workers in enumerate(processes, 1)
    ]
    if redis is not None:
        for node in nodes:
            await node.ready(sum(processes), START_S)
    return Running(shoal_script(task, nodes), [node.pid for node in nodes], nodes)


def shoal_script(task: Task, nodes: list[Node]) -> Script:
    """Return the load's script of a task for these nodes."""
    collection = "rooms" if ROOM in task.filter else f"room-{ROOM}"
    body = message(task.payload_bytes)
    script = task.common() | {
        "sub.port": [node.port for node in nodes[-task.reached :]],
        "sub.path": ["/"],
        "sub.step": [f"0 {_request('subscribe', collection, task.filter)}"],
        "sub.ending": [1],
        "pub.port": [nodes[0].port],
        "pub.path": ["/"],
        "pub.ending": [0],
    }
    if task.http:
        return script | {"publish": [body], "http": [f"/bench/{collection}/_publish"], "asks": [1]}
    return script | {"publish": [_request("publish", collection, body)]}


def asking_script(node: Node, pace: int, window: int) -> Script:
    """Return the script of a client who only asks a node for the time, so many times a second."""
    ask = '{"controller":"server","action":"now","requestId":"ask"}'
    return {
        "subscribers": [0],
        "asks": [1],
        "pace": [pace],
        "window": [window],
        "publish": [ask],
        "pub.port": [node.port],
        "pub.path": ["/"],
        "pub.ending": [0],
    }


def _request(action: str, collection: str, body: str) -> str:
    where = f'"index":"bench","collection":"{collection}"'
    return f'{{"controller":"realtime","action":"{action}",{where},"requestId":"bench","body":{body}}}'


SHOAL: Final = Contender("Shoal", _shoal, is_peer=False)
