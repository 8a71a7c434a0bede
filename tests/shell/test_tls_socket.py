"""What a TLS client gets that does not take it now: the same bytes in the same order, or whole frames and an end."""

import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import structlog
import trio
import trio.testing
from structlog.testing import CapturingLogger

from server.adapters.outbox import Outbox
from server.adapters.tls import RECORD_BYTES, UNSENT_BYTES, TlsSocket, TlsWire
from server.adapters.turn import Turn
from server.core.limits import Limits
from server.core.outbox import DropReason, OutboxCounters
from support.front import Tls
from support.tls import TlsBytes

LAST = b"<too slow>"


@attrs.define(eq=False)
class Pair:
    """The two ends of a connection, after their handshake."""

    tls: TlsSocket
    outbox: Outbox
    wire: TlsWire
    client: TlsBytes
    theirs: trio.SocketStream
    counters: OutboxCounters

    async def read(self, most: int = 65_536) -> bytes:
        return self.client.decrypted(await self.theirs.receive_some(most))

    async def rest(self) -> bytes:
        """Read to the end of the connection, which has to be said in TLS's words."""
        data = b""
        while piece := await self.theirs.receive_some(65_536):
            data += self.client.decrypted(piece)
        with contextlib.suppress(ssl.SSLZeroReturnError):  # both have said so
            assert self.client.tls.read(1) == b""  # not SSLWantReadError
        return data


@asynccontextmanager
async def open_pair(tls: Tls, **limits: float) -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    turn, counters, log = Turn(), OutboxCounters(), structlog.wrap_logger(CapturingLogger(), processors=[])
    async with trio.open_nursery() as background:
        background.start_soon(turn.run)
        with ours, trio.fail_after(20):
            async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as stream:
                secured, client = TlsSocket(ours, tls.certificates.context), TlsBytes(tls.trust)
                said, _ = client.shake_hands()
                assert not secured.shake_hands(said)
                assert secured.flush()
                said, _ = client.shake_hands(await stream.receive_some(65_536))
                assert secured.shake_hands(said)
                assert secured.flush()
                assert client.decrypted(await stream.receive_some(65_536)) == b""  # keys for another time
                bounds = Limits(**limits)  # type: ignore[arg-type]  # each test knows its limits' types
                outbox = Outbox(secured, "test", turn, background, limits=bounds, counters=counters, log=log)
                outbox.overflow_frame = LAST
                yield Pair(secured, outbox, TlsWire(secured, outbox, "test"), client, stream, counters)
        background.cancel_scope.cancel()


async def block(pair: Pair, frame: bytes) -> int:
    """Write until the socket takes no more; return how many frames that took."""
    count = 0
    while pair.outbox.is_empty:
        pair.outbox.write(frame)
        pair.outbox.flush()
        count += 1
    return count


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_is_written_arrives_in_order_however_it_is_read(tls: Tls, seed: int) -> None:
    dice = random.Random(seed)
    async with open_pair(tls, outbox_bytes=100_000_000) as pair:
        expected, received = bytearray(), bytearray()
        for _ in range(30):
            for _ in range(dice.randrange(6)):
                size = dice.choice([2, 10, 200, 5_000, RECORD_BYTES, RECORD_BYTES + 1, 70_000])
                frame = dice.randbytes(size)
                expected += frame
                pair.outbox.write(frame)
            pair.outbox.flush()
            if dice.random() < 0.7 and len(received) < len(expected):
                received += await pair.read(dice.choice([1, 100, 10_000, 1_000_000]))
        pair.outbox.finish()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.outbox.drained)
            received += await pair.rest()
        assert received == expected
        assert pair.outbox.is_empty
        assert pair.counters.bytes_sent == len(expected)


@pytest.mark.parametrize("size", [2, 100, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1, 40_000])
async def test_a_client_over_its_bound_gets_whole_frames_and_then_the_reason(tls: Tls, size: int) -> None:
    async with open_pair(tls, outbox_bytes=50_000) as pair:
        frame = bytes(range(1, 251)) * 200
        frame = frame[: size - 1] + b"\n"
        written = await block(pair, frame)
        while pair.outbox.is_open:
            pair.outbox.write(frame)
            written += 1
        received = await pair.rest()
        whole = received.removesuffix(LAST)
        assert whole != received
        assert whole == frame * (len(whole) // len(frame))
        await trio.testing.wait_all_tasks_blocked()
        assert pair.outbox.is_empty
        assert len(whole) // len(frame) + pair.counters.frames_dropped[DropReason.SLOW] == written


async def test_a_frame_that_is_not_taken_whole_is_not_called_sent(tls: Tls) -> None:
    async with open_pair(tls) as pair:
        frames = await block(pair, b"x" * 3_000)
        assert pair.outbox.is_blocked
        assert pair.counters.frames_sent == frames - 1
        received = b""
        while len(received) < frames * 3_000:
            received += await pair.read()
        await pair.outbox.drained()
        assert pair.counters.frames_sent == frames


async def test_what_the_kernel_did_not_take_follows_though_nothing_more_is_written(tls: Tls) -> None:
    async with open_pair(tls) as pair:
        pair.outbox.write(b"x" * RECORD_BYTES)
        pair.outbox.flush()
        assert pair.outbox.is_blocked
        received = b""
        while len(received) < RECORD_BYTES:
            received += await pair.read()


async def test_a_goodbye_waits_for_room(tls: Tls) -> None:
    async with open_pair(tls) as pair:
        with pytest.raises(BlockingIOError):  # noqa: PT012 (one of them does, depending on the machine)
            while True:
                pair.tls.raw.send(b"\x00")  # not TLS: it is never read as such
        pair.outbox.finish()
        pair.outbox.flush()
        assert pair.outbox.is_blocked
        raw = b""
        while piece := await pair.theirs.receive_some(65_536):
            raw += piece
        assert pair.client.decrypted(raw.lstrip(b"\x00")) == b""
        assert pair.client.tls.read(1) == b""


async def test_what_was_there_before_our_goodbye_can_be_read_after_it(tls: Tls) -> None:
    async with open_pair(tls) as pair:
        records = [pair.client.encrypted(b"%d" % number * 5_000) for number in range(3)]
        await pair.theirs.send_all(b"".join(records)[:-10])
        assert await pair.wire.receive(100) == b"0" * 100
        pair.outbox.finish()
        await pair.outbox.drained()
        await pair.theirs.send_all(b"".join(records)[-10:] + pair.client.encrypted(b"and more"))
        data = b""
        while len(data) < 3 * 5_000 - 100 + len(b"and more"):
            data += await pair.wire.receive(4_000)
        assert data == b"0" * 4_900 + b"1" * 5_000 + b"2" * 5_000 + b"and more"
        await pair.theirs.send_all(pair.client.goodbye())
        assert await pair.wire.receive(100) == b""
        assert await pair.wire.receive(100) == b""
        assert await pair.rest() == b""


async def test_a_client_gives_way_between_reads_however_small_its_records(tls: Tls) -> None:
    async with open_pair(tls) as pair:
        await pair.theirs.send_all(b"".join(pair.client.encrypted(b"xy") for _ in range(50)))
        received = b""
        while len(received) < 100:
            with trio.testing.assert_checkpoints():
                received += await pair.wire.receive(1)


async def test_a_client_that_takes_no_answers_to_what_only_concerns_tls_is_given_up(tls: Tls) -> None:
    async with open_pair(tls) as pair:
        await block(pair, b"x" * 3_000)
        # As if it had asked for new keys, again and again.
        pair.tls._outgoing.write(bytes(UNSENT_BYTES))
        await pair.theirs.send_all(pair.client.encrypted(b"go on"))
        assert await pair.wire.receive(100) == b"go on"
        assert await pair.wire.receive(100) == b""
        pair.outbox.lose()
