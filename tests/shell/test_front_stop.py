"""Leaving well: when the node stops, nobody new comes in, everyone gets what is theirs, and nobody holds it up."""

import itertools
import socket
from contextlib import AsyncExitStack, ExitStack

import pytest
import trio
import trio.testing

from server.adapters.turn import SLICE_S
from server.core.frames import CloseCode, text_frame
from server.telling import TOLD_PER_LOOK
from support.front import CLOSE, TEXT, call, get, handshake, masked, open_front, raw_client

pytestmark = pytest.mark.usefixtures("plain_and_tls")


async def test_websocket_clients_get_what_waits_and_are_told_to_come_back() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade(trailing=masked(call("attach")))
        await client.message()
        (session,) = front.probe.sessions
        session.write(b"\x81\x02hi")
        front.stopping.set()
        assert await client.frame() == (TEXT, b"hi")
        assert await client.close_code() == (CloseCode.SERVICE_RESTART, "service restart")
        assert await client.rest() == b""
        await client.stream.aclose()
        await front.stopped.wait()
        assert front.log.calls == []
        assert front.probe.attached == []


async def test_what_was_published_before_is_told_before_anybody_is_sent_away() -> None:
    """There are more members than a turn has time for: the last of them are told in a later one."""
    in_no_time = itertools.count(0.0, SLICE_S / 2).__next__
    async with open_front(clock=in_no_time) as front, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(front)) for _ in range(10 * TOLD_PER_LOOK)]
        for client in clients:
            await client.upgrade(
                trailing=masked(call("subscribe", "realtime", index="i", collection="c", body={}))
            )
            await client.message()
        author = front.app.open_session("test", "")
        front.app.receive_message(author, call("publish", "realtime", index="i", collection="c", body={}))
        assert not front.turn.flush()
        front.stopping.set()
        for client in clients:
            opcode, payload = await client.frame()
            assert (opcode, b'"type":"document"' in payload) == (TEXT, True)
            assert await client.close_code() == (CloseCode.SERVICE_RESTART, "service restart")


async def test_a_client_that_answers_the_close_is_let_go_at_once() -> None:
    async with open_front(close_s=60) as front, raw_client(front) as client:
        await client.upgrade()
        front.stopping.set()
        assert await client.close_code() == (CloseCode.SERVICE_RESTART, "service restart")
        await client.send(masked(b"\x03\xf4", CLOSE))
        with trio.fail_after(20):  # and keeps its socket open: RFC 6455 lets the server close first
            await front.stopped.wait()


async def test_who_is_being_closed_already_gets_all_that_was_meant_for_it() -> None:
    async with open_front() as front, raw_client(front, receive_buffer=4_096) as client:
        await client.upgrade(trailing=masked(call("attach")))
        await client.message()
        (session,) = front.probe.sessions
        session.write(text_frame(b"x" * 10_000_000))
        session.close(4_001, "enough")
        await trio.testing.wait_all_tasks_blocked()
        front.stopping.set()
        await trio.testing.wait_all_tasks_blocked()
        assert await client.frame() == (TEXT, b"x" * 10_000_000)
        assert await client.close_code() == (4_001, "enough")
        assert await client.rest() == b""


async def test_nobody_is_let_in_any_more() -> None:
    async with open_front() as front:
        front.stopping.set()
        await front.stopped.wait()
        with pytest.raises(ConnectionRefusedError):
            async with raw_client(front):
                pass


async def test_requests_under_way_are_answered_first_and_later_ones_are_not_begun() -> None:
    async with open_front() as front, raw_client(front) as web, raw_client(front) as http:
        await web.upgrade(trailing=masked(call("wait", requestId="under way")))
        await http.send(get("/probe/wait"))
        while front.probe.waiting < 2:
            await trio.lowlevel.checkpoint()
        front.stopping.set()
        await trio.testing.wait_all_tasks_blocked()
        await web.send(masked(call("echo", requestId="too late")))
        await http.send(get())
        await trio.testing.wait_all_tasks_blocked()
        front.probe.gate.set()

        assert (await web.message())["room"] == "under way"
        assert await web.close_code() == (CloseCode.SERVICE_RESTART, "service restart")
        answer = await http.answer()
        assert answer.json["result"] == {"waited": True}
        assert answer.headers["connection"] == "close"
        assert await http.rest() == b""


async def test_idle_http_connections_and_half_requests_are_closed_at_once() -> None:
    async with open_front() as front, raw_client(front) as idle, raw_client(front) as half:
        assert (await idle.ask(get())).status == 200
        await half.send(b"GET / HT")
        await trio.testing.wait_all_tasks_blocked()
        front.stopping.set()
        assert await idle.rest() == b""
        assert await half.rest() == b""


async def test_a_connection_that_is_being_set_up_does_not_slip_through() -> None:
    async with open_front() as front, raw_client(front) as client:
        front.stopping.set()
        await client.send(get("/probe", "Connection: close"))
        await client.rest()
        await client.stream.aclose()
        await front.stopped.wait()


async def test_a_handshake_that_waited_behind_an_answer_is_refused() -> None:
    async with open_front() as front, raw_client(front, receive_buffer=4_096) as client:
        await client.send(get("/probe/big?size=5000000") + handshake())
        while not front.probe.attached:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        front.stopping.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len((await client.answer()).json["result"]) == 5_000_000
        assert (await client.answer()).status == 503
        assert await client.rest() == b""


async def test_who_does_not_leave_is_cut_off_when_the_time_is_over() -> None:
    async with open_front(stop_s=0.1) as front, raw_client(front) as client:
        await client.upgrade(trailing=masked(call("wait")))
        while not front.probe.waiting:
            await trio.lowlevel.checkpoint()
        front.stopping.set()
        await front.stopped.wait()
        assert [line["clients"] for line in front.logged("clients cut off")] == [1]


async def test_clients_are_told_little_by_little() -> None:
    async with open_front() as front:
        async with trio.open_nursery() as nursery:
            told: list[float] = []

            async def attend(*, task_status: trio.TaskStatus[None]) -> None:
                async with raw_client(front) as client:
                    await client.upgrade()
                    task_status.started()
                    assert (await client.frame())[0] == CLOSE
                    told.append(trio.current_time())

            for _ in range(30):
                await nursery.start(attend)
            started = trio.current_time()
            front.stopping.set()
            await front.stopped.wait()
        assert told[-1] - started >= 5 / 20 * 0.9


async def test_cancelled_everyone_is_dropped_at_once() -> None:
    async with open_front(is_plain=True) as front:
        client = await trio.open_tcp_stream(front.host, front.port)
        await client.send_all(get("/probe/wait"))
        while not front.probe.waiting:
            await trio.lowlevel.checkpoint()
    assert front.probe.waiting == 0
    assert front.probe.attached == []
    await client.aclose()


async def test_while_the_gate_is_closed_websocket_clients_go_and_none_come_and_http_is_served() -> None:
    async with open_front() as front, raw_client(front) as client, raw_client(front) as other:
        await client.upgrade()
        front.app.gate.close("a reason")
        opcode, payload = await client.frame()
        assert (opcode, payload[:2]) == (CLOSE, (1012).to_bytes(2))
        await other.send(get("/probe"))
        answer = await other.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        async with raw_client(front) as late:
            await late.send(handshake())
            refusal = await late.answer()
            assert (refusal.status, refusal.json["props"]) == (503, ["a reason"])
        front.app.gate.open("a reason")
        async with raw_client(front) as welcome:
            await welcome.upgrade()


async def test_who_is_still_to_be_told_stays_when_the_gate_opens_again() -> None:
    async with open_front(drain_s=1e6) as front, trio.open_nursery() as nursery:
        ends: list[int] = []

        async def attend(*, task_status: trio.TaskStatus[None]) -> None:
            async with raw_client(front) as client:
                await client.upgrade()
                task_status.started()
                ends.append((await client.frame())[0])

        for _ in range(20):
            await nursery.start(attend)
        front.app.gate.close("a reason")
        while not ends:
            await trio.lowlevel.checkpoint()
        front.app.gate.open("a reason")
        await trio.testing.wait_all_tasks_blocked(0.2)
        assert 0 < len(ends) < 20
        assert front.app.gate.clients == 20 - len(ends)
        nursery.cancel_scope.cancel()


async def test_who_was_connected_at_the_last_moment_is_answered() -> None:
    async with open_front(is_plain=True) as front:
        with ExitStack() as stack:
            sockets = [
                stack.enter_context(socket.create_connection((front.host, front.port))) for _ in range(20)
            ]
            front.stopping.set()
            await trio.testing.wait_all_tasks_blocked()  # it does not listen any more
            for number, client in enumerate(sockets):
                client.sendall(get(f"/probe?number={number}"))
            await front.stopped.wait()
            answers = [client.recv(65_536) for client in sockets]
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers), answers
