"""Peer: the `websockets` library and its `broadcast`, one process, no other nodes.

websockets_broadcast.py PORT      `/sub/ROOM` subscribes, `/pub` publishes `{"room": ROOM, …}`
"""

import asyncio
import json
import sys
from collections import defaultdict

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

rooms: dict[str, set[ServerConnection]] = defaultdict(set)


async def attend(connection: ServerConnection) -> None:
    """Serve one client."""
    assert connection.request is not None
    _, kind, *name = connection.request.path.split("/")
    try:
        if kind == "sub":
            rooms[name[0]].add(connection)
            await connection.send("subscribed")
            await connection.wait_closed()
        async for message in connection:
            broadcast(rooms[str(json.loads(message)["room"])], message)
    except ConnectionClosed:
        pass


async def main(port: int) -> None:
    """Serve until the input ends."""
    async with serve(attend, "127.0.0.1", port, compression=None, ping_interval=None) as server:
        print(f"listening {next(iter(server.sockets)).getsockname()[1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
