"""Behind proxies: the client's address is the one that a trusted proxy tells, in a header of either kind.

The test is the proxy: 127.0.0.1 is trusted where it has to be.
"""

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from server.core.frames import CloseCode
from server.core.outbox import DropReason
from server.core.proxy_protocol import SIGNATURE
from server.core.refusals import Refusal
from support.front import (
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

BEHIND = {"trusted_proxies": ("127.0.0.0/8", "10.0.0.0/8")}
INTRODUCED = {**BEHIND, "proxy_protocol": True}


def line(source: str = "203.0.113.7", port: int = 5000) -> bytes:
    version = 6 if ":" in source else 4
    target = "fd00::1" if version == 6 else "10.0.0.1"
    return f"PROXY TCP{version} {source} {target} {port} 443\r\n".encode()


def binary(body: bytes, kind: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes((command, kind)) + len(body).to_bytes(2, "big") + body


FOUR = bytes((203, 0, 113, 7)) + bytes((10, 0, 0, 1)) + (5000).to_bytes(2, "big") + (443).to_bytes(2, "big")


async def who(client: RawClient, *headers: str) -> Any:
    return (await client.ask(get("/probe/who", *headers))).json["result"]


async def websocket_who(client: RawClient, *headers: str) -> Any:
    await client.send(handshake(*headers) + masked(call("who")))
    head = await client.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return (await client.message())["result"]


# -- X-Forwarded-For ----------------------------------------------------------------------------------------------


async def test_the_client_of_a_trusted_proxy_is_known_over_http_and_websocket() -> None:
    async with (
        open_front(server=BEHIND) as front,
        raw_client(front) as over_http,
        raw_client(front) as over_ws,
    ):
        header = "X-Forwarded-For: 127.0.0.1, 203.0.113.7"
        for told in (await who(over_http, header), await websocket_who(over_ws, header)):
            assert (told["remote"], told["address"]) == ("203.0.113.7", "203.0.113.7")
            assert told["is_forwarded"] is False


async def test_without_trust_the_header_says_that_there_is_a_proxy_and_no_more() -> None:
    async with open_front() as front, raw_client(front) as over_http, raw_client(front) as over_ws:
        header = "X-Forwarded-For: 203.0.113.7"
        for told in (await who(over_http, header), await websocket_who(over_ws, header)):
            assert told["address"] == "127.0.0.1"
            assert told["is_forwarded"] is True
        assert (await who(over_http))["is_forwarded"] is False


@pytest.mark.parametrize(
    "headers",
    [(), ("X-Forwarded-For: nobody",), ("Forwarded: for=203.0.113.7",), ("X-Real-IP: 203.0.113.7",)],
)
async def test_a_trusted_proxy_that_does_not_say_well_asks_for_nobody_known(headers: tuple[str, ...]) -> None:
    async with (
        open_front(server=BEHIND) as front,
        raw_client(front) as over_http,
        raw_client(front) as over_ws,
    ):
        for told in (await who(over_http, *headers), await websocket_who(over_ws, *headers)):
            assert told["address"] == "127.0.0.1"
            assert told["is_forwarded"] is True


async def test_several_lines_of_the_header_are_one_list() -> None:
    async with open_front(server=BEHIND) as front, raw_client(front) as client:
        told = await who(client, "X-Forwarded-For: 198.51.100.1, 203.0.113.7", "X-Forwarded-For: 10.0.0.9")
        assert told["address"] == "203.0.113.7"


async def test_each_client_behind_one_connection_has_a_session_of_its_own() -> None:
    async with open_front(server=BEHIND) as front, raw_client(front) as client:
        first = await who(client, "X-Forwarded-For: 203.0.113.7")
        again = await who(client, "X-Forwarded-For: 203.0.113.7")
        other = await who(client, "X-Forwarded-For: 203.0.113.8")
        assert first["id"] == again["id"] != other["id"]
        assert other["address"] == "203.0.113.8"
        assert front.probe.attached == [other["id"]]
    assert front.probe.attached == []


async def test_the_log_names_the_client_and_not_the_proxy() -> None:
    async with (
        open_front(server=BEHIND, outbox_bytes=100_000) as front,
        raw_client(front, receive_buffer=4_096) as client,
    ):
        await client.send(handshake("X-Forwarded-For: 203.0.113.7") + masked(call("attach")))
        await client.until(b"\r\n\r\n")
        await client.message()
        (session,) = front.probe.sessions
        while not front.logged("slow client closed"):
            session.write(b"\x81\x7e\x03\xe8" + b"x" * 1_000)
            await trio.lowlevel.checkpoint()
        (said,) = front.logged("slow client closed")
        assert said["client"] == "203.0.113.7"
        assert front.counters.frames_dropped[DropReason.SLOW]


# -- PROXY headers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "remote", "is_forwarded"),
    [
        (line(), "203.0.113.7:5000", False),
        (line("2001:db8::1"), "[2001:db8::1]:5000", False),
        (binary(FOUR), "203.0.113.7:5000", False),
        (binary(FOUR + b"\x04\0\x09" + bytes(9)), "203.0.113.7:5000", False),
        (b"PROXY UNKNOWN\r\n", None, True),
        (binary(b"", 0x00), None, True),
        (binary(bytes(216), 0x31), None, True),
        (binary(b"", 0x00, 0x20), None, True),
    ],
)
async def test_a_proxy_introduces_its_client(header: bytes, remote: str | None, is_forwarded: bool) -> None:
    async with (
        open_front(server=INTRODUCED) as front,
        raw_client(front) as over_http,
        raw_client(front) as over_ws,
    ):
        await over_http.send(header)
        await over_ws.send(header)
        for told in (await who(over_http), await websocket_who(over_ws)):
            assert told["is_forwarded"] is is_forwarded
            assert told["remote"] == remote if remote else told["address"] == "127.0.0.1"
        assert (await who(over_http))["remote"] == remote or is_forwarded
        assert front.log.calls == []


async def test_a_header_may_come_byte_by_byte_and_together_with_a_request() -> None:
    async with (
        open_front(server=INTRODUCED) as front,
        raw_client(front) as slow,
        raw_client(front) as at_once,
    ):
        for byte in line():
            await slow.send(bytes((byte,)))
            await trio.testing.wait_all_tasks_blocked()
        assert (await who(slow))["remote"] == "203.0.113.7:5000"
        answer = await at_once.ask(line() + post(b'{"a":1}'))
        assert answer.json["result"]["body"] == {"a": 1}


async def test_who_was_introduced_may_be_a_proxy_and_say_for_whom_it_asks() -> None:
    async with (
        open_front(server=INTRODUCED) as front,
        raw_client(front) as client,
        raw_client(front) as other,
    ):
        await client.send(line("10.0.0.9"))
        assert (await who(client, "X-Forwarded-For: 203.0.113.7"))["remote"] == "203.0.113.7"
        await other.send(line("198.51.100.1"))
        told = await who(other, "X-Forwarded-For: 203.0.113.7")
        assert (told["remote"], told["is_forwarded"]) == ("198.51.100.1:5000", True)


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"PROXY TCP4 1.2.3.4\r\n", SIGNATURE + b"\x21\x11\xff\xff"],
)
async def test_a_proxy_without_a_header_is_cut_off_with_one_line_that_says_why(start: bytes) -> None:
    async with open_front(server=INTRODUCED) as front, raw_client(front) as client:
        await client.send(start)
        with pytest.raises((AssertionError, trio.BrokenResourceError)):
            await client.exactly(1)
        (said,) = front.logged("proxy header refused")
        assert said["client"].startswith("127.0.0.1:")
        assert said["reason"]
        async with raw_client(front) as another:
            await another.send(line())
            assert (await who(another))["address"] == "203.0.113.7"
        assert front.refused.by_reason[Refusal.PROXY_HEADER] == 1


async def test_a_flood_of_them_does_not_fill_the_log() -> None:
    async with open_front(server=INTRODUCED) as front:
        for _ in range(20):
            async with raw_client(front) as client:
                await client.send(b"x")
                with pytest.raises((AssertionError, trio.BrokenResourceError)):
                    await client.exactly(1)
        assert front.refused.by_reason[Refusal.PROXY_HEADER] == 20
        assert [said["times"] for said in front.logged("proxy header refused")] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("start", [b"", line()[:10], SIGNATURE])
async def test_a_header_that_does_not_come_in_time_is_not_waited_for(start: bytes) -> None:
    async with open_front(server=INTRODUCED, proxy_header_s=0.05) as front, raw_client(front) as client:
        await client.send(start)
        assert await client.rest() == b""
        (said,) = front.logged("proxy header refused")
        assert "0.05 s" in said["reason"]


async def test_a_balancer_that_only_looks_whether_the_port_is_open_is_no_event() -> None:
    async with open_front(server=INTRODUCED) as front:
        for _ in range(3):
            async with raw_client(front) as client:
                await client.stream.send_eof()
                assert await client.rest() == b""
        async with raw_client(front) as client:
            await client.send(line()[:10])
            await client.stream.send_eof()
            assert await client.rest() == b""
        (said,) = front.logged("proxy header refused")
        assert "ended within it" in said["reason"]


async def test_who_is_no_trusted_proxy_needs_no_header_and_may_send_none() -> None:
    server = {"trusted_proxies": ("10.0.0.0/8",), "proxy_protocol": True}
    async with open_front(server=server) as front, raw_client(front) as client, raw_client(front) as liar:
        assert (await who(client))["address"] == "127.0.0.1"
        answer = await liar.ask(line() + get())
        assert (answer.status, answer.json["id"]) == (400, "network.http.unexpected_error")


async def test_a_node_that_stops_does_not_wait_for_headers() -> None:
    async with open_front(server=INTRODUCED, proxy_header_s=60.0, stop_s=15.0) as front:
        async with raw_client(front) as client:
            await client.send(line()[:10])
            await trio.testing.wait_all_tasks_blocked()
            front.stopping.set()
            await front.stopped.wait()
        assert front.logged("clients cut off") == []
        assert front.logged("proxy header refused") == []


# -- Limits per address -------------------------------------------------------------------------------------------


async def refused(front: Front, header: bytes) -> bool:
    async with raw_client(front) as client:
        answer = await client.ask(header + get())
        assert answer.status in (200, 429)
        if answer.status == 429:
            assert answer.json["id"] == "network.entrypoint.too_many_connections"
            assert answer.headers["connection"] == "close"
        return answer.status == 429


async def test_an_address_has_so_many_connections_and_others_do_not_notice() -> None:
    async with open_front(server=INTRODUCED, address_connections=2) as front, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(front)) for _ in range(2)]
        for client in clients:
            assert (await client.ask(line() + get())).status == 200
        assert await refused(front, line(port=5001))
        assert not await refused(front, line("203.0.113.8"))
        assert not await refused(front, b"PROXY UNKNOWN\r\n")
        await clients[0].stream.aclose()

        async def there_is_room() -> bool:
            return not await refused(front, line())

        await eventually(there_is_room, "there is room again")
        assert front.refused.by_reason[Refusal.ADDRESS_FULL] >= 1
        said = front.logged("address over its limit")[0]
        assert (said["client"], said["limit"], said["most"]) == ("203.0.113.7:5001", "address_connections", 2)


async def test_addresses_of_one_ipv6_network_are_counted_together() -> None:
    async with open_front(server=INTRODUCED, address_connections=1) as front, raw_client(front) as client:
        assert (await client.ask(line("2001:db8::1") + get())).status == 200
        assert await refused(front, line("2001:db8::2"))
        assert not await refused(front, line("2001:db8:0:1::2"))


async def test_who_is_refused_keeps_no_place_from_others() -> None:
    async with (
        open_front(server=INTRODUCED, address_connections=1, connections=2) as front,
        raw_client(front) as client,
        raw_client(front) as refused_one,
    ):
        assert (await client.ask(line() + get())).status == 200
        assert (await refused_one.ask(line() + get())).status == 429
        async with raw_client(front) as other:
            assert (await other.ask(line("203.0.113.8") + get())).status == 200


async def test_websockets_through_a_proxy_are_counted_for_their_client() -> None:
    async with (
        open_front(server=BEHIND, address_connections=1) as front,
        raw_client(front) as first,
        raw_client(front) as second,
        raw_client(front) as other,
    ):
        await websocket_who(first, "X-Forwarded-For: 203.0.113.7")
        answer = await second.ask(handshake("X-Forwarded-For: 203.0.113.7"))
        assert (answer.status, answer.json["id"]) == (429, "network.entrypoint.too_many_connections")
        await websocket_who(other, "X-Forwarded-For: 203.0.113.8")
        await first.send(masked((1000).to_bytes(2, "big"), 0x8))
        assert (await first.close_code())[0] == 1000
        await first.stream.aclose()

        async def there_is_room() -> bool:
            async with raw_client(front) as again:
                await again.send(handshake("X-Forwarded-For: 203.0.113.7"))
                return b" 101 " in await again.until(b"\r\n")

        await eventually(there_is_room, "there is room again")


async def test_http_connections_of_a_proxy_count_for_nobody() -> None:
    async with open_front(server=BEHIND, address_connections=1) as front, AsyncExitStack() as stack:
        for _ in range(5):
            client = await stack.enter_async_context(raw_client(front))
            assert (await client.ask(get("/probe", "X-Forwarded-For: 203.0.113.7"))).status == 200


async def test_this_machine_is_not_limited() -> None:
    limits = {"address_connections": 1, "address_requests_per_s": 1, "address_bytes_per_s": 1}
    async with open_front(**limits) as front, raw_client(front) as first, raw_client(front) as second:
        for client in (first, second):
            await client.send(get() * 5)
            assert [(await client.answer()).status for _ in range(5)] == [200] * 5
            await client.upgrade(trailing=masked(call("echo")) * 5)
            assert [(await client.message())["status"] for _ in range(5)] == [200] * 5


async def test_a_stopped_node_closes_who_came_through_a_proxy_in_order() -> None:
    async with open_front(server=INTRODUCED) as front, raw_client(front) as client:
        await client.send(line())
        await client.upgrade()
        front.stopping.set()
        assert (await client.close_code())[0] == CloseCode.SERVICE_RESTART
