"""TLS at the front door: who gets in and who does not, what they cost, and how either side ends it.

What a client is told and gets once it is in is that of the other tests of the front door, which run over TLS as well.
"""

import gc
import os
import shutil
import socket
import ssl
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from server.adapters.handshakes import HANDSHAKE_BYTES
from server.adapters.tls import READ_BYTES
from server.cli.children import open_child
from support.certificates import Authority
from support.front import Front, Tls, call, get, handshake, masked, open_front, post, raw_client
from support.tls import TlsBytes, client_hello
from support.waiting import eventually


async def others_are_served(front: Front) -> bool:
    async with raw_client(front) as client:
        return (await client.ask(get())).status == 200


async def socket_to(front: Front) -> trio.SocketStream:
    return await trio.open_tcp_stream(front.host, front.port)


async def everything(stream: trio.SocketStream) -> bytes:
    """Read until the server has ended the connection, in order or not."""
    data = b""
    try:
        while piece := await stream.receive_some(65_536):
            data += piece
    except trio.BrokenResourceError:
        pass
    return data


def reasons(front: Front) -> list[tuple[int, str]]:
    return [(line["count"], line["reason"]) for line in front.logged("tls handshake failed")]


# -- The handshake ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken_and_http_1_1_within(
    tls: Tls, authority: Authority, version: ssl.TLSVersion
) -> None:
    trust = ssl.create_default_context(cafile=authority.certificate)
    trust.minimum_version = trust.maximum_version = version
    trust.set_alpn_protocols(["h2", "http/1.1"])
    async with open_front(tls=Tls(tls.certificates, trust)) as front, raw_client(front) as client:
        assert isinstance(client.stream, trio.SSLStream)
        assert client.stream.selected_alpn_protocol() == "http/1.1"
        assert (await client.ask(get())).status == 200
        await client.upgrade(trailing=masked(call("echo", requestId="1")))
        assert (await client.message())["room"] == "1"


async def test_older_versions_are_refused_with_an_alert(tls: Tls) -> None:
    async with open_front(tls=tls) as front, await socket_to(front) as stream:
        await stream.send_all(client_hello(b"\x03\x02"))
        alert = await everything(stream)
        assert alert[0] == 0x15
        assert alert[-2:] == b"\x02\x46"  # fatal, protocol_version
        assert reasons(front) == [(1, "the client speaks only versions of TLS before 1.2")]


@pytest.mark.parametrize("start", [get(), handshake(), b"\x00\x01\x02 anything\r\n\r\n", b"GET"])
async def test_who_speaks_plain_text_is_told_so_in_plain_text(tls: Tls, start: bytes) -> None:
    async with open_front(tls=tls) as front, raw_client(attrs.evolve(front, trust=None)) as client:
        answer = await client.ask(start)
        assert (answer.status, answer.json["id"]) == (400, "network.http.unexpected_error")
        assert "https://" in answer.json["message"]
        assert await client.rest() == b""
        assert front.app.gate.handshakes_failed == 1
        assert await others_are_served(front)


async def test_who_looks_whether_the_port_is_open_is_no_failure(tls: Tls) -> None:
    async with open_front(tls=tls) as front:
        for _ in range(3):
            await (await socket_to(front)).aclose()
        assert await others_are_served(front)
        assert front.app.gate.handshakes_failed == 0
        assert front.log.calls == []


@pytest.mark.parametrize("part", [0, 1, 100])
async def test_a_handshake_has_a_limit_and_costs_nobody_else_anything(tls: Tls, part: int) -> None:
    async with open_front(tls=tls, tls_handshake_s=0.1) as front, await socket_to(front) as stream:
        hello, _ = TlsBytes(tls.trust).shake_hands()
        await stream.send_all(hello[:part])
        assert await others_are_served(front)
        assert await everything(stream) == b""
        assert reasons(front) == [(1, "it took more than 0.1 s")]


async def test_a_handshake_that_drips_in_has_the_limit_too(tls: Tls) -> None:
    async with open_front(tls=tls, tls_handshake_s=0.1) as front, await socket_to(front) as stream:
        hello, _ = TlsBytes(tls.trust).shake_hands()
        try:
            while True:
                for byte in hello[:-1]:
                    await stream.send_all(bytes((byte,)))
                    await trio.testing.wait_all_tasks_blocked(0.002)
        except trio.BrokenResourceError:
            pass
        assert reasons(front) == [(1, "it took more than 0.1 s")]


async def test_a_handshake_without_an_end_is_given_up(tls: Tls) -> None:
    # A hello of 128 KiB, which TLS would allow, in many records.
    head = b"\x01" + (2 * HANDSHAKE_BYTES - 4).to_bytes(3) + b"\x03\x03"
    async with open_front(tls=tls) as front, await socket_to(front) as stream:
        try:
            await stream.send_all(b"\x16\x03\x01" + len(head).to_bytes(2) + head)
            for _ in range(2 * HANDSHAKE_BYTES // 16_000):
                await stream.send_all(b"\x16\x03\x01" + (16_000).to_bytes(2) + bytes(16_000))
        except trio.BrokenResourceError:
            pass
        await eventually(lambda: reasons(front), "it was given up")
        assert await others_are_served(front)
        assert front.app.gate.handshakes_failed == 1


async def test_failures_are_counted_and_said_ever_more_rarely(tls: Tls) -> None:
    stranger = ssl.create_default_context()
    async with open_front(tls=tls) as front:
        for number in range(1, 11):
            async with await socket_to(front) as stream:
                client = TlsBytes(stranger)
                with pytest.raises(ssl.SSLCertVerificationError):
                    await client.connect(stream)
                await stream.send_all(client.said())
                await everything(stream)
            assert front.app.gate.handshakes_failed == number
        why = "the client does not believe the certificate: it does not know who signed it"
        assert reasons(front) == [(1, why), (2, why), (4, why), (8, why)]
        assert {call.method_name for call in front.log.calls} == {"info"}


async def test_many_handshakes_at_once_all_get_through(tls: Tls) -> None:
    async with open_front(tls=tls) as front, trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(others_are_served, front)


async def test_a_node_that_stops_does_not_wait_for_handshakes(tls: Tls) -> None:
    async with (
        open_front(tls=tls, tls_handshake_s=600, stop_s=600) as front,
        await socket_to(front) as stream,
    ):
        await stream.send_all(TlsBytes(tls.trust).shake_hands()[0][:10])
        await trio.testing.wait_all_tasks_blocked()
        front.stopping.set()
        assert await everything(stream) == b""
        await front.stopped.wait()
        assert front.log.calls == []


async def test_memory_stays_flat_over_many_failed_handshakes(tls: Tls) -> None:
    hello, _ = TlsBytes(tls.trust).shake_hands()
    bad = [
        client_hello(b"\x03\x02"),
        b"\x16" + bytes(50),
        hello[:200],
        hello,
        hello + b"\x17\x03\x03\x00\x20" + bytes(32),
    ]

    async def fail(front: Front, times: int) -> None:
        for number in range(times):
            async with await socket_to(front) as stream:
                await stream.send_all(bad[number % len(bad)])
                await stream.send_eof()
                await everything(stream)

    async with open_front(tls=tls, connections=100_000) as front:
        await fail(front, 500)
        before = resident_bytes()
        await fail(front, 1_500)
        grown = resident_bytes() - before
        assert front.app.gate.handshakes_failed == 2_000
        assert grown < 2_000_000, "a leak of 2 kB each would be 3 MB"
        assert await others_are_served(front)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# -- Records ------------------------------------------------------------------------------------------------------


async def test_what_comes_in_the_same_write_as_the_end_of_the_handshake_is_heard(tls: Tls) -> None:
    async with open_front(tls=tls) as front, await socket_to(front) as stream:
        client = TlsBytes(tls.trust)
        await client.connect(stream, get())
        answer = b""
        while b"200 OK" not in answer:
            answer += client.decrypted(await stream.receive_some(65_536))


async def test_a_record_may_come_in_pieces_and_many_in_one_write(tls: Tls) -> None:
    async with open_front(tls=tls) as front, await socket_to(front) as stream:
        client = TlsBytes(tls.trust)
        await client.connect(stream)
        for byte in client.encrypted(get()):
            await trio.testing.wait_all_tasks_blocked()
            await stream.send_all(bytes((byte,)))
        answers = b""
        while b"200 OK" not in answers:
            answers += client.decrypted(await stream.receive_some(65_536))
        await stream.send_all(b"".join(client.encrypted(bytes((byte,))) for byte in get() * 30))
        while answers.count(b"200 OK") < 31:
            answers += client.decrypted(await stream.receive_some(65_536))


async def test_large_requests_and_answers_are_whole(tls: Tls) -> None:
    async with open_front(tls=tls) as front, raw_client(front, receive_buffer=4_096) as client:
        text = os.urandom(400_000).hex()
        answer = await client.ask(
            post(b'{"text": "' + text.encode() + b'"}', "Content-Type: application/json")
        )
        assert answer.json["result"]["body"] == {"text": text}
        await client.send(get("/probe/big?size=3000000") * 3)
        for _ in range(3):
            assert (await client.answer()).json["result"] == "x" * 3_000_000


async def test_a_flood_is_read_in_large_pieces_and_answered_in_order(tls: Tls) -> None:
    requests = [call("echo", requestId=str(number)) for number in range(2_000)]
    flood = b"".join(map(masked, requests))
    assert len(flood) > 4 * READ_BYTES
    async with open_front(tls=tls) as front, raw_client(front) as client:
        await client.upgrade()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, flood)
            for number in range(2_000):
                assert (await client.message())["room"] == str(number)


async def test_a_damaged_record_ends_the_connection_with_an_alert(tls: Tls) -> None:
    async with open_front(tls=tls) as front, await socket_to(front) as stream:
        client = TlsBytes(tls.trust)
        await client.connect(stream)
        record = bytearray(client.encrypted(get()))
        record[-1] ^= 1
        await stream.send_all(record)
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            client.decrypted(await everything(stream))
        assert front.log.calls == []
        assert await others_are_served(front)


async def test_a_client_may_change_its_keys(tls: Tls, authority: Authority) -> None:
    """OpenSSL's client does at the letter K, and asks us to do so, too."""
    assert shutil.which("openssl")
    async with open_front(tls=tls) as front:
        command = ["openssl", "s_client", "-connect", f"{front.host}:{front.port}", "-tls1_3", "-crlf"]
        async with open_child("s_client", [*command, "-CAfile", str(authority.certificate)]) as child:
            assert child.process.stdin is not None
            await child.line("Verify return code: 0")
            await child.process.stdin.send_all(b"K\n")
            await child.line("KEYUPDATE")
            for _ in range(2):
                await child.process.stdin.send_all(b"GET /probe HTTP/1.1\nHost: x\n\n")
            await eventually(lambda: sum(line.count("HTTP/1.1 200 OK") for line in child.lines) == 2)


# -- Behind proxies ----------------------------------------------------------------------------------------------

INTRODUCED = {"trusted_proxies": ("127.0.0.1",), "proxy_protocol": True}
HEADER = b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n"


async def test_a_proxys_header_comes_before_tls_also_in_the_same_write(tls: Tls) -> None:
    async with open_front(tls=tls, server=INTRODUCED) as front, await socket_to(front) as stream:
        client = TlsBytes(tls.trust)
        hello, _ = client.shake_hands()
        await stream.send_all(HEADER + hello)
        said, is_done = client.shake_hands(await stream.receive_some(65_536))
        assert is_done
        await stream.send_all(said + client.encrypted(get("/probe/who")))
        answer = b""
        while b"203.0.113.7" not in answer:
            answer += client.decrypted(await stream.receive_some(65_536))


@pytest.mark.parametrize(("limit", "status"), [("address_connections", b"429"), ("connections", b"503")])
async def test_a_proxys_client_that_is_one_too_many_is_told_so_within_tls(
    tls: Tls, limit: str, status: bytes
) -> None:
    async with (
        open_front(tls=tls, server=INTRODUCED, **{limit: 1}) as front,
        await socket_to(front) as first,
        await socket_to(front) as second,
    ):
        clients = {stream: TlsBytes(tls.trust) for stream in (first, second)}
        for stream, client in clients.items():
            await stream.send_all(HEADER)
            await client.connect(stream)
        await second.send_eof()
        assert clients[second].decrypted(await everything(second)).startswith(b"HTTP/1.1 " + status + b" ")


async def test_what_an_address_sends_is_rationed_within_tls_too(tls: Tls) -> None:
    per_s = 20_000
    body = b'{"text": "' + b"x" * 30_000 + b'"}'
    async with (
        open_front(tls=tls, server=INTRODUCED, address_bytes_per_s=per_s) as front,
        await socket_to(front) as stream,
    ):
        client = TlsBytes(tls.trust)
        await stream.send_all(HEADER)
        await client.connect(stream)
        began, answers = trio.current_time(), b""
        request = post(body, "Content-Type: application/json")
        pieces = [request[at : at + 16_000] for at in range(0, len(request), 16_000)] * 2
        await stream.send_all(b"".join(map(client.encrypted, pieces)))
        while answers.count(b"HTTP/1.1 200 ") < 2:
            answers += client.decrypted(await stream.receive_some(65_536))
        # 60 kB, of which 40 at once, and the last read is not waited for.
        assert trio.current_time() - began > (60_000 - 2 * per_s - READ_BYTES) / per_s / 2


# -- The end ------------------------------------------------------------------------------------------------------


async def test_a_client_that_says_goodbye_is_told_so_too(tls: Tls) -> None:
    async with open_front(tls=tls) as front:
        for prelude in (b"", get()):
            async with raw_client(front) as client:
                if prelude:
                    await client.ask(prelude)
                # Raises when the server only closes the connection.
                assert isinstance(client.stream, trio.SSLStream)
                raw, rest = await client.stream.unwrap()
                assert rest == b""
                assert await raw.receive_some(1) == b""
        assert front.log.calls == []


async def test_a_goodbye_behind_a_request_does_not_keep_it_from_being_answered(tls: Tls) -> None:
    async with open_front(tls=tls) as front, await socket_to(front) as stream:
        client = TlsBytes(tls.trust)
        await client.connect(stream)
        await stream.send_all(client.encrypted(get()) + client.goodbye())
        answer = client.decrypted(await everything(stream))
        assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_who_is_refused_gets_the_answer_also_if_more_of_it_was_on_its_way(tls: Tls) -> None:
    async with open_front(tls=tls, outbox_bytes=1_000) as front, await socket_to(front) as stream:
        client = TlsBytes(tls.trust)
        await client.connect(stream)
        records = [client.encrypted(data) for data in (b"nonsense\r\n\r\n", *[b"x" * 16_000] * 20)]
        await stream.send_all(b"".join(records))
        await stream.send_eof()
        answer = client.decrypted(await everything(stream))
        assert answer.startswith(b"HTTP/1.1 400 ")


async def test_cancelled_everyone_is_dropped_at_once(tls: Tls) -> None:
    async with open_front(tls=tls) as front:
        stream, client = await socket_to(front), TlsBytes(tls.trust)
        await client.connect(stream, get("/probe/wait"))
        half = await socket_to(front)
        await half.send_all(client_hello(b"\x03\x03")[:5])
        while not front.probe.waiting:
            await trio.lowlevel.checkpoint()
    assert front.probe.waiting == 0
    for each in (stream, half):
        await each.aclose()


async def test_a_client_that_vanishes_is_no_loss_to_anybody(tls: Tls) -> None:
    async with open_front(tls=tls) as front:
        async with raw_client(front) as client:
            await client.upgrade(trailing=masked(call("attach")))
            await client.message()
            client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        await eventually(lambda: not front.probe.attached, "nobody is left")
        assert front.log.calls == []
