"""The fast lane and trio-websocket on one connection: the order holds, and so do the bounds, whichever way is taken."""

import pytest
import trio
import trio.testing

from server.core.frames import CloseCode
from support.front import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawClient,
    call,
    masked,
    open_front,
    raw_client,
)
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("plain_and_tls")


def echo(number: int, size: int = 0) -> bytes:
    return call("echo", requestId=str(number), body={"text": "x" * size})


def fragmented(message: bytes) -> bytes:
    return masked(message[:7], TEXT, is_final=False) + masked(message[7:], CONTINUATION)


async def rooms(client: RawClient, count: int) -> list[str]:
    return [(await client.message())["room"] for _ in range(count)]


async def test_messages_are_answered_in_their_order_whichever_way_they_take() -> None:
    data = b"".join(
        masked(echo(n)) + masked(echo(n + 1), BINARY) + fragmented(echo(n + 2)) + masked(echo(n + 3))
        for n in range(0, 80, 4)
    )
    async with open_front() as front:
        for size in (len(data), 1_000, 77):
            async with raw_client(front) as client:
                await client.upgrade(trailing=data[:size])
                for start in range(size, len(data), size):
                    await client.send(data[start : start + size])
                assert await rooms(client, 80) == [str(n) for n in range(80)]


async def test_a_message_larger_than_a_read_keeps_its_place() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade()
        async with trio.open_nursery() as nursery:
            sizes = (10, 15_000, 16_200, 16_400, 40_000, 70_000, 10)
            sent = b"".join(masked(echo(n, size)) for n, size in enumerate(sizes))
            nursery.start_soon(client.send, sent)
            assert await rooms(client, len(sizes)) == [str(n) for n in range(len(sizes))]


async def test_a_heartbeat_is_answered_where_it_stands_whoever_answers() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade()
        await client.send(masked(b"!", PING) + masked(echo(1)) + masked(b"?", PING) + masked(echo(2)))
        assert await client.frame() == (PONG, b"!")
        assert (await client.message())["room"] == "1"
        assert await client.frame() == (PONG, b"?")
        assert (await client.message())["room"] == "2"
        await client.send(masked(b"?", PING) + masked(echo(3), BINARY) + masked(b"!", PING) + masked(echo(4)))
        assert await client.frame() == (PONG, b"?")
        assert {(await client.frame())[0] for _ in range(2)} == {PONG, TEXT}
        assert (await client.message())["room"] == "4"


async def test_a_client_costs_one_task_and_more_only_when_it_sends_what_is_not_common() -> None:
    async with open_front() as front:
        before = trio.lowlevel.current_statistics().tasks_living
        async with raw_client(front) as client:
            await client.upgrade(trailing=masked(echo(1)) + masked(b"", PING) + masked(b"", PONG))
            await client.send(masked(call("subscribe", "realtime", index="i", collection="c", body={})))
            assert (await client.message())["room"] == "1"
            assert await client.frame() == (PONG, b"")
            await client.message()
            assert trio.lowlevel.current_statistics().tasks_living == before + 1
            await client.send(masked(echo(2), BINARY))
            assert (await client.message())["room"] == "2"
            assert trio.lowlevel.current_statistics().tasks_living > before + 1
            await client.send(masked(call("wait", requestId="3")))
            while not front.probe.waiting:
                await trio.lowlevel.checkpoint()
        await eventually(
            lambda: trio.lowlevel.current_statistics().tasks_living == before, "all its tasks have ended"
        )


async def test_a_full_house_holds_up_the_one_way_for_the_other() -> None:
    for first, second in ((BINARY, TEXT), (TEXT, BINARY), (TEXT, TEXT)):
        async with open_front(requests_in_flight=1) as front, raw_client(front) as client:
            await client.upgrade()
            await client.send(
                masked(call("wait", requestId="first"), first)
                + masked(call("sent", requestId="second"), second)
            )
            while not front.probe.waiting:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert not front.probe.was_sent.is_set()
            front.probe.gate.set()
            assert await rooms(client, 2) == ["first", "second"]


async def test_pongs_that_nobody_asked_for_are_no_offence_between_plain_messages() -> None:
    async with open_front(request_bytes=1_000) as front, raw_client(front) as client:
        await client.upgrade()
        for number in range(20):  # together several times what a message without an end may take up
            await client.send(masked(b"x" * 100, PONG) * 50 + masked(echo(number)))
            assert await rooms(client, 1) == [str(number)]


async def test_what_follows_the_apps_goodbye_is_not_looked_at() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade(trailing=masked(call("attach")))
        await client.message()
        front.probe.sessions[0].close(4_001, "enough")
        await client.send(masked(call("sent")) * 3)
        assert await client.close_code() == (4_001, "enough")
        assert await client.rest() == b""
        assert not front.probe.was_sent.is_set()


async def test_what_follows_a_fault_is_not_looked_at() -> None:
    faults = {
        fragmented(b"\xff" * 20): CloseCode.BAD_TEXT,
        masked(b"x" * 40_000): CloseCode.TOO_BIG,
        masked(b"", CONTINUATION): CloseCode.PROTOCOL_ERROR,
    }
    for fault, code in faults.items():
        async with open_front(request_bytes=30_000) as front, raw_client(front) as client:
            await client.upgrade()
            await client.send(fault + masked(call("sent")))
            assert (await client.close_code())[0] == code
            assert await client.rest() == b""
            assert not front.probe.was_sent.is_set()
            assert front.log.calls == []
