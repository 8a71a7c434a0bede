"""Reading from ZeroMQ sockets in trio, which pyzmq does not know.

Each receiving socket has one task that waits on the socket's file descriptor. That descriptor is edge-triggered: any
operation on the socket, also a send from another task, may consume the edge. So EVENTS is looked at before every
wait, and `touched` wakes the waiting task when an operation found something to read.

ZeroMQ bounds each part of a message, and not how many there are; it gives a message when its last part has come. Of one
with more parts than are expected here only so many are kept as show that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import trio
import zmq

FRAMES_AT_ONCE: Final = 256
"""Frames read in one go before other tasks get their turn: about a millisecond's worth."""


_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_RCVMORE: Final = int(zmq.RCVMORE)
"""As plain numbers: Python's flags cost more than the question."""


class Readable:
    """A socket and the one task that waits for it to become readable. Its messages have `parts` parts; of one with
    more, one part more is kept, and the rest is thrown away as it is read."""

    def __init__(self, socket: zmq.Socket[bytes], parts: int) -> None:
        self.socket = socket
        self._descriptor = socket.fileno()
        self._wait: trio.CancelScope | None = None
        self._most_parts = parts + 1
        self._message: list[bytes] = []
        """What was read of a message that is not at its end."""

    def touched(self) -> None:
        """An operation was made on the socket: if it consumed the edge, wake the reader."""
        if self._wait is not None and self._has_input():
            self._wait.cancel()

    async def batches(self) -> AsyncIterator[list[list[bytes]]]:
        """All messages that are at hand, again and again; each message as its frames. Ends with the socket, which what
        a message causes may close."""
        has_waited = True
        while not self.socket.closed:
            if not self._has_input():
                with trio.CancelScope() as self._wait:
                    await trio.lowlevel.wait_readable(self._descriptor)
                self._wait = None
                has_waited = True
            elif has_waited:  # others had their turn meanwhile
                has_waited = False
                if batch := self._receive():  # none, when a message of too many parts is not at its end
                    yield batch
            else:
                await trio.lowlevel.checkpoint()
                has_waited = True

    def _has_input(self) -> bool:
        return bool(int(self.socket.get(_EVENTS)) & _POLLIN)

    def _receive(self) -> list[list[bytes]]:
        batch: list[list[bytes]] = []
        message = self._message
        try:
            for _ in range(FRAMES_AT_ONCE):
                part = self.socket.recv(zmq.NOBLOCK)
                if len(message) < self._most_parts:
                    message.append(part)
                if not self.socket.get(_RCVMORE):
                    batch.append(message)
                    message = []
        except zmq.Again:
            pass
        self._message = message
        return batch
