"""All that a client sends over one connection, to the real front door behind one end of a pair of sockets. The law:

- in any pieces, it gets the same answers, each of them whole; its connection ends when it has ended its side;
- no answer says that the fault is the node's, nothing is logged as one, and nothing of the client remains.

An input is a byte that says what comes before (nothing, a handshake, one with compression), three sizes of pieces, and
then the bytes."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import trio
import trio.testing

from fuzz.http_heads import change_requests
from fuzz.http_heads import seeds as requests
from server.adapters.admission import Admission
from server.adapters.reception import Reception
from server.adapters.turn import Turn
from server.core.callers import TrustedProxies
from server.core.deflate import SharedDeflate
from server.core.frames import CloseCode
from server.core.outbox import OutboxCounters
from server.core.refusals import RefusalCounters
from support.front import handshake, inflated
from support.fuzz_engine import Target
from support.fuzz_mutations import Dice
from support.fuzz_node import make_node, nothing_is_logged
from support.fuzz_websocket import HEAD_BYTES, change_stream, conversations, head_of
from support.pieces import pieces_of

NODE, LOG = make_node(header_bytes=1_000, request_bytes=2_000, requests_in_flight=3, compress_from_bytes=200)
LIMITS = NODE.config.limits
CALLER = TrustedProxies().direct("127.0.0.1", 1)

BEFORE = (
    b"",
    handshake(),
    handshake("Sec-WebSocket-Extensions: permessage-deflate"),
)
ANSWERED_BYTES = 1 << 20
"""By all answers to one input."""

BAD_TEXT, TOO_BIG = CloseCode.BAD_TEXT, CloseCode.TOO_BIG
"""Of a large message that is no text either, it depends on what came first which of the two is seen."""

MOST_PIECES = 20
"""Then comes the rest: each is a turn of the loop."""

TOO_LARGE = "431"

Answers = list[tuple[Any, ...]]


def check(data: bytes) -> None:
    """Send it at once, and in pieces."""
    choice, sizes, stream = head_of(data)
    before = BEFORE[choice % len(BEFORE)]
    with nothing_is_logged(LOG):
        at_once = _answers(before + stream, [])
        in_pieces = _answers(before + stream, sizes)
    _are_the_same(at_once, in_pieces)
    assert NODE.realtime.counts() == {}


def _are_the_same(at_once: Answers, in_pieces: Answers) -> None:
    """Up to a head that is too large: h11 bounds what it waits for, we what is complete, without its spaces."""
    for one, other in zip(at_once, in_pieces, strict=False):
        if TOO_LARGE in (one[0], other[0]):
            return
        assert one == other
    assert len(at_once) == len(in_pieces)


def _answers(sent: bytes, sizes: Sequence[int]) -> Answers:
    received = trio.run(_sent, sent, sizes, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(received) <= ANSWERED_BYTES
    return _read(received)


async def _sent(data: bytes, sizes: Sequence[int]) -> bytes:
    """Return what the client gets."""
    turn, ours, theirs = Turn(lambda: 0.0), *socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        ours.setblocking(False)
        reception = Reception(
            NODE.app,
            LIMITS,
            turn,
            Admission(NODE.config.server, LIMITS, RefusalCounters(), LOG.logger),
            counters=OutboxCounters(),
            log=LOG.logger,
            deflate=SharedDeflate(LIMITS.deflate_from_bytes),
            handshakes=None,
        )
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn.run)
            reception.accepted += 1
            nursery.start_soon(reception.attend, ours, CALLER, None, None, nursery)
            with contextlib.suppress(OSError):  # it was thrown out
                for piece in _pieces(data, sizes):
                    theirs.send(piece)
                    await trio.testing.wait_all_tasks_blocked()
                theirs.shutdown(socket.SHUT_WR)
            while True:
                await trio.lowlevel.wait_readable(theirs)
                try:
                    more = theirs.recv(65_536)
                except ConnectionResetError:
                    break
                if not more:
                    break
                received += more
            await trio.testing.wait_all_tasks_blocked()
            assert reception.accepted == 0
            nursery.cancel_scope.cancel()
    return bytes(received)


def _pieces(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces = pieces_of(data, sizes) if sizes else [data]
    return [*pieces[:MOST_PIECES], b"".join(pieces[MOST_PIECES:])]


# -- Reading what came ------------------------------------------------------------------------------------------------


def _read(received: bytes) -> Answers:
    answers: Answers = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        assert end, head
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        if status == "100":
            continue
        if status == "101":
            return [*answers, ("upgraded",), *_read_frames(received)]
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = b""
        if received and not received.startswith(b"HTTP/1.1 "):  # what answers a HEAD has none
            size = int(headers["content-length"])
            body, received = received[:size], received[size:]
            assert len(body) == size
            said = json.loads(_decoded(body, headers["content-encoding"]))
            assert said["status"] == int(status)
        assert int(status) < 500 or status == "503"
        answers.append((status, bool(body), headers.get("connection", "")))
    return answers


def _decoded(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "deflate":
            return zlib.decompress(body)
        case _:
            return body


def _read_frames(received: bytes) -> Answers:
    answers: Answers = []
    while received:
        first, length = received[0], received[1]
        start = 2 if length < 126 else 4 if length == 126 else 10
        length = length if length < 126 else int.from_bytes(received[2:start], "big")
        payload, received = received[start : start + length], received[start + length :]
        assert len(payload) == length
        match first:
            case 0x81:
                answers.append(_said(payload))
            case 0xC1:
                answers.append(_said(inflated(payload)))
            case 0x8A:
                answers.append(("pong", payload))
            case 0x88:
                code = int.from_bytes(payload[:2], "big")
                assert code not in (1006, 1011)
                payload[2:].decode()
                assert not received
                answers.append(("close", TOO_BIG if code == BAD_TEXT else code))
            case _:
                raise AssertionError(first)
    return answers


def _said(payload: bytes) -> tuple[Any, ...]:
    said = json.loads(payload)
    if said != {"p": 2}:
        assert said["status"] < 500, said
    return ("pong",) if said == {"p": 2} else (said["status"], said["action"])


# -- Inputs -----------------------------------------------------------------------------------------------------------


def seeds() -> Iterator[bytes]:
    """Requests, and conversations after a handshake."""
    for data in requests():
        if len(data) < 1_500:
            yield b"\x00\x01\x07\x50" + data
    for data in conversations():
        if data[:1] == b"\x01":  # the same comes at once, too
            yield data
            yield b"\x02" + data[1:]


def change_connection(data: bytes, dice: Dice) -> bytes:
    """Change what comes: frames after a handshake, lines otherwise; now and then what comes before."""
    if dice.random.random() < 0.05:
        return dice.random.randbytes(HEAD_BYTES) + data[HEAD_BYTES:]
    if data[:1] in (b"\x01", b"\x02"):
        return change_stream(data, dice)
    return data[:HEAD_BYTES] + change_requests(data[HEAD_BYTES:], dice)


TARGET = Target(check, seeds, change_connection)
