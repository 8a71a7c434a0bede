"""Who is measured: how each server is started, and what a client has to say to it.

A contender gives a script for the load generator, whatever protocol is spoken on top of WebSocket. Messages are the
same for all: a JSON object of 200 bytes, which Shoal is given as a document's body. What Shoal sends for it is larger,
since a notification says more than the message; that is its own affair, and counts against it.
"""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from server.cli.children import Child, guarded, open_child
from server.cli.embedded_redis import find_program
from server.cli.up import free_ports_from
from support.bench_machine import SERVER_CORE, pinned
from support.processes import running_node

MESSAGE_BYTES: Final = 200

PEERS: Final = Path(__file__).parents[1] / "bench" / "peers"
PEERS_PYTHON: Final = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
"""Peers have an environment of their own, made by `make peers`."""

START_S: Final = 30.0

PEER_GRACE_S: Final = 0.2
"""From SIGTERM to SIGKILL for what is not ours: some wait for their clients' goodbye, and there is nothing to save."""

REDIS_PORT: Final = 26_379
"""The first free port from here on."""

Script = dict[str, list[str]]


@attrs.frozen
class Contender:
    """One server, or the bare limit."""

    name: str
    is_peer: bool = True


@attrs.frozen
class Task:
    """What is asked of it: publishes of one publisher to so many rooms, with the subscribers shared out among them."""

    subscribers: int
    rooms: int = 1
    window: int = 1
    """Publishes under way at once."""
    pace: int = 0
    """Publishes a second; 0 for as many as the window lets through."""
    nodes: int = 1
    """With two, the publisher is on the first and all subscribers are on the second."""

    def common(self) -> Script:
        """Return what the script says for everyone."""
        numbers = {
            "subscribers": self.subscribers,
            "rooms": self.rooms,
            "window": self.window,
            "pace": self.pace,
        }
        return {key: [str(value)] for key, value in numbers.items()}


SHOAL: Final = Contender("Shoal", is_peer=False)
BARE: Final = Contender("bare Python loop", is_peer=False)
WEBSOCKETS: Final = Contender("websockets broadcast")
STARLETTE: Final = Contender("Starlette + Redis")
SOCKETIO: Final = Contender("python-socketio + Redis")


def message(**fixed: str) -> str:
    """Return a JSON object of 200 bytes, with these members written as they are given."""
    start = "{" + "".join(f'"{name}":{value},' for name, value in fixed.items()) + '"text":"'
    # A room's number stands as %d here, and has one to three digits then.
    return start + "x" * (MESSAGE_BYTES - len(start) - 2) + '"}'


@attrs.frozen
class Running:
    """A contender that listens: the load's script for it, and its processes, the one with the subscribers last."""

    script: Script
    pids: Sequence[int] = ()


@asynccontextmanager
async def running(contender: Contender, task: Task) -> AsyncIterator[Running]:
    """Run what is needed, on the servers' core."""
    async with AsyncExitStack() as stack:
        match contender:
            case _ if contender is SHOAL:
                yield await _shoal(stack, task)
            case _ if contender is BARE:
                yield await _bare(stack, task)
            case _ if contender is WEBSOCKETS:
                yield await _peer(stack, task, "websockets_broadcast.py")
            case _ if contender is STARLETTE:
                yield await _peer(stack, task, "starlette_redis.py", redis=await _redis(stack))
            case _:
                yield await _socketio(stack, task)


def has_peers() -> bool:
    """Tell whether the peers are installed."""
    return PEERS_PYTHON.exists()


# -- Shoal ---------------------------------------------------------------------------------------------------------


def _request(action: str, **members: object) -> str:
    return json.dumps(
        {"controller": "realtime", "action": action, "index": "bench", "collection": "room-%d", **members},
        separators=(",", ":"),
    )


async def _shoal(stack: AsyncExitStack, task: Task) -> Running:
    redis = await _redis(stack) if task.nodes > 1 else None
    nodes = [
        await stack.enter_async_context(
            running_node(redis=redis, name=f"node-{number}", prefix=pinned(SERVER_CORE))
        )
        for number in range(1, task.nodes + 1)
    ]
    if redis is not None:
        for node in nodes:
            await node.ready(len(nodes))
    publish = _request("publish", requestId="bench", body={}).replace("{}", message())
    script = task.common() | {
        "publish": [publish],
        "sub.port": [str(nodes[-1].port)],
        "sub.path": ["/"],
        "sub.step": [f"0 {_request('subscribe', body={})}"],
        "sub.ending": ["1"],
        "pub.port": [str(nodes[0].port)],
        "pub.path": ["/"],
        "pub.ending": ["0"],
    }
    return Running(script, [node.pid for node in nodes])


async def _redis(stack: AsyncExitStack) -> str:
    """Run a Redis on the servers' core, over TCP since not every peer speaks to a Unix socket; return its URL."""
    port = free_ports_from(REDIS_PORT, 1)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command = guarded([*pinned(SERVER_CORE), str(find_program()), *options])
    child = await stack.enter_async_context(open_child("redis", command))
    with trio.fail_after(START_S):
        await child.line("Ready to accept connections")
    return f"redis://127.0.0.1:{port}/0"


# -- Others --------------------------------------------------------------------------------------------------------


async def _bare(stack: AsyncExitStack, task: Task) -> Running:
    # Frames as large as those that Shoal sends for the same message.
    frame_bytes, publish = 600, "x" * MESSAGE_BYTES
    publish_bytes = len(publish) + 8
    fan = 0 if task.rooms == 1 else task.subscribers // task.rooms
    command = [*_own_python(), str(PEERS / "bare.py"), "0", str(frame_bytes), str(publish_bytes), str(fan)]
    port, child = await _started(stack, command)
    script = task.common() | _paths(port, port, publish, "0")
    return Running(script | {"sub.path": ["/sub"]}, [child.pid])


async def _peer(stack: AsyncExitStack, task: Task, program: str, *, redis: str | None = None) -> Running:
    where = [] if redis is None else [redis]
    started = [
        await _started(stack, [str(PEERS_PYTHON), str(PEERS / program), "0", *where])
        for _ in range(task.nodes)
    ]
    ports = [port for port, _ in started]
    script = task.common() | _paths(ports[0], ports[-1], message(room="%d"), "1")
    return Running(script, [child.pid for _, child in started])


def _paths(pub_port: int, sub_port: int, publish: str, answers: str) -> Script:
    return {
        "publish": [publish],
        "sub.port": [str(sub_port)],
        "sub.path": ["/sub/%d"],
        "sub.ending": [answers],
        "pub.port": [str(pub_port)],
        "pub.path": ["/pub"],
        "pub.ending": ["0"],
    }


async def _socketio(stack: AsyncExitStack, task: Task) -> Running:
    redis = await _redis(stack)
    command = [str(PEERS_PYTHON), str(PEERS / "socketio_redis.py"), "0", redis]
    started = [await _started(stack, command) for _ in range(task.nodes)]
    ports = [port for port, _ in started]
    path = "/socket.io/?EIO=4&transport=websocket"
    script = task.common() | {
        "publish": [f'42["publish",{message(room="%d")}]'],
        "sub.port": [str(ports[-1])],
        "sub.path": [path],
        # Engine.IO's greeting, the connection to the namespace, then the room.
        "sub.step": ["1 40", '2 42["join","%d"]'],
        "sub.ending": ["3"],
        "pub.port": [str(ports[0])],
        "pub.path": [path],
        "pub.step": ["1 40"],
        "pub.ending": ["2"],
    }
    return Running(script, [child.pid for _, child in started])


def _own_python() -> list[str]:
    # Peers and the bare limit get the same interpreter where there is one for the peers.
    return [str(PEERS_PYTHON)] if has_peers() else [sys.executable]


async def _started(stack: AsyncExitStack, command: list[str]) -> tuple[int, Child]:
    name = Path(command[1]).stem
    child = await stack.enter_async_context(
        open_child(name, [*pinned(SERVER_CORE), *command], grace_s=PEER_GRACE_S)
    )
    with trio.fail_after(START_S):
        said = await child.line(r"^listening (\d+)")
    return int(said[1]), child


@asynccontextmanager
async def zmq_sink() -> AsyncIterator[str]:
    """Run the receiving end of the bare limit between nodes; give its address."""
    command = [sys.executable, str(PEERS / "zmq_one_way.py"), "sink"]
    async with open_child("zmq sink", guarded([*pinned(SERVER_CORE), *command])) as child:
        with trio.fail_after(START_S):
            said = await child.line(r"^listening (\S+)")
        yield said[1]
