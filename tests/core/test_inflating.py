"""What compressed messages become before anybody reads them, judged by wsproto, which reads compression itself."""

import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.core.frames import CloseCode
from server.core.inflating import MOST_STREAMS, Inflater
from support.front import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, SYNC, TEXT, deflated, masked
from support.pieces import pieces_of
from support.websocket_readers import (
    Reader,
    a_reader_without_compression_reads_the_same,
    taken,
    what_is_inflated_does_not_depend_on_the_pieces,
)

MOST = 100_000


def fragments(message: bytes, opcode: int, *cuts: int, between: bytes = b"") -> bytes:
    """Return a compressed message in frames that are cut at these places, with `between` between them."""
    data = deflated(message)
    starts = (0, *cuts)
    ends = (*cuts, len(data))
    frames = [
        masked(
            data[start:end],
            opcode | RSV1 if start == 0 and number == 0 else CONTINUATION,
            is_final=number == len(cuts),
        )
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    return between.join(frames)


JSON = b'{"controller":"realtime","action":"publish","body":{"text":"' + b"the harbor " * 30 + b'"}}'

SOUND = [
    masked(b""),
    masked(b'{"p":1}'),
    masked(b"x" * 300),
    masked(b"x" * 70_000),
    masked(b"\xff\xfe", BINARY),
    masked(b"?", PING),
    masked(b"!", PONG),
    masked(b"a", TEXT, is_final=False) + masked(b"?", PING) + masked(b"b", CONTINUATION),
    masked(deflated(b""), TEXT | RSV1),
    masked(deflated(b"h\xc3\xa9"), TEXT | RSV1),
    masked(deflated(JSON), TEXT | RSV1),
    masked(deflated(b"\xff" * 500), BINARY | RSV1),
    masked(deflated(b"y" * 70_000), TEXT | RSV1),
    masked(deflated(bytes(range(256)) * 300, level=0), BINARY | RSV1),
    fragments(JSON, TEXT, 0, 1, 5, 5),
    fragments(JSON, BINARY, 7),
    fragments(b"\xc3\xa9" * 9, TEXT, 2, 3),
    fragments(b"\xc3\xa9" * 9, TEXT, len(deflated(b"\xc3\xa9" * 9))),
]

UNSOUND = [
    b"\xc1\x02hi",  # without a mask
    masked(b"?", PING | RSV1),
    masked(b"", CLOSE | RSV1),
    masked(b"", CONTINUATION | RSV1),
    masked(b"", TEXT | 0x20),
    masked(b"", TEXT | RSV1 | 0x10),
    masked(b"", 0x3),
    masked(b"b", CONTINUATION),
    masked(b"a", TEXT, is_final=False) + masked(deflated(b"b"), TEXT | RSV1),
    masked(b"a", TEXT, is_final=False) + masked(deflated(b"b"), CONTINUATION | RSV1),
    masked(b"a", TEXT, is_final=False) + masked(b"b", TEXT),
    masked(deflated(b"\xff"), TEXT | RSV1),
    masked(b"\x07", TEXT | RSV1),  # a kind of block that does not exist
    masked(b"\x06\x00\x00\xff", TEXT | RSV1),
]

CLOSES = [masked(b"", CLOSE), masked(b"\x03\xe8", CLOSE)]

streams = st.lists(st.sampled_from(SOUND + UNSOUND + CLOSES), max_size=8).map(b"".join)
sound_streams = st.lists(st.sampled_from(SOUND), max_size=6).map(b"".join)
sizes = st.lists(st.integers(1, 3_000), min_size=1, max_size=5)
mosts = st.sampled_from([1, 100, 16_384])


@given(sound_streams, streams, sizes, mosts)
@example(b"", SOUND[14], [1], 1)
def test_a_reader_without_compression_reads_the_same(
    first: bytes, then: bytes, pieces: list[int], most: int
) -> None:
    a_reader_without_compression_reads_the_same(first + then, pieces, most, MOST)


@given(streams, sizes, mosts)
def test_what_comes_out_does_not_depend_on_the_pieces(data: bytes, pieces: list[int], most: int) -> None:
    what_is_inflated_does_not_depend_on_the_pieces(data, pieces, most, MOST)


@given(
    st.binary(max_size=2_000), st.integers(0, 9), st.integers(9, 15), st.lists(st.integers(0, 60), max_size=6)
)
def test_any_bytes_come_back(message: bytes, level: int, window: int, cuts: list[int]) -> None:
    data = deflated(message, level, window)
    inner = sorted(cut for cut in cuts if cut <= len(data))
    parts = [data[a:b] for a, b in zip([0, *inner], [*inner, len(data)], strict=True)]
    inflater = Inflater(MOST)
    for number, part in enumerate(parts):
        opcode = CONTINUATION if number else BINARY | RSV1
        inflater.feed(masked(part, opcode, is_final=number == len(parts) - 1))
    reader = Reader()
    reader.receive(taken(inflater, 1_000))
    assert reader.outcomes == [("message", message)]


def test_frames_that_are_not_compressed_come_out_as_they_arrive() -> None:
    inflater, data = Inflater(MOST), masked(b"x" * 70_000)
    inflater.feed(data[:5])
    assert inflater.take(100) == b""  # within the header
    for start, end in ((5, 20), (20, 1_000), (1_000, len(data))):
        inflater.feed(data[start:end])
        assert taken(inflater, 100_000) == data[0 if start == 5 else start : end]


@given(sizes, mosts)
def test_control_frames_within_a_message_come_out_before_it(pieces: list[int], most: int) -> None:
    """Not judged by wsproto, which takes what follows them for plain."""
    inflater, reader = Inflater(MOST), Reader()
    data = fragments(JSON, BINARY, 7, 9, between=masked(b"!", PONG) + masked(b"?", PING)) + masked(b"", CLOSE)
    for piece in pieces_of(data, pieces):
        inflater.feed(piece)
        reader.receive(taken(inflater, most))
    heartbeats = [("pong", b"!"), ("ping", b"?")] * 2
    assert reader.outcomes == [*heartbeats, ("message", JSON), ("end", 1005)]


@pytest.mark.parametrize(
    "second",
    [
        masked(b"b", TEXT),
        masked(b"b", BINARY),
        masked(deflated(b"b"), TEXT | RSV1),
        masked(deflated(b"b"), CONTINUATION | RSV1),
        masked(b"?", PING | RSV1),
        masked(b"", PING, is_final=False),
        b"\x80\x02hi",
    ],
)
def test_what_breaks_into_a_message_is_a_fault(second: bytes) -> None:
    """Not judged by wsproto, which inflates it first."""
    inflater = Inflater(MOST)
    inflater.feed(masked(b"", PING) + masked(deflated(b"a"), TEXT | RSV1, is_final=False) + second)
    assert len(taken(inflater, 100)) == len(masked(b"", PING))
    assert inflater.fault == (CloseCode.PROTOCOL_ERROR, "a frame that must not be here")


# -- Bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1_000, 1_001, 50_000_000])
def test_a_bomb_is_noticed_at_the_limit(size: int) -> None:
    inflater = Inflater(1_000)
    inflater.feed(masked(b"before") + masked(deflated(b" " * size), TEXT | RSV1) + masked(b"behind"))
    reader = Reader()
    reader.receive(taken(inflater, 5_000))
    if size == 1_000:
        assert [text for _, text in reader.outcomes] == ["before", " " * size, "behind"]
        assert inflater.fault is None
    else:
        assert [text for _, text in reader.outcomes] == ["before"]
        assert inflater.fault == (CloseCode.TOO_BIG, "a message of more than 1000 bytes")


def test_a_bomb_is_noticed_before_its_end() -> None:
    inflater, data = Inflater(1_000), masked(deflated(b" " * 5_000_000), TEXT | RSV1)
    inflater.feed(data[:100])
    assert inflater.take(1_000) == b""
    assert inflater.fault is not None
    assert inflater.fault.code is CloseCode.TOO_BIG


def test_no_more_is_inflated_ahead_than_is_asked_for_and_one_message() -> None:
    inflater = Inflater(MOST)
    inflater.feed(masked(deflated(b" " * 50_000), TEXT | RSV1) * 20)
    assert len(inflater.take(10)) == 10
    assert len(inflater._ready) < 50_010 + 10


def test_nothing_is_kept_when_all_was_taken() -> None:
    inflater = Inflater(MOST)
    inflater.feed(masked(deflated(b" " * 50_000), TEXT | RSV1))
    taken(inflater, 1_000)
    inflater.feed(b"")
    assert (inflater._arrived, inflater._ready.obj, inflater._message) == (b"", b"", None)


# -- Blocks that say that they are the last -------------------------------------------------------------------------


def ended(part: bytes, before: bytes = b"") -> bytes:
    """Return a part of a message as a compressed stream with an end of its own, which knows what was before."""
    dictionary = {"zdict": before} if before else {}
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, **dictionary)
    return compressor.compress(part) + compressor.flush()


def after(data: bytes) -> tuple[bytes, int | None]:
    """Return what a message in this one frame inflates to, and the code of the fault."""
    inflater = Inflater(MOST)
    inflater.feed(masked(data, BINARY | RSV1) + masked(b"", CLOSE))
    reader = Reader()
    reader.receive(taken(inflater, 1_000))
    code = None if inflater.fault is None else int(inflater.fault.code)
    return b"".join(message for kind, message in reader.outcomes if kind == "message"), code


def test_a_message_may_end_in_a_last_block() -> None:
    """The RFC's own example (section 7.2.3.4), and the same without the byte that it adds."""
    assert after(bytes.fromhex("f3 48 cd c9 c9 07 00 00")) == (b"Hello", None)
    assert after(bytes.fromhex("f3 48 cd c9 c9 07 00")) == (b"Hello", None)


@pytest.mark.parametrize(
    "example",
    ["f2 48 cd c9 c9 07 00", "00 05 00 fa ff 48 65 6c 6c 6f 00", "f2 48 05 00 00 00 ff ff ca c9 c9 07 00"],
)
def test_the_other_examples_of_the_rfc(example: str) -> None:
    assert after(bytes.fromhex(example)) == (b"Hello", None)


def test_a_message_may_go_on_behind_a_last_block_and_repeat_what_was_before_it() -> None:
    part = bytes(range(256)) * 2
    again = ended(part, before=part)
    assert len(again) < 20
    assert after(ended(part) + again + b"\x00") == (part + part, None)


@pytest.mark.parametrize(("ends", "code"), [(MOST_STREAMS, None), (MOST_STREAMS + 2, 1007)])
def test_a_message_does_not_begin_anew_too_often(ends: int, code: int | None) -> None:
    message, found = after(ended(b"x") * ends)
    assert (message, found) == (b"" if code else b"x" * ends, code)


@pytest.mark.parametrize(
    "data",
    [
        deflated(JSON)[:-3],  # within a block
        deflated(JSON) + b"\x00",
        b'{"p":1}',  # within a block that ends, and the stream with it, in what is put behind it
        deflated(JSON) + SYNC[:2],
        b"\x00\x64\x00\x9b\xffabc",  # a hundred bytes, and three are there
        b"\x00" * 9,
        ended(b"x" * 9, before=b"x" * 9),  # what it repeats is not there
    ],
)
def test_what_cannot_be_inflated_to_its_end_is_a_fault(data: bytes) -> None:
    assert after(data) == (b"", 1007)
