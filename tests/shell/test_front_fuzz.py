"""Any bytes at all at the front door: the next good request is answered, and nothing is logged as a fault."""

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.outbox import DropReason
from support.front import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    call,
    get,
    handshake,
    masked,
    open_front,
    post,
    raw_client,
)
from support.pieces import pieces_of

HTTP_PARTS = [
    get(),
    get("/probe", "Transfer-Encoding: chunked", method="POST"),
    get("/probe", "Expect: 100-continue", "Content-Length: 5", method="POST"),
    get("/probe", "Connection: close"),
    get(method="HEAD"),
    get(method="OPTIONS"),
    get("/probe/big?size=5000", "Accept-Encoding: gzip"),
    post(b'{"a":1}'),
    post(b"x", "Content-Encoding: gzip"),
    handshake(),
    handshake(version="12"),
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"\r\n",
    b"GET ",
    b" HTTP/1.1\r\n",
    b"Host: x\r\n",
]

FRAME_PARTS = [
    masked(b'{"p":1}'),
    masked(call("echo")),
    masked(call("big", size="5000")),
    masked(b"{nope"),
    masked(b"x" * 3_000),
    masked(b"part", TEXT, is_final=False),
    masked(b"part", CONTINUATION, is_final=False),
    masked(b"", CONTINUATION),
    masked(b"?", PING),
    masked(b"!", PONG),
    masked(b"\x03\xe8", CLOSE),
    masked(b"\x00", CLOSE),
    b"\x81\xfe",
    b"\x88\x80",
]

bits = st.binary(max_size=40)
sizes = st.lists(st.integers(1, 400), min_size=1, max_size=4)


def damaged(parts: list[bytes]) -> st.SearchStrategy[bytes]:
    """Sound parts and noise in any order, with some bytes changed."""
    whole = st.lists(st.sampled_from(parts) | bits, max_size=12).map(b"".join)
    changes = st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=4)
    return st.builds(_changed, whole, changes)


def _changed(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, byte in changes:
        if place < len(changed):
            changed[place] = byte
    return bytes(changed)


async def survives(start: bytes, data: bytes, sizes: list[int]) -> None:
    """Send this to a front door; a good client must be served beside it and after it."""
    async with open_front(header_bytes=1_000, request_bytes=2_000, close_s=0.2) as front:
        async with raw_client(front) as good, raw_client(front) as client, trio.open_nursery() as nursery:

            async def read() -> None:
                try:
                    while await client.stream.receive_some(65_536):
                        pass
                except trio.BrokenResourceError:
                    pass

            nursery.start_soon(read)
            try:
                for piece in [start, *pieces_of(data, sizes)]:
                    if piece:
                        await client.send(piece)
                await client.stream.send_eof()
            except trio.BrokenResourceError:
                pass  # it was thrown out
            assert (await good.ask(get())).status == 200
        async with raw_client(front) as another:
            await another.upgrade(trailing=masked(call("echo")))
            assert (await another.message())["status"] == 200
        assert front.log.calls == []
        assert front.counters.frames_dropped[DropReason.SLOW] == 0


@settings(max_examples=60)
@given(st.binary(max_size=3_000), sizes)
def test_noise_is_survived(data: bytes, sizes: list[int]) -> None:
    trio.run(survives, b"", data, sizes)


@settings(max_examples=100)
@given(damaged(HTTP_PARTS), sizes)
def test_almost_http_is_survived(data: bytes, sizes: list[int]) -> None:
    trio.run(survives, b"", data, sizes)


@settings(max_examples=100)
@given(damaged(FRAME_PARTS), sizes)
def test_almost_websocket_is_survived(data: bytes, sizes: list[int]) -> None:
    trio.run(survives, handshake(), data, sizes)
