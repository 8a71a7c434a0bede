"""Whether clients that stay may come, and have to go: the one place that says so.

While it is closed for any reason, WebSocket handshakes are answered with 503, those who are attached are told little by
little to connect again (1012), which a proxy leads to other nodes, and `GET /_ready` says why. Requests are served all
the while: what somebody publishes here is not refused because of it. It refuses to open as long as one reason is left.
"""

import trio


class Gate:
    """The gate of one node."""

    def __init__(self) -> None:
        self.clients = 0
        """WebSocket clients that are attached."""
        self.handshakes_failed = 0
        """Clients that came no further than TLS's handshake; see server/adapters/handshakes.py."""
        self._reasons: dict[str, None] = {}
        self._changed = trio.Event()

    @property
    def why_closed(self) -> str | None:
        """The first reason why no client may come; None when clients may."""
        return next(iter(self._reasons), None)

    def close(self, reason: str) -> None:
        """Let nobody in, and send away who is here. Saying it again changes nothing."""
        self._reasons[reason] = None
        self._tell()

    def open(self, reason: str) -> None:
        """That reason is none any more; nothing if it was none."""
        self._reasons.pop(reason, None)
        self._tell()

    def entered(self) -> None:
        """A client is attached."""
        self.clients += 1

    def left(self) -> None:
        """A client is gone."""
        self.clients -= 1
        if not self.clients:
            self._tell()

    async def closed(self) -> None:
        """Wait until it is closed."""
        while not self._reasons:
            await self._changed.wait()

    async def opened(self) -> None:
        """Wait until it is open."""
        while self._reasons:
            await self._changed.wait()

    async def emptied(self) -> None:
        """Wait until nobody is attached."""
        while self.clients:
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
