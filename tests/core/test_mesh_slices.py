"""Slices: what is said of them, and what a peer makes of it."""

from __future__ import annotations

import pytest

from cluster.core.effects import (
    Effect,
    PeerAway,
    PeerBack,
    PeerGone,
    PeerRoom,
    PeerRoomClosed,
    PeerRoomCounted,
)
from cluster.core.limits import Limits
from cluster.core.messages import BATCH_ITEMS, RoomClosed, RoomCounted, RoomOpened
from cluster.core.slices import OwnSlice, PeerSlice


def test_only_changes_are_said() -> None:
    own = OwnSlice()
    assert own.open("r", b"d", 1, 1) == RoomOpened("r", b"d", 1)
    assert own.open("r", b"d", 1, 2) is None
    assert own.open("r", b"d", 2, 2) == RoomCounted("r", 2)
    assert own.open("r", b"e", 2, 3) == RoomOpened("r", b"e", 2)
    assert own.count("r", 2) is None
    assert own.count("r", 3) == RoomCounted("r", 3)
    assert own.close("r") == RoomClosed("r")
    assert own.close("r") is None
    with pytest.raises(KeyError):
        own.count("r", 1)


def test_it_knows_what_somebody_who_was_away_does_not() -> None:
    own = OwnSlice()
    for number, room in enumerate("abc", 1):
        own.open(room, b"", 1, number)
    assert own.opened_after(1) == ["b", "c"]
    own.open("a", b"another description", 1, 4)
    own.close("b")
    assert own.opened_after(1) == ["a", "c"]
    own.renumber()
    assert own.opened_after(0) == []
    assert own.opened_after(-1) == ["a", "c"]


def test_a_snapshot_is_cut_into_parts_by_weight_and_number() -> None:
    own = OwnSlice()
    assert list(own.parts(1000)) == [[]]
    for number in range(10):
        own.open(f"r{number}", b"x" * 100, 1, number)
    parts = list(own.parts(400))
    assert [len(part) for part in parts] == [2, 2, 2, 2, 2]
    assert [room.room for part in parts for room in part] == [f"r{number}" for number in range(10)]
    for number in range(BATCH_ITEMS):
        own.open(f"s{number}", b"", 1, number)
    assert [len(part) for part in own.parts(1 << 30)] == [BATCH_ITEMS, 10]


def test_a_snapshot_removes_what_it_does_not_name() -> None:
    peer, out = PeerSlice("p", Limits()), list[Effect]()
    peer.apply(RoomOpened("old", b"", 1), out)
    peer.apply(RoomOpened("kept", b"", 1), out)
    out.clear()
    peer.begin_snapshot()
    peer.add_part([RoomOpened("kept", b"", 5)], out)
    peer.add_part([RoomOpened("new", b"", 1)], out)
    peer.end_snapshot(out)
    assert out == [PeerRoom("p", "kept", b"", 5), PeerRoom("p", "new", b"", 1), PeerRoomClosed("p", "old")]
    assert len(peer) == 2


def test_changes_of_unknown_rooms_say_nothing() -> None:
    peer, out = PeerSlice("p", Limits()), list[Effect]()
    peer.apply(RoomCounted("r", 1), out)
    peer.apply(RoomClosed("r"), out)
    assert out == []
    peer.apply(RoomOpened("r", b"", 1), out)
    peer.apply(RoomCounted("r", 2), out)
    assert out[1:] == [PeerRoomCounted("p", "r", 2)]


def test_a_dropped_slice_is_gone_as_a_whole() -> None:
    peer, out = PeerSlice("p", Limits()), list[Effect]()
    peer.apply(RoomOpened("r", b"", 1), out)
    peer.drop(out)
    assert out[1:] == [PeerGone("p")]
    assert len(peer) == 0


def test_a_peer_that_was_away_is_back_with_its_next_snapshot() -> None:
    peer, out = PeerSlice("p", Limits()), list[Effect]()
    peer.apply(RoomOpened("gone", b"", 1), out)
    peer.away(out)
    assert out[-1] == PeerAway("p")
    peer.begin_snapshot()
    peer.add_part([RoomOpened("r", b"", 1)], out)
    peer.end_snapshot(out)
    assert out[-2:] == [PeerRoomClosed("p", "gone"), PeerBack("p")]
    peer.begin_snapshot()
    peer.end_snapshot(out)
    assert out[-1] == PeerRoomClosed("p", "r"), "it is back once"
