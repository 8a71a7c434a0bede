"""Subscribe to a collection and print every message that matches a filter.

    python docs/examples/listen.py ws://127.0.0.1:7512 harbor boats '{"equals": {"kind": "sail"}}'

Ctrl-C ends it. It does not connect again by itself; Kuzzle's SDK does.
"""

# ruff: noqa: T201 (printing is what it is for)

import json
import sys
from contextlib import suppress
from functools import partial
from typing import Any

import trio
from trio_websocket import ConnectionClosed, open_websocket_url

HEARTBEAT_S = 30.0
"""A node closes whoever says nothing for a minute."""


async def listen(url: str, index: str, collection: str, query: str = "{}") -> None:
    """Print what comes, until the connection ends."""
    request = {
        "controller": "realtime",
        "action": "subscribe",
        "index": index,
        "collection": collection,
        "body": json.loads(query),
    }
    async with open_websocket_url(url) as connection:
        await connection.send_message(json.dumps(request))
        try:
            while True:
                with trio.move_on_after(HEARTBEAT_S) as patience:
                    show(json.loads(await connection.get_message()))
                if patience.cancelled_caught:
                    await connection.ping()
        except ConnectionClosed as closed:
            reason = closed.reason
            print(f"closed: {reason.code} {reason.reason or ''}" if reason else "closed", flush=True)


def show(message: dict[str, Any]) -> None:
    """Print one line for a reply or a notification."""
    match message:
        case {"error": {"message": why}}:
            line = f"refused: {why}"
        case {"type": "document", "node": node, "result": {"_source": source}}:
            content = {name: value for name, value in source.items() if name != "_kuzzle_info"}
            line = f"from {node}: {json.dumps(content)}"
        case {"result": {"roomId": room}, "node": node}:
            line = f"subscribed on {node}, room {room[:8]}…"
        case _:
            line = json.dumps(message)
    print(line, flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        trio.run(partial(listen, *sys.argv[1:]))
