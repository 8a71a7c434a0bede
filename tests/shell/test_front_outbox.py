"""The outbox on real sockets: what is joined, what waits, and what becomes of a client that does not read.

Sockets here keep the bounds of each write (SOCK_SEQPACKET) where a test counts writes.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import structlog
import trio
import trio.testing
from structlog.testing import CapturingLogger

from server.adapters.outbox import Outbox
from server.adapters.turn import Turn
from server.core.limits import Limits
from server.core.outbox import DropReason, OutboxCounters

CLOSE = b"<too slow>"


@attrs.define(eq=False)
class Pair:
    """An outbox, and the client's end of its socket."""

    outbox: Outbox
    ours: socket.socket
    client: trio.socket.SocketType
    turn: Turn
    counters: OutboxCounters
    tasks: trio.Nursery
    ended: trio.Event
    """Set when the connection is over."""
    log: CapturingLogger

    async def rest(self) -> bytes:
        """Read as a client does until there is nothing more for it."""
        data = bytearray()
        while piece := await self.client.recv(65_536):
            data += piece
        return bytes(data)

    def dropped(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.counters.frames_dropped.items() if count}


@asynccontextmanager
async def open_pair(kind: int = socket.SOCK_STREAM, **limits: float) -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.setblocking(False)
    turn, counters, log = Turn(), OutboxCounters(), CapturingLogger()
    async with trio.open_nursery() as background:
        background.start_soon(turn.run)
        with ours, trio.socket.from_stdlib_socket(theirs) as client, trio.fail_after(20):
            async with trio.open_nursery() as tasks:
                outbox = Outbox(
                    ours,
                    "test",
                    turn,
                    tasks,
                    limits=Limits(**limits),  # type: ignore[arg-type]  # each test knows its limits' types
                    counters=counters,
                    log=structlog.wrap_logger(log, processors=[]),
                )
                outbox.overflow_frame = CLOSE
                ended = trio.Event()
                tasks.start_soon(serve, outbox, ended)
                await trio.testing.wait_all_tasks_blocked()
                yield Pair(outbox, ours, client, turn, counters, tasks, ended, log)
                tasks.cancel_scope.cancel()
        background.cancel_scope.cancel()


async def serve(outbox: Outbox, ended: trio.Event) -> None:
    """Do nothing for the client, as long as that may go on; then take leave of it."""
    with outbox.begin():
        await trio.sleep_forever()
    with outbox.last_moments():
        await trio.sleep_forever()
    outbox.lose()
    ended.set()


async def block(pair: Pair, frame: bytes = b"x" * 10_000) -> int:
    """Write until the socket takes no more; return how many frames that took."""
    count = 0
    while pair.outbox.is_empty:
        pair.outbox.write(frame)
        pair.outbox.flush()
        count += 1
    return count


async def test_what_one_turn_writes_is_one_write() -> None:
    async with open_pair(socket.SOCK_SEQPACKET) as pair:
        with pair.turn:
            for frame in (b"one,", b"two,", b"three"):
                pair.outbox.write(frame)
        pair.turn.flush()
        assert await pair.client.recv(100) == b"one,two,three"
        # Written by no reader: also joined, by the turn's own task.
        pair.outbox.write(b"four,")
        pair.outbox.write(b"five")
        assert await pair.client.recv(100) == b"four,five"
        assert (pair.counters.frames_sent, pair.counters.bytes_sent) == (5, 22)


def at_the_end(turn: Turn, *flushes: Callable[[], None]) -> None:
    """End a turn in which these were deferred."""
    with turn:
        for flush in flushes:
            turn.defer(flush)
    turn.flush()


async def test_what_a_flush_writes_is_sent_at_once() -> None:
    async with open_pair(socket.SOCK_SEQPACKET) as pair:

        def hand_out() -> None:
            pair.outbox.write(b"one,", b"two", joined=b"one,two")
            assert pair.counters.frames_sent == 2
            pair.outbox.write(b"three")

        at_the_end(pair.turn, hand_out)
        assert await pair.client.recv(100) == b"one,two"
        assert await pair.client.recv(100) == b"three"
        assert (pair.counters.frames_sent, pair.counters.bytes_sent) == (3, 12)
        assert pair.outbox.is_empty


async def test_what_a_flush_writes_follows_what_waits_already() -> None:
    async with open_pair(socket.SOCK_SEQPACKET) as pair:
        with pair.turn:
            pair.turn.defer(lambda: pair.outbox.write(b"two"))
            pair.outbox.write(b"one,")
        pair.turn.flush()
        assert await pair.client.recv(100) == b"one,two"


async def test_of_what_a_flush_writes_the_rest_waits_when_the_socket_is_full() -> None:
    async with open_pair(outbox_bytes=10_000_000) as pair:
        frames = [bytes((number,)) * 100_000 for number in range(50)]
        at_the_end(pair.turn, lambda: pair.outbox.write(*frames))
        assert pair.outbox.is_blocked
        assert pair.outbox.bytes_waiting > 0
        at_the_end(pair.turn, lambda: pair.outbox.write(b"last"))
        expected = b"".join(frames) + b"last"
        received = bytearray()
        while len(received) < len(expected):
            received += await pair.client.recv(65_536)
        assert received == expected
        await trio.testing.wait_all_tasks_blocked()
        assert pair.outbox.is_empty
        assert pair.counters.frames_sent == 51


async def test_a_flush_that_writes_to_a_full_socket_waits_for_it() -> None:
    async with open_pair() as pair:
        fill(pair.ours)
        at_the_end(pair.turn, lambda: pair.outbox.write(b"last"))
        assert pair.outbox.is_blocked
        assert pair.outbox.bytes_waiting == 4


async def test_a_flush_that_writes_more_than_the_bound_is_no_overflow() -> None:
    async with open_pair(outbox_bytes=1_000) as pair:
        at_the_end(pair.turn, lambda: pair.outbox.write(*[b"x" * 100] * 50))
        assert pair.outbox.is_open
        assert len(await pair.client.recv(10_000)) == 5_000


async def test_what_a_flush_writes_to_a_client_that_is_gone_is_counted() -> None:
    async with open_pair(close_s=0.05) as pair:
        pair.client.close()
        at_the_end(pair.turn, lambda: pair.outbox.write(b"into the void"))
        at_the_end(pair.turn, lambda: pair.outbox.write(b"and again"))
        assert pair.dropped() == {"connection_lost": 2}
        await pair.ended.wait()


async def test_a_flush_writes_nothing_behind_the_last_frame() -> None:
    async with open_pair(socket.SOCK_SEQPACKET) as pair:
        pair.outbox.finish(b"last")
        pair.outbox.flush()
        at_the_end(pair.turn, lambda: pair.outbox.write(b"late"))
        assert await pair.client.recv(100) == b"last"
        assert pair.dropped() == {"closing": 1}


async def test_what_blocks_follows_in_order_when_the_client_reads() -> None:
    async with open_pair(outbox_bytes=10_000_000) as pair:
        frames = await block(pair)
        for number in range(1_000):
            pair.outbox.write(b"%03d" % number)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.outbox.drained)
            expected = b"x" * frames * 10_000 + b"".join(b"%03d" % number for number in range(1_000))
            received = bytearray()
            while len(received) < len(expected):
                received += await pair.client.recv(65_536)
        assert received == expected
        assert pair.outbox.is_empty
        assert pair.dropped() == {}
        pair.outbox.write(b"direct again")
        assert await pair.client.recv(100) == b"direct again"


async def test_a_client_over_its_bound_gets_whole_frames_and_then_the_reason() -> None:
    async with open_pair(outbox_bytes=50_000) as pair:
        frame = bytes(range(250)) * 40
        written = await block(pair, frame)
        while pair.outbox.is_open:
            pair.outbox.write(frame)
            written += 1
        pair.outbox.write(frame)
        written += 1
        pair.tasks.start_soon(pair.outbox.drained)
        received = bytearray()
        while not received.endswith(CLOSE):
            received += await pair.client.recv(65_536)
        whole = received[: -len(CLOSE)]
        assert whole == frame * (len(whole) // len(frame))
        await trio.testing.wait_all_tasks_blocked()
        assert pair.outbox.is_empty
        dropped = pair.counters.frames_dropped
        assert dropped[DropReason.CLOSING] == 1
        assert dropped[DropReason.SLOW] == 6  # what waited, and the one that there was no room for
        assert pair.counters.frames_sent + sum(dropped.values()) == written + 1  # the close frame
        assert [call.kwargs["event"] for call in pair.log.calls] == ["slow client closed"]


async def test_a_client_over_its_bound_that_takes_nothing_is_cut_off_after_the_grace() -> None:
    async with open_pair(outbox_bytes=50_000, close_s=0.05) as pair:
        await block(pair)
        while pair.outbox.is_open:
            pair.outbox.write(b"x" * 1_000)
        await pair.ended.wait()


async def test_a_client_that_is_owed_bytes_and_takes_none_is_cut_off() -> None:
    async with open_pair(stall_s=0.05) as pair:
        await block(pair)
        await pair.ended.wait()
    assert pair.dropped() == {"stalled_client": 1}
    assert [call.kwargs["event"] for call in pair.log.calls] == ["client stalled"]


async def test_a_client_that_takes_a_little_now_and_then_is_not_stalled(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with open_pair(stall_s=5, outbox_bytes=10_000_000) as pair:
        await block(pair)
        for _ in range(300):
            pair.outbox.write(b"x" * 10_000)
        for _ in range(4):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(3)
            waiting = pair.outbox.bytes_waiting
            while pair.outbox.bytes_waiting == waiting:
                await pair.client.recv(65_536)
        assert pair.log.calls == []
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(5)
        await pair.ended.wait()


async def test_a_turn_that_writes_more_than_the_bound_to_a_client_that_reads_is_no_overflow() -> None:
    async with open_pair(outbox_bytes=1_000) as pair:
        with pair.turn:
            for _ in range(50):
                pair.outbox.write(b"x" * 100)  # five times the bound, before anybody could read
        pair.turn.flush()
        assert pair.outbox.is_open
        assert len(await pair.client.recv(10_000)) == 5_000


async def test_a_turn_that_writes_more_than_the_bound_blocks_and_ends_at_the_bound() -> None:
    async with open_pair(outbox_bytes=1_000) as pair:
        with pair.turn:
            written = 0
            while pair.outbox.is_open:
                pair.outbox.write(b"x" * 100)
                written += 1
        received = bytearray()
        while not received.endswith(CLOSE):
            received += await pair.client.recv(65_536)
        assert len(received) - len(CLOSE) == 100 * (written - pair.dropped()["slow_client"])


async def test_a_client_whose_socket_was_full_before_the_turn_has_the_bound_all_the_same() -> None:
    async with open_pair(outbox_bytes=1_000) as pair:
        fill(pair.ours)
        with pair.turn:
            for _ in range(11):
                pair.outbox.write(b"x" * 100)
        assert not pair.outbox.is_open
        assert pair.dropped() == {"slow_client": 11}


def fill(sock: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"x" * 1_000)


async def test_writing_to_a_client_that_is_gone_does_no_harm_and_is_counted() -> None:
    async with open_pair(close_s=0.05) as pair:
        pair.client.close()
        pair.outbox.write(b"into the void")
        pair.outbox.flush()
        pair.outbox.write(b"and again")
        pair.outbox.finish(b"farewell")
        await pair.outbox.drained()
        assert not pair.outbox.is_open
        assert pair.outbox.is_empty
        assert pair.dropped() == {"connection_lost": 2}
        await pair.ended.wait()  # the connection ends also if nobody reads


async def test_a_client_that_goes_while_it_is_owed_bytes_is_counted_and_not_waited_for() -> None:
    async with open_pair() as pair:
        await block(pair)
        pair.outbox.write(b"more")
        pair.client.close()
        await pair.outbox.drained()
        assert pair.dropped() == {"connection_lost": 2}


async def test_the_last_frame_follows_what_waits_and_nothing_follows_it() -> None:
    async with open_pair(socket.SOCK_SEQPACKET) as pair:
        pair.outbox.write(b"one,")
        pair.outbox.finish(b"last")
        pair.outbox.finish(b"twice")
        pair.outbox.write(b"late")
        assert await pair.client.recv(100) == b"one,last"
        assert pair.dropped() == {"closing": 1}
