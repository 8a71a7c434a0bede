"""Time and number at the front door: whoever is slow, silent or too many is told so, and nobody else notices.

Time limits here are tiny and real; no test waits longer than the limit that it is about.
"""

import errno
import math
import resource
import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from server.adapters.listener import REFUSED_AT_ONCE
from server.core.frames import CloseCode
from server.core.outbox import DropReason
from support.front import (
    PING,
    PONG,
    TEXT,
    Front,
    RawClient,
    call,
    get,
    handshake,
    masked,
    open_front,
    post,
    raw_client,
)
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("plain_and_tls")


async def others_are_served(front: Front) -> bool:
    """Tell whether a new client is, over HTTP and over WebSocket."""
    async with raw_client(front) as client:
        assert (await client.ask(get())).status == 200
        await client.upgrade(trailing=masked(call("echo", requestId="other")))
        return bool((await client.message())["room"] == "other")


async def drip(client: RawClient, data: bytes) -> None:
    """Send a byte, and the next one whenever all others have nothing to do, until the connection ends."""
    try:
        for byte in data:
            await client.send(bytes((byte,)))
            await trio.testing.wait_all_tasks_blocked(0.005)
    except trio.BrokenResourceError:
        pass


async def send_for_ever(client: RawClient) -> None:
    while True:
        await client.send(b"x")


async def read_for_ever(client: RawClient) -> None:
    while True:
        await client.exactly(1)


# -- HTTP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [b"", b"GET /probe HT", handshake()[:-2]])
async def test_who_says_nothing_or_half_of_something_is_told_and_closed(part: bytes) -> None:
    async with open_front(header_s=0.05) as front, raw_client(front) as client:
        await client.send(part)
        answer = await client.answer()
        assert (answer.status, answer.json["id"]) == (408, "network.http.request_timeout")
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""
        assert await others_are_served(front)


async def test_headers_that_drip_in_do_not_keep_the_connection_open() -> None:
    async with open_front(header_s=0.1) as front, raw_client(front) as client, trio.open_nursery() as nursery:
        nursery.start_soon(drip, client, get("/probe", "X: " + "y" * 10_000))
        assert (await client.answer()).status == 408
        assert await others_are_served(front)
        nursery.cancel_scope.cancel()


async def test_a_body_that_drips_in_is_given_up_and_told() -> None:
    async with open_front(body_s=0.1) as front, raw_client(front) as client, trio.open_nursery() as nursery:
        nursery.start_soon(drip, client, post(b"x" * 10_000))
        answer = await client.answer()
        assert (answer.status, answer.json["id"]) == (408, "network.http.request_timeout")
        assert await others_are_served(front)
        nursery.cancel_scope.cancel()


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with open_front(keep_alive_s=0.05) as front, raw_client(front) as client:
        assert (await client.ask(get())).status == 200
        assert await client.rest() == b""


async def test_a_second_request_has_the_time_for_heads_from_its_first_byte() -> None:
    async with open_front(header_s=0.05) as front, raw_client(front) as client:
        assert (await client.ask(get())).status == 200
        await client.send(b"GET ")
        assert (await client.answer()).status == 408
        assert await client.rest() == b""


async def test_a_client_that_does_not_go_when_it_is_told_to_is_cut_off() -> None:
    async with open_front(close_s=0.05) as front, raw_client(front) as client:
        await client.send(b"nonsense\r\n\r\n")
        assert (await client.answer()).status == 400
        # It was told that nothing follows, and goes on. The server does not listen to it for ever.
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(client)


# -- WebSocket ----------------------------------------------------------------------------------------------------


async def test_a_websocket_without_traffic_is_closed_and_one_with_heartbeats_is_not() -> None:
    async with open_front(idle_s=0.2) as front, raw_client(front) as silent, raw_client(front) as lively:
        await silent.upgrade()
        await lively.upgrade()
        is_closed = False

        async def beat() -> None:
            while not is_closed:
                await lively.send(masked(b"", PING))
                assert (await lively.frame())[0] == PONG

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            code, reason = await silent.close_code()
            assert code == CloseCode.GOING_AWAY
            assert "0.2 s" in reason
            assert await silent.rest() == b""
            is_closed = True
        await lively.send(masked(call("echo", requestId="there")))
        assert (await lively.frame())[0] == TEXT


async def test_limits_may_be_infinite() -> None:
    endless = dict.fromkeys(("header_s", "body_s", "keep_alive_s", "idle_s", "stall_s", "stop_s"), math.inf)
    async with open_front(**endless) as front:
        assert await others_are_served(front)
        front.stopping.set()
        await front.stopped.wait()


async def test_being_written_to_is_traffic_too() -> None:
    async with open_front(idle_s=0.2) as front, raw_client(front) as listener:
        await listener.upgrade(trailing=masked(call("attach")))
        await listener.message()
        (session,) = front.probe.sessions
        started = trio.current_time()
        while trio.current_time() < started + 0.5:
            session.write(b"\x81\x02hi")
            assert await listener.frame() == (TEXT, b"hi")
        assert (await listener.close_code())[0] == CloseCode.GOING_AWAY  # now that nothing comes any more


async def test_a_slow_reader_is_closed_with_the_reason_and_costs_nobody_else_anything() -> None:
    async with (
        open_front(outbox_bytes=100_000) as front,
        raw_client(front, receive_buffer=4_096) as slow,
        raw_client(front) as other,
    ):
        for client in (slow, other):
            await client.upgrade(trailing=masked(call("attach")))
            await client.message()
        to_slow, to_other = (session.write for session in front.probe.sessions)
        frame = b"\x81\x7e\x03\xe8" + b"x" * 1_000
        written = 0
        while not front.logged("slow client closed"):
            to_slow(frame)
            to_other(frame)
            written += 1
            assert await other.frame() == (TEXT, b"x" * 1_000)
        # Late, but intact: every frame that was begun, then why there are no more.
        received = 0
        while (got := await slow.frame()) == (TEXT, b"x" * 1_000):
            received += 1
        assert int.from_bytes(got[1][:2], "big") == CloseCode.INTERNAL_ERROR
        assert b"slow" in got[1]
        assert await slow.rest() == b""
        assert received + front.counters.frames_dropped[DropReason.SLOW] == written
        await eventually(lambda: len(front.probe.attached) == 1, "only the other is left")


async def test_a_slow_reader_that_never_reads_again_is_cut_off() -> None:
    async with (
        open_front(outbox_bytes=100_000, close_s=0.05) as front,
        raw_client(front, receive_buffer=4_096) as slow,
    ):
        await slow.upgrade(trailing=masked(call("attach")))
        await slow.message()
        (session,) = front.probe.sessions
        while not front.logged("slow client closed"):
            session.write(b"\x81\x7e\x03\xe8" + b"x" * 1_000)
            await trio.lowlevel.checkpoint()
        await eventually(lambda: not front.probe.attached, "the session has ended")
        with pytest.raises(trio.BrokenResourceError):  # a reset: what was not delivered yet never will be
            await read_for_ever(slow)


async def test_an_http_client_that_does_not_read_its_answers_is_cut_off() -> None:
    async with open_front(stall_s=0.05) as front, raw_client(front, receive_buffer=4_096) as client:
        await client.send(get("/probe/big?size=5000000") * 3)
        await eventually(lambda: front.logged("client stalled"), "it was noticed")
        assert await others_are_served(front)


# -- Too many -----------------------------------------------------------------------------------------------------


async def test_a_client_above_the_limit_is_told_and_one_that_leaves_makes_room() -> None:
    async with open_front(connections=3) as front, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(front)) for _ in range(3)]
        for client in clients:
            assert (await client.ask(get())).status == 200
        async with raw_client(front) as fourth:
            answer = await fourth.ask(get())
            assert (answer.status, answer.json["id"]) == (503, "api.process.overloaded")
            assert await fourth.rest() == b""
        await clients[0].stream.aclose()

        async def there_is_room() -> bool:
            async with raw_client(front) as next_one:
                return (await next_one.ask(get())).status == 200

        await eventually(there_is_room, "there is room again")


async def test_very_many_above_the_limit_are_closed_without_a_word() -> None:
    async with open_front(connections=1, is_plain=True) as front, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(front)) for _ in range(REFUSED_AT_ONCE + 5)]
        assert (await clients[0].ask(get())).status == 200
        said = [await client.rest() for client in clients[1:]]
        assert sum(b" 503 " in words for words in said) == REFUSED_AT_ONCE
        assert said.count(b"") == 4


@pytest.mark.parametrize("failure", [errno.ECONNABORTED, errno.EPERM, errno.ENOBUFS, errno.EIO])
async def test_any_failure_to_accept_is_outlived(failure: int, monkeypatch: pytest.MonkeyPatch) -> None:
    accept, failures = socket.socket.accept, [failure] * 3

    def flaky(self: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise OSError(failures.pop(), "as the machine says")
        return accept(self)

    async with open_front() as front:
        monkeypatch.setattr(socket.socket, "accept", flaky)
        assert await others_are_served(front)
        assert failures == []
        was_ours = failure in (errno.ENOBUFS, errno.EIO)
        assert len(front.logged("cannot accept clients")) == was_ours


def take_all_files(taken: list[socket.socket]) -> None:
    while True:
        taken.append(socket.socket())


async def test_a_machine_without_files_to_give_is_outlived() -> None:
    async with open_front() as front, AsyncExitStack() as stack:
        client = await stack.enter_async_context(raw_client(front))
        assert (await client.ask(get())).status == 200
        waiting = socket.socket()
        waiting.setblocking(False)
        stack.callback(waiting.close)
        taken: list[socket.socket] = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # As few as the machine allows: there is little to fill up then.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, waiting.fileno() + 20), hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                take_all_files(taken)
            waiting.connect_ex((front.host, front.port))
            await eventually(lambda: front.logged("cannot accept clients"), "it was noticed")
            assert (await client.ask(get())).status == 200  # who is there is served
        finally:
            for sock in taken:
                sock.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await eventually(lambda: front.logged("accepting clients again"), "it is over")
        assert len(front.logged("cannot accept clients")) == 1
        assert await others_are_served(front)
