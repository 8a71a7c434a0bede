"""Peer: Starlette on uvicorn, with the `broadcaster` library over Redis between the processes.

starlette_redis.py PORT REDIS      `/sub/ROOM` subscribes, `/pub` publishes `{"room": ROOM, …}`, also by POST
"""

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator

import uvicorn
from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

broadcast = Broadcast(sys.argv[2])


async def subscribe(client: WebSocket) -> None:
    """Serve one subscriber."""
    await client.accept()
    async with broadcast.subscribe(channel=f"room-{client.path_params['room']}") as subscriber:
        await client.send_text("subscribed")
        with contextlib.suppress(WebSocketDisconnect):
            async for event in subscriber:
                await client.send_text(event.message)


async def publish(client: WebSocket) -> None:
    """Serve one publisher."""
    await client.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            message = await client.receive_text()
            await broadcast.publish(channel=f"room-{json.loads(message)['room']}", message=message)


async def post(request: Request) -> JSONResponse:
    """Serve one publish over HTTP."""
    message = (await request.body()).decode()
    await broadcast.publish(channel=f"room-{json.loads(message)['room']}", message=message)
    return JSONResponse({"status": 200})


@contextlib.asynccontextmanager
async def life(_app: Starlette) -> AsyncIterator[None]:
    """Be connected to Redis."""
    # Its listener goes to sleep for good when it wakes before the first subscription is made, and wakes at the second.
    async with broadcast, broadcast.subscribe("first"), broadcast.subscribe("second"):
        yield


async def main(port: int) -> None:
    """Serve until the input ends."""
    routes = [
        WebSocketRoute("/sub/{room}", subscribe),
        WebSocketRoute("/pub", publish),
        Route("/pub", post, methods=["POST"]),
    ]
    app = Starlette(routes=routes, lifespan=life)
    options = uvicorn.Config(
        app, log_level="warning", ws="websockets-sansio", ws_per_message_deflate=False, ws_ping_interval=None
    )
    server = uvicorn.Server(options)
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        # asyncio does it for sockets that it opens itself. Connections have it from the listener.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"listening {listener.getsockname()[1]}", flush=True)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = server.force_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
