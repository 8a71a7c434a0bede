"""The load generator counts right: what comes, what does not, and what is not what it should be.

Against servers made for it, which send frames of known numbers, torn at bad places. A benchmark with a generator that
miscounts is none, so this is a part of `make bench`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from server.core.frames import text_frame
from support.bench_load import GeneratorFailed, Script, attached_load

pytestmark = [pytest.mark.bench, pytest.mark.workload("generator")]

UPGRADE = b"HTTP/1.1 101 Go on\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"


def script(port: int, **others: object) -> Script:
    keys = {
        "sub.port": port,
        "pub.port": port,
        "sub.path": "/sub",
        "pub.path": "/pub",
        "publish": "hello %1$d",
    }
    return {key: [str(value)] for key, value in {**keys, **others}.items()}


@asynccontextmanager
async def served(deliver: Callable[[bytes], list[bytes]], answer: bytes = b"") -> AsyncIterator[int]:
    """Serve: what a publisher sends in one read goes through `deliver`, whose pieces are sent to each subscriber."""
    subscribers: list[trio.SocketStream] = []

    async def attend(stream: trio.SocketStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some()
            is_publisher = b"/sub" not in request
            if b"Upgrade" in request:
                await stream.send_all(UPGRADE)
                request = b""
            if not is_publisher:
                subscribers.append(stream)
            while is_publisher and (data := request or await stream.receive_some()):
                request = b""
                for piece in deliver(data):
                    for subscriber in subscribers:
                        await subscriber.send_all(piece)
                        await trio.lowlevel.checkpoint()
                await stream.send_all(answer * data.count(b"hello"))
            while not is_publisher and await stream.receive_some():
                pass

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, attend, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
async def test_frames_of_all_sizes_are_counted_however_torn(size: int, folder: Path) -> None:
    frame = text_frame(b"x" * size)

    def torn(data: bytes) -> list[bytes]:
        joined = frame * data.count(b"hello")
        half = len(joined) // 2
        return (
            [joined[:1], joined[1:half], joined[half:-1], joined[-1:]]
            if half > 1
            else [joined[:1], joined[1:]]
        )

    async with served(torn) as port, attached_load(folder, script(port, subscribers=3, window=4)) as load:
        ran = await load.run(0.1, 4)
    assert ran.missing == 0
    assert ran.published > 4
    assert ran.delivered + ran.later == 3 * ran.published


async def test_what_does_not_come_is_missing(folder: Path) -> None:
    seen = []

    def forgetful(data: bytes) -> list[bytes]:
        seen.append(data)
        return [] if len(seen) == 5 else [text_frame(b"x")] * data.count(b"hello")

    async with (
        served(forgetful) as port,
        attached_load(folder, script(port, subscribers=2, window=1)) as load,
    ):
        ran = await load.run(0.1, 1)
    assert (ran.published, ran.delivered, ran.missing) == (5, 8, 2)


async def test_answers_of_http_are_counted(folder: Path) -> None:
    over_http = {"http": "/rooms/%1$d", "asks": 1, "subscribers": 0, "window": 3}
    async with served(lambda _: [], ANSWER) as port, attached_load(folder, script(port, **over_http)) as load:
        ran = await load.run(0.1, 3)
    assert ran.missing == 0
    assert ran.delivered + ran.later == ran.published > 3
    assert 0 < ran.p50_us <= ran.p99_us


@pytest.mark.parametrize(
    ("others", "answer", "why"),
    [
        (
            {"http": "/", "asks": 1, "subscribers": 0},
            ANSWER.replace(b"200", b"503"),
            "no good answer: HTTP/1.1 503",
        ),
        ({"asks": 1, "subscribers": 0}, b"\x88\x00", "a frame 0x88 came where text was due"),
    ],
)
async def test_a_server_that_refuses_is_no_measurement(
    others: dict[str, object], answer: bytes, why: str, folder: Path
) -> None:
    async with served(lambda _: [], answer) as port:
        with pytest.raises(GeneratorFailed, match=why):
            async with attached_load(folder, script(port, **others)) as load:
                await load.run(0.1, 1)


async def test_a_pace_is_kept(folder: Path) -> None:
    paced = {"subscribers": 1, "window": 100, "pace": 500}
    async with (
        served(lambda data: [text_frame(b"x")] * data.count(b"hello")) as port,
        attached_load(folder, script(port, **paced)) as load,
    ):
        ran = await load.run(0.4, 100)
    assert 190 <= ran.published <= 201
