"""What is measured next to Shoal: the bare limit of the language, and other servers that install from PyPI.

Their programs are in tests/bench/peers. Peers have an environment of their own, made by `make peers`.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from server.cli.children import Child, guarded, open_child
from support.bench_contenders import ROOM, START_S, Contender, Running, Task, message, open_redis_over_tcp
from support.bench_load import Script
from support.bench_machine import SERVER_CORE, pinned

PEERS: Final = Path(__file__).parents[1] / "bench" / "peers"
PEERS_PYTHON: Final = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"

GRACE_S: Final = 0.2
"""From SIGTERM to SIGKILL for what is not ours: some wait for their clients' goodbye, and there is nothing to save."""

ENVELOPE_BYTES: Final = 400
"""What a notification of Shoal has around the message: the bare limit sends frames of the same size."""


def has_peers() -> bool:
    """Tell whether the peers are installed."""
    return PEERS_PYTHON.exists()


async def _bare(stack: AsyncExitStack, task: Task) -> Running:
    publish = "x" * task.payload_bytes
    publish_bytes = len(publish) + 8  # with the frame's head and mask
    frame_bytes = task.payload_bytes + ENVELOPE_BYTES
    fan = 0 if task.rooms == 1 else task.fan
    command = [*_own_python(), str(PEERS / "bare.py"), "0", str(frame_bytes), str(publish_bytes), str(fan)]
    port, child = await _started(stack, command)
    return Running({**_paths(task, [port], publish, 0), "sub.path": ["/sub"]}, [child.pid])


async def _websockets(stack: AsyncExitStack, task: Task) -> Running:
    return await _peer(stack, task, "websockets_broadcast.py")


async def _starlette(stack: AsyncExitStack, task: Task) -> Running:
    return await _peer(stack, task, "starlette_redis.py", await open_redis_over_tcp(stack))


async def _peer(stack: AsyncExitStack, task: Task, program: str, *options: str) -> Running:
    command = [str(PEERS_PYTHON), str(PEERS / program), "0", *options]
    started = [await _started(stack, command) for _ in range(task.nodes)]
    script = _paths(task, [port for port, _ in started], message(task.payload_bytes), 1)
    return Running(script, [child.pid for _, child in started])


def _paths(task: Task, ports: list[int], publish: str, answers: int) -> Script:
    over_http: Script = {"http": ["/pub"], "asks": [1]} if task.http else {}
    return {
        **task.common(),
        **over_http,
        "publish": [publish],
        "sub.port": ports[-task.reached :],
        "sub.path": [f"/sub/{ROOM}"],
        "sub.ending": [answers],
        "pub.port": [ports[0]],
        "pub.path": ["/pub"],
        "pub.ending": [0],
    }


async def _socketio(stack: AsyncExitStack, task: Task) -> Running:
    redis = await open_redis_over_tcp(stack)
    command = [str(PEERS_PYTHON), str(PEERS / "socketio_redis.py"), "0", redis]
    started = [await _started(stack, command) for _ in range(task.nodes)]
    ports = [port for port, _ in started]
    path = "/socket.io/?EIO=4&transport=websocket"
    script: Script = {
        **task.common(),
        "publish": [f'42["publish",{message(task.payload_bytes)}]'],
        "sub.port": ports[-task.reached :],
        "sub.path": [path],
        # Engine.IO's greeting, the connection to the namespace, then the room.
        "sub.step": ["1 40", f'2 42["join","{ROOM}"]'],
        "sub.ending": [3],
        "pub.port": [ports[0]],
        "pub.path": [path],
        "pub.step": ["1 40"],
        "pub.ending": [2],
    }
    return Running(script, [child.pid for _, child in started])


def _own_python() -> list[str]:
    # Peers and the bare limit get the same interpreter where there is one for the peers.
    return [str(PEERS_PYTHON)] if has_peers() else [sys.executable]


async def _started(stack: AsyncExitStack, command: list[str]) -> tuple[int, Child]:
    name = Path(command[1]).stem
    child = await stack.enter_async_context(
        open_child(name, [*pinned(SERVER_CORE), *command], grace_s=GRACE_S)
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


BARE: Final = Contender("bare Python loop", _bare, is_peer=False)
WEBSOCKETS: Final = Contender("websockets broadcast", _websockets)
STARLETTE: Final = Contender("Starlette + Redis", _starlette)
SOCKETIO: Final = Contender("python-socketio + Redis", _socketio)
