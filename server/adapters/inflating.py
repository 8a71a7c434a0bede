"""The way in from a client that agreed to compression: whoever reads here reads plain frames.

    socket -> Wire -> Inflater -> Lane, trio-websocket

It refuses to go on behind a fault: the client is told, and that is the end of what it sends.
"""

import trio

from server.adapters.wire import Wire
from server.core.frames import close_frame
from server.core.inflating import Inflater


class InflatingWire:
    """Reads from the socket of one client, as `Wire` does."""

    __slots__ = ("_inflater", "_wire", "outbox")

    def __init__(self, wire: Wire, message_bytes: int) -> None:
        """Take a wire, and the largest size in bytes of a message, inflated."""
        self._wire = wire
        self._inflater = Inflater(message_bytes)
        self.outbox = wire.outbox

    async def receive(self, max_bytes: int) -> bytes:
        """Wait for bytes; empty when the client has ended or broken the connection, or is told that it is over."""
        inflater = self._inflater
        if data := inflater.take(max_bytes):
            await trio.lowlevel.checkpoint()
            return data
        while inflater.fault is None:
            arrived = await self._wire.receive(max_bytes)
            if not arrived:
                return b""
            inflater.feed(arrived)
            if data := inflater.take(max_bytes):
                return data
        self.outbox.finish(close_frame(*inflater.fault))
        return b""
