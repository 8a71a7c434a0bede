"""What subscribers and other nodes are told: complete, and readable on the other side."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.holds import DeliveryCounters, Hold
from server.core.notifications import (
    DocumentNotification,
    RoomDescriptionError,
    UserNotification,
    describe,
    document_head,
    payload,
    read_description,
    read_payload,
    user_head,
)
from server.core.rooms import Audience, Room, Rooms, Scope, Users, filter_key
from server.core.session import Session

DOCUMENT = DocumentNotification(
    index="i",
    collection="c",
    action="publish",
    scope="in",
    event="publish",
    content={"x": 1},
    document_id=None,
    result={"_source": {"x": 1}},
    request_id="r",
    timestamp=1_000,
    volatile={"v": 1},
    controller="realtime",
    protocol="websocket",
)
USER = UserNotification(
    direction="in",
    count=2,
    action="subscribe",
    timestamp=1_000,
    volatile=None,
    index="i",
    collection="c",
    protocol="websocket",
)


def read(head: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(head + b',"room":"channel"}')
    return message


def test_a_document_notification_has_every_member() -> None:
    assert read(document_head(DOCUMENT, "n")) == {
        "type": "document",
        "status": 200,
        "action": "publish",
        "scope": "in",
        "result": {"_source": {"x": 1}},
        "node": "n",
        "event": "publish",
        "requestId": "r",
        "timestamp": 1_000,
        "volatile": {"v": 1},
        "index": "i",
        "collection": "c",
        "controller": "realtime",
        "protocol": "websocket",
        "room": "channel",
    }


def test_a_user_notification_has_every_member() -> None:
    told = {
        "type": "user",
        "status": 200,
        "user": "in",
        "result": {"count": 2},
        "node": "n",
        "timestamp": 1_000,
        "volatile": None,
        "index": "i",
        "collection": "c",
        "controller": "realtime",
        "action": "subscribe",
        "protocol": "websocket",
        "room": "channel",
    }
    assert read(user_head(USER, "n")) == told
    joined = read(user_head(attrs.evolve(USER, action="join", index=None, collection=None), "n"))
    assert joined == {k: v for k, v in told.items() if k not in ("index", "collection")} | {"action": "join"}


@given(st.sampled_from(Audience), st.binary(min_size=1))
def test_a_payload_is_read_as_it_was_written(audience: Audience, head: bytes) -> None:
    assert read_payload(payload(audience, head)) == (audience, head)


@pytest.mark.parametrize("received", [b"", b"\x00", b"\x09{}"])
def test_what_is_no_payload_is_refused(received: bytes) -> None:
    with pytest.raises(ValueError, match=r"notification|Audience"):
        read_payload(received)


def a_room(users: Users = Users.NONE) -> Room:
    session = Session(id="a", protocol="websocket", remote="test")
    return (
        Rooms()
        .enter(
            session,
            filter_key("i", "c", {"equals": {"x": 1}}),
            scope=Scope.ALL,
            users=users,
            volatile=None,
            hold=Hold(session, 1, DeliveryCounters()),
        )
        .subscription.room
    )


@pytest.mark.parametrize("users", Users)
def test_a_description_is_read_as_it_was_written(users: Users) -> None:
    room = a_room(users)
    key, wants_users = read_description(room.id, describe(room))
    assert (key.id, key.index, key.collection, key.body) == (room.id, "i", "c", {"equals": {"x": 1}})
    assert wants_users == (users is not Users.NONE)


def test_a_room_has_the_id_that_its_owner_gave() -> None:
    key, _ = read_description("another", describe(a_room()))
    assert key.id == "another"


@pytest.mark.parametrize(
    "description",
    [
        b"",
        b"\xff",
        b"{}",
        b"[" * 10_000,
        b'{"index":1,"collection":"c","filter":{},"users":false}',
        b'{"index":"i","collection":"c","filter":{"newer":{}},"users":false}',
    ],
)
def test_what_cannot_be_used_is_refused_with_the_rooms_name(description: bytes) -> None:
    with pytest.raises(RoomDescriptionError, match="room 123"):
        read_description("123", description)
