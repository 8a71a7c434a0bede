"""The laws of the outbox: order, whole frames, a bound, and nothing lost in silence."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from server.core.outbox import JOIN_BYTES, DropReason, FrameQueue, OutboxCounters

CLOSE = b"<close>"


def queue_of(*frames: bytes, limit: int = 1_000) -> FrameQueue:
    queue = FrameQueue(limit, OutboxCounters())
    for frame in frames:
        assert queue.put(frame)
    return queue


def write_all(queue: FrameQueue, at_once: int = 10**9) -> bytes:
    """Write like a socket that takes `at_once` bytes at a time."""
    wire = bytearray()
    while chunk := bytes(queue.take())[:at_once]:
        wire += chunk
        queue.sent(len(chunk))
    return bytes(wire)


class Outbox(RuleBasedStateMachine):
    """Any order of writes, sends of any size, and ends, beside a model that keeps every byte."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = queue_of(limit=40)
        self.accepted: list[bytes] = []
        self.wire = b""
        self.number = 0
        self.dropped = 0
        self.end: str | None = None

    @rule(size=st.integers(1, 60))
    def put(self, size: int) -> None:
        self.number += 1
        frame = (b"%d:" % self.number).ljust(size, b".")
        had_room = self.end is None and self.queue.bytes_waiting < 40
        assert self.queue.put(frame) == had_room
        if had_room:
            self.accepted.append(frame)

    @rule(sizes=st.lists(st.integers(1, 25), min_size=2, max_size=4))
    def put_several(self, sizes: list[int]) -> None:
        frames = []
        for size in sizes:
            self.number += 1
            frames.append((b"%d:" % self.number).ljust(size, b"."))
        had_room = self.end is None and self.queue.bytes_waiting + sum(map(len, frames)) <= 40
        assert self.queue.put(*frames) == had_room
        if had_room:
            self.accepted += frames

    @rule(share=st.floats(0, 1))
    def send(self, share: float) -> None:
        chunk = bytes(self.queue.take())
        taken = chunk[: round(len(chunk) * share)]
        self.wire += taken
        self.queue.sent(len(taken))

    @precondition(lambda self: self.end is None)
    @rule()
    def finish(self) -> None:
        self.queue.finish(CLOSE)
        self.accepted.append(CLOSE)
        self.end = "finish"

    @precondition(lambda self: self.end is None)
    @rule()
    def cut(self) -> None:
        begun = self.frames_begun()
        self.queue.cut(CLOSE, DropReason.SLOW)
        self.dropped = len(self.accepted) - begun
        self.accepted[begun:] = [CLOSE]
        self.end = "cut"

    @precondition(lambda self: self.end is not None)
    @rule(how=st.sampled_from(["finish", "cut"]))
    def end_again(self, how: str) -> None:
        before = (self.queue.bytes_waiting, bytes(self.queue.take()))
        if how == "cut":
            self.queue.cut(CLOSE, DropReason.SLOW)
        else:
            self.queue.finish(CLOSE)
        assert (self.queue.bytes_waiting, bytes(self.queue.take())) == before

    def frames_begun(self) -> int:
        """Return how many of the accepted frames have at least one byte on the wire."""
        begun, size = 0, 0
        while begun < len(self.accepted) and size < len(self.wire):
            size += len(self.accepted[begun])
            begun += 1
        return begun

    @invariant()
    def the_wire_is_a_prefix_of_whole_frames_in_order(self) -> None:
        assert b"".join(self.accepted).startswith(self.wire)

    @invariant()
    def what_waits_is_bounded_by_the_limit_and_one_frame(self) -> None:
        assert self.queue.bytes_waiting < 40 + 60 + len(CLOSE)

    @invariant()
    def nothing_is_lost_in_silence(self) -> None:
        counters = self.queue.counters
        assert counters.bytes_sent == len(self.wire)
        whole, size = 0, 0
        for frame in self.accepted:
            size += len(frame)
            whole += size <= len(self.wire)
        assert counters.frames_sent == whole
        assert counters.frames_dropped[DropReason.SLOW] == self.dropped

    def teardown(self) -> None:
        # Whatever happened, the client that reads on gets all that was promised, the close frame last.
        self.wire += write_all(self.queue, at_once=7)
        assert self.wire == b"".join(self.accepted)
        assert self.queue.is_empty


TestOutbox = Outbox.TestCase


@given(st.lists(st.binary(max_size=20), max_size=20), st.integers(1, 30))
def test_bytes_leave_in_the_order_of_the_frames_also_when_a_frame_is_empty(
    frames: list[bytes], at_once: int
) -> None:
    queue = queue_of(*frames)
    assert write_all(queue, at_once) == b"".join(frames)


def test_one_frame_may_be_larger_than_the_limit_but_nothing_comes_behind_it() -> None:
    queue = queue_of(b"x" * 100, limit=10)
    assert not queue.put(b"y")
    queue.sent(1)
    assert queue.bytes_waiting == 0  # the rest of the frame on the wire does not count
    assert queue.put(b"y")


def test_what_is_joined_for_one_write_is_bounded() -> None:
    frame = b"x" * (JOIN_BYTES // 4)
    queue = queue_of(*[frame] * 10, limit=10**9)
    assert len(queue.take()) == JOIN_BYTES
    queue.sent(1)
    assert len(queue.take()) == JOIN_BYTES + len(frame) - 1  # the torn frame's rest, and four behind it
    assert len(write_all(queue)) == 10 * len(frame) - 1


def test_a_large_frame_is_not_copied_to_be_written() -> None:
    large = b"x" * (JOIN_BYTES * 2)
    queue = queue_of(large, b"y", limit=10**9)
    queue.sent(5)
    assert len(queue.take()) == len(large) - 5
    assert write_all(queue) == large[5:] + b"y"
    queue = queue_of(large, limit=10**9)
    assert queue.take() is large


def test_after_an_overflow_the_torn_frame_is_finished_and_then_comes_exactly_the_close_frame() -> None:
    queue = queue_of(b"first", b"second", b"third")
    queue.sent(7)
    queue.cut(CLOSE, DropReason.SLOW)
    assert write_all(queue) == b"cond" + CLOSE
    assert queue.counters.frames_dropped[DropReason.SLOW] == 1
    assert queue.counters.frames_sent == 3  # first, second, the close frame
    assert queue.closed_for is DropReason.CLOSING
    assert not queue.is_lost


def test_an_end_without_a_last_frame_adds_nothing() -> None:
    queue = queue_of(b"first")
    queue.finish()
    assert not queue.is_open
    assert not queue.put(b"second")
    assert write_all(queue) == b"first"


def test_a_lost_connection_drops_all_that_waits_once_and_for_its_first_reason() -> None:
    queue = queue_of(b"first", b"second", b"third")
    queue.sent(2)
    queue.lose(DropReason.STALLED)
    queue.lose(DropReason.LOST)
    assert queue.is_empty
    assert not queue.is_open
    assert queue.take() == b""
    assert queue.closed_for is DropReason.STALLED
    assert queue.is_lost
    assert queue.counters.frames_dropped[DropReason.STALLED] == 3
    assert queue.counters.frames_dropped[DropReason.LOST] == 0


def test_a_connection_lost_between_two_frames_drops_only_those_that_wait() -> None:
    queue = queue_of(b"first", b"second")
    queue.sent(5)
    queue.lose(DropReason.LOST)
    assert queue.counters.frames_sent == 1
    assert queue.counters.frames_dropped[DropReason.LOST] == 1
