"""The way in from a client that agreed to compression: whoever reads here reads plain frames.

    socket -> Wire -> Inflater -> Lane, trio-websocket

It refuses to go on behind a fault: that is the end of what the client sends. The client is told when whoever reads here
has done what came before.
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
        """Wait for bytes; empty when the client has ended or broken the connection, or at a fault."""
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
        return b""

    def tell_fault(self) -> None:
        """Close the connection if there was a fault, unless that was done for another reason."""
        if self._inflater.fault is not None:
            self.outbox.finish(close_frame(*self._inflater.fault))
