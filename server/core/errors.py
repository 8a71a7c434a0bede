"""What can go wrong, said to a client: one closed table of error ids, and the exception that carries one.

    domain.subdomain.name  ->  code, status, message

Ids and codes are Kuzzle's where Kuzzle has the case. Ours have an index of 0x8000 or more inside their subdomain (and
an own subdomain is 0x80 or more), so the two can never collide. A code is domain << 24 | subdomain << 16 | index.

It refuses an id that is not in the table: an error that clients can see is part of the API. What a plugin raises on
its own account is a `PluginApiError`, which brings its own id and has no code.
"""

from collections.abc import Mapping
from typing import Any

import attrs

MAX_PROP_CHARS = 256
"""A placeholder often repeats what the client sent (a URL, a body): enough to recognise it, no echo of a flood."""


@attrs.frozen
class ErrorKind:
    """One row of the table."""

    id: str
    code: int
    status: int
    template: str
    """With one `{}` per placeholder."""


def _table(*rows: tuple[str, int, int, str]) -> Mapping[str, ErrorKind]:
    return {row[0]: ErrorKind(*row) for row in rows}


CATALOGUE: Mapping[str, ErrorKind] = _table(
    # -- core: the node itself, and realtime ---------------------------------------------------------------------
    (
        "core.fatal.unexpected_error",
        0x00000001,
        500,
        'Unexpected error. The log of this node has it under request "{}".',
    ),
    ("core.fatal.service_unavailable", 0x00000002, 500, "This node is not able to serve: {}"),
    ("core.realtime.room_not_found", 0x00010001, 404, 'The room "{}" does not exist.'),
    (
        "core.realtime.invalid_scope",
        0x00010004,
        400,
        'Invalid scope: allowed are "all", "in", "out" and "none".',
    ),
    (
        "core.realtime.invalid_users",
        0x00010005,
        400,
        'Invalid users: allowed are "all", "in", "out" and "none".',
    ),
    (
        "core.realtime.too_many_terms",
        0x00010006,
        413,
        "The filter has {} conditions, more than the {} allowed.",
    ),
    (
        "core.realtime.too_many_rooms",
        0x00010007,
        413,
        "This node holds as many rooms as it may: no new one is opened.",
    ),
    ("core.realtime.not_subscribed", 0x00010008, 412, 'Connection "{}" has not subscribed to "{}".'),
    (
        "core.realtime.too_many_subscriptions",
        0x00018001,
        413,
        "A connection may subscribe to {} rooms; this one does.",
    ),
    (
        "core.realtime.filter_too_large",
        0x00018002,
        413,
        "The room's index, collection and filter take {} bytes, more than the {} allowed.",
    ),
    # -- api: the request itself ---------------------------------------------------------------------------------
    ("api.assert.invalid_type", 0x02010001, 400, 'Wrong type for argument "{}" (expected: {})'),
    ("api.assert.invalid_argument", 0x02010002, 400, 'Invalid argument "{}". Expected: {}'),
    ("api.assert.missing_argument", 0x02010003, 400, 'Missing argument "{}".'),
    ("api.assert.empty_argument", 0x02010004, 400, 'Argument "{}" cannot be empty.'),
    ("api.assert.mutually_exclusive", 0x02010005, 400, 'Arguments "{}" and "{}" exclude each other.'),
    ("api.assert.body_required", 0x02010008, 400, "The request must specify a body."),
    ("api.assert.koncorde_dsl_error", 0x0201000E, 400, "{}"),
    ("api.assert.unsupported_protocol", 0x02010010, 500, 'The API action "{1}" is not available over "{0}".'),
    (
        "api.process.overloaded",
        0x02020002,
        503,
        "This node has more to do than it may take on. Try again, or another node.",
    ),
    ("api.process.controller_not_found", 0x02020004, 404, 'API controller "{}" not found.'),
    ("api.process.action_not_found", 0x02020005, 404, 'API action "{}":"{}" not found.'),
    (
        "api.process.incompatible_sdk_version",
        0x02020006,
        400,
        "Incompatible SDK: its version is {}, this server needs {}.",
    ),
    ("api.process.shutting_down", 0x02020007, 503, "This node is shutting down. Connect to another one."),
    ("api.process.too_many_requests", 0x02020008, 429, "Too many requests from this address: slow down."),
    (
        "api.process.unauthorized_origin",
        0x0202000C,
        401,
        'Pages of the origin "{}" may not use this server.',
    ),
    # -- network: before there is a request ----------------------------------------------------------------------
    ("network.http.request_too_large", 0x03010001, 413, "The request is larger than this server accepts."),
    ("network.http.unexpected_error", 0x03010002, 400, "The HTTP request cannot be used: {}"),
    (
        "network.http.too_many_encodings",
        0x03010003,
        400,
        "The request body has too many layers of content encoding.",
    ),
    ("network.http.unsupported_compression", 0x03010004, 400, 'Unsupported content encoding "{}".'),
    ("network.http.unsupported_verb", 0x03010006, 400, 'Unsupported HTTP verb "{}".'),
    ("network.http.url_not_found", 0x03010007, 404, "API URL not found: {}."),
    (
        "network.http.unsupported_content",
        0x03010008,
        400,
        'Unsupported content type "{}": send application/json, application/x-www-form-urlencoded '
        "or multipart/form-data.",
    ),
    ("network.http.unsupported_charset", 0x03010009, 400, 'Unsupported charset "{}": send utf-8.'),
    (
        "network.http.volatile_parse_failed",
        0x0301000B,
        400,
        "The X-Kuzzle-Volatile header is not a JSON object: {}",
    ),
    ("network.http.body_parse_failed", 0x0301000C, 400, "The HTTP body cannot be read: {}"),
    (
        "network.http.file_too_large",
        0x0301000D,
        413,
        "A part of the form is larger than this server accepts.",
    ),
    ("network.http.method_not_allowed", 0x03018001, 405, "{} is not allowed on {}: use {}."),
    ("network.http.request_timeout", 0x03018002, 408, "The request did not arrive in time."),
    (
        "network.http.headers_too_large",
        0x03018003,
        431,
        "The request line and headers are larger than this server accepts.",
    ),
    ("network.websocket.unexpected_error", 0x03030001, 400, "The message cannot be used: {}"),
    (
        "network.websocket.ratelimit_exceeded",
        0x03030002,
        429,
        "Too many requests from this address: slow down. This one was not worked on.",
    ),
    (
        "network.entrypoint.shutting_down",
        0x03040003,
        503,
        "This node is shutting down. Connect to another one.",
    ),
    (
        "network.entrypoint.too_many_connections",
        0x03048001,
        429,
        "This address has as many connections as it may have. Close some, or wait.",
    ),
    # -- plugin --------------------------------------------------------------------------------------------------
    (
        "plugin.runtime.unexpected_error",
        0x04020002,
        500,
        'Unexpected error in a plugin. The log of this node has it under request "{}".',
    ),
    (
        "plugin.runtime.pipe_timeout",
        0x04020003,
        504,
        'Plugin "{}": a pipe on "{}" took longer than the {} ms that it may.',
    ),
    (
        "plugin.controller.unserializable_response",
        0x04040008,
        500,
        'The result of "{}" cannot be written as JSON.',
    ),
    # -- security ------------------------------------------------------------------------------------------------
    ("security.token.invalid", 0x07010001, 401, "Invalid token."),
    ("security.rights.unauthorized", 0x07030001, 401, 'Authentication is required to execute "{}:{}".'),
    # -- cluster -------------------------------------------------------------------------------------------------
    # The message is what the legacy cluster plugin said, and what its users look for; the reason is the placeholder.
    ("cluster.node.not_ready", 0x08808001, 503, "ko"),
)


class ApiError(Exception):
    """The client is told of this, and by it alone what went wrong: nothing internal belongs into `props`."""

    def __init__(self, error_id: str, *props: str) -> None:
        """Take a row of `CATALOGUE` and its placeholders; KeyError when there is no such row."""
        kind = CATALOGUE[error_id]
        self.id = kind.id
        self.code: int | None = kind.code
        self.status = kind.status
        self.props = tuple(_clip(prop) for prop in props)
        self.message = kind.template.format(*self.props)
        super().__init__(self.message)

    def to_wire(self) -> dict[str, Any]:
        """Return the error object of the protocol."""
        wire: dict[str, Any] = {} if self.code is None else {"code": self.code}
        wire |= {"id": self.id, "message": self.message, "props": list(self.props), "status": self.status}
        return wire


class PluginApiError(ApiError):
    """A plugin's own refusal, with an id of its own such as `moderator.words.forbidden`."""

    def __init__(self, error_id: str, message: str, status: int = 400, props: tuple[str, ...] = ()) -> None:
        """Take what the client shall read; ValueError when `status` is no HTTP error status (400 to 599)."""
        if not 400 <= status <= 599:
            raise ValueError(f"an error's status is 400 to 599, not {status}")
        Exception.__init__(self, message)
        self.id = error_id
        self.code = None
        self.status = status
        self.props = tuple(_clip(prop) for prop in props)
        self.message = message


def _clip(text: str) -> str:
    return text if len(text) <= MAX_PROP_CHARS else text[: MAX_PROP_CHARS - 1] + "…"
