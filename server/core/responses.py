"""The answer to one request, and how it is written for each protocol.

The envelope is Kuzzle's. `node` is always there (Kuzzle 2.56 lost it); `room` is there over WebSocket also for a
message that was no request, since that is what the SDK finds its answer by.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from server.core.errors import ApiError
from server.core.values import encode_json


class Envelope(msgspec.Struct, omit_defaults=False, rename={"request_id": "requestId"}):
    """What a client reads. Members that are UNSET are left out."""

    action: str | None
    collection: str | msgspec.UnsetType
    controller: str | None
    error: dict[str, Any] | None
    headers: Mapping[str, str]
    index: str | msgspec.UnsetType
    node: str
    request_id: str | int | float
    result: Any
    status: int
    volatile: dict[str, Any] | None
    room: str | int | float | msgspec.UnsetType


class Response(msgspec.Struct, eq=False, kw_only=True):
    """The answer to one request, still independent of the protocol."""

    status: int
    """As in HTTP; 200 unless `error` is set."""
    request_id: str | int | float = ""
    """A number only when that is what the client sent instead of a text."""
    controller: str | None = None
    action: str | None = None
    index: str | None = None
    collection: str | None = None
    volatile: dict[str, Any] | None = None
    result: Any = None
    """UNSET when the action yields nothing."""
    error: ApiError | None = None
    headers: dict[str, str] = {}
    """Set by the action; repeated in the envelope, and sent as HTTP headers."""
    node: str = ""
    on_sent: Callable[[], None] | None = None
    """To be called by the adapter right after the bytes went into the outbox, once."""
    is_bare: bool = False
    """Over HTTP, when there never was a request: the body is the error object alone."""
    is_pretty: bool = False
    """Indented, for people who read it in a terminal (`?pretty`)."""
    allow: str | None = None
    """The `Allow` header's value of a 405."""
    fixed: bytes | None = None
    """The bytes, when they are settled."""

    def seal(self, *, room: bool) -> None:
        """Encode now, once and for all.

        Raises TypeError, ValueError or RecursionError when a result cannot be written as JSON. After it, `envelope`
        cannot fail.
        """
        self.fixed = self.envelope(room=room)

    def envelope(self, *, room: bool) -> bytes:
        """Return the JSON to send: with `room` over WebSocket, without it over HTTP."""
        if self.fixed is not None:
            return self.fixed
        if self.is_bare and self.error is not None:
            return encode_json(self.error.to_wire())
        error = self.error
        encoded = encode_json(
            Envelope(
                self.action,
                msgspec.UNSET if self.collection is None else self.collection,
                self.controller,
                None if error is None else error.to_wire(),
                self.headers,
                msgspec.UNSET if self.index is None else self.index,
                self.node,
                self.request_id,
                self.result,
                self.status,
                self.volatile,
                self.request_id if room else msgspec.UNSET,
            )
        )
        # The newline is for terminals: what they say next begins on a line of its own.
        return msgspec.json.format(encoded, indent=2) + b"\n" if self.is_pretty else encoded

    def http_headers(self) -> list[tuple[str, str]]:
        """Return the headers that belong to the answer itself; the adapter adds those of the connection."""
        headers = [("Content-Type", "application/json")]
        if not self.is_bare:
            headers.append(("X-Kuzzle-Request-Id", str(self.request_id)))
        headers.append(("X-Kuzzle-Node", self.node))
        if self.allow is not None:
            headers.append(("Allow", self.allow))
        headers.extend(self.headers.items())
        return headers


PONG: Final = Response(status=200, fixed=b'{"p":2}')
"""The answer to the SDK's `{"p":1}`."""
