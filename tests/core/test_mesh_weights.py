"""Whatever this node takes to be said can be said: each frame is one that others read, and none is too large."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core import effects as fx
from cluster.core import messages
from cluster.core.effects import Effect
from cluster.core.identity import HIGHEST_NUMBER, Card, Epoch
from cluster.core.limits import Limits
from cluster.core.messages import (
    FRAME_BYTES,
    PAYLOAD_BYTES,
    ROOMS_PER_NOTIFICATION,
    Notification,
    RoomClosed,
    RoomOpened,
)
from cluster.core.node import MeshNode
from cluster.core.publisher import Publisher
from cluster.core.weights import change_weight, notification_weight, room_weight, rooms_apart
from cluster.keys import CARD_BYTES, Sealer
from cluster.testing import World

EPOCH = Epoch(1_700_000_000_000, 2)
LONGEST = "\N{FISH}" * 256
"""Of the longest room ids the one that takes most bytes: 1,024."""

SMALL = Limits(batch_bytes=300, notify_log_bytes=2000, state_log_bytes=500, cut_items=20, cut_bytes=1500)


def two(limits: Limits) -> tuple[World, MeshNode]:
    """A world of a and b, live with each other, and the core of b."""
    world = World(Random(1), limits)
    world.start("a")
    b = world.start("b")
    world.run_until(world.is_converged, 2)
    world.run(0.1)
    return world, b.core


def check(frames: list[Effect]) -> list[object]:
    """Each frame is no larger than it may be, and a message."""
    said: list[object] = []
    for effect in frames:
        match effect:
            case fx.Publish(frame):
                said.append(messages.decode_published(frame))
            case fx.Answer(_, frame):
                said.append(messages.decode_reply(frame))
            case fx.Ask(_, frame):
                said.append(messages.decode_question(frame))
            case _:
                continue
        assert len(frame) <= FRAME_BYTES
    return said


def everything(core: MeshNode, now: float) -> list[object]:
    """All that the node says of itself, now and when it is asked."""
    out: list[Effect] = []
    core.say.heartbeat(now, out)
    epoch = Epoch(1_000_000, 0)
    me = core.epoch
    out += core.asked(b"?", messages.encode(messages.Sync("a", epoch, 1)), now)
    for first in range(1, core.say.state_tail + 1, 7):
        out += core.asked(b"?", messages.encode(messages.ResendState("a", epoch, me, first, 1 << 60)), now)
    (link,) = core.links
    for first in range(1, link.outgoing.tail + 1, 7):
        asked = messages.ResendNotify("a", epoch, me.boot, first, 1 << 60)
        out += core.asked(b"?", messages.encode(asked), now)
    core.say.farewell("x" * 1000, now, out)
    return check(out)


Act = Callable[[Publisher], None]

ROOMS = st.one_of(st.text(max_size=3), st.text(max_size=300), st.just(LONGEST))
COUNTS = st.one_of(st.integers(-1, 3), st.sampled_from((HIGHEST_NUMBER, HIGHEST_NUMBER + 1)))
CONTENTS = st.sampled_from((0, 1, 200, 5000)).map(bytes)


def opening(room: str, content: bytes, count: int) -> Act:
    return lambda say: say.open_room(room, content, count)


def counting(room: str, count: int) -> Act:
    return lambda say: say.count_room(room, count)


def closing(room: str) -> Act:
    return lambda say: say.close_room(room)


def notifying(rooms: list[str], times: int, content: bytes) -> Act:
    return lambda say: say.notify("a", rooms * times, content)


ACTS = st.one_of(
    st.builds(opening, ROOMS, CONTENTS, COUNTS),
    st.builds(counting, ROOMS, COUNTS),
    st.builds(closing, ROOMS),
    st.builds(notifying, st.lists(ROOMS, max_size=5), st.sampled_from((1, 1, 30)), CONTENTS),
)


@given(st.lists(ACTS, max_size=30), st.sampled_from((SMALL, Limits())))
def test_what_is_accepted_can_be_said(acts: list[Act], limits: Limits) -> None:
    world, core = two(limits)
    for act in acts:
        try:
            act(core.say)
        except (ValueError, KeyError):
            continue
    check(core.flush(world.now))
    everything(core, world.now)


def test_the_largest_that_is_accepted_can_be_said() -> None:
    world, core = two(Limits())
    core.say.notify("a", [LONGEST] * 600, bytes(PAYLOAD_BYTES))
    core.say.open_room(LONGEST, bytes(PAYLOAD_BYTES), HIGHEST_NUMBER)
    core.say.open_room("another", bytes(PAYLOAD_BYTES), 0)
    for number in range(5000):
        core.say.open_room(f"{LONGEST[:250]}{number}", b"", 1)
    said = check(core.flush(world.now))
    told = [item for message in said if isinstance(message, messages.Notify) for item in message.items]
    assert [room for item in told for room in item.rooms] == [LONGEST] * 600
    assert {len(item.payload) for item in told} == {PAYLOAD_BYTES}
    everything(core, world.now)


def test_what_no_frame_can_carry_is_refused_at_once() -> None:
    _, core = two(Limits())
    say = core.say
    for refused in (
        lambda: say.open_room("r", bytes(PAYLOAD_BYTES + 1), 1),
        lambda: say.notify("a", ["r"], bytes(PAYLOAD_BYTES + 1)),
    ):
        with pytest.raises(ValueError, match="4194305 bytes; the mesh takes 4194304"):
            refused()
    for room in ("", "x" * 257):
        with pytest.raises(ValueError, match="a room id of"):
            say.open_room(room, b"", 1)
        with pytest.raises(ValueError, match="a room id of"):
            say.notify("a", ["r", room], b"")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        say.notify("a", ["\ud800"], b"")
    with pytest.raises(ValueError, match="no such number"):
        say.open_room("r", b"", -1)
    say.open_room("r", b"", 1)
    with pytest.raises(ValueError, match="no such number"):
        say.count_room("r", HIGHEST_NUMBER + 1)
    assert list(say.unsent("a")) == []


class TestWeights:
    @given(st.text(min_size=1, max_size=256))
    def test_nothing_weighs_less_than_it_takes_in_a_frame(self, room: str) -> None:
        encode = messages._encoder.encode
        assert len(encode(room)) <= room_weight(room)
        item = Notification([room, room, "r"], b"payload")
        assert len(encode(item)) <= notification_weight(item)
        for change in (RoomOpened(room, b"d" * 300, HIGHEST_NUMBER), RoomClosed(room)):
            assert len(encode(change)) <= change_weight(change)

    def test_an_id_of_shoals_weighs_as_much_as_the_shortest(self) -> None:
        assert room_weight("r") == room_weight("f" * 64) == 70
        assert room_weight("f" * 100) == 106
        assert room_weight(LONGEST) == 1030

    def test_rooms_are_parted_by_weight(self) -> None:
        rooms = [str(number) for number in range(7)]
        parts = list(rooms_apart(rooms, 150))
        assert parts == [(rooms[:2], 140), (rooms[2:4], 140), (rooms[4:6], 140), (rooms[6:], 70)]
        assert list(rooms_apart([LONGEST], 10)) == [([LONGEST], 1030)]

    def test_the_shortest_rooms_are_not_too_many_either(self) -> None:
        assert messages.ROOMS_BYTES // room_weight("r") <= ROOMS_PER_NOTIFICATION
        assert PAYLOAD_BYTES + messages.ROOMS_BYTES <= FRAME_BYTES * 3 // 4


class TestTheLargestOfEveryKind:
    """As large as their types let them be."""

    def test_cards(self) -> None:
        card = bytes(CARD_BYTES)
        hello = messages.Hello("a", EPOCH, card, 1)
        assert messages.decode_question(messages.encode(hello)) == hello
        welcome = messages.Welcome("a", EPOCH, card, 1, [card] * messages.CARDS_PER_WELCOME)
        frame = messages.encode(welcome)
        assert len(frame) <= FRAME_BYTES
        assert messages.decode_reply(frame) == welcome

    def test_a_heartbeat_with_all_the_peers_it_can_name(self) -> None:
        number = HIGHEST_NUMBER
        report = messages.LinkReport(
            Epoch(number, number), True, number, number, number, number, number, number, number
        )
        names = [f"{count:064}" for count in range(messages.LINKS_PER_HEARTBEAT)]
        beat = messages.Heartbeat(
            "a" * 64,
            Epoch(number, number),
            number,
            dict.fromkeys(names, (number, number)),
            dict.fromkeys(names, report),
        )
        frame = messages.encode_published(messages.HEARTBEAT_TOPIC, beat)
        assert len(frame) <= FRAME_BYTES // 4
        assert messages.decode_published(frame) == beat

    def test_of_more_peers_those_that_live_are_spoken_of(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(messages, "LINKS_PER_HEARTBEAT", 3)
        world, core = two(Limits())
        seal = Sealer(None).seal
        invented = [
            Card(id=f"x{n}", epoch=Epoch(1, 0), pub=f"mem://x{n}/pub", router=f"mem://x{n}/router")
            for n in range(5)
        ]
        core.cards_read([seal(card) for card in invented], world.now)
        out: list[Effect] = []
        core.say.heartbeat(world.now, out)
        (beat,) = check(out)
        assert isinstance(beat, messages.Heartbeat)
        assert len(beat.links) == 3
        assert "a" in beat.links

    def test_a_notification_with_all_the_rooms_it_can_name(self) -> None:
        rooms = [f"{number:064x}" for number in range(ROOMS_PER_NOTIFICATION)]
        batch = messages.Notify("a", EPOCH, 1, [Notification(rooms, b"")])
        frame = messages.encode_published(messages.notify_topic("b", 1), batch)
        assert len(frame) <= FRAME_BYTES
        assert messages.decode_published(frame) == batch
