"""Whole conversations through the front door, in any pieces: it answers as wsproto alone would, read without a lane."""

from operator import le
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from server.adapters.lane import FLOOD_BYTES, READ_BYTES
from support.echo import EchoApp
from support.front import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawClient,
    handshake,
    masked,
    open_front,
    raw_client,
)
from support.pieces import pieces_of

pytestmark = pytest.mark.usefixtures("plain_and_tls")

Frame = tuple[int, bytes]


class Reference:
    """An echo server that is wsproto and nothing else: what it sends, frame by frame."""

    def __init__(self) -> None:
        self._connection = Connection(ConnectionType.SERVER)
        self._parts: list[Any] = []
        self.sent: list[Frame] = []

    def receive(self, data: bytes) -> None:
        self._connection.receive_data(data)
        for event in self._connection.events():
            if not self.sent or self.sent[-1][0] != CLOSE:
                self._answer(event)

    def _answer(self, event: Event) -> None:
        match event:
            case CloseConnection(code=code):
                self.sent.append((CLOSE, b"" if code == 1005 else int(code).to_bytes(2, "big")))
            case Ping(payload=payload):
                self.sent.append((PONG, bytes(payload)))
            case TextMessage(data=data):
                self._gather(TEXT, data.encode(), event.message_finished)
            case BytesMessage(data=data):
                self._gather(BINARY, bytes(data), event.message_finished)

    def _gather(self, opcode: int, part: bytes, is_whole: bool) -> None:
        self._parts.append(part)
        if is_whole:
            self.sent.append((opcode, b"".join(self._parts)))
            self._parts.clear()


class Said:
    """Something that a client says. Shown by its name: a failed example of tens of kilobytes is of no use."""

    def __init__(self, what: str, data: bytes) -> None:
        self.what = what
        self.data = data

    def __repr__(self) -> str:
        return f"<{self.what}>"


def message(payload: bytes, opcode: int) -> Said:
    return Said(f"{opcode:x}: {len(payload)} bytes", masked(payload, opcode))


def fragments(payload: bytes, opcode: int, sizes: list[int], between: list[Said]) -> Said:
    """One message in several frames, with control frames between them."""
    parts = pieces_of(payload, sizes) or [b""]
    data = b""
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        data += masked(part, CONTINUATION if index else opcode, is_final=is_last)
        if not is_last and index < len(between):
            data += between[index].data
    return Said(
        f"{opcode:x}: {len(payload)} bytes in {sizes}, between them {between[: len(parts) - 1]}", data
    )


SMALL_TEXTS = [
    text.encode() for text in ("", "x", '{"p":1}', "é\N{FISH}" * 20, "x" * 125, "x" * 126, "y" * 3_000)
]
SMALL_BLOBS = [b"", b"\xff", b"\x00" * 126, b"\xfe" * 3_000]
NEARLY_A_READ = b"w" * (READ_BYTES - 100)
MORE_THAN_A_READ = b"z" * (READ_BYTES + 4_000)

LARGE = [NEARLY_A_READ, MORE_THAN_A_READ]

texts = st.sampled_from([message(text, TEXT) for text in SMALL_TEXTS + LARGE])
blobs = st.sampled_from([message(blob, BINARY) for blob in SMALL_BLOBS + LARGE])
heartbeats = st.builds(message, st.binary(max_size=125), st.sampled_from([PING, PONG]))
several = (st.lists(st.integers(1, 400), min_size=1, max_size=3), st.lists(heartbeats, max_size=3))
fragmented = st.builds(fragments, st.sampled_from(SMALL_TEXTS), st.just(TEXT), *several) | st.builds(
    fragments, st.sampled_from(SMALL_BLOBS), st.just(BINARY), *several
)
goodbyes = st.sampled_from(
    [
        Said("the stream ends", b""),
        Said("close", masked(b"", CLOSE)),
        Said("close 1000", masked(b"\x03\xe8", CLOSE)),
        Said("close 4000", masked(b"\x0f\xa0bye", CLOSE)),
        Said("close with the longest reason", masked(b"\x03\xe8" + b"r" * 123, CLOSE)),
        Said("more behind the close", masked(b"", CLOSE) + masked(b"late") + masked(b"late", PING)),
        Said("close with half a code", masked(b"\x03", CLOSE)),
        Said("close 1005", masked(b"\x03\xed", CLOSE)),
        Said("the continuation of nothing", masked(b"", CONTINUATION)),
        Said("bad text", masked(b"\xff")),
        Said("bad text in fragments", masked(b"\xc3", TEXT, is_final=False) + masked(b"", CONTINUATION)),
        Said("a ping of 126 bytes", masked(b"x" * 126, PING)),
        Said("a message within a message", masked(b"a", TEXT, is_final=False) + masked(b"b")),
        Said("a frame without a mask", b"\x81\x02hi"),
    ]
)
sizes = st.lists(st.integers(1, 9_000) | st.just(2 * FLOOD_BYTES), min_size=1, max_size=6) | st.lists(
    st.integers(1, 9), min_size=1, max_size=3
)

MOST_PIECES = 2_000
"""More of them would take seconds: they are made larger."""


async def answers(start: bytes, pieces: list[bytes]) -> list[Frame]:
    """Send these pieces, each to be read by itself; return all that comes back."""
    async with open_front(app_type=EchoApp) as front, raw_client(front) as client:
        received: list[Frame] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_all, client, received)
            await client.send(handshake() + start)
            for piece in pieces:
                await trio.testing.wait_all_tasks_blocked()
                await client.send(piece)
            await trio.testing.wait_all_tasks_blocked()
            await client.end()
        assert front.log.calls == []
        return received


async def read_all(client: RawClient, received: list[Frame]) -> None:
    head = await client.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    data = await client.rest()
    assert not client.received
    client.received += data
    while client.received:
        received.append(await client.frame())


FLOOD = [
    *(message(NEARLY_A_READ, TEXT) for _ in range(3)),
    *(message(MORE_THAN_A_READ, BINARY) for _ in range(2)),
    message(b"x", TEXT),
]
"""After a full read the next is larger, and holds more than trio-websocket is given in one go."""


@settings(max_examples=150)
@example(FLOOD, Said("close", masked(b"", CLOSE)), [2 * FLOOD_BYTES], False)
@given(st.lists(texts | heartbeats | blobs | fragmented, max_size=10), goodbyes, sizes, st.booleans())
def test_a_conversation_in_any_pieces_is_answered_as_the_library_alone_would(
    talk: list[Said], goodbye: Said, sizes: list[int], is_first_with_handshake: bool
) -> None:
    """Messages in their order, heartbeats in theirs, and a close behind all of them.

    A pong may overtake answers, since trio-websocket answers pings as it reads them, but not the other way round.
    """
    data = b"".join(said.data for said in [*talk, goodbye])
    pieces = pieces_of(data, [size * (1 + len(data) // (MOST_PIECES * min(sizes))) for size in sizes])
    reference = Reference()
    reference.receive(data)
    start = pieces.pop(0) if pieces and is_first_with_handshake else b""
    sent = trio.run(answers, start, pieces)

    assert frames_of(sent, TEXT, BINARY) == frames_of(reference.sent, TEXT, BINARY)
    assert frames_of(sent, PONG) == frames_of(reference.sent, PONG)
    assert all(map(le, messages_before_pongs(sent), messages_before_pongs(reference.sent)))
    ends = [(opcode, payload[:2]) for opcode, payload in frames_of(sent, CLOSE)]
    assert ends == frames_of(reference.sent, CLOSE)
    assert not ends or sent[-1][0] == CLOSE


def frames_of(sent: list[Frame], *opcodes: int) -> list[Frame]:
    return [frame for frame in sent if frame[0] in opcodes]


def messages_before_pongs(sent: list[Frame]) -> list[int]:
    return [
        len(frames_of(sent[:index], TEXT, BINARY)) for index, (opcode, _) in enumerate(sent) if opcode == PONG
    ]
