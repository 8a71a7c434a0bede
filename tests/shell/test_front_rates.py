"""How much one address may ask for: refused over the limit with an answer, or read more slowly; nobody else notices.

Buckets hold two seconds' worth, so limits here are such that what is refused would take long to come by.
"""

import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from server.adapters.listener import REFUSED_AT_ONCE
from server.core.buckets import BURST_S
from server.core.refusals import Refusal
from support.front import (
    PING,
    PONG,
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

BEHIND = {"trusted_proxies": ("127.0.0.1",)}
INTRODUCED = {**BEHIND, "proxy_protocol": True}
A, B = (f"PROXY TCP4 203.0.113.{n} 10.0.0.1 5000 443\r\n".encode() for n in (7, 8))


async def statuses(client: RawClient, count: int) -> list[int]:
    return [(await client.message())["status"] for _ in range(count)]


def from_afar(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let clients that connect from now on come from another machine, as far as the node can see."""
    accept = socket.socket.accept

    def accepted(self: socket.socket) -> tuple[socket.socket, Any]:
        return accept(self)[0], (address, 5000)

    monkeypatch.setattr(socket.socket, "accept", accepted)


async def others_are_served(front: Front) -> bool:
    async with raw_client(front) as other:
        return (await other.ask(B + get())).status == 200


async def test_websocket_requests_over_the_limit_are_answered_so_and_not_worked_on() -> None:
    async with open_front(server=INTRODUCED, address_requests_per_s=5) as front, raw_client(front) as client:
        await client.send(A)
        requests = [masked(call("echo", requestId=f"r{n}", volatile={"n": n})) for n in range(40)]
        await client.upgrade(trailing=b"".join(requests))
        answers = [await client.message() for _ in range(40)]
        assert [answer["room"] for answer in answers] == [f"r{n}" for n in range(40)]
        served = [answer for answer in answers if answer["status"] == 200]
        assert len(served) in (10, 11), "two seconds' worth, and perhaps one more by the time it came"
        for answer in answers[len(served) :]:
            assert (answer["status"], answer["error"]["id"]) == (429, "network.websocket.ratelimit_exceeded")
            assert (answer["controller"], answer["action"]) == ("probe", "echo")
            assert answer["volatile"] == {"n": int(answer["room"][1:])}
        assert len(front.probe.echoed) == len(served)
        assert front.refused.by_reason[Refusal.REQUESTS] >= 1
        said = front.logged("address over its limit")[0]
        assert (said["client"], said["limit"], said["most"]) == (
            "203.0.113.7:5000",
            "address_requests_per_s",
            5,
        )
        assert await others_are_served(front)


async def test_heartbeats_are_answered_and_faults_are_told_also_over_the_limit() -> None:
    async with open_front(server=INTRODUCED, address_requests_per_s=1) as front, raw_client(front) as client:
        await client.send(A)
        await client.upgrade(
            trailing=masked(call("echo")) * 10 + masked(b'{"p":1}') + masked(b"") + masked(b"x")
        )
        assert 429 in await statuses(client, 10)
        assert await client.message() == {"p": 2}
        assert (await client.message())["status"] == 400
        await client.send(masked(b"", PING))
        assert (await client.frame())[0] == PONG


async def test_connections_of_one_address_share_what_it_may_and_a_new_one_does_not_begin_anew() -> None:
    async with open_front(server=INTRODUCED, address_requests_per_s=2) as front:
        async with raw_client(front) as first:
            await first.send(A)
            await first.upgrade(trailing=masked(call("echo")) * 20)
            assert (await statuses(first, 20)).count(200) <= 5
        async with raw_client(front) as second:
            await second.send(A + get() * 20)
            answers = [await second.answer() for _ in range(20)]
            assert [answer.status for answer in answers].count(429) >= 15
            (refused, *_) = [answer for answer in answers if answer.status == 429]
            assert refused.json["error"]["id"] == "api.process.too_many_requests"
        assert await others_are_served(front)


async def test_http_requests_are_counted_for_the_client_behind_the_proxy() -> None:
    async with open_front(server=BEHIND, address_requests_per_s=1) as front, raw_client(front) as client:

        async def status(address: str) -> int:
            return (await client.ask(get("/probe", f"X-Forwarded-For: {address}"))).status

        assert [await status("203.0.113.7") for _ in range(10)].count(429) >= 6
        assert await status("203.0.113.8") == 200
        assert (await client.ask(get("/probe", "X-Forwarded-For: unknown"))).status == 200
        big = await client.ask(post(b'{"a":1}', "X-Forwarded-For: 203.0.113.7"))
        assert big.status == 429, "its body was read: the connection is the proxy's, and goes on"
        assert await status("203.0.113.9") == 200


async def test_fragmented_messages_are_counted_like_all_others() -> None:
    async with open_front(server=INTRODUCED, address_requests_per_s=1) as front, raw_client(front) as client:
        await client.send(A)
        message = call("echo")
        halves = masked(message[:10], is_final=False) + masked(message[10:], 0)
        await client.upgrade(trailing=halves * 10)
        assert (await statuses(client, 10)).count(429) >= 6


async def test_a_flood_of_refusals_lets_others_have_their_turn() -> None:
    async with open_front(server=INTRODUCED, address_requests_per_s=1) as front, raw_client(front) as client:
        await client.send(A)
        await client.upgrade()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, masked(call("echo")) * 5_000)
            assert await others_are_served(front)
            assert (await statuses(client, 5_000)).count(429) > 4_900


async def test_an_address_that_sends_too_much_is_read_slowly_and_loses_nothing() -> None:
    per_s = 200_000
    async with open_front(server=INTRODUCED, address_bytes_per_s=per_s) as front, raw_client(front) as client:
        await client.send(A)
        await client.upgrade()
        message = masked(call("echo", body={"x": "y" * 900}))
        count = int(per_s * (BURST_S + 0.6)) // len(message)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, message * count)
            assert await statuses(client, count) == [200] * count
        # Two seconds' worth is there at once, and the last read, of 64 KiB at most, is paid for after it.
        assert trio.current_time() - began > 0.6 - 65_536 / per_s - 0.05


async def test_a_client_that_is_read_slowly_is_not_taken_for_a_silent_one() -> None:
    async with (
        open_front(server=INTRODUCED, address_bytes_per_s=2_000, idle_s=0.2) as front,
        raw_client(front) as client,
    ):
        await client.send(A)
        await client.upgrade(trailing=masked(call("echo", body={"x": "y" * 5_000})))
        assert (await client.message())["status"] == 200
        await client.send(masked(call("echo")))  # read when what was sent is paid for: half a second later
        assert (await client.message())["status"] == 200


async def test_slow_reading_holds_for_one_address_only() -> None:
    async with (
        open_front(server=INTRODUCED, address_bytes_per_s=1) as front,
        raw_client(front) as client,
        raw_client(front) as sibling,
    ):
        await client.send(A)
        await client.upgrade(trailing=masked(call("echo")))
        assert (await client.message())["status"] == 200
        await client.send(masked(call("echo")))
        await sibling.send(A + get())
        with trio.move_on_after(0.05) as patience:
            await sibling.answer()
        assert patience.cancelled_caught, "what its address owes is hers, too"
        assert await others_are_served(front)


@pytest.mark.parametrize("limit", ["address_requests_per_s", "address_bytes_per_s", "address_connections"])
async def test_zero_is_no_limit(limit: str) -> None:
    async with open_front(server=INTRODUCED, **{limit: 0}) as front, raw_client(front) as client:
        await client.send(A + get() * 50)
        assert [(await client.answer()).status for _ in range(50)] == [200] * 50
        await client.send(handshake() + masked(call("echo")) * 50)
        await client.until(b"\r\n\r\n")
        assert await statuses(client, 50) == [200] * 50


async def test_without_a_proxy_who_has_too_many_connections_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from_afar(monkeypatch, "203.0.113.7")
    async with open_front(address_connections=2, connections=3) as front, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(front)) for _ in range(2)]
        for client in clients:
            assert (await client.ask(get())).status == 200
        for _ in range(3):  # they take no place from others
            refused = await stack.enter_async_context(raw_client(front))
            answer = await refused.answer()
            assert (answer.status, answer.json["id"]) == (429, "network.entrypoint.too_many_connections")
        from_afar(monkeypatch, "203.0.113.8")
        async with raw_client(front) as other:
            assert (await other.ask(get())).status == 200
        assert front.refused.by_reason[Refusal.ADDRESS_FULL] == 3


async def test_of_very_many_the_rest_is_closed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    from_afar(monkeypatch, "203.0.113.7")
    async with open_front(address_connections=1) as front, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(front)) for _ in range(REFUSED_AT_ONCE + 5)]
        assert (await clients[0].ask(get())).status == 200
        said = [await client.rest() for client in clients[1:]]
        assert sum(b" 429 " in words for words in said) == REFUSED_AT_ONCE
        assert said.count(b"") == 4
        assert [line["times"] for line in front.logged("address over its limit")] == [1, 2, 4, 8, 16, 32, 64]


async def test_who_adds_a_header_for_proxies_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from_afar(monkeypatch, "203.0.113.7")
    async with open_front(address_requests_per_s=1) as front, raw_client(front) as client:
        requests = [get("/probe", f"X-Forwarded-For: 198.51.100.{n}") for n in range(10)]
        await client.send(b"".join(requests))
        assert [(await client.answer()).status for _ in range(10)].count(429) >= 6
