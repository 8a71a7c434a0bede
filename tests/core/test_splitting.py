"""What the fast lane takes and what it passes on, judged by wsproto, which reads the same bytes without a lane."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.core.frames import Opcode
from server.core.splitting import Control
from support.front import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, masked
from support.websocket_readers import (
    Limits,
    split_all,
    splitter,
    the_lane_changes_nothing,
    what_is_passed_on_does_not_depend_on_the_pieces,
)

SOUND = [
    masked(b""),
    masked(b'{"p":1}'),
    masked("é\N{FISH}".encode()),
    masked(b"x" * 125),
    masked(b"x" * 126),
    masked(b"x" * 300),
    masked(b"x" * 2_500),
    masked(b"", BINARY),
    masked(b"\xff\xfe", BINARY),
    masked(b"?", PING),
    masked(b"!", PONG),
    masked(b"a", TEXT, is_final=False) + masked(b"b", CONTINUATION),
    masked(b"a", TEXT, is_final=False) + masked(b"?", PING) + masked(b"", CONTINUATION),
    masked(b"a", BINARY, is_final=False)
    + masked(b"", CONTINUATION, is_final=False)
    + masked(b"b", CONTINUATION),
]

UNSOUND = [
    b"\x81\x02hi",  # without a mask
    b"\x81\x7e\x01\x00" + b"x" * 256,
    masked(b"hi", 0x3),
    masked(b"hi", TEXT | 0x40),
    masked(b"hi", CONTINUATION),
    masked(b"a", TEXT, is_final=False),
    masked(b"x" * 126, PING),
    masked(b"", PING, is_final=False),
    masked(b"\x01", CLOSE),
    masked(b"\x03\xed", CLOSE),
    masked(b"\x03\xe8\xff", CLOSE),
    b"\x81\xfe\x00\x7d" + b"\x00" * 129,  # 125 bytes in the form for more
    b"\x82\xff" + (65_535).to_bytes(8, "big") + b"\x00" * 4,
    b"\x81\xff" + b"\xff" * 8,
    masked(b"\xff\xfe"),
    masked(b"\xc3\xa9\xc3"),
    masked(b"\xff" * 2_500),
    masked(b"\xc3", TEXT, is_final=False) + masked(b"?", PING) + masked(b"", CONTINUATION),
]

CLOSES = [masked(b"", CLOSE), masked(b"\x03\xe8", CLOSE), masked(b"\x0f\xa0bye", CLOSE)]

frames_of_a_client = st.lists(st.sampled_from(SOUND + UNSOUND + CLOSES), max_size=8).map(b"".join)
noise = st.binary(max_size=12)
piece_sizes = st.lists(st.integers(1, 400), min_size=1, max_size=5)
limits = st.sampled_from([(1_000, 2_000), (100_000, 200_000), (200, 2_000), (1_000, 130), (0, 10)])


@given(
    st.lists(st.sampled_from(SOUND), max_size=5).map(b"".join), frames_of_a_client, noise, piece_sizes, limits
)
@example(b"", masked(b"\xff" * 20), b"", [8], (1_000, 2_000))
@example(b"", masked(b"", CONTINUATION) + masked(b"no"), b"", [9], (1_000, 2_000))
@example(b"", masked(b"\xff" * 2_500) + masked(b"no"), b"", [9], (1_000, 2_000))
def test_the_lane_changes_nothing(
    first: bytes, then: bytes, last: bytes, sizes: list[int], limits: Limits
) -> None:
    the_lane_changes_nothing(first + then + last, sizes, limits)


@given(frames_of_a_client, noise, piece_sizes, limits)
def test_what_is_passed_on_does_not_depend_on_the_pieces(
    data: bytes, last: bytes, sizes: list[int], limits: Limits
) -> None:
    what_is_passed_on_does_not_depend_on_the_pieces(data + last, sizes, limits)


@pytest.mark.parametrize("text", ["", "x", '{"a":"é"}', "\N{FISH}" * 31, "x" * 125, "x" * 126, "x" * 1_000])
def test_a_plain_frame_is_taken_when_it_is_whole(text: str) -> None:
    frames, data = splitter(), masked(text.encode())
    for byte in data[:-1]:
        assert frames.split(bytes((byte,))) == ([], None, b"")
    assert frames.split(data[-1:]) == ([text], None, b"")
    assert frames.bytes_kept == 0


def test_many_plain_frames_come_out_of_one_read_in_order() -> None:
    texts = [str(number) * number for number in range(200)]
    assert splitter().split(b"".join(masked(text.encode()) for text in texts)) == (texts, None, b"")


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (masked(b"b", BINARY), (1_000, 2_000)),
        (masked(b"x" * 1_001), (1_000, 2_000)),
        (masked(b"x" * 11), (10, 2_000)),
        (masked(b"x" * 200), (1_000, 207)),
        (masked(b"x" * 70_000), (100_000, 200_000)),
        *((frame, (1_000, 2_000)) for frame in UNSOUND),
    ],
)
def test_all_else_is_passed_on(data: bytes, limits: tuple[int, int]) -> None:
    frames = splitter(*limits)
    assert frames.split(masked(b"before") + data) == (["before"], None, data)


def test_what_is_large_is_passed_on_as_it_comes() -> None:
    frames, data = splitter(), masked(b"x" * 5_000)
    assert frames.split(data[:3]) == ([], None, b"")  # its length is not known yet
    assert frames.split(data[3:10]) == ([], None, data[:10])
    assert frames.split(data[10:] + masked(b"next")) == ([], None, data[10:])
    assert frames.messages_passed == 1
    assert frames.split() == (["next"], None, b"")


def test_plain_frames_between_others_keep_their_place() -> None:
    binary, text = masked(b"?", BINARY), masked(b"text")
    frames = splitter()
    assert split_all(frames, text + binary + text + text + binary + text[:3]) == [
        (["text"], None, binary),
        (["text", "text"], None, binary),
    ]
    assert frames.split(text[3:]) == (["text"], None, b"")
    assert frames.messages_passed == 2


def test_control_frames_come_one_by_one_and_keep_their_place() -> None:
    frames, text = splitter(), masked(b"text")
    data = masked(b"?", PING) + text + text + masked(b"!" * 125, PONG) + masked(b"", PING)
    assert split_all(frames, data) == [
        ([], Control(Opcode.PING, b"?"), b""),
        (["text", "text"], Control(Opcode.PONG, b"!" * 125), b""),
        ([], Control(Opcode.PING, b""), b""),
    ]


def test_control_frames_are_passed_on_when_something_was() -> None:
    frames, binary, ping = splitter(), masked(b"b", BINARY), masked(b"?", PING)
    assert split_all(frames, ping + binary + ping) == [
        ([], Control(Opcode.PING, b"?"), b""),
        ([], None, binary + ping),
    ]
    assert frames.split(ping) == ([], None, ping)


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x0f\xa0bye"])
def test_a_sound_close_is_taken_when_it_is_whole_and_nothing_after_it(payload: bytes) -> None:
    frames, data, late = splitter(), masked(payload, CLOSE), masked(b"late")
    for byte in data[:-1]:
        assert frames.split(bytes((byte,))) == ([], None, b"")
    assert frames.split(data[-1:] + late) == ([], Control(Opcode.CLOSE, payload), b"")
    assert frames.split() == ([], None, late)


def test_nothing_is_taken_within_a_message_of_fragments() -> None:
    first, last = masked(b"a", TEXT, is_final=False), masked(b"b", CONTINUATION)
    frames = splitter()
    assert frames.split(first) == ([], None, first)
    assert frames.split(masked(b"no"))[0] == []
    frames = splitter()
    assert frames.split(first + last) == ([], None, first + last)
    assert frames.split(masked(b"yes")) == (["yes"], None, b"")
    assert frames.messages_passed == 1


@pytest.mark.parametrize(
    "end", [masked(b"\x03", CLOSE), masked(b"\x03\xed", CLOSE), b"\x81\x02hi", masked(b"\xff")]
)
def test_after_an_end_nothing_is_taken(end: bytes) -> None:
    frames, late = splitter(), masked(b"late")
    assert frames.split(end + late) == ([], None, end + late)
    assert frames.split(late) == ([], None, late)
