"""One attached client, whatever protocol it speaks.

A session only remembers. Who may write into the socket behind it, and when, is the adapter's business; which rooms
it is in is the realtime engine's.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

from server.core.callers import address_of


@attrs.frozen
class User:
    """Who is calling."""

    kuid: str | None
    """`"-1"` for anonymous; None for the node itself, which is how a plugin's own calls are marked in documents."""
    profile_ids: tuple[str, ...]
    content: dict[str, Any] = attrs.field(factory=dict)


ANONYMOUS: Final = User(kuid="-1", profile_ids=("anonymous",), content={"name": "Anonymous"})
INTERNAL: Final = User(kuid=None, profile_ids=("admin",))


class Write(Protocol):
    """The way out to one client: takes wire-ready frames (already WebSocket-framed), in order.

    Never blocks, never raises, and never calls back into the app: a client that has to be closed for it is closed by
    its own task, later."""

    def __call__(self, *frames: bytes, joined: bytes = b"") -> None:
        """Write these. `joined` is all of them in one piece, if the caller has that: it spares the joining."""


def _nowhere(*_frames: bytes, joined: bytes = b"") -> None:
    """Write for sessions without a lasting connection: nothing is ever sent to them unasked."""


def _no_connection(_code: int, _reason: str) -> None:
    """Close for sessions without a lasting connection."""


@attrs.define(eq=False)
class Session:
    """One attached client. Created by `App.open_session`, ended by `App.close_session`."""

    id: str
    protocol: str
    """`"websocket"`, `"http"` or `"internal"` (a plugin's own call)."""
    remote: str
    """Address of the client, and its port if it is known, for people."""
    write: Write = _nowhere
    close: Callable[[int, str], None] = _no_connection
    """Ask the adapter to close the connection with this WebSocket code and reason. Same terms as `write`."""
    user: User = ANONYMOUS
    is_forwarded: bool = False
    """Whether a proxy passed on its handshake, or its last HTTP request, and is not trusted or does not say for whom:
    `remote` is the proxy then, and nothing is known of the client."""
    is_from_page: bool = False
    """Whether the same was sent by a page in a browser (it has an `Origin`): what a page of strangers asks, it asks
    from its reader's place in the network."""

    @property
    def address(self) -> str:
        """The IP address in `remote`; empty for the node itself."""
        return address_of(self.remote)

    @property
    def is_lasting(self) -> bool:
        """Whether notifications can be sent to it."""
        return self.protocol == "websocket"
