"""Readers of what a client sends over WebSocket, made of wsproto, and laws of ours that are stated with them.

A law is given bytes and the pieces in which they arrive. Its tests choose both: by hypothesis, or by the fuzzer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.extensions import Extension, PerMessageDeflate

from server.core.frames import CloseCode, Opcode
from server.core.inflating import Inflater
from server.core.splitting import Control, FrameSplitter
from support.pieces import pieces_of

Outcome = tuple[str, Any]


class Reader:
    """wsproto, and what it makes of what it is given: whole messages, heartbeats, and one end."""

    def __init__(self, *, inflates: bool = False) -> None:
        extensions: list[Extension] = []
        if inflates:
            extensions.append(PerMessageDeflate())
            extensions[0].accept("permessage-deflate; client_no_context_takeover")
        self._connection = Connection(ConnectionType.SERVER, extensions=extensions)
        self._parts: list[Any] = []
        self.outcomes: list[Outcome] = []
        self.messages = 0

    def receive(self, data: bytes) -> None:
        """Take what arrived."""
        if data and not self.has_ended:
            self._connection.receive_data(data)
            for event in self._connection.events():
                self._note(event)

    @property
    def has_ended(self) -> bool:
        """Whether there was a close frame or a fault."""
        return bool(self.outcomes) and self.outcomes[-1][0] == "end"

    def end(self, code: int) -> None:
        """Note the end, with this code."""
        self.outcomes.append(("end", int(code)))

    def _note(self, event: Event) -> None:
        match event:
            case CloseConnection(code=code):
                self.end(code)
            case Ping(payload=payload):
                self.outcomes.append(("ping", bytes(payload)))
            case Pong(payload=payload):
                self.outcomes.append(("pong", bytes(payload)))
            case TextMessage() | BytesMessage():
                self._parts.append(event.data)
                if event.message_finished:
                    empty: Any = "" if isinstance(event, TextMessage) else b""
                    self.outcomes.append(("message", empty.join(self._parts)))
                    self._parts.clear()
                    self.messages += 1
            case _:
                pass


# -- The lane ---------------------------------------------------------------------------------------------------------

Limits = tuple[int, int]
"""Of a message, and of what is kept, in bytes."""

Split = tuple[list[str], Control | None, bytes]


def splitter(message_bytes: int = 1_000, kept_bytes: int = 2_000) -> FrameSplitter:
    """Return a splitter with small limits."""
    return FrameSplitter(message_bytes=message_bytes, kept_bytes=kept_bytes)


def split_all(frames: FrameSplitter, data: bytes) -> list[Split]:
    """Split until nothing comes any more."""
    done = []
    while any(part := frames.split(data)):
        done.append(part)
        data = b""
    return done


def the_lane_changes_nothing(data: bytes, sizes: Sequence[int], limits: Limits) -> None:
    """In any pieces, what comes out of lane and library together is what the library alone makes of it."""
    alone, behind, frames = Reader(), Reader(), splitter(*limits)
    for read in pieces_of(data, sizes):
        piece = read
        alone.receive(piece)
        while not behind.has_ended:
            passed_before = frames.messages_passed
            texts, control, passed = frames.split(piece)
            if not texts and control is None and not passed:
                break
            if behind.messages == passed_before:  # else the library found a fault in one of them
                behind.outcomes += [("message", text) for text in texts]
            if control is not None:
                behind.outcomes.append(_outcome(control))
            behind.receive(passed)
            piece = b""
    if frames.bytes_kept and alone.outcomes[len(behind.outcomes) :] == [("end", 1007)]:
        # The library sees bad text before the frame is whole; the lane when it is.
        alone.outcomes.pop()
    assert behind.outcomes == alone.outcomes


def _outcome(control: Control) -> Outcome:
    """Return what the library would have made of it."""
    match control.opcode:
        case Opcode.PING:
            return "ping", control.payload
        case Opcode.PONG:
            return "pong", control.payload
        case _:
            return "end", int.from_bytes(control.payload[:2], "big") or 1005


def what_is_passed_on_does_not_depend_on_the_pieces(
    data: bytes, sizes: Sequence[int], limits: Limits
) -> None:
    """In any pieces, the same texts, control frames and bytes to pass on come out, and no more is kept than may be."""
    at_once, in_pieces = splitter(*limits), splitter(*limits)
    whole = split_all(at_once, data)
    parts = [part for piece in pieces_of(data, sizes) for part in split_all(in_pieces, piece)]
    assert [text for texts, _, _ in parts for text in texts] == [
        text for texts, _, _ in whole for text in texts
    ]
    assert [control for _, control, _ in parts if control] == [control for _, control, _ in whole if control]
    assert b"".join(passed for *_, passed in parts) == b"".join(passed for *_, passed in whole)
    assert in_pieces.bytes_kept == at_once.bytes_kept <= max(130, limits[1])
    assert in_pieces.messages_passed == at_once.messages_passed


# -- Compression ------------------------------------------------------------------------------------------------------


EITHER_FAULT = {CloseCode.TOO_BIG, CloseCode.BAD_TEXT}


def taken(inflater: Inflater, most: int) -> bytes:
    """Take until nothing comes out any more."""
    pieces = []
    while piece := inflater.take(most):
        assert len(piece) <= most
        pieces.append(piece)
    return b"".join(pieces)


def what_is_inflated_does_not_depend_on_the_pieces(
    data: bytes, sizes: Sequence[int], most: int, message_bytes: int
) -> None:
    """In any pieces, and however much is taken at a time, the same comes out, up to the same fault."""
    at_once, in_pieces = Inflater(message_bytes), Inflater(message_bytes)
    at_once.feed(data)
    whole = taken(at_once, 1_000_000)
    parts = []
    for piece in pieces_of(data, sizes):
        in_pieces.feed(piece)
        parts.append(taken(in_pieces, most))
        if in_pieces.fault is not None:
            break
    assert b"".join(parts) == whole
    # A message may be both too large and corrupt, right behind one another: which of the two zlib sees is its affair.
    if {fault and fault.code for fault in (in_pieces.fault, at_once.fault)} != EITHER_FAULT:
        assert in_pieces.fault == at_once.fault


def a_reader_without_compression_reads_the_same(
    data: bytes, sizes: Sequence[int], most: int, message_bytes: int
) -> None:
    """In any pieces, what a plain reader makes of what comes out is what one with compression makes of what went in."""
    alone, behind, inflater = Reader(inflates=True), Reader(), Inflater(message_bytes)
    for piece in pieces_of(data, sizes):
        alone.receive(piece)
        if inflater.fault is None:
            inflater.feed(piece)
            behind.receive(taken(inflater, most))
            if inflater.fault is not None and not behind.has_ended:
                behind.end(inflater.fault.code)
    if inflater._message is not None and alone.outcomes[len(behind.outcomes) :] == [("end", 1007)]:
        # The library sees bad text before the message is whole.
        alone.outcomes.pop()
    ends = [alone.outcomes[-1:], behind.outcomes[-1:]]
    if inflater.fault is not None and ends == [[("end", 1007)], [("end", 1002)]]:
        # As before; then came what must not be there.
        alone.outcomes[-1:] = behind.outcomes[-1:]
    assert behind.outcomes == alone.outcomes
