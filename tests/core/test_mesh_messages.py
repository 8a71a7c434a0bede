"""Frames of the mesh: what is said arrives as it was, and rubbish is refused without harm."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core import messages
from cluster.core.identity import Card, Epoch
from cluster.errors import CardError, FrameError
from cluster.keys import CARD_BYTES, Sealer

EPOCH = Epoch(1_700_000_000_000, 2)
CARD = Card(id="brave-otter", epoch=EPOCH, pub="tcp://127.0.0.1:1", router="tcp://127.0.0.1:2")

PUBLICATIONS: list[messages.Publication] = [
    messages.Heartbeat(
        "a", EPOCH, 3, {"b": (7, 9)}, {"b": messages.LinkReport(EPOCH, True, 5, 1, 2, 3, 4, 5, 6)}
    ),
    messages.Farewell("a", EPOCH, "shutdown", {"b": (7, 9)}),
    messages.State(
        "a",
        EPOCH,
        1,
        [messages.RoomOpened("r", b"d", 1), messages.RoomCounted("r", 2), messages.RoomClosed("r")],
    ),
    messages.Notify("a", EPOCH, 5, [messages.Notification(["r", "s"], b"payload")]),
    messages.Probe("a", EPOCH, 4),
]
QUESTIONS: list[messages.Question] = [
    messages.Hello("a", EPOCH, b"card", 1),
    messages.Sync("a", EPOCH, 1),
    messages.Applied("a", EPOCH, EPOCH, 3),
    messages.Ping("a", EPOCH, 1),
    messages.ResendState("a", EPOCH, EPOCH, 1, 2),
    messages.ResendNotify("a", EPOCH, 7, 1, 2),
    messages.Reset("a", EPOCH, 1),
]
REPLIES: list[messages.Reply] = [
    messages.Welcome("a", EPOCH, b"card", 1, [b"other"]),
    messages.Refused("a", EPOCH, 1, "why", EPOCH),
    messages.Refused("a", EPOCH, 1, "why", None),
    messages.Snapshot("a", EPOCH, 1, 2, 0, True, [messages.RoomOpened("r", b"d", 1)]),
    messages.Pong("a", EPOCH, 1),
    messages.ResentState("a", EPOCH, 1, [messages.RoomClosed("r")]),
    messages.ResentNotify("a", EPOCH, 1, [messages.Notification(["r"], b"p")]),
    messages.CutState("a", EPOCH, 1),
    messages.CutNotify("a", EPOCH, 1, [["r"]], 2),
    messages.ResetTaken("a", EPOCH, 1),
]


@pytest.mark.parametrize("message", PUBLICATIONS, ids=lambda message: type(message).__name__)
def test_a_published_message_arrives_as_it_was(message: messages.Publication) -> None:
    frame = messages.encode_published(messages.notify_topic("b", 7), message)
    assert frame.startswith(b"nb@7\x00")
    assert messages.decode_published(frame) == message


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda message: type(message).__name__)
def test_a_question_arrives_as_it_was(question: messages.Question) -> None:
    assert messages.decode_question(messages.encode(question)) == question


@pytest.mark.parametrize("reply", REPLIES, ids=lambda message: type(message).__name__)
def test_a_reply_arrives_as_it_was(reply: messages.Reply) -> None:
    assert messages.decode_reply(messages.encode(reply)) == reply


def test_no_topic_is_the_beginning_of_another() -> None:
    assert not messages.notify_topic("ab", 1).startswith(messages.notify_topic("a", 1))
    assert not messages.notify_topic("a", 0x11).startswith(messages.notify_topic("a", 1))


def test_a_message_of_the_other_direction_is_refused() -> None:
    with pytest.raises(FrameError):
        messages.decode_question(messages.encode(REPLIES[0]))
    with pytest.raises(FrameError):
        messages.decode_reply(messages.encode(QUESTIONS[0]))


def test_a_frame_without_a_topic_is_refused() -> None:
    with pytest.raises(FrameError, match="topic"):
        messages.decode_published(b"x" * 1000)


@pytest.mark.parametrize(
    "oversized",
    [
        messages.Hello("a" * 65, EPOCH, b"", 1),
        messages.Hello("a", EPOCH, b"x" * 8193, 1),
        messages.Ping("a", Epoch(-1, 0), 1),
        messages.Ping("a", EPOCH, 1 << 63),
    ],
)
def test_what_is_over_its_cap_is_refused(oversized: messages.Question) -> None:
    with pytest.raises(FrameError):
        messages.decode_question(messages.encode(oversized))


def test_a_reason_has_no_control_characters() -> None:
    """Reasons are shown in terminals."""
    with pytest.raises(FrameError):
        messages.decode_reply(messages.encode(messages.Refused("a", EPOCH, 1, "\x1b[2J", None)))
    farewell = messages.Farewell("a", EPOCH, "a\n", {})
    with pytest.raises(FrameError):
        messages.decode_published(messages.encode_published(messages.HEARTBEAT_TOPIC, farewell))


@given(st.binary(max_size=400))
def test_rubbish_is_refused_and_nothing_else(frame: bytes) -> None:
    for decode in (messages.decode_published, messages.decode_question, messages.decode_reply):
        try:
            decode(frame)
        except FrameError:
            continue


@given(st.sampled_from(PUBLICATIONS), st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_frame_is_refused_or_read_but_never_worse(
    message: messages.Publication, at: int, byte: int
) -> None:
    frame = bytearray(messages.encode_published(messages.STATE_TOPIC, message))
    frame[at % len(frame)] = byte
    with contextlib.suppress(FrameError):
        messages.decode_published(bytes(frame))


class TestSealing:
    def test_a_card_opens_with_the_secret_that_sealed_it(self) -> None:
        for secret in (None, "correct horse battery"):
            sealer = Sealer(secret)
            assert sealer.open(sealer.seal(CARD)) == CARD

    @pytest.mark.parametrize(("ours", "theirs"), [(None, "a" * 16), ("a" * 16, None), ("a" * 16, "b" * 16)])
    def test_another_secret_opens_nothing(self, ours: str | None, theirs: str | None) -> None:
        with pytest.raises(CardError, match="secret"):
            Sealer(ours).open(Sealer(theirs).seal(CARD))

    def test_a_card_with_any_seal_opens_nothing_without_a_secret(self) -> None:
        sealed = Sealer("a" * 16, "b" * 16).seal(CARD)
        seal = msgspec.json.decode(sealed)["seal"].encode()
        half = sealed.replace(seal, b"")
        assert Sealer("b" * 16).open(half) == CARD
        with pytest.raises(CardError, match="seal"):
            Sealer(None).open(half)

    def test_a_changed_card_is_refused(self) -> None:
        sealer = Sealer("a" * 16)
        forged = sealer.seal(CARD).replace(b"127.0.0.1:2", b"127.0.0.1:3")
        with pytest.raises(CardError, match="seal"):
            sealer.open(forged)

    @pytest.mark.parametrize(
        "rubbish",
        [b"", b"[]", b"{}", b"x" * (CARD_BYTES + 1), b'{"card":{},"seal":""}', b'{"card":1,"seal":"\xff"}'],
    )
    def test_rubbish_is_no_card(self, rubbish: bytes) -> None:
        with pytest.raises(CardError):
            Sealer(None).open(rubbish)

    @pytest.mark.parametrize("field", ["id", "pub", "router", "url", "version", "host"])
    @pytest.mark.parametrize("text", ["a\x1b[2J", "a\x00", "a\n"])
    def test_a_card_has_no_control_characters(self, field: str, text: str) -> None:
        """Cards are shown in terminals."""
        card = msgspec.structs.replace(CARD, **{field: text})
        with pytest.raises(CardError, match="not a card"):
            Sealer(None).open(Sealer(None).seal(card))

    @given(st.binary(max_size=300))
    def test_any_bytes_are_refused_as_a_card(self, rubbish: bytes) -> None:
        with pytest.raises(CardError):
            Sealer(None).open(rubbish)

    def test_a_card_with_a_bad_name_is_refused(self) -> None:
        sealer = Sealer(None)
        with pytest.raises(CardError):
            sealer.open(sealer.seal(msgspec.structs.replace(CARD, id="Not a name")))


def test_protocol_ranges_meet_or_do_not() -> None:
    def speaks(low: int, high: int) -> Card:
        return msgspec.structs.replace(CARD, protocol=(low, high))

    assert speaks(1, 2).speaks_with(speaks(2, 3))
    assert speaks(2, 3).speaks_with(speaks(1, 2))
    assert not speaks(1, 1).speaks_with(speaks(2, 3))


def test_epochs_compare_by_life_then_by_turn() -> None:
    assert Epoch(2, 0) > Epoch(1, 9) > Epoch(1, 8)
    assert Epoch(1, 8).next_turn() == Epoch(1, 9)
    assert str(Epoch(255, 1)) == "ff.1"
