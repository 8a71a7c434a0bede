"""Content encodings of HTTP bodies: what a request arrives in, and what an answer leaves in.

    BodyDecoder.feed(chunk) ...  ->  finish() -> the body        streamed, each layer within the limit
    choose_encoding(Accept-Encoding)  ->  encode(body, encoding)

A body is decoded while it arrives, and no layer ever holds more than the limit: a bomb is noticed at the limit, not
after it went off. It refuses encodings other than gzip, deflate and identity, and more than three of them.
"""

import zlib
from enum import Enum, unique
from typing import Any, Final

from server.core.errors import ApiError

MAX_LAYERS: Final = 3
"""What Kuzzle allows. Nobody needs more than one; each costs another pass."""

COMPRESSION_LEVEL: Final = 1
"""The fastest, 3 µs per kilobyte: JSON shrinks to a sixth. zlib's default takes over twice as long for a seventh."""

_GZIP_WINDOW: Final = 31
_ZLIB_WINDOW: Final = 15
_RAW_WINDOW: Final = -15


@unique
class Encoding(Enum):
    """How an answer's body is encoded. The order is the preference among equals."""

    GZIP = "gzip"
    DEFLATE = "deflate"
    IDENTITY = "identity"


# -- Requests ---------------------------------------------------------------------------------------------------


class BodyDecoder:
    """Gathers one request's body, undoing its content encodings on the way."""

    def __init__(self, content_encoding: str, limit: int) -> None:
        """Take the header's value, and the largest size in bytes of the body in any of its layers.

        Raises ApiError `network.http.too_many_encodings` or `network.http.unsupported_compression`.
        """
        names = [name.strip().lower() for name in content_encoding.split(",") if name.strip()]
        if len(names) > MAX_LAYERS:
            raise ApiError("network.http.too_many_encodings")
        # The last one named was applied last, so it comes off first.
        self._layers = [_layer(name, limit) for name in reversed(names) if name != "identity"]
        self._limit = limit
        self._arrived = 0
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises ApiError `network.http.request_too_large` or, when they are corrupt, `network.http.unexpected_error`.
        """
        self._arrived += len(data)
        if self._arrived > self._limit:
            raise ApiError("network.http.request_too_large")
        for layer in self._layers:
            data = layer.feed(data)
        self._body += data

    def finish(self) -> bytes:
        """Return the whole body. Raises ApiError `network.http.unexpected_error` when an encoding is cut off."""
        if self._arrived and not all(layer.is_complete for layer in self._layers):
            raise _corrupt("it ends too early")
        return bytes(self._body)


class _Layer:
    """One compressed layer: what goes in is compressed, what comes out is not."""

    def __init__(self, window: int, limit: int) -> None:
        self._window = window
        self._limit = limit
        self._size = 0
        self._inflate: Any = zlib.decompressobj(window)

    @property
    def is_complete(self) -> bool:
        return bool(self._inflate.eof)

    def feed(self, data: bytes) -> bytes:
        pieces = []
        while data:
            if self._inflate.eof:
                self._next_member()
            # One byte more than allowed is enough to know.
            piece = self._decompress(data, self._limit - self._size + 1)
            self._size += len(piece)
            if self._size > self._limit:
                raise ApiError("network.http.request_too_large")
            pieces.append(piece)
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
        return b"".join(pieces)

    def _decompress(self, data: bytes, most: int) -> bytes:
        try:
            return bytes(self._inflate.decompress(data, most))
        except zlib.error as error:
            raise _corrupt(str(error)) from None

    def _next_member(self) -> None:
        # gzip allows several members in a row; anything else after the end is not ours to guess at.
        if self._window != _GZIP_WINDOW:
            raise _corrupt("something follows its end")
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)


class _DeflateLayer(_Layer):
    """ "deflate" means zlib (RFC 9110, section 8.4.1.2), but some senders leave zlib's two bytes of header out."""

    def __init__(self, limit: int) -> None:
        super().__init__(_ZLIB_WINDOW, limit)
        self._start = b""

    def feed(self, data: bytes) -> bytes:
        if len(self._start) < 2:
            self._start += data
            if len(self._start) < 2:
                return b""
            if not _is_zlib_header(self._start):
                self._inflate = zlib.decompressobj(_RAW_WINDOW)
            data = self._start
        return super().feed(data)


def _layer(name: str, limit: int) -> _Layer:
    match name:
        case "gzip" | "x-gzip":
            return _Layer(_GZIP_WINDOW, limit)
        case "deflate":
            return _DeflateLayer(limit)
        case _:
            raise ApiError("network.http.unsupported_compression", name)


def _is_zlib_header(start: bytes) -> bool:
    return start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0


def _corrupt(why: str) -> ApiError:
    return ApiError("network.http.unexpected_error", f"its content encoding is broken: {why}")


# -- Answers ----------------------------------------------------------------------------------------------------


def choose_encoding(accept_encoding: str) -> Encoding:
    """Return what the client likes best (RFC 9110, section 12.5.3); gzip when it likes several equally well."""
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameters = item.partition(";")
        weights[name.strip()] = _weight(parameters)
    rest = weights.get("*", 0.0)
    # Who does not mention identity accepts it, but less than anything that is mentioned.
    weight_of = {
        Encoding.GZIP: weights.get("gzip", weights.get("x-gzip", rest)),
        Encoding.DEFLATE: weights.get("deflate", rest),
        Encoding.IDENTITY: weights.get("identity", 1e-9),
    }
    best = max(weight_of, key=weight_of.__getitem__)
    return best if weight_of[best] > 0 else Encoding.IDENTITY


def encode(body: bytes, encoding: Encoding) -> bytes:
    """Return the body in that encoding."""
    match encoding:
        case Encoding.GZIP:
            return zlib.compress(body, COMPRESSION_LEVEL, wbits=_GZIP_WINDOW)
        case Encoding.DEFLATE:
            return zlib.compress(body, COMPRESSION_LEVEL, wbits=_ZLIB_WINDOW)
        case Encoding.IDENTITY:
            return body


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
