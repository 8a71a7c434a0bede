"""Connections that ZeroMQ gives up for good.

One that breaks is made anew by ZeroMQ, unless it broke because of what came over it, such as a frame over MAXMSGSIZE:
then the end that had connected does nothing more, and says nothing more. What breaks and is not tried again at once is
therefore connected anew from here. (libzmq 4.3: `session_base_t::engine_error`, a protocol error.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import trio
import zmq

from cluster.adapters.readable import Readable

RETRY_TOLD_WITHIN_S: Final = 0.5
"""How soon after a break ZeroMQ tells that it tries again. It takes a tenth of a millisecond; a connection that is made
anew in vain costs a few frames, which are repaired."""

BREAKS: Final = zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
"""What a monitor has to tell of."""


async def mend(monitor: Readable, tell: Callable[[int], None], connect_anew: Callable[[str], None]) -> None:
    """Call `connect_anew` for each address that ZeroMQ has given up, until cancelled. Each event that is no retry is
    given to `tell`."""
    breaks: dict[str, trio.CancelScope] = {}

    async def wait_for_retry(address: str, patience: trio.CancelScope) -> None:
        with patience:
            await trio.sleep_forever()
        if breaks.get(address) is patience:
            del breaks[address]
            connect_anew(address)

    async with trio.open_nursery() as nursery:
        async for events in monitor.batches():
            for event, where in events:
                kind, address = int.from_bytes(event[:2], sys.byteorder), where.decode()
                if kind == zmq.EVENT_CONNECT_RETRIED:
                    if (patience := breaks.pop(address, None)) is not None:
                        patience.cancel()
                    continue
                if kind == zmq.EVENT_DISCONNECTED:
                    deadline = trio.current_time() + RETRY_TOLD_WITHIN_S
                    breaks[address] = trio.CancelScope(deadline=deadline)
                    nursery.start_soon(wait_for_retry, address, breaks[address])
                tell(kind)
        nursery.cancel_scope.cancel()
