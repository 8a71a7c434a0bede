"""The body of an HTTP request, in any pieces: what it arrives in, and what it says. A value or an `ApiError`:

- the pieces do not matter; no layer holds more than the limit, and a body within it comes out as zlib inflates it;
- what a body says can be written as JSON, and JSON and forms say what Python's own readers find there;
- what a client accepts is what it gets, and it gets it back;
- nothing is logged, by libraries either: who sends rubbish does not write into the log of the node.

An input is two lines, Content-Encoding and Content-Type, then a byte for the pieces, then the body."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

from server.core.bodies import MAX_FORM_FIELDS, read_body
from server.core.encodings import BodyDecoder, Encoding, choose_encoding, encode
from server.core.errors import ApiError
from server.core.values import encode_json
from support.fuzz_engine import Target
from support.fuzz_mutations import Dice, change_bytes, change_json
from support.fuzz_node import nothing_is_logged
from support.pieces import pieces_of

LIMIT = 5_000
WHOLE = 4_096


def check(data: bytes) -> None:
    """Decode the body at once and in pieces, and read it."""
    with nothing_is_logged():
        _check(data)


def _check(data: bytes) -> None:
    encodings, _, rest = data.partition(b"\n")
    kind, _, rest = rest.partition(b"\n")
    names, content_type, size = encodings.decode("latin-1"), kind.decode("latin-1"), rest[:1]
    at_once = _decoded(names, [rest[1:]])
    assert _decoded(names, pieces_of(rest[1:], [size[0] or WHOLE if size else WHOLE])) == at_once
    if isinstance(at_once, str):
        return
    assert len(at_once) <= LIMIT
    plain = names.strip().lower()
    if plain in ("gzip", "deflate", ""):
        assert at_once == _inflated(plain, rest[1:])
    _accepted(names, at_once)
    try:
        said = read_body(at_once, content_type)
    except ApiError as error:
        encode_json(error.to_wire())
        return
    encode_json(said)
    if not content_type:
        assert said == json.loads(at_once)
    if content_type == "application/x-www-form-urlencoded":
        _is_the_form(said, at_once)


def _decoded(names: str, pieces: list[bytes]) -> bytes | str:
    """Return the body, or what is wrong with it: whether it is corrupt or too large first is zlib's affair."""
    try:
        decoder = BodyDecoder(names, LIMIT)
        for piece in pieces:
            decoder.feed(piece)
        return decoder.finish()
    except ApiError as error:
        assert error.status in (400, 413, 415)
        encode_json(error.to_wire())
        return "refused"


def _inflated(name: str, body: bytes) -> bytes:
    if not body or not name:
        return body
    if name == "gzip":
        return gzip.decompress(body)
    try:
        return zlib.decompress(body)
    except zlib.error:
        return zlib.decompress(body, wbits=-15)


def _accepted(names: str, body: bytes) -> None:
    encoding = choose_encoding(names)
    sent = encode(body, encoding)
    assert BodyDecoder(encoding.value, LIMIT).finish() == b""
    decoder = BodyDecoder(encoding.value, LIMIT)
    if len(sent) <= LIMIT:
        decoder.feed(sent)
        assert decoder.finish() == body
    assert encoding in Encoding


def _is_the_form(said: Any, body: bytes) -> None:
    found = parse_qs(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    assert said == {name: values[0] if len(values) == 1 else values for name, values in found.items()}


# -- Inputs -----------------------------------------------------------------------------------------------------------

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.txt"\r\nContent-Type: text/plain\r\n'
    b"Content-Transfer-Encoding: 8bit\r\n\r\n\xff\xfe\r\n--b--\r\n"
)


def seeds() -> Iterator[bytes]:
    """Bodies of each kind, in each encoding."""
    body = b'{"index":"i","body":{"text":"' + b"the harbor " * 20 + b'"}}'
    for names, encoded in (
        (b"", body),
        (b"gzip", gzip.compress(body, mtime=0)),
        (b"gzip", gzip.compress(b"{", mtime=0) + gzip.compress(b"}", mtime=0)),
        (b"gzip", gzip.compress(b" " * 20_000, mtime=0)),
        (b"deflate", zlib.compress(body)),
        (b"deflate", zlib.compress(body)[2:-4]),
        (b"deflate, gzip", gzip.compress(zlib.compress(body), mtime=0)),
        (b"identity, x-gzip,,", gzip.compress(body, mtime=0)),
        (b"gzip;q=0.5, deflate;q=0.8, *;q=0", b"{}"),
        (b"br", b"[]"),
    ):
        for pieces in (b"\x00", b"\x01", b"\x07"):
            yield names + b"\n\n" + pieces + encoded
    for kind, said in (
        (b"application/json; charset=utf-8", b"[1.5,null,true]"),
        (b"application/x-www-form-urlencoded", b"a=1&a=2&b=%C3%A9+x&c"),
        (b"application/x-www-form-urlencoded;charset=latin-1", b"a=1"),
        (b"multipart/form-data; boundary=b", FORM),
        (b'multipart/form-data; boundary="b"', FORM[:-4]),
        (b"multipart/form-data; boundary*0=b", FORM),
        (b"text/plain", b"?"),
    ):
        yield b"\n" + kind + b"\n\x00" + said
        yield b"gzip\n" + kind + b"\n\x05" + gzip.compress(said, mtime=0)


def change_body(data: bytes, dice: Dice) -> bytes:
    """Change one thing: in the head or the body, as bytes or as JSON, compressed or as it was before."""
    encodings, _, rest = data.partition(b"\n")
    kind, _, rest = rest.partition(b"\n")
    size, body = rest[:1], rest[1:]
    match dice.random.randrange(8):
        case 0:
            encodings = change_bytes(encodings, dice).replace(b"\n", b"")
        case 1:
            kind = change_bytes(kind, dice).replace(b"\n", b"")
        case 2:
            size = bytes([dice.random.choice((0, 1, 2, 3, 17, 255))])
        case 3 | 4 if encodings in (b"gzip", b"deflate"):
            try:
                inner = change_bytes(_inflated(encodings.decode(), body), dice)
                body = gzip.compress(inner, mtime=0) if encodings == b"gzip" else zlib.compress(inner)
            except (OSError, EOFError, zlib.error):
                body = change_bytes(body, dice)
        case 5:
            body = change_json(body, Dice(dice.random, dice.tokens, [b"{}", body]))
        case _:
            body = change_bytes(body, dice)
    return b"\n".join((encodings, kind, size + body))


TARGET = Target(check, seeds, change_body)
