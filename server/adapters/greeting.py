"""The first moments of a trusted proxy's connection: its PROXY header, read from the bare socket.

    accepted -> Greeting.run -> Introduction -> TLS or HTTP, from the byte behind the header

It refuses to wait for long, and to read a byte of what follows.
"""

import socket

import trio

from server.core.proxy_protocol import Introduction, ProxyHeader, ProxyHeaderError


class Greeting:
    """One such connection, until it is known who it is for."""

    def __init__(self, sock: socket.socket, limit_s: float) -> None:
        self._socket = sock
        self._limit_s = limit_s
        self._patience = trio.CancelScope()

    def stop(self) -> None:
        """Wait no longer: the node stops, and nothing was asked for yet."""
        self._patience.cancel()

    async def run(self) -> Introduction | None:
        """Return what the proxy says, None when it said nothing and left, or this was stopped.

        Takes not a byte of what follows. Raises ProxyHeaderError when it says something else, or not in time.
        """
        header = ProxyHeader()
        ends_at = trio.current_time() + self._limit_s
        self._patience.deadline = ends_at
        with self._patience:
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    data = self._socket.recv(header.wanted)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    break
                if (introduction := header.feed(data)) is not None:
                    return introduction
        if self._patience.cancelled_caught and trio.current_time() >= ends_at:
            raise ProxyHeaderError(f"it did not come within {self._limit_s:g} s")
        if header.has_begun and not self._patience.cancelled_caught:
            raise ProxyHeaderError("the connection ended within it")
        return None
