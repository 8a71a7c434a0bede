"""Every bound of a node, by name, each with its reason.

Pure values; nothing here enforces a bound: who holds the queue, the buffer or the count does.
"""

from typing import Any

import attrs


def _bound(default: int, unit: str, reason: str) -> Any:
    """Return a field of at least 1: a bound of none would shut the node."""
    metadata = {"unit": unit, "help": reason}
    return attrs.field(default=default, validator=attrs.validators.ge(1), metadata=metadata)


def _bound_if_any(default: int, unit: str, reason: str) -> Any:
    """Return a field of which 0 means that there is no bound."""
    metadata = {"unit": unit, "help": reason}
    return attrs.field(default=default, validator=attrs.validators.ge(0), metadata=metadata)


def _seconds(default: float, reason: str) -> Any:
    """Return a field for a time limit; one of zero could never be kept."""
    metadata = {"unit": "seconds", "help": reason}
    return attrs.field(default=default, validator=attrs.validators.gt(0), metadata=metadata)


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of one node."""

    # -- Connections: what one client may take up ---------------------------------------------------------------

    connections: int = _bound(
        10_000,
        "connections",
        "Clients attached at once. Each costs a socket, and 7 kB of memory while it only listens, 23 with TLS; the "
        "process needs at least as many open files.",
    )
    address_connections: int = _bound_if_any(
        5_000,
        "connections",
        "Of one address at once (429 above); 0 is no limit. Half of all, so that no single machine shuts out everybody "
        "else. `address_` limits count an IPv6 /64 as one, and do not hold for this machine and for "
        "`server.trusted_proxies`, whose clients are counted instead.",
    )
    address_requests_per_s: int = _bound_if_any(
        0,
        "requests per second",
        "Of one address (429 above), and twice as many at once after a pause; 0 is no limit. There is none unless you "
        "set one: behind one address may be a whole office, or a proxy that is not named as trusted.",
    )
    address_bytes_per_s: int = _bound_if_any(
        0,
        "bytes per second",
        "Sent by one address, and twice as many at once after a pause; above, its connections are read more slowly, "
        "and nothing is lost. 0 is no limit, and the default for the same reason. It does not hold for HTTP requests "
        "whose address is known from `X-Forwarded-For`: many share the proxy's connection.",
    )
    outbox_bytes: int = _bound(
        1_048_576,
        "bytes",
        "What may wait for one slow client before it is closed: who is 1 MiB behind does not catch up. From half "
        "of it on, no more requests of that client are worked on until it has taken all.",
    )
    requests_in_flight: int = _bound(
        100,
        "requests",
        "Requests of one connection worked on at once; until one is answered no more are read from it.",
    )
    header_bytes: int = _bound(
        16_384,
        "bytes",
        "Request line and headers of one HTTP request (431 above). Common servers take 8 to 32 KiB; a large "
        "token and some cookies fit.",
    )
    request_bytes: int = _bound(
        1_048_576,
        "bytes",
        "One WebSocket message (closed with 1009 above) or HTTP body (413 above), also after decompression. "
        "Kuzzle's default.",
    )
    compress_from_bytes: int = _bound(
        1_400,
        "bytes",
        "HTTP answers from this size on are compressed for clients that ask for it. Smaller ones fit into one "
        "network packet either way.",
    )
    deflate_from_bytes: int = _bound(
        256,
        "bytes",
        "With `server.compression`, messages to WebSocket clients are compressed from this size on. Of shorter ones "
        "less than a third would be saved.",
    )
    proxy_header_s: float = _seconds(
        5.0,
        "With `server.proxy_protocol`, for the header of a connection from a trusted proxy to arrive; then it is "
        "closed. A proxy sends it at once, and a lost packet comes again within 3 s.",
    )
    tls_handshake_s: float = _seconds(
        10.0,
        "From the connection to the end of TLS's handshake, in which the client has to speak twice; before `header_s` "
        "begins. The client is closed without a word after it: there is none that it would understand.",
    )
    header_s: float = _seconds(
        10.0,
        "From the connection, or the first byte of a request, to the end of its headers (408 after it). Sending "
        "headers slowly is an old attack.",
    )
    body_s: float = _seconds(
        60.0,
        "For a request's body to arrive (408 after it): the largest one at 17 KB/s, a poor mobile connection.",
    )
    keep_alive_s: float = _seconds(
        75.0,
        "An HTTP connection without a request is closed. Longer than the 60 s after which nginx lets go of one, "
        "so that it is never us who closes just when it sends.",
    )
    idle_s: float = _seconds(
        60.0,
        "A WebSocket client from which nothing came and to which nothing went is closed, up to a tenth later. "
        "Kuzzle's default; its SDK sends a heartbeat every 2 s.",
    )
    stall_s: float = _seconds(
        30.0,
        "A client that is owed bytes and takes none is cut off: longer than a handover between cells, "
        "shorter than most people's patience.",
    )
    close_s: float = _seconds(
        5.0,
        "For a client that is being closed to take its last bytes and go; then it is cut off.",
    )
    stop_s: float = _seconds(
        10.0,
        "For the last clients to go when the node stops, and again for all plugins to leave. With `drain_s` below "
        "the 30 s that Kubernetes gives a process before it kills it.",
    )
    drain_s: float = _seconds(
        5.0,
        "Over which the clients of a node that drains or stops are told to connect again, evenly: they all come to "
        "the other nodes at once otherwise. A few clients are told sooner, 100 in a second.",
    )
    held_notifications: int = _bound(
        1_000,
        "notifications",
        "Notifications of a new room that wait for the reply to its subscribe, per subscription.",
    )

    # -- Realtime -----------------------------------------------------------------------------------------------

    rooms: int = _bound(
        1_000_000,
        "rooms",
        "Rooms with subscribers on this node; a subscribe that would open one more is refused (413). Kuzzle's "
        "default. A room costs about 4 kB here, and 3 kB on each other node.",
    )
    subscriptions: int = _bound(
        10_000,
        "rooms",
        "Rooms that one connection is in; one more is refused (413). A page that shows a thousand live lists "
        "stays far below.",
    )

    # -- Plugins ------------------------------------------------------------------------------------------------

    pipe_timeout_ms: int = _bound(
        5_000,
        "milliseconds",
        "For a pipe that waits; then the request is refused (504). Kuzzle's default.",
    )
    pipe_warning_ms: int = _bound(
        500,
        "milliseconds",
        "A pipe that takes longer is named in the log: every request that it takes part in waits for it. "
        "Kuzzle's default.",
    )
    hooks_in_flight: int = _bound(
        1_000,
        "hooks",
        "Hooks that wait, at work at once on the node; over it an event is not told to a hook, which is "
        "counted and logged.",
    )
    plugin_start_s: float = _seconds(
        30.0,
        "For one plugin to say that it is started; then the node gives up with a message that names it.",
    )
