"""permessage-deflate at the front door: agreed when it is switched on and offered, and unseen by everyone else."""

import json

import pytest
import trio
import trio.testing
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Message, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from server.core import deflate
from server.core.frames import CloseCode
from support.front import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    Front,
    RawClient,
    call,
    deflated,
    handshake,
    masked,
    open_front,
    raw_client,
)
from support.pieces import pieces_of
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("plain_and_tls")

BROWSER = "permessage-deflate; client_max_window_bits"
"""What Chromium, Firefox and Node's ws offer."""

AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

SUBSCRIBE = call("subscribe", "realtime", index="i", collection="c", body={})


def publish(text: str) -> bytes:
    return call("publish", "realtime", index="i", collection="c", body={"text": text})


def echo(number: int, size: int = 0) -> bytes:
    return call("echo", requestId=str(number), body={"text": "x" * size})


def compressed(message: bytes, opcode: int = TEXT) -> bytes:
    return masked(deflated(message), opcode | RSV1)


def in_fragments(message: bytes) -> bytes:
    data = deflated(message)
    middle = len(data) // 2
    return (
        masked(data[:middle], TEXT | RSV1, is_final=False)
        + masked(b"?", PING)
        + masked(data[middle:], CONTINUATION)
    )


# -- Agreeing -------------------------------------------------------------------------------------------------------


async def test_it_is_agreed_only_when_it_is_switched_on_and_offered() -> None:
    for is_on, offer, expected in (
        (False, BROWSER, ""),
        (False, "no list of extensions;", ""),
        (True, "", ""),
        (True, "permessage-bzip2", ""),
        (True, "permessage-deflate; server_max_window_bits=9", ""),
        (True, BROWSER, AGREED),
        (True, f"permessage-deflate; server_max_window_bits=9, {BROWSER}", AGREED),
    ):
        async with open_front(compression=is_on) as front, raw_client(front) as client:
            assert await client.upgrade(offer=offer) == expected
            await client.send(masked(echo(1, 1_000)))
            assert (await client.message())["room"] == "1"
            assert client.frames_deflated == bool(expected)


async def test_a_malformed_offer_is_told_and_leaves_no_client_behind() -> None:
    async with open_front(compression=True) as front, raw_client(front) as client:
        answer = await client.ask(handshake("Sec-WebSocket-Extensions: permessage-deflate;"))
        assert answer.status == 400
        assert "Sec-WebSocket-Extensions" in answer.json["message"]
        assert await client.rest() == b""
        assert front.probe.attached == []


# -- Sending --------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every frame that was compressed, each time that it was."""
    frames = []
    really = deflate.deflated

    def counted(frame: bytes) -> bytes:
        frames.append(frame)
        return really(frame)

    monkeypatch.setattr(deflate, "deflated", counted)
    return frames


async def subscribed(front: Front, client: RawClient, offer: str) -> None:
    await client.upgrade(offer=offer)
    await client.send(masked(SUBSCRIBE))
    assert (await client.message())["status"] == 200


async def test_a_notification_is_compressed_once_for_all_that_agreed(made: list[bytes]) -> None:
    heard: list[tuple[str, bool]] = []

    async def listen(front: Front, offer: str, *, task_status: trio.TaskStatus[None]) -> None:
        async with raw_client(front) as client:
            await subscribed(front, client, offer)
            before = client.frames_deflated
            task_status.started()
            for number in range(20):
                found = await client.message()
                assert found["result"]["_source"]["text"] == f"{number}".ljust(900, ".")
            heard.append((offer, client.frames_deflated - before == 20))

    async with open_front(compression=True) as front:
        async with trio.open_nursery() as nursery:
            for offer in [BROWSER] * 10 + [""] * 3:
                await nursery.start(listen, front, offer)
            async with raw_client(front) as publisher:
                await publisher.upgrade()
                await publisher.send(b"".join(masked(publish(f"{n}".ljust(900, "."))) for n in range(20)))
                for _ in range(20):
                    await publisher.message()
        assert sorted(heard) == sorted([(BROWSER, True)] * 10 + [("", False)] * 3)
        assert len([frame for frame in made if b'"_source"' in frame]) == 20
        assert front.app.realtime.counters.delivered == 20 * 13


async def test_only_what_is_large_enough_is_compressed(made: list[bytes]) -> None:
    async with (
        open_front(compression=True, deflate_from_bytes=2_000) as front,
        raw_client(front) as client,
    ):
        await client.upgrade(offer=BROWSER)
        for size, count in ((10, 0), (1_500, 0), (3_000, 1)):
            await client.send(masked(echo(1, size)))
            assert (await client.message())["result"]["body"] == {"text": "x" * size}
            assert (len(made), client.frames_deflated) == (count, count)


async def test_control_frames_stay_as_they_are_and_in_their_place() -> None:
    async with open_front(compression=True, deflate_from_bytes=1) as front, raw_client(front) as client:
        await client.upgrade(offer=BROWSER)
        await client.send(masked(echo(1, 500)) + masked(b" " * 120, PING) + masked(echo(2, 500)))
        assert (await client.message())["room"] == "1"
        assert await client.frame() == (PONG, b" " * 120)
        assert (await client.message())["room"] == "2"
        assert client.frames_deflated == 2
        front.stopping.set()
        assert await client.close_code() == (CloseCode.SERVICE_RESTART, "service restart")
        assert client.frames_deflated == 2


# -- Receiving ------------------------------------------------------------------------------------------------------


async def test_messages_are_answered_in_their_order_however_they_are_sent() -> None:
    ways = (masked, compressed, in_fragments, lambda message: compressed(message, BINARY))
    data = b"".join(ways[number % 4](echo(number, 40 * (number % 7))) for number in range(80))
    async with open_front(compression=True) as front:
        for size in (len(data), 1_000, 77):
            async with raw_client(front) as client:
                await client.send(handshake(f"Sec-WebSocket-Extensions: {BROWSER}") + data[:size])
                await client.until(b"\r\n\r\n")
                client.is_deflated = True
                for piece in pieces_of(data[size:], [size]):
                    await client.send(piece)
                rooms = []
                while len(rooms) < 80:
                    opcode, payload = await client.frame()
                    if opcode == PONG:
                        assert payload == b"?"
                    else:
                        rooms.append(json.loads(payload)["room"])
                assert rooms == [str(number) for number in range(80)]


async def test_a_large_message_keeps_its_place() -> None:
    async with open_front(compression=True) as front, raw_client(front) as client:
        await client.upgrade(offer=BROWSER)
        sizes = (10, 15_000, 16_400, 40_000, 70_000, 500_000, 10)
        await client.send(b"".join(compressed(echo(number, size)) for number, size in enumerate(sizes)))
        for number, size in enumerate(sizes):
            found = await client.message()
            assert (found["room"], len(found["result"]["body"]["text"])) == (str(number), size)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (compressed(b" " * 2_001), CloseCode.TOO_BIG),
        (compressed(b" " * 100_000_000), CloseCode.TOO_BIG),
        (compressed(b" " * 2_001, BINARY), CloseCode.TOO_BIG),
        (in_fragments(b" " * 50_000), CloseCode.TOO_BIG),
        (masked(b"\x07\xff", TEXT | RSV1), CloseCode.BAD_TEXT),
        (masked(deflated(b" " * 900)[:-2], TEXT | RSV1), CloseCode.BAD_TEXT),
        (compressed(b"\xff"), CloseCode.BAD_TEXT),
        (masked(b"", PING | RSV1), CloseCode.PROTOCOL_ERROR),
        (masked(b"", TEXT | 0x20), CloseCode.PROTOCOL_ERROR),
        (masked(b"a", TEXT, is_final=False) + masked(b"", CONTINUATION | RSV1), CloseCode.PROTOCOL_ERROR),
        (masked(b"", TEXT | RSV1, is_final=False) + compressed(b" "), CloseCode.PROTOCOL_ERROR),
    ],
    ids=[
        "large",
        "bomb",
        "binary",
        "fragments",
        "no block",
        "cut off",
        "no text",
        "ping",
        "RSV2",
        "continuation",
        "message in a message",
    ],
)
async def test_a_fault_ends_the_connection_behind_what_came_before(data: bytes, code: CloseCode) -> None:
    async with open_front(compression=True, request_bytes=2_000) as front:
        # From the lane, and when trio-websocket has taken over.
        for first in (b"", masked(b"", BINARY)):
            async with raw_client(front) as client:
                await client.upgrade(offer=BROWSER)
                await client.send(first + compressed(echo(1, 1_900)) + data + compressed(echo(2)))
                while (found := await client.frame())[0] == PONG or b'"room":"1"' in found[1]:
                    pass
                assert found[0] == CLOSE
                assert int.from_bytes(found[1][:2], "big") == code
                await client.send(masked(found[1], CLOSE))
                assert await client.rest() == b""
        await eventually(lambda: not front.probe.attached)


async def test_what_came_before_a_fault_is_answered_whoever_had_to_read_it() -> None:
    """A binary message is trio-websocket's, which may not have handed it over yet when the fault is found."""
    async with open_front(compression=True) as front:
        for _ in range(20):  # who comes first was chance
            async with raw_client(front) as client:
                await client.upgrade(offer=BROWSER)
                await client.send(compressed(echo(1), BINARY) + masked(b"", TEXT | 0x20))
                assert (await client.message())["room"] == "1"
                assert (await client.close_code())[0] == CloseCode.PROTOCOL_ERROR


async def test_compressed_frames_without_agreement_are_a_protocol_error() -> None:
    for is_on, offer in ((False, BROWSER), (True, ""), (True, "permessage-deflate; nonsense")):
        async with open_front(compression=is_on) as front, raw_client(front) as client:
            await client.upgrade(offer=offer)
            await client.send(compressed(echo(1)))
            assert (await client.close_code())[0] == CloseCode.PROTOCOL_ERROR


# -- Others' clients ------------------------------------------------------------------------------------------------


async def test_a_client_made_by_others_talks_and_is_talked_to() -> None:
    """wsproto, which compresses each message that it sends, and may keep its state if we did not forbid it."""
    connection = WSConnection(ConnectionType.CLIENT)
    extension = PerMessageDeflate(server_max_window_bits=12)
    async with open_front(compression=True) as front, raw_client(front) as client:
        await client.send(connection.send(Request(host="x", target="/", extensions=[extension])))
        answers: list[str] = []
        part = ""
        while len(answers) < 10:
            connection.receive_data(await client.stream.receive_some(65_536))
            for event in connection.events():
                match event:
                    case AcceptConnection():
                        assert event.extensions == [extension]
                        assert extension.client_no_context_takeover
                        for number in range(10):
                            await client.send(connection.send(Message(echo(number, 700).decode())))
                    case TextMessage():
                        part += event.data
                        if event.message_finished:
                            answers.append(json.loads(part)["room"])
                            part = ""
        assert answers == [str(number) for number in range(10)]
        assert front.counters.bytes_sent < 10 * 700
