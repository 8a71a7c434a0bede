"""A client that floods the node does not keep others waiting: counted in turns, by a clock for which all is slow."""

from itertools import count

import trio
import trio.testing

from server.adapters.turn import SLICE_S
from server.core.session import Session
from server.execution import Answer
from support.front import PING, PONG, TEXT, call, get, masked, open_front, raw_client
from support.waiting import eventually

FLOOD = 60


def slow() -> float:
    """Return a time at which a turn that began before is long."""
    return next(_slow)


_slow = count(0.0, 2 * SLICE_S)


async def test_a_request_does_not_wait_for_all_that_another_client_sent_at_once() -> None:
    async with open_front(clock=slow) as front, raw_client(front) as flood, raw_client(front) as other:
        await flood.upgrade()
        await other.upgrade()
        await flood.send(b"".join(masked(call("echo", requestId=str(n))) for n in range(FLOOD)))
        await other.send(masked(call("echo", requestId="other")))
        assert (await other.message())["room"] == "other"
        for number in range(FLOOD):
            assert (await flood.message())["room"] == str(number)  # in order all the same
        # Both were there when the first was read, or nearly so.
        assert front.probe.echoed.index("other") <= 3


async def test_nor_for_all_its_heartbeats() -> None:
    async with open_front(clock=slow) as front, raw_client(front) as flood, raw_client(front) as other:
        await flood.upgrade()
        await other.upgrade()
        await flood.send(masked(b"?", PING) * FLOOD + masked(call("echo", requestId="last")))
        await other.send(masked(call("echo", requestId="other")))
        assert (await other.message())["room"] == "other"
        for _ in range(FLOOD):
            assert await flood.frame() == (PONG, b"?")
        assert (await flood.frame())[0] == TEXT
        assert front.probe.echoed == ["other", "last"]


async def test_nor_for_all_requests_that_another_pipelined() -> None:
    async with open_front(clock=slow) as front, raw_client(front) as flood, raw_client(front) as other:
        await other.upgrade()
        await flood.send(get() * FLOOD)
        await other.send(masked(call("echo", requestId="other")))
        assert (await other.message())["room"] == "other"
        for _ in range(FLOOD):
            assert (await flood.answer()).status == 200
        assert front.probe.echoed.index("other") <= 3


async def test_who_does_not_take_its_answers_is_asked_to_wait_and_not_closed() -> None:
    async with (
        open_front(outbox_bytes=200_000) as front,
        raw_client(front, receive_buffer=4_096) as client,
        trio.open_nursery() as nursery,
    ):
        await client.upgrade()
        requests = [call("big", requestId=str(n), size=50_000) for n in range(200)]
        nursery.start_soon(client.send, b"".join(map(masked, requests)))
        await eventually(lambda: front.probe.big_answers, "the first is worked on")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert front.probe.big_answers < 200
        for number in range(200):
            assert (await client.message())["room"] == str(number)
        assert front.log.calls == []


async def test_who_causes_more_than_can_be_written_is_not_read_from_until_it_is() -> None:
    async with open_front(clock=slow) as front, trio.open_nursery() as nursery:
        heard = [0]

        async def listen(*, task_status: trio.TaskStatus[None]) -> None:
            async with raw_client(front) as listener:
                await listener.upgrade()
                await listener.send(masked(call("subscribe", "realtime", index="i", collection="c", body={})))
                await listener.message()
                task_status.started()
                while True:
                    await listener.message()
                    heard[0] += 1

        for _ in range(FLOOD):
            await nursery.start(listen)
        publish = masked(call("publish", "realtime", index="i", collection="c", body={}))
        receive, was_caught_up = front.app.receive_message, []

        def watched(session: Session, data: str | bytes) -> Answer | None:
            was_caught_up.append(front.turn.is_caught_up)
            return receive(session, data)

        front.app.receive_message = watched  # type: ignore[method-assign]  # to look at each message
        async with raw_client(front) as publisher:
            await publisher.upgrade(trailing=publish * 3)
            await publisher.send(publish * 3)
            for _ in range(6):
                await publisher.message()
        assert was_caught_up == [True] * 6
        while heard[0] < 6 * FLOOD:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
