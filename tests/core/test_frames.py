"""Frames that a server writes, read back by wsproto's client side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Pong, TextMessage

from server.core.frames import (
    MAX_REASON_BYTES,
    CloseCode,
    close_frame,
    echoed_close,
    ends_with_close,
    is_close,
    is_pong,
    is_sound_close,
    pong_frame,
    text_frame,
)


def read(data: bytes) -> list[object]:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    return list(client.events())


def text_of(data: bytes) -> str:
    events = read(data)
    assert all(isinstance(event, TextMessage) for event in events)
    assert events[-1].message_finished  # type: ignore[attr-defined]  # checked just above
    return "".join(event.data for event in events)  # type: ignore[attr-defined]  # as above


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_text_frame_is_read_back_at_every_form_of_length(length: int) -> None:
    assert text_of(text_frame(b"x" * length)) == "x" * length


@given(st.text())
def test_a_text_frame_carries_any_text(text: str) -> None:
    frame = text_frame(text.encode())
    assert text_of(frame) == text
    assert not is_close(frame)
    assert not is_pong(frame)


@given(st.sampled_from(CloseCode), st.text(st.characters(codec="utf-8"), max_size=300))
def test_a_close_frame_says_its_code_and_as_much_of_the_reason_as_fits(code: CloseCode, reason: str) -> None:
    frame = close_frame(code, reason)
    assert is_close(frame)
    (event,) = read(frame)
    assert isinstance(event, CloseConnection)
    assert event.code == code
    said = event.reason or ""
    assert reason.startswith(said)
    assert (
        said == reason or len(said.encode()) > MAX_REASON_BYTES - 4
    )  # cut at a character of up to four bytes


def test_a_reason_that_is_no_text_is_sent_as_well_as_it_can_be() -> None:
    (event,) = read(close_frame(CloseCode.POLICY, "half a pair: \ud800"))
    assert isinstance(event, CloseConnection)
    assert event.reason == "half a pair: ?"


@pytest.mark.parametrize("code", [0, 999, 1000, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_a_server_does_not_close_with_a_code_that_the_sdk_or_the_protocol_forbids(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        close_frame(code, "")


@given(st.binary(max_size=200), st.text(max_size=30))
def test_the_close_frame_of_a_client_is_found_at_the_end_of_anything(before: bytes, reason: str) -> None:
    client = Connection(ConnectionType.CLIENT)
    farewell = client.send(CloseConnection(1000, reason))
    assert ends_with_close(before + farewell)
    assert not ends_with_close((before + farewell)[:-1].replace(b"\x88", b"\x81"))


def test_what_is_no_close_frame_is_none() -> None:
    for data in (
        b"",
        b"\x88",
        b"\x88\x80\0\0\0",
        b"\x88\x02\0\0\0\0\0\0",
        b"\x81\x82\0\0\0\0\0\0",
        bytes(500),
    ):
        assert not ends_with_close(data)
    assert ends_with_close(b"\x88\x80\0\0\0\0")


def test_a_pong_is_known() -> None:
    assert is_pong(b"\x8a\x00")
    assert not is_pong(b"")
    assert not is_close(b"")


@pytest.mark.parametrize("payload", [b"", b"?", b"x" * 125])
def test_a_pong_says_what_the_ping_said(payload: bytes) -> None:
    (event,) = read(pong_frame(payload))
    assert isinstance(event, Pong)
    assert bytes(event.payload) == payload
    assert is_pong(pong_frame(payload))


@given(
    st.binary(max_size=30)
    | st.builds(
        lambda code, text: code.to_bytes(2, "big") + text.encode(),
        st.integers(990, 5_010),
        st.text(max_size=20),
    )
)
def test_a_close_is_sound_when_the_library_takes_it_too_and_is_answered_alike(payload: bytes) -> None:
    server = Connection(ConnectionType.SERVER)
    server.receive_data(bytes((0x88, 0x80 | len(payload))) + bytes(4) + payload)
    (event,) = server.events()
    assert isinstance(event, CloseConnection)
    if is_sound_close(payload):
        assert echoed_close(payload) == server.send(event.response())
    else:
        assert event.code in (CloseCode.PROTOCOL_ERROR, CloseCode.BAD_TEXT)
