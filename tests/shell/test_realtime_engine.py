"""The realtime engine on one node and on several, joined in memory: who is told what, when, and how often."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import pytest
import trio

from server.adapters.turn import SLICE_S
from server.core.holds import HELD_TOO_MANY, LEFT_BEFORE_REPLY, NO_ROOM, UNREADABLE
from server.core.limits import Limits
from server.core.notifications import MAX_DESCRIPTION_BYTES, RoomDescriptionError
from server.core.responses import Response
from server.core.values import encode_json
from server.telling import TOLD_PER_LOOK
from server.testing import MemoryHub, TestClient, TestNode, open_test_node
from support.waiting import eventually

PLACE = {"index": "i", "collection": "c"}
FILTER = {"equals": {"name": "x"}}


async def subscribe(client: TestClient, body: Any = FILTER, **options: Any) -> Any:
    return await client.call("realtime", "subscribe", **PLACE, body=body, **options)


async def publish(client: TestClient, body: Any, **options: Any) -> Any:
    return await client.call("realtime", "publish", **PLACE, body=body, **options)


async def ask(client: TestClient, action: str, room_id: str, **options: Any) -> Any:
    return await client.call("realtime", action, body={"roomId": room_id}, **options)


def ask_without_waiting(client: TestClient, **members: Any) -> Response | Awaitable[Response]:
    answer = client.node.app.receive_message(
        client.session, encode_json({"controller": "realtime", **members})
    )
    assert answer is not None
    return answer


def told(client: TestClient, *path: str) -> list[Any]:
    """Return a member of each notification that a client received."""
    values = []
    for notification in client.notifications:
        value = notification
        for member in path:
            value = value[member]
        values.append(value)
    return values


@asynccontextmanager
async def open_cluster(
    *names: str, limits: Limits | None = None
) -> AsyncIterator[tuple[MemoryHub, list[TestNode]]]:
    hub = MemoryHub()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(open_test_node(name=name, limits=limits)) for name in names]
        for node in nodes:
            hub.join(node.node.info.id, node.realtime)
        yield hub, nodes


def publish_without_waiting(client: TestClient, collection: str, number: int) -> None:
    """Publish as a message among others of one read does: the turn goes on."""
    ask_without_waiting(
        client, action="publish", index="i", collection=collection, body={"name": "x", "n": number}
    )


# -- One node --------------------------------------------------------------------------------------------------------


async def test_what_one_turn_publishes_comes_in_order_whatever_the_rooms() -> None:
    async with open_test_node() as node:
        reader, author = node.client(), node.client()
        for collection in ("c", "d"):
            await reader.call("realtime", "subscribe", index="i", collection=collection, body={})
        for number, collection in enumerate("cccdcdd"):
            publish_without_waiting(author, collection, number)
        assert told(reader, "result", "_source", "n") == list(range(7))
        assert told(reader, "collection") == list("cccdcdd")


async def test_a_run_reaches_each_member_in_one_go() -> None:
    async with open_test_node() as node:
        readers, author = [node.client(), node.client()], node.client()
        writes: list[tuple[int, bool]] = []
        for reader in readers:
            await subscribe(reader, {})
        [room] = node.realtime._rooms
        [channel] = room.channels.values()

        def write(*frames: bytes, joined: bytes = b"") -> None:
            writes.append((len(frames), joined == b"".join(frames)))

        channel.members = dict.fromkeys(channel.members, write)
        for number in range(5):
            publish_without_waiting(author, "c", number)
        assert writes == []
        node.node.turn.flush()
        assert writes == [(5, True), (5, True)]
        assert node.realtime.counters.delivered == 10


@asynccontextmanager
async def many_readers_and_no_time() -> AsyncIterator[tuple[TestNode, list[TestClient]]]:
    """A node on which two steps of telling its readers take more than a slice."""
    async with open_test_node() as node:
        readers = [node.client() for _ in range(3 * TOLD_PER_LOOK)]
        for reader in readers:
            await subscribe(reader, {})
        node.node.turn._clock = count(0.0, SLICE_S / 2).__next__
        yield node, readers


def how_many_were_told(readers: list[TestClient]) -> int:
    return sum(bool(reader.notifications) for reader in readers)


async def test_a_loss_is_announced_to_many_in_slices_and_once_to_each() -> None:
    async with many_readers_and_no_time() as (node, readers):
        await readers[0].call("realtime", "subscribe", index="i", collection="d", body={})
        node.realtime.announce_loss("another", None, None)
        node.node.turn.flush()
        assert 0 < how_many_were_told(readers) < len(readers)
        await node.node.turn.caught_up()
        assert [len(reader.notifications) for reader in readers] == [1] * len(readers)
        assert [len(told(reader, "rooms")[0]) for reader in readers] == [2] + [1] * (len(readers) - 1)
        assert node.realtime.counters.losses_announced == len(readers)


async def test_what_is_published_in_several_rooms_does_not_make_an_announcement_be_made_in_one_go() -> None:
    async with many_readers_and_no_time() as (node, readers):
        await readers[0].call("realtime", "subscribe", index="i", collection="d", body={})
        author = node.client()
        node.realtime.announce_loss("another", None, None)
        node.node.turn.flush()
        for number, collection in enumerate("cdc"):
            publish_without_waiting(author, collection, number)
        assert 0 < node.realtime.counters.losses_announced < len(readers)
        await node.node.turn.caught_up()
        assert node.realtime.counters.losses_announced == len(readers)


async def test_who_comes_and_who_goes_while_a_loss_is_announced_is_told_or_not_as_before() -> None:
    async with many_readers_and_no_time() as (node, readers):
        node.realtime.announce_loss("another", None, None)
        node.node.turn.flush()
        last, newcomer = readers[-1], node.client()
        assert not last.notifications
        [room_id] = node.realtime.of(last.session)
        ask_without_waiting(last, action="unsubscribe", body={"roomId": room_id})
        ask_without_waiting(newcomer, action="subscribe", **PLACE, body={})
        assert how_many_were_told(readers) == len(readers)
        await node.node.turn.caught_up()
        assert [len(reader.notifications) for reader in readers] == [1] * len(readers)
        assert not newcomer.notifications


async def test_many_are_told_in_slices_each_of_everything_and_in_order() -> None:
    async with many_readers_and_no_time() as (node, readers):
        author = node.client()
        publish_without_waiting(author, "c", 1)
        publish_without_waiting(author, "c", 2)
        assert not node.node.turn.flush(), "the author waits until all are told"
        assert 0 < how_many_were_told(readers) < len(readers)
        publish_without_waiting(author, "c", 3)
        assert not node.node.turn.flush()
        await node.node.turn.caught_up()
        assert [told(reader, "result", "_source", "n") for reader in readers] == [[1, 2, 3]] * len(readers)
        assert node.realtime.counters.delivered == 3 * len(readers)


async def test_what_follows_in_another_room_does_not_overtake_what_is_told_in_slices() -> None:
    async with many_readers_and_no_time() as (node, readers):
        last, author = readers[-1], node.client()
        await last.call("realtime", "subscribe", index="i", collection="d", body={})
        publish_without_waiting(author, "c", 0)
        node.node.turn.flush()
        assert 0 < how_many_were_told(readers) < len(readers)
        for number, collection in enumerate("dcdd", 1):
            publish_without_waiting(author, collection, number)
        node.node.turn.flush()
        await node.node.turn.caught_up()
        assert told(last, "result", "_source", "n") == [0, 1, 2, 3, 4]


async def test_who_comes_and_who_goes_while_many_are_told_gets_its_part() -> None:
    async with many_readers_and_no_time() as (node, readers):
        last, newcomer, author = readers[-1], node.client(), node.client()
        publish_without_waiting(author, "c", 1)
        node.node.turn.flush()
        assert not last.notifications
        [room_id] = node.realtime.of(last.session)
        ask_without_waiting(last, action="unsubscribe", body={"roomId": room_id})
        await subscribe(newcomer, {})
        assert how_many_were_told(readers) == len(readers)
        publish_without_waiting(author, "c", 2)
        node.node.turn.flush()
        await node.node.turn.caught_up()
        assert told(last, "result", "_source", "n") == [1]
        assert told(newcomer, "result", "_source", "n") == [2]
        assert told(readers[0], "result", "_source", "n") == [1, 2]


async def test_a_long_run_does_not_wait_for_the_end_of_the_turn() -> None:
    async with open_test_node() as node:
        reader, author = node.client(), node.client()
        await subscribe(reader, {})
        before = node.realtime.counters.delivered
        large = {"text": "x" * 30_000}
        for _ in range(4):
            ask_without_waiting(author, action="publish", **PLACE, body=large)
        assert node.realtime.counters.delivered - before == 3
        assert len(reader.notifications) == 4
        assert node.realtime.counters.delivered - before == 4


async def test_who_comes_or_goes_in_the_middle_of_a_turn_gets_its_part_of_it() -> None:
    async with open_test_node() as node:
        early, late, author = node.client(), node.client(), node.client()
        room = (await subscribe(early, {}))["result"]["roomId"]
        publish_without_waiting(author, "c", 1)
        await subscribe(late, {})
        publish_without_waiting(author, "c", 2)
        await ask(early, "unsubscribe", room)
        publish_without_waiting(author, "c", 3)
        assert told(early, "result", "_source", "n") == [1, 2]
        assert told(late, "result", "_source", "n") == [2, 3]


async def test_who_matches_is_told_and_nobody_else() -> None:
    async with open_test_node() as node:
        all_of_it, some, other_place, author = (node.client() for _ in range(4))
        await subscribe(all_of_it, {})
        await subscribe(some)
        await other_place.call("realtime", "subscribe", index="i", collection="other", body={})
        await publish(author, {"name": "x", "n": 1}, volatile={"sdk": "me"}, _id="d")
        await publish(author, {"name": "y", "n": 2})
        assert told(all_of_it, "result", "_source", "n") == [1, 2]
        assert told(some, "result", "_source", "n") == [1]
        assert told(some, "volatile") == [{"sdk": "me"}]
        assert told(some, "result", "_id") == ["d"]
        assert other_place.notifications == author.notifications == []
        assert node.realtime.counters.delivered == 3
        assert node.realtime.counters.published == 2


async def test_a_filter_may_test_the_id_and_the_author() -> None:
    async with open_test_node() as node:
        client = node.client()
        await subscribe(client, {"ids": {"values": ["d"]}})
        await subscribe(client, {"equals": {"_kuzzle_info.author": "-1"}})
        await publish(client, {"n": 1}, _id="d")
        await publish(client, {"n": 2, "_kuzzle_info": {"author": "somebody else"}})
        assert told(client, "result", "_source", "n") == [1, 1, 2]


async def test_each_channel_of_a_connection_is_told_once() -> None:
    async with open_test_node() as node:
        client = node.client()
        channels = [
            (await subscribe(client, scope=scope))["result"]["channel"]
            for scope in ("all", "in", "out", "none", "all")
        ]
        assert channels[0] == channels[-1]
        await publish(client, {"name": "x"})
        assert told(client, "room") == channels[:2]
        room_id = channels[0].split("-")[0]
        assert (await ask(client, "count", room_id))["result"] == {"count": 1}
        assert (await ask(client, "unsubscribe", room_id))["result"] == {"roomId": room_id}
        await publish(client, {"name": "x"})
        assert len(client.notifications) == 2


async def test_the_reply_comes_before_the_first_notification() -> None:
    async with open_test_node() as node:
        client = node.client()
        reply = await subscribe(client, users="all", volatile={"who": "me"})
        assert [message.get("type", "reply") for message in client.received] == ["reply", "user"]
        assert client.received[1]["room"] == reply["result"]["channel"]
        assert (client.received[1]["user"], client.received[1]["volatile"]) == ("in", {"who": "me"})


async def test_users_are_told_of_who_comes_and_goes() -> None:
    async with open_test_node() as node:
        both, comes, goes, quiet, guest = (node.client() for _ in range(5))
        for client, users in ((both, "all"), (comes, "in"), (goes, "out"), (quiet, "none")):
            await subscribe(client, users=users)
        for client in (both, comes, goes, quiet):
            client.received.clear()
        await subscribe(guest, volatile={"who": "guest"})
        guest.leave()
        assert told(both, "user") == ["in", "out"]
        assert told(both, "result", "count") == [5, 4]
        assert told(both, "volatile") == [{"who": "guest"}] * 2
        assert told(both, "protocol") == ["websocket", None]
        assert told(comes, "user") == ["in"]
        assert told(goes, "user") == ["out"]
        assert quiet.notifications == []


@pytest.mark.parametrize(
    ("options", "error_id"),
    [
        ({"scope": "sideways"}, "core.realtime.invalid_scope"),
        ({"scope": 1}, "core.realtime.invalid_scope"),
        ({"scope": ["in"]}, "core.realtime.invalid_scope"),
        ({"users": "some"}, "core.realtime.invalid_users"),
        ({"body": []}, "api.assert.invalid_type"),
        ({"body": {"nope": {}}}, "api.assert.koncorde_dsl_error"),
    ],
)
async def test_a_subscribe_that_cannot_be_is_refused(options: dict[str, Any], error_id: str) -> None:
    async with open_test_node() as node:
        client = node.client()
        reply = await client.call("realtime", "subscribe", **{**PLACE, "body": {}, **options})
        assert reply["error"]["id"] == error_id
        assert not node.realtime.of(client.session)


@pytest.mark.parametrize("action", ["subscribe", "join"])
async def test_without_a_lasting_connection_nobody_subscribes(action: str) -> None:
    async with open_test_node() as node:
        body = {"controller": "realtime", "action": action, **PLACE, "body": {"roomId": "x"}}
        response, answer = await node.http("POST", "/_query", body=body)
        assert (response.status, answer["error"]["id"]) == (500, "api.assert.unsupported_protocol")
        assert answer["error"]["props"] == ["http", f"realtime:{action}"]


# -- Limits ----------------------------------------------------------------------------------------------------------


async def test_rooms_are_limited() -> None:
    async with open_test_node(limits=Limits(rooms=1)) as node:
        first, second = node.client(), node.client()
        await subscribe(first, {})
        assert (await subscribe(second, {}))["status"] == 200
        reply = await subscribe(second, FILTER)
        assert (reply["status"], reply["error"]["id"]) == (413, "core.realtime.too_many_rooms")
        first.leave()
        second.leave()
        assert (await subscribe(node.client(), FILTER))["status"] == 200


async def test_subscriptions_of_a_connection_are_limited() -> None:
    async with open_test_node(limits=Limits(subscriptions=1)) as node:
        client = node.client()
        await subscribe(client, {})
        assert (await subscribe(client, {}, scope="in"))["status"] == 200
        reply = await subscribe(client, FILTER)
        assert (reply["status"], reply["error"]["id"]) == (413, "core.realtime.too_many_subscriptions")


async def test_a_filter_that_other_nodes_could_not_be_told_of_is_refused() -> None:
    """It is told as it was written: here one condition, many times over."""
    long = {"equals": {"name": "x" * 60_000}}
    async with open_test_node(limits=Limits(request_bytes=8 << 20)) as node:
        client = node.client()
        reply = await subscribe(client, {"or": [long] * 70})
        assert (reply["status"], reply["error"]["id"]) == (413, "core.realtime.filter_too_large")
        assert reply["error"]["props"][1] == str(MAX_DESCRIPTION_BYTES)
        assert (await subscribe(client, {"or": [long] * 60}))["status"] == 200


# -- Guarantee 1: subscribe means subscribed -------------------------------------------------------------------------


async def test_a_room_that_is_new_waits_for_every_peer_before_the_reply() -> None:
    async with open_cluster("one", "two") as (hub, (one, two)), trio.open_nursery() as nursery:
        client, author = one.client(), two.client()
        hub.relays["one"].hold()
        nursery.start_soon(subscribe, client)
        await eventually(lambda: hub.relays["one"].waiting == 1)
        assert client.received == []
        hub.relays["one"].let_go()
        await eventually(lambda: len(client.received) == 1)
        assert "synced" not in client.received[0]["result"]
        await publish(author, {"name": "x", "n": 1})
        assert told(client, "result", "_source", "n") == [1]


async def test_what_arrives_meanwhile_follows_the_reply_in_order() -> None:
    async with open_cluster("one", "two") as (hub, (one, _)), trio.open_nursery() as nursery:
        client, author = one.client(), one.client()
        hub.relays["one"].hold()
        nursery.start_soon(subscribe, client)
        await eventually(lambda: hub.relays["one"].waiting == 1)
        for n in range(3):
            await publish(author, {"name": "x", "n": n})
        assert client.received == []
        assert one.realtime.counters.held == 3
        hub.relays["one"].let_go()
        await eventually(lambda: len(client.received) == 4)
        await publish(author, {"name": "x", "n": 3})
        assert "result" in client.received[0]
        assert told(client, "result", "_source", "n") == [0, 1, 2, 3]
        assert one.realtime.counters.delivered == 4


async def test_a_peer_that_does_not_answer_is_told_of_in_the_reply() -> None:
    async with open_cluster("one", "two") as (hub, (one, _)), trio.open_nursery() as nursery:
        first, second = one.client(), one.client()
        for client in (first, second):
            # The second has to wait again: nothing is known of the room's state on the other node.
            hub.relays["one"].hold()
            nursery.start_soon(subscribe, client)
            await eventually(lambda: hub.relays["one"].waiting == 1)
            hub.relays["one"].give_up()
            await eventually(lambda client=client: len(client.received) == 1)  # type: ignore[misc] # mypy: lambda default
            assert client.received[0]["result"]["synced"] is False


async def test_a_second_subscriber_of_an_unsettled_room_waits_too() -> None:
    async with open_cluster("one", "two") as (hub, (one, _)), trio.open_nursery() as nursery:
        first, second = one.client(), one.client()
        hub.relays["one"].hold()
        nursery.start_soon(subscribe, first)
        nursery.start_soon(subscribe, second)
        await eventually(lambda: hub.relays["one"].waiting == 2)
        assert first.received == second.received == []
        hub.relays["one"].let_go()
        await eventually(lambda: bool(first.received and second.received))


async def test_a_settled_room_is_answered_at_once() -> None:
    async with open_cluster("one", "two") as (hub, (one, _)):
        await subscribe(one.client())
        hub.relays["one"].hold()
        answer = ask_without_waiting(one.client(), action="subscribe", **PLACE, body=FILTER)
        assert isinstance(answer, Response)


async def test_news_of_users_wanted_for_the_first_time_wait_too() -> None:
    async with open_cluster("one", "two") as (hub, (one, two)), trio.open_nursery() as nursery:
        quiet, curious, guest = one.client(), one.client(), two.client()
        room_id = (await subscribe(quiet))["result"]["roomId"]
        hub.relays["one"].hold()
        nursery.start_soon(lambda: subscribe(curious, users="in"))
        await eventually(lambda: hub.relays["one"].waiting == 1)
        hub.relays["one"].let_go()
        await eventually(lambda: len(curious.notifications) == 1)
        await ask(guest, "join", room_id)
        assert told(curious, "result", "count") == [2, 3]


async def test_what_is_said_while_others_wait_is_not_covered_by_their_answer() -> None:
    async with open_cluster("one", "two") as (hub, (one, _)), trio.open_nursery() as nursery:
        first, second = one.client(), one.client()
        hub.relays["one"].hold()
        nursery.start_soon(subscribe, first)
        await eventually(lambda: hub.relays["one"].waiting == 1)
        # This one makes news of the room: the first barrier was set before it.
        nursery.start_soon(lambda: subscribe(second, users="all"))
        await eventually(lambda: hub.relays["one"].waiting == 2)
        hub.relays["one"].let_go()
        await eventually(lambda: bool(first.received and second.received))
        hub.relays["one"].hold()
        assert isinstance(
            ask_without_waiting(one.client(), action="subscribe", **PLACE, body=FILTER), Response
        )


async def test_who_leaves_while_waiting_leaves_nothing_behind() -> None:
    async with open_cluster("one", "two") as (hub, (one, two)):
        client = one.client()
        hub.relays["one"].hold()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(subscribe, client)
                await eventually(lambda: hub.relays["one"].waiting == 1)
                await publish(one.client(), {"name": "x"})
                scope.cancel()
        client.leave()
        hub.relays["one"].let_go()
        assert one.realtime.counts() == two.realtime.counts() == {}
        assert one.realtime.counters.dropped[LEFT_BEFORE_REPLY] == 1
        assert one.realtime.counters.held == 0


async def test_a_client_over_the_bound_of_what_is_held_is_closed_and_not_cheated() -> None:
    limits = Limits(held_notifications=2)
    async with open_cluster("one", "two", limits=limits) as (hub, (one, _)), trio.open_nursery() as nursery:
        client, author = one.client(), one.client()
        hub.relays["one"].hold()
        nursery.start_soon(subscribe, client)
        await eventually(lambda: hub.relays["one"].waiting == 1)
        for _ in range(5):
            await publish(author, {"name": "x"})
        assert client.closed is not None
        assert client.closed[0] == 1011
        assert one.realtime.counters.dropped[HELD_TOO_MANY] == 5
        hub.relays["one"].let_go()


async def test_a_room_older_than_the_relay_is_settled_anew() -> None:
    async with open_test_node(name="one") as one, open_test_node(name="two") as two:
        early = one.client()
        await subscribe(early)
        hub = MemoryHub()
        hub.join("one", one.realtime)
        hub.join("two", two.realtime)
        answer = ask_without_waiting(one.client(), action="subscribe", **PLACE, body=FILTER)
        assert not isinstance(answer, Response)
        await answer
        await publish(two.client(), {"name": "x"})
        assert len(early.notifications) == 1


# -- Several nodes ---------------------------------------------------------------------------------------------------


async def test_counts_are_the_same_on_every_node() -> None:
    async with open_cluster("one", "two", "three") as (hub, nodes):
        clients = [node.client() for node in nodes for _ in range(2)]
        rooms = {(await subscribe(client))["result"]["roomId"] for client in clients}
        assert len(rooms) == 1
        room_id = rooms.pop()
        for node in nodes:
            assert (await ask(node.client(), "count", room_id))["result"] == {"count": 6}
            assert (await node.client().call("realtime", "list"))["result"] == {"i": {"c": {room_id: 6}}}
        clients[0].leave()
        clients[1].leave()
        assert [node.realtime.count(room_id) for node in nodes] == [4, 4, 4]
        hub.leave("two")
        assert [nodes[0].realtime.count(room_id), nodes[2].realtime.count(room_id)] == [2, 2]
        clients[4].leave()
        clients[5].leave()
        assert nodes[0].realtime.counts() == nodes[2].realtime.counts() == {}


async def test_a_room_can_be_joined_from_a_node_that_never_saw_it() -> None:
    async with open_cluster("one", "two", "three") as (_, (one, two, three)):
        room_id = (await subscribe(one.client()))["result"]["roomId"]
        guest = two.client()
        reply = await ask(guest, "join", room_id, scope="in")
        assert reply["result"] == {"roomId": room_id, "channel": f"{room_id}-312"}
        await publish(three.client(), {"name": "x"})
        await publish(three.client(), {"name": "y"})
        assert told(guest, "node") == ["three"]
        unknown = await ask(guest, "join", "nope")
        assert (unknown["status"], unknown["error"]["id"]) == (404, "core.realtime.room_not_found")


async def test_a_notification_goes_once_to_each_node_that_wants_it() -> None:
    async with open_cluster("one", "two", "three") as (hub, (one, two, three)):
        client, other = two.client(), two.client()
        await subscribe(client)
        await subscribe(client, {})
        await subscribe(other, {})
        await subscribe(three.client(), {"equals": {"name": "z"}})
        hub.relays["one"].forwarded.clear()
        await publish(one.client(), {"name": "x"})
        ((node, rooms, _),) = hub.relays["one"].forwarded
        assert (node, len(rooms)) == ("two", 2)
        assert (len(client.notifications), len(other.notifications)) == (2, 1)
        assert one.realtime.counters.forwarded == two.realtime.counters.received == 2


async def test_news_of_users_go_to_nodes_where_somebody_wants_them() -> None:
    async with open_cluster("one", "two", "three") as (hub, (one, two, three)):
        quiet, curious, guest = one.client(), two.client(), three.client()
        await subscribe(quiet)
        await subscribe(curious, users="all")
        curious.received.clear()
        for relay in hub.relays.values():
            relay.forwarded.clear()
        await subscribe(guest, volatile={"who": "guest"})
        guest.leave()
        assert [node for node, _, _ in hub.relays["three"].forwarded] == ["two", "two"]
        assert told(curious, "user") == ["in", "out"]
        assert told(curious, "result", "count") == [3, 2]
        assert told(curious, "node") == ["three", "three"]
        assert quiet.notifications == []


async def test_a_node_without_its_peers_is_a_node_of_its_own() -> None:
    async with open_cluster("one", "two") as (_, (one, two)):
        mine = one.client()
        room_id = (await subscribe(mine))["result"]["roomId"]
        await subscribe(two.client())
        one.realtime.detach()
        one.realtime.remote_node_gone("two")
        assert one.realtime.count(room_id) == 1
        await publish(one.client(), {"name": "x"})
        assert len(mine.notifications) == 1
        assert (await subscribe(one.client(), {}))["status"] == 200


async def test_what_came_too_late_or_broken_is_counted() -> None:
    async with open_test_node() as node:
        realtime = node.realtime
        realtime.deliver(["gone", "gone too"], b"\x00{}")
        realtime.deliver(["any"], b"")
        realtime.deliver(["any"], b"\x63{}")
        assert realtime.counters.dropped[NO_ROOM] == 2
        assert realtime.counters.dropped[UNREADABLE] == 2
        assert realtime.counters.received == 2


async def test_a_room_that_cannot_be_understood_is_refused() -> None:
    async with open_test_node() as node:
        with pytest.raises(RoomDescriptionError):
            node.realtime.remote_room_opened("otter", "room", b"{}", 1)
        assert node.realtime.counts() == {}
