"""What is agreed about compression, and that what is sent compressed is what was meant, made once for all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage
from wsproto.extensions import PerMessageDeflate

from server.core import deflate
from server.core.deflate import KEPT_BYTES, LARGEST_BYTES, WINDOW_BITS, SharedDeflate, agreed
from server.core.errors import ApiError
from server.core.frames import close_frame, payload_of, pong_frame, text_frame
from support.front import inflated

OURS = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
NARROW = f"{OURS}; server_max_window_bits=12"


def answer(*offers: str) -> str:
    """Return what is agreed; each offer is a header line of its own."""
    lines = [(b"host", b"x"), *((b"sec-websocket-extensions", offer.encode()) for offer in offers)]
    return agreed(lines).decode()


# -- Agreeing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        ("permessage-deflate", OURS),
        ("permessage-deflate; client_max_window_bits", OURS),  # browsers, and Node's ws
        (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            NARROW,
        ),  # Python's websockets
        ("permessage-deflate; server_max_window_bits=15", NARROW),
        ('permessage-deflate;server_max_window_bits="1\\5"', NARROW),
        ("permessage-deflate;client_no_context_takeover;server_no_context_takeover", OURS),
        ("permessage-deflate ; client_max_window_bits = 9", OURS),
        ("", ""),
        ("permessage-bzip2; level=9, x-webkit-deflate-frame", ""),
        (" , permessage-bzip2,,\tpermessage-deflate\t, ", OURS),
        # What is declined: smaller windows of ours, what nobody knows, and what makes no sense.
        ("permessage-deflate; server_max_window_bits=11", ""),
        ("permessage-deflate; server_max_window_bits=11, permessage-deflate", OURS),
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=14",
            NARROW,
        ),
        ("permessage-deflate; server_max_window_bits", ""),
        ("permessage-deflate; server_max_window_bits=16", ""),
        ("permessage-deflate; server_max_window_bits=012", ""),
        ("permessage-deflate; client_max_window_bits=7", ""),
        ("permessage-deflate; client_max_window_bits=+9", ""),
        ("permessage-deflate; client_no_context_takeover=1", ""),
        ("permessage-deflate; server_no_context_takeover=true", ""),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", ""),
        ("permessage-deflate; level=1", ""),
    ],
)
def test_the_first_offer_that_can_be_met_is_taken(offer: str, expected: str) -> None:
    assert answer(offer) == expected


def test_offers_may_come_in_several_lines_or_not_at_all() -> None:
    assert answer() == ""
    assert answer("permessage-deflate; x", "permessage-deflate; server_max_window_bits=13") == NARROW


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate;",
        "permessage-deflate; ; client_max_window_bits",
        "; client_max_window_bits",
        "permessage-deflate client_max_window_bits",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits==9",
        'permessage-deflate; client_max_window_bits="9',
        'permessage-deflate; client_max_window_bits=""',
        'x; y="a b"',
        'x; y="a,b"',
        "permessage-deflate, x(",
        "x" * 8_000 + "@",
        "x" + " ; y=1" * 2_000 + ";",
    ],
)
def test_what_is_no_list_of_extensions_fails_the_handshake(offer: str) -> None:
    with pytest.raises(ApiError, match="Sec-WebSocket-Extensions") as caught:
        answer(offer)
    assert caught.value.status == 400


@pytest.mark.parametrize("bits", range(9, 16))
def test_a_client_made_by_others_understands_the_answer(bits: int) -> None:
    client = PerMessageDeflate(client_max_window_bits=bits, server_max_window_bits=bits)
    offered = client.offer()
    assert isinstance(offered, str)
    accepted = answer(f"permessage-deflate; {offered}")
    assert bool(accepted) is (bits >= WINDOW_BITS)
    if accepted:
        client.finalize(accepted)
        assert client.server_no_context_takeover
        assert client.client_no_context_takeover


# -- Sending --------------------------------------------------------------------------------------------------------


def read(frames: bytes) -> list[str]:
    """Return the messages that another implementation reads, which keeps its state from one to the next if it may."""
    extension = PerMessageDeflate(client_max_window_bits=12, server_max_window_bits=12)
    extension.finalize(NARROW)
    connection = Connection(ConnectionType.CLIENT, extensions=[extension])
    connection.receive_data(frames)
    messages, parts = [], []
    for event in connection.events():
        assert isinstance(event, TextMessage), event
        parts.append(event.data)
        if event.message_finished:
            messages.append("".join(parts))
            parts.clear()
    return messages


words = st.lists(st.sampled_from(["harbor", '{"a":', "é", "\N{FISH}", " ", "0123456789"]), max_size=200)
texts = st.lists(st.one_of(words.map("".join), st.text(max_size=80)), min_size=1, max_size=8)


@given(st.lists(texts, max_size=5), st.sampled_from([1, 60, 256]))
def test_what_is_sent_compressed_is_read_as_it_was_meant(runs: list[list[str]], from_bytes: int) -> None:
    shared = SharedDeflate(from_bytes)
    sent: list[bytes] = []
    for run in runs:
        frames = tuple(text_frame(text.encode()) for text in run)
        made = shared.shared(frames)
        for plain, frame in zip(frames, made, strict=True):
            assert len(frame) < len(plain) or frame == plain
            assert frame == plain or len(plain) >= from_bytes
        sent += made
    assert read(b"".join(sent)) == [text for run in runs for text in run]


@pytest.mark.parametrize("size", [300, 5_000, 70_000, LARGEST_BYTES + 1])
def test_every_size_keeps_its_text(size: int) -> None:
    text = json.dumps({"words": [f"word {number % 97}" for number in range(size // 10)]})[:size].ljust(size)
    [frame] = SharedDeflate(1).shared((text_frame(text.encode()),))
    assert read(frame) == [text]
    assert len(frame) < size if size <= LARGEST_BYTES else len(frame) == size + 10


class Counted:
    """Counts what is compressed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: list[bytes] = []
        self._really = deflate.deflated
        monkeypatch.setattr(deflate, "deflated", self._deflated)

    def _deflated(self, frame: bytes) -> bytes:
        self.frames.append(frame)
        return self._really(frame)


def frame_of(number: int, size: int = 1_000) -> bytes:
    return text_frame(f"{number}".ljust(size).encode())


def test_a_run_is_compressed_once_for_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, shared = Counted(monkeypatch), SharedDeflate(256)
    written: list[tuple[int, tuple[bytes, ...]]] = []

    def way_out(client: int) -> Any:
        def write(*frames: bytes) -> None:
            written.append((client, frames))

        return write

    clients = [shared.before(way_out(number)) for number in range(100)]
    run = [frame_of(1), frame_of(2), text_frame(b"short")]
    for client in clients:
        client(*run)
    assert counted.frames == run[:2]
    assert [client for client, _ in written] == list(range(100))
    assert all(frames == written[0][1] for _, frames in written)
    assert inflated(bytes(payload_of(written[0][1][0]))) == b"1".ljust(1_000)
    assert written[0][1][2] is run[2]


def test_who_is_sent_the_same_later_is_sent_what_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, shared = Counted(monkeypatch), SharedDeflate(256)
    held = [frame_of(number) for number in range(500)]
    for _ in range(3):
        for frame in held:
            shared.shared((frame,))
    assert counted.frames == held


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    counted, shared = Counted(monkeypatch), SharedDeflate(256)
    size = KEPT_BYTES // 4
    frames = [frame_of(number, size) for number in range(40)]
    for frame in frames:
        shared.shared((frame,))
        assert sum(map(len, shared._kept)) <= KEPT_BYTES + size + 10
    shared.shared((frames[0],))
    assert counted.frames == [*frames, frames[0]]


def test_control_frames_are_not_compressed() -> None:
    shared = SharedDeflate(1)
    frames = (pong_frame(b" " * 125), close_frame(1001, "x" * 123))
    assert list(shared.shared(frames)) == list(frames)
