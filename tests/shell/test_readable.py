"""Reading from ZeroMQ sockets: what does not end is not kept, and others have their turn meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
import zmq

from cluster.adapters.readable import FRAMES_AT_ONCE, Readable

Pair = tuple["zmq.Socket[bytes]", Readable]


@pytest.fixture
def pair() -> Iterator[Pair]:
    context = zmq.Context()
    sender, receiver = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    for socket in (sender, receiver):
        socket.set(zmq.LINGER, 0)
    receiver.bind("inproc://here")
    sender.connect("inproc://here")
    yield sender, Readable(receiver, parts=2)
    sender.close()
    receiver.close()
    context.term()


async def test_of_a_message_with_too_many_parts_no_more_is_kept_than_shows_that(pair: Pair) -> None:
    sender, readable = pair
    for message in ([b"1"], [b"1", b"2"], [b"%d" % number for number in range(1, 100)], [b"1", b"2"]):
        sender.send_multipart(message)
    batches = readable.batches()
    assert await anext(batches) == [[b"1"], [b"1", b"2"], [b"1", b"2", b"3"], [b"1", b"2"]]
    await batches.aclose()  # type: ignore[attr-defined]


async def test_others_have_their_turn_while_the_rest_of_one_is_thrown_away(pair: Pair) -> None:
    sender, readable = pair
    turns = 0

    async def count_turns(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        nonlocal turns
        task_status.started()
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    sender.send_multipart([b"x"] * (100 * FRAMES_AT_ONCE))
    sender.send(b"end")
    batches = readable.batches()
    async with trio.open_nursery() as nursery:
        await nursery.start(count_turns)
        assert await anext(batches) == [[b"x"] * 3]
        assert turns > 50
        assert await anext(batches) == [[b"end"]]
        nursery.cancel_scope.cancel()
    await batches.aclose()  # type: ignore[attr-defined]
