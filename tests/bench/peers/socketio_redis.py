"""Peer: python-socketio on uvicorn, with its Redis client manager between the processes.

socketio_redis.py PORT REDIS      the event `join` subscribes to a room, `publish` sends `message` to one
"""

import asyncio
import socket
import sys
from typing import Any

import socketio
import uvicorn

LONG_S = 3_600
"""Longer than any measurement: its pings are not deliveries."""

server = socketio.AsyncServer(
    async_mode="asgi",
    client_manager=socketio.AsyncRedisManager(sys.argv[2]),
    transports=["websocket"],
    ping_interval=LONG_S,
)


@server.event
async def join(sid: str, room: str) -> None:
    """Subscribe a client."""
    await server.enter_room(sid, f"room-{room}")
    await server.emit("subscribed", to=sid)


@server.event
async def publish(_sid: str, data: dict[str, Any]) -> None:
    """Tell a room."""
    await server.emit("message", data, room=f"room-{data['room']}")


async def main(port: int) -> None:
    """Serve until the input ends."""
    options = uvicorn.Config(
        socketio.ASGIApp(server),
        log_level="warning",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
    )
    serving = uvicorn.Server(options)
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        # asyncio does it for sockets that it opens itself. Connections have it from the listener.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"listening {listener.getsockname()[1]}", flush=True)
        task = asyncio.create_task(serving.serve(sockets=[listener]))
        await asyncio.to_thread(sys.stdin.read)
        serving.should_exit = serving.force_exit = True
        await task


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
