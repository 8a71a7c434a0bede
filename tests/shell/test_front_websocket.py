"""WebSocket at the front door, frame by frame: handshakes, messages, heartbeats, and every way in which it can end."""

import socket
import struct

import pytest
import trio
import trio.testing
import trio_websocket

from server.core.frames import CloseCode
from support.front import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawClient,
    call,
    get,
    handshake,
    masked,
    open_front,
    raw_client,
)
from support.pieces import pieces_of
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("plain_and_tls")


async def still_serves(client: RawClient) -> bool:
    """Tell whether the connection answers another request."""
    await client.send(masked(call("echo", requestId="still")))
    return bool((await client.message())["room"] == "still")


# -- Handshake ----------------------------------------------------------------------------------------------------


async def test_any_path_upgrades_and_the_key_is_answered() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.send(
            handshake("Sec-WebSocket-Protocol: soap", "Sec-WebSocket-Extensions: permessage-deflate")
        )
        head = (await client.until(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 101 ")
        assert "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head  # RFC 6455, section 1.3
        assert "sec-websocket-protocol: soap\r\n" in head  # a browser leaves when none of its offers is taken
        assert "sec-websocket-extensions" not in head
        assert await still_serves(client)


async def test_a_handshake_with_values_that_no_decoder_takes_is_a_sound_one() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.send(
            handshake("Sec-WebSocket-Protocol: \xff\xfe", "Origin: \xe9", "Connection: \xff").replace(
                b"Host: x", b"Host: \xff..-\xe9"
            )
        )
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await still_serves(client)


async def test_a_connection_may_upgrade_after_it_served_http() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.send(get() + get() + handshake() + masked(call("echo", requestId="early")))
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 200
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert (await client.message())["room"] == "early"


async def test_half_a_handshake_is_refused_with_what_is_missing() -> None:
    async with open_front() as front:
        for request, why in (
            (handshake(version="8"), "Sec-WebSocket-Version"),
            (handshake(key="short"), "Sec-WebSocket-Key"),
            (handshake().replace(b"keep-alive, Upgrade", b"keep-alive"), "Connection"),
            (handshake("Content-Length: 3") + b"abc", "body"),
            (handshake().replace(b"GET", b"POST"), "GET"),
        ):
            async with raw_client(front) as client:
                answer = await client.ask(request)
                assert answer.status == 400
                assert why in answer.json["message"]
                assert answer.headers["sec-websocket-version"] == "13"
                assert await client.rest() == b""


async def test_another_upgrade_than_websocket_is_not_taken_up() -> None:
    async with open_front() as front, raw_client(front) as client:
        answer = await client.ask(get("/probe", "Connection: Upgrade", "Upgrade: h2c"))
        assert answer.status == 200
        assert (await client.ask(get())).status == 200


async def test_a_client_library_gets_along() -> None:
    async with (
        open_front() as front,
        trio_websocket.open_websocket_url(front.ws_url, ssl_context=front.trust) as client,
    ):
        await client.send_message(call("echo", requestId="1", body={"text": "é"}).decode())
        assert "é" in await client.get_message()
        await client.ping(b"are you there")


# -- Messages -----------------------------------------------------------------------------------------------------


async def test_text_and_binary_messages_are_both_json_and_answered_as_text() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade()
        for opcode in (TEXT, BINARY):
            await client.send(masked(call("echo", body={"text": "é"}), opcode))
            assert (await client.message())["result"]["body"] == {"text": "é"}


async def test_messages_are_understood_however_they_arrive() -> None:
    requests = [call("echo", requestId=str(n), body={"text": "x" * n * 60}) for n in range(5)]
    data = b"".join(map(masked, requests))
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade(trailing=data)
        for piece in pieces_of(data, [1, 2, 5, 300]):
            await client.send(piece)
        assert [(await client.message())["room"] for _ in range(10)] == ["0", "1", "2", "3", "4"] * 2


async def test_a_message_in_fragments_with_a_ping_between_is_one_message() -> None:
    request = call("echo", requestId="1", body={"text": "é"})
    first, *middle, last = pieces_of(request, [5])
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade()
        await client.send(masked(first, TEXT, is_final=False))
        for part in middle:
            await client.send(masked(part, CONTINUATION, is_final=False) + masked(b"?", PING))
        await client.send(masked(last, CONTINUATION))
        for _ in middle:
            assert await client.frame() == (PONG, b"?")
        assert (await client.message())["result"]["body"] == {"text": "é"}


async def test_empty_messages_are_ignored() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade()
        await client.send(masked(b"") + masked(b"", BINARY))
        assert await still_serves(client)


async def test_both_heartbeats_are_answered() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade()
        await client.send(masked(b'{"p":1}'))
        assert await client.frame() == (TEXT, b'{"p":2}')
        await client.send(masked(b"payload", PING) + masked(b"nobody asked", PONG))
        assert await client.frame() == (PONG, b"payload")
        assert await still_serves(client)


async def test_what_is_no_json_is_answered_and_the_connection_stays() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade()
        for message, opcode in (
            (b"{nope", TEXT),
            (b"null", TEXT),
            (b"\xff\xfe", BINARY),
            (b"[" * 50_000, TEXT),
        ):
            await client.send(masked(message, opcode))
            error = (await client.message())["error"]
            assert (error["status"], error["id"]) == (400, "network.websocket.unexpected_error")
        assert await still_serves(client)


async def test_a_request_that_waits_does_not_hold_up_those_behind_it() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade()
        await client.send(masked(call("wait", requestId="slow")) + masked(call("echo", requestId="fast")))
        assert (await client.message())["room"] == "fast"
        front.probe.gate.set()
        assert (await client.message())["room"] == "slow"


async def test_no_more_requests_are_worked_on_at_once_than_the_limit_allows() -> None:
    async with open_front(requests_in_flight=3) as front, raw_client(front) as client:
        await client.upgrade()
        await client.send(b"".join(masked(call("wait", requestId=str(n))) for n in range(10)))
        async with raw_client(front) as another:  # when this one was served, the first had its chance
            await another.upgrade()
            assert await still_serves(another)
        while front.probe.waiting < 3:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert front.probe.waiting == 3
        front.probe.gate.set()
        assert sorted([(await client.message())["room"] for _ in range(10)]) == [str(n) for n in range(10)]


async def test_requests_under_way_and_subscriptions_end_with_the_connection() -> None:
    async with open_front() as front:
        async with raw_client(front) as client:
            await client.upgrade()
            await client.send(masked(call("attach")))
            await client.message()
            await client.send(
                masked(call("subscribe", "realtime", index="i", collection="c", body={}))
                + masked(call("wait"))
            )
            await client.message()
            while not front.probe.waiting:
                await trio.lowlevel.checkpoint()
            (session,) = front.probe.sessions
            assert front.app.realtime.of(session)
        while front.probe.waiting or front.app.realtime.of(session):
            await trio.lowlevel.checkpoint()
        assert front.log.calls == []


async def test_a_session_ends_after_its_last_request_however_long_that_takes() -> None:
    async with open_front() as front:
        async with raw_client(front) as client:
            await client.upgrade(trailing=masked(call("linger")))
            while not front.probe.waiting:
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        front.probe.gate.set()
        await eventually(lambda: not (front.probe.waiting or front.probe.attached), "all has ended")
        assert front.probe.outlived == []
        assert front.log.calls == []


async def test_what_an_action_has_to_do_after_its_answer_is_done() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade(trailing=masked(call("sent")))
        await client.message()
        assert front.probe.was_sent.is_set()


# -- Ends ---------------------------------------------------------------------------------------------------------


async def test_a_close_is_answered_with_its_own_code_and_the_connection_ends() -> None:
    async with open_front() as front:
        for payload in (b"\x03\xe8", b"\x03\xe9going", b""):
            async with raw_client(front) as client:
                await client.upgrade()
                await client.send(masked(call("echo", requestId="last")) + masked(payload, CLOSE))
                assert (await client.message())["room"] == "last"
                assert await client.frame() == (CLOSE, payload)
                assert await client.rest() == b""


async def test_a_message_that_is_too_large_closes_with_1009() -> None:
    async with open_front(request_bytes=1_000) as front:
        async with raw_client(front) as client:
            await client.upgrade()
            exact = call("echo", body={"text": ""})
            await client.send(masked(exact.replace(b'""', b'"' + b"x" * (1_000 - len(exact)) + b'"')))
            assert (await client.message())["status"] == 200
            await client.send(masked(b"x" * 1_001))
            assert (await client.close_code())[0] == CloseCode.TOO_BIG
            assert await client.rest() == b""
        for _ in range(10):  # what trio-websocket makes of it depends on trio's dice
            async with raw_client(front) as client:
                await client.upgrade()
                # Several times too large, and things behind it that can no longer be answered.
                await client.send(masked(b"x" * 10_000) + masked(b"", PING) + masked(call("echo")))
                assert (await client.close_code())[0] == CloseCode.TOO_BIG
                assert await client.rest() == b""
        assert front.log.calls == []


async def test_a_message_of_endless_empty_fragments_closes_with_1009() -> None:
    async with open_front(request_bytes=1_000) as front, raw_client(front) as client:
        await client.upgrade()
        fragment = masked(b"", CONTINUATION, is_final=False)
        async with trio.open_nursery() as nursery:
            # A thousand pings do not account for it.
            nursery.start_soon(
                client.send, masked(b"x", TEXT, is_final=False) + (fragment * 10 + masked(b"", PING)) * 1_000
            )
            while (frame := await client.frame())[0] == PONG:
                pass
            assert frame[0] == CLOSE
            assert int.from_bytes(frame[1][:2], "big") == CloseCode.TOO_BIG
            assert await client.rest() == b""


async def test_a_thousand_heartbeats_without_a_message_are_no_offence() -> None:
    async with open_front(request_bytes=1_000) as front, raw_client(front) as client:
        await client.upgrade()
        for _ in range(10):
            await client.send(masked(b"x" * 100, PING) * 100)
            for _ in range(100):
                assert await client.frame() == (PONG, b"x" * 100)
        assert await still_serves(client)


async def test_frames_that_break_the_protocol_close_with_the_code_that_says_so() -> None:
    async with open_front() as front:
        for data, code in (
            (b"\x81\x02hi", CloseCode.PROTOCOL_ERROR),  # without a mask
            (masked(b"hi", 0x3), CloseCode.PROTOCOL_ERROR),  # an opcode that does not exist
            (masked(b"hi", TEXT | 0x40), CloseCode.PROTOCOL_ERROR),  # a bit of an extension
            (masked(b"hi", CONTINUATION), CloseCode.PROTOCOL_ERROR),  # of nothing
            (masked(b"a", is_final=False) + masked(b"b"), CloseCode.PROTOCOL_ERROR),
            (masked(b"x" * 126, PING), CloseCode.PROTOCOL_ERROR),
            (masked(b"", PING, is_final=False), CloseCode.PROTOCOL_ERROR),
            (masked(b"\x01", CLOSE), CloseCode.PROTOCOL_ERROR),
            (masked(b"\x00\x01", CLOSE), CloseCode.PROTOCOL_ERROR),
            (b"\x81\xff" + b"\xff" * 8, CloseCode.PROTOCOL_ERROR),  # longer than numbers go
            (masked(b"\xff\xfe"), CloseCode.BAD_TEXT),
            (masked(b"\xc3", is_final=False) + masked(b"", CONTINUATION), CloseCode.BAD_TEXT),
        ):
            async with raw_client(front) as client:
                await client.upgrade()
                await client.send(data)
                assert (await client.close_code())[0] == code, data
                assert await client.rest() == b""
        assert front.log.calls == []


async def test_bad_text_is_called_that_wherever_it_is_found() -> None:
    async with open_front() as front:
        for data in (
            masked(b"\xff"),
            masked(b"\xff" * 20_000),
            masked(b"\xce\xba\xe1", is_final=False) + masked(b"\xf4\x90", CONTINUATION),
            masked(b"\x03\xe8\xff", CLOSE),
        ):
            async with raw_client(front) as client:
                await client.upgrade()
                await client.send(data)
                assert await client.close_code() == (CloseCode.BAD_TEXT, "text that is not UTF-8")


async def test_a_declared_size_beyond_everything_costs_nothing() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade()
        await client.send(b"\x81\xff" + (2**62).to_bytes(8, "big") + b"mask" + b"x" * 2_000_000)
        assert (await client.close_code())[0] == CloseCode.TOO_BIG
        assert await client.rest() == b""


async def test_a_client_that_vanishes_in_the_middle_of_a_frame_is_forgotten() -> None:
    async with open_front() as front:
        async with raw_client(front) as client:
            await client.upgrade(trailing=masked(call("attach")))
            await client.message()
            await client.send(masked(call("echo"))[:-3])
        async with raw_client(front) as another:
            await another.upgrade()
            assert await still_serves(another)
        assert front.log.calls == []


async def test_the_app_may_close_a_client_and_what_waited_comes_first() -> None:
    async with open_front() as front, raw_client(front) as client:
        await client.upgrade(trailing=masked(call("attach")))
        await client.message()
        (session,) = front.probe.sessions
        session.write(b"\x81\x02hi")
        session.close(4_001, "your token was revoked")
        session.close(4_002, "and once more")
        session.write(b"\x81\x02no")
        assert await client.frame() == (TEXT, b"hi")
        assert await client.close_code() == (4_001, "your token was revoked")
        assert await client.rest() == b""


async def test_a_fault_of_ours_closes_with_1011_and_is_logged() -> None:
    async with open_front() as front, raw_client(front) as client, raw_client(front) as another:
        await another.upgrade()
        await client.upgrade()
        front.app.receive_message = None  # type: ignore[method-assign, assignment]  # any fault at all
        await client.send(masked(call("echo")))
        assert (await client.close_code())[0] == CloseCode.INTERNAL_ERROR
        assert await client.rest() == b""
        assert front.logged("client failed")
        del front.app.receive_message
        assert await still_serves(another)


async def test_a_client_that_resets_the_connection_is_no_loss() -> None:
    async with open_front() as front:
        async with raw_client(front) as client:
            await client.upgrade(trailing=masked(call("attach")))
            await client.message()
            client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await eventually(lambda: not front.probe.attached, "nobody is left")
        assert front.log.calls == []
