"""Rooms, held against a model: a table of who is where with which options, and what other nodes said."""

import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.core.holds import DeliveryCounters, Hold
from server.core.koncorde import FilterError
from server.core.rooms import (
    Audience,
    Change,
    Entered,
    NotSubscribed,
    RemoteShare,
    RoomKey,
    Rooms,
    Scope,
    Users,
    filter_key,
)
from server.core.session import Session

PLACES = [("shop", "books"), ("shop", "pens")]
BODIES: list[Mapping[str, Any]] = [{}, {"equals": {"name": "x"}}, {"exists": "price"}]
DOCUMENTS: list[dict[str, Any]] = [{}, {"name": "x"}, {"price": 1}, {"name": "x", "price": 1}]
MATCHES = [
    lambda _document: True,
    lambda document: document.get("name") == "x",
    lambda document: "price" in document,
]
NODES = ["otter", "heron"]

places = st.sampled_from(PLACES)
bodies = st.sampled_from(range(len(BODIES)))
sessions = st.sampled_from(["a", "b", "c"])
# Few, so that connections meet in a channel; together they have every value.
options = st.sampled_from(
    [(Scope.ALL, Users.NONE), (Scope.IN, Users.ALL), (Scope.OUT, Users.IN), (Scope.NONE, Users.OUT)]
)
nodes = st.sampled_from(NODES)


def a_session(session_id: str) -> Session:
    return Session(id=session_id, protocol="websocket", remote="test")


def enter(
    rooms: Rooms, session: Session, key: RoomKey, scope: Scope = Scope.ALL, users: Users = Users.NONE
) -> Entered:
    hold = Hold(session, 10, DeliveryCounters())
    return rooms.enter(session, key, scope=scope, users=users, volatile={"who": session.id}, hold=hold)


def a_key(body: Mapping[str, Any] = BODIES[0], place: tuple[str, str] = PLACES[0]) -> RoomKey:
    return filter_key(*place, body)


class RoomsAgainstAModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rooms = Rooms()
        self.sessions = {session_id: a_session(session_id) for session_id in "abc"}
        self.keys: dict[str, tuple[tuple[str, str], int]] = {}
        self.local: dict[str, dict[str, set[tuple[Scope, Users]]]] = {}
        self.said_users: dict[str, bool] = {}
        self.remote: dict[str, dict[str, RemoteShare]] = {}

    def key(self, place: tuple[str, str], body: int) -> RoomKey:
        key = filter_key(*place, BODIES[body])
        self.keys[key.id] = (place, body)
        return key

    @rule(session_id=sessions, place=places, body=bodies, option=options)
    def enters(self, session_id: str, place: tuple[str, str], body: int, option: tuple[Scope, Users]) -> None:
        scope, users = option
        key = self.key(place, body)
        before = self.local.get(key.id, {})
        entered = enter(self.rooms, self.sessions[session_id], key, scope, users)

        is_new = session_id not in before
        wants_more = users is not Users.NONE and not self.said_users.get(key.id, False)
        assert entered.is_first == (not before)
        assert entered.is_new == is_new
        if not before or wants_more:
            assert entered.change is Change.OPENED
        else:
            assert entered.change is (Change.COUNTED if is_new else Change.NONE)
        assert entered.subscription.room.wants_users == (self.said_users.get(key.id, False) or wants_more)
        self.said_users[key.id] = entered.subscription.room.wants_users
        self.local.setdefault(key.id, {}).setdefault(session_id, set()).add((scope, users))

    @rule(session_id=sessions, place=places, body=bodies)
    def leaves(self, session_id: str, place: tuple[str, str], body: int) -> None:
        key = self.key(place, body)
        members = self.local.get(key.id, {})
        if session_id not in members:
            with pytest.raises(NotSubscribed):
                self.rooms.leave(self.sessions[session_id], key.id)
            return
        left = self.rooms.leave(self.sessions[session_id], key.id)
        del members[session_id]
        assert left.subscription.volatile == {"who": session_id}
        assert left.change is (Change.COUNTED if members else Change.CLOSED)
        if not members:
            del self.local[key.id]
            del self.said_users[key.id]

    @rule(node=nodes, place=places, body=bodies, count=st.integers(1, 9), wants_users=st.booleans())
    def is_opened_elsewhere(
        self, node: str, place: tuple[str, str], body: int, count: int, wants_users: bool
    ) -> None:
        key = self.key(place, body)
        share = RemoteShare(count, wants_users)
        self.rooms.remote_opened(node, key, share)
        self.remote.setdefault(node, {})[key.id] = share

    @rule(node=nodes, place=places, body=bodies, count=st.integers(1, 9))
    def is_counted_elsewhere(self, node: str, place: tuple[str, str], body: int, count: int) -> None:
        room_id = self.key(place, body).id
        self.rooms.remote_counted(node, room_id, count)
        known = self.remote.get(node, {}).get(room_id)
        if known is not None:
            self.remote[node][room_id] = attrs.evolve(known, count=count)

    @rule(node=nodes, place=places, body=bodies)
    def is_closed_elsewhere(self, node: str, place: tuple[str, str], body: int) -> None:
        room_id = self.key(place, body).id
        self.rooms.remote_closed(node, room_id)
        self.remote.get(node, {}).pop(room_id, None)

    @rule(node=nodes, is_away=st.booleans())
    def another_node_does_not_answer(self, node: str, is_away: bool) -> None:
        self.rooms.remote_away(node, is_away=is_away)
        for room_id, share in self.remote.get(node, {}).items():
            self.remote[node][room_id] = attrs.evolve(share, is_away=is_away)

    @precondition(lambda self: self.remote)
    @rule(node=nodes)
    def another_node_is_gone(self, node: str) -> None:
        self.rooms.remote_gone(node)
        self.remote.pop(node, None)

    @invariant()
    def rooms_are_those_that_somebody_has(self) -> None:
        known = {room_id for shares in self.remote.values() for room_id in shares} | set(self.local)
        assert {room.id for room in self.rooms} == known
        assert len(self.rooms) == len(known)
        assert self.rooms.local_count == len(self.local)
        for room_id in self.keys:
            assert (self.rooms.find(room_id) is not None) == (room_id in known)

    @invariant()
    def counts_are_the_sum_of_all_nodes(self) -> None:
        for room in self.rooms:
            shares = [shares[room.id] for shares in self.remote.values() if room.id in shares]
            there = sum(share.count for share in shares if not share.is_away)
            assert room.count == len(self.local.get(room.id, {})) + there
            assert dict(room.remote) == {
                node: shares[room.id] for node, shares in self.remote.items() if room.id in shares
            }

    @invariant()
    def channels_have_exactly_their_members(self) -> None:
        for room in self.rooms:
            wanted: dict[tuple[Scope, Users], set[str]] = {}
            for session_id, options in self.local.get(room.id, {}).items():
                for option in options:
                    wanted.setdefault(option, set()).add(session_id)
            channels = {(c.scope, c.users): set(c.members) for c in room.channels.values()}
            assert channels == wanted
            assert len({c.name for c in room.channels.values()}) == len(channels)
            for audience in Audience:
                hearing = {(c.scope, c.users) for c in room.audiences[audience]}
                assert hearing == {option for option in wanted if wants(option, audience)}

    @invariant()
    def sessions_know_their_rooms(self) -> None:
        for session_id, session in self.sessions.items():
            mine = {room_id for room_id, members in self.local.items() if session_id in members}
            assert set(self.rooms.of(session)) == mine
            assert {each.room.id for each in self.rooms.subscriptions(session)} == mine
            for room_id in mine:
                room = self.rooms.find(room_id)
                assert room is not None
                subscription = room.subscribers[session_id]
                assert {(c.scope, c.users) for c in subscription.channels.values()} == (
                    self.local[room_id][session_id]
                )

    @invariant()
    def documents_find_the_rooms_whose_filter_they_match(self) -> None:
        for place in PLACES:
            for document in DOCUMENTS:
                found = [room.id for room in self.rooms.matching(*place, document, None)]
                assert sorted(found) == sorted(
                    room.id
                    for room in self.rooms
                    if self.keys[room.id][0] == place and MATCHES[self.keys[room.id][1]](document)
                )


def wants(option: tuple[Scope, Users], audience: Audience) -> bool:
    """Say it in words: `all` and the direction itself."""
    scope, users = option
    kind, direction = audience.name.lower().split("_")
    return (scope if kind == "document" else users).value in ("all", direction)


TestRooms = RoomsAgainstAModel.TestCase
TestRooms.settings = settings(max_examples=60, stateful_step_count=30)


# -- Each step of it, once for certain --------------------------------------------------------------------------------


def test_leaving_ends_every_channel_and_only_empty_ones_go() -> None:
    rooms, ann, bob = Rooms(), a_session("ann"), a_session("bob")
    room = enter(rooms, ann, a_key()).subscription.room
    assert not enter(rooms, ann, a_key()).is_new, "and entering twice is entering once"
    enter(rooms, ann, a_key(), Scope.IN, Users.ALL)
    enter(rooms, bob, a_key())
    assert rooms.leave(ann, room.id).change is Change.COUNTED
    assert [channel.scope for channel in room.channels.values()] == [Scope.ALL]
    enter(rooms, ann, a_key())
    assert rooms.leave(bob, room.id).change is Change.COUNTED, "and no channel was emptied"
    assert rooms.leave(ann, room.id).change is Change.CLOSED
    assert rooms.find(room.id) is None
    assert not rooms.of(ann)


def test_who_leaves_one_room_stays_in_the_others() -> None:
    rooms, session = Rooms(), a_session("a")
    first, second = (a_key(body) for body in BODIES[:2])
    for key in (first, second):
        enter(rooms, session, key)
    rooms.leave(session, first.id)
    assert list(rooms.of(session)) == [second.id]
    rooms.leave(session, second.id)
    assert list(rooms.of(session)) == []


def test_what_another_node_closes_is_gone_and_what_it_never_had_is_not() -> None:
    rooms, one, two = Rooms(), a_key(), a_key(BODIES[1])
    for key in (one, two):
        rooms.remote_opened("otter", key, RemoteShare(1, wants_users=False))
    rooms.remote_opened("heron", two, RemoteShare(1, wants_users=False))
    rooms.remote_closed("heron", one.id)
    rooms.remote_closed("otter", one.id)
    assert rooms.find(one.id) is None
    rooms.remote_closed("otter", two.id)
    rooms.remote_closed("otter", two.id)
    assert [room.id for room in rooms] == [two.id], "the other node has it still"
    rooms.remote_counted("heron", two.id, 7)
    rooms.remote_counted("otter", two.id, 7)
    rooms.remote_counted("heron", "no such room", 7)
    assert [room.count for room in rooms] == [7]
    rooms.remote_gone("heron")
    rooms.remote_gone("heron")
    assert list(rooms) == []


def test_a_node_that_is_away_counts_no_more_but_is_still_told() -> None:
    rooms, key = Rooms(), a_key()
    rooms.remote_opened("otter", key, RemoteShare(3, wants_users=False))
    rooms.remote_away("otter", is_away=True)
    rooms.remote_away("heron", is_away=True)
    room = rooms.find(key.id)
    assert room is not None
    assert room.count == 0
    assert rooms.matching(key.index, key.collection, {}, None) == [room]
    assert list(room.remote) == ["otter"]
    rooms.remote_away("otter", is_away=False)
    assert room.count == 3


# -- Names -----------------------------------------------------------------------------------------------------------


def test_a_room_id_is_64_hex_digits_and_the_same_for_filters_that_mean_the_same() -> None:
    one = a_key({"and": [{"equals": {"name": "x"}}]})
    assert one.id == a_key({"equals": {"name": "x"}}).id
    assert len(one.id) == 64
    assert int(one.id, 16) >= 0


def test_index_collection_and_filter_cannot_be_taken_for_one_another() -> None:
    keys = [
        a_key({}, ("ab", "c")),
        a_key({}, ("a", "bc")),
        a_key({}, ('a","b', "c")),
        a_key({"equals": {"a": 1}}, ("ab", "c")),
    ]
    assert len({key.id for key in keys}) == len(keys)


def test_what_is_no_filter_is_refused() -> None:
    with pytest.raises(FilterError):
        a_key({"no such keyword": {}})


def test_every_pair_of_options_has_a_channel_of_its_own() -> None:
    rooms = Rooms()
    session = a_session("a")
    names = {
        enter(rooms, session, a_key(), scope, users).channel.name: (scope, users)
        for scope in Scope
        for users in Users
    }
    assert len(names) == len(Scope) * len(Users)
    room_id = a_key().id
    # As Kuzzle writes them, but for users=out: there it shares a channel with users=none.
    assert names[f"{room_id}-311"] == (Scope.ALL, Users.NONE)
    assert names[f"{room_id}-113"] == (Scope.OUT, Users.ALL)
    assert names[f"{room_id}-31"] == (Scope.NONE, Users.NONE)
    assert names[f"{room_id}-411"] == (Scope.ALL, Users.OUT)


def test_the_suffix_completes_a_json_object() -> None:
    channel = enter(Rooms(), a_session("a"), a_key()).channel
    assert json.loads(b'{"x":1' + channel.suffix) == {"x": 1, "room": channel.name}


# -- Settled ---------------------------------------------------------------------------------------------------------


def test_a_room_is_settled_until_there_is_something_new_to_say_of_it() -> None:
    rooms = Rooms()
    room = enter(rooms, a_session("a"), a_key()).subscription.room
    assert not room.is_settled
    room.announcements_settled = room.announcements
    enter(rooms, a_session("b"), a_key())
    assert room.is_settled
    enter(rooms, a_session("b"), a_key(), users=Users.IN)
    assert not room.is_settled


def test_a_room_that_only_others_had_is_not_settled_by_its_first_subscriber_here() -> None:
    rooms = Rooms()
    rooms.remote_opened("otter", a_key(), RemoteShare(1, wants_users=False))
    session = a_session("a")
    room = enter(rooms, session, a_key()).subscription.room
    assert not room.is_settled
    room.announcements_settled = room.announcements
    rooms.leave(session, room.id)
    assert not enter(rooms, session, a_key()).subscription.room.is_settled
    assert rooms.find(room.id) is room


# -- Holding ---------------------------------------------------------------------------------------------------------


def test_a_member_is_written_to_directly_after_the_release() -> None:
    frames: list[bytes] = []
    rooms = Rooms()
    session = Session(id="a", protocol="websocket", remote="test", write=frames.append)
    entered = enter(rooms, session, a_key())
    entered.channel.members["a"](b"1")
    assert frames == []
    rooms.release(entered.subscription, entered.channel)
    entered.channel.members["a"](b"2")
    assert frames == [b"1", b"2"]
    rooms.release(entered.subscription, entered.channel)
    assert frames == [b"1", b"2"]


def test_a_release_that_comes_too_late_touches_nobody_elses_channel() -> None:
    frames: list[bytes] = []
    rooms = Rooms()
    session = Session(id="a", protocol="websocket", remote="test", write=frames.append)
    first = enter(rooms, session, a_key())
    rooms.leave(session, a_key().id)
    second = enter(rooms, session, a_key())
    rooms.release(first.subscription, first.channel)
    second.channel.members["a"](b"1")
    assert frames == []
    rooms.release(second.subscription, second.channel)
    assert frames == [b"1"]
