"""What the head of an HTTP request may look like: the checks that h11 leaves to the server.

    h11.Request  --check_head-->  accepted, or an `ApiError` that says what is wrong

It refuses every head that another program on the way could frame differently (request smuggling: RFC 9112, section
11.2), tunnels, and half a WebSocket handshake. Which paths and methods mean something is the route table's question.
"""

import binascii
import re
from collections.abc import Sequence
from hashlib import sha1
from typing import Final
from urllib.parse import urlsplit

import h11

from server.core.errors import ApiError

HeaderLines = Sequence[tuple[bytes, bytes]]
"""Names in lower case, values as sent."""

WEBSOCKET_VERSION: Final = b"13"
"""The only one there is (RFC 6455, section 4.1)."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What a server adds to a key to show that it knows the protocol (RFC 6455, section 1.3)."""

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, section 5.6.2."""


def check_head(request: h11.Request, max_bytes: int) -> None:
    """Raise ApiError when this head must not be acted upon.

    `max_bytes` bounds the request line and the headers together: h11 only bounds what is incomplete, so a block that
    arrives in one piece may be larger.
    """
    if _size(request) > max_bytes:
        raise ApiError("network.http.headers_too_large")
    if request.http_version not in (b"1.1", b"1.0"):
        raise _unusable(f"HTTP/{request.http_version.decode('ascii')} is not spoken here, HTTP/1.1 is")
    if request.method == b"CONNECT":
        raise ApiError("network.http.unsupported_verb", "CONNECT")

    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names:
        # Both at once, or a transfer coding in HTTP/1.0: a proxy may have seen another end of the body than we do.
        if b"content-length" in names:
            raise _unusable("Content-Length and Transfer-Encoding exclude each other")
        if request.http_version == b"1.0":
            raise _unusable("Transfer-Encoding does not exist in HTTP/1.0")
    if not _is_target(request.target):
        raise _unusable("the target must be a path or an http URL")


def split_target(target: bytes) -> tuple[str, str]:
    """Return path and query, both as sent; of an absolute URL, which a proxy may send, host and scheme are left out."""
    text = target.decode("ascii")
    if text.startswith("/"):
        path, _, query = text.partition("?")
        return path, query
    url = urlsplit(text)
    return url.path or "/", url.query


def headers_by_name(lines: HeaderLines) -> dict[str, str]:
    """Return the headers as text; lines of the same name are joined as RFC 9110, section 5.2 says.

    Values are read as UTF-8, which is what clients put there today, and else as Latin-1, which always fits.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in lines:
        name = raw_name.decode("ascii")
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        if name in headers:
            value = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
        headers[name] = value
    return headers


def declared_length(lines: HeaderLines) -> int:
    """Return the body's length as far as the head tells it: 0 also for a body in chunks."""
    return next((int(value) for name, value in lines if name == b"content-length"), 0)


# -- WebSocket --------------------------------------------------------------------------------------------------


def asks_for_websocket(lines: HeaderLines) -> bool:
    """Tell whether this is meant as a WebSocket handshake, sound or not."""
    return b"websocket" in _tokens(lines, b"upgrade")


def websocket_key(request: h11.Request) -> bytes:
    """Return the handshake's key; ApiError when the handshake is not sound (RFC 6455, section 4.2.1)."""
    if request.method != b"GET" or request.http_version != b"1.1":
        raise _half_handshake("it must be a GET request of HTTP/1.1")
    if b"upgrade" not in _tokens(request.headers, b"connection"):
        raise _half_handshake("the header Connection: Upgrade is missing")
    names = {name for name, _ in request.headers}
    if declared_length(request.headers) or b"transfer-encoding" in names:
        raise _half_handshake("it must not have a body")
    versions = [value for name, value in request.headers if name == b"sec-websocket-version"]
    if versions != [WEBSOCKET_VERSION]:
        raise _half_handshake("the header Sec-WebSocket-Version must be 13")
    keys = [value for name, value in request.headers if name == b"sec-websocket-key"]
    if len(keys) != 1 or not _is_key(keys[0]):
        raise _half_handshake("the header Sec-WebSocket-Key must be 16 bytes in base64")
    return keys[0]


def websocket_protocol(lines: HeaderLines) -> bytes:
    """Return the subprotocol to agree to: the first that the client offers, empty when it offers none.

    Messages are the same whatever it is called, but a browser ends a connection whose server takes none of its offers
    (WHATWG WebSockets, "establish a WebSocket connection"). Kuzzle's SDK offers one called "null" there, by accident.
    """
    offers = [
        name.strip()
        for header, value in lines
        if header == b"sec-websocket-protocol"
        for name in value.split(b",")
    ]
    return next((name for name in offers if _TOKEN.fullmatch(name)), b"")


def switching_protocols(key: bytes, protocol: bytes = b"", extension: bytes = b"") -> bytes:
    """Return the answer to a sound handshake (RFC 6455, section 4.2.2)."""
    accept = binascii.b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + (b"\r\nSec-WebSocket-Protocol: " + protocol if protocol else b"")
        + (b"\r\nSec-WebSocket-Extensions: " + extension if extension else b"")
        + b"\r\n\r\n"
    )


def _size(request: h11.Request) -> int:
    # With the spaces, colons and line ends between them.
    return len(request.method) + len(request.target) + sum(len(n) + len(v) + 4 for n, v in request.headers)


def _is_target(target: bytes) -> bool:
    if target.startswith(b"/"):
        return True
    if target == b"*":  # OPTIONS about the server as a whole
        return True
    if not target.lower().startswith((b"http://", b"https://")):
        return False
    try:
        return bool(urlsplit(target.decode("ascii")).netloc)
    except ValueError:  # such as half an IPv6 address
        return False


def _tokens(lines: HeaderLines, wanted: bytes) -> list[bytes]:
    return [token.strip().lower() for name, value in lines if name == wanted for token in value.split(b",")]


def _is_key(key: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except binascii.Error:
        return False


def _unusable(why: str) -> ApiError:
    return ApiError("network.http.unexpected_error", why)


def _half_handshake(why: str) -> ApiError:
    return _unusable(f"this is no WebSocket handshake: {why}")
