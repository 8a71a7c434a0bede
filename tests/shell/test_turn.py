"""The turn: who flushes, when, and how often."""

from itertools import count

import pytest
import trio
import trio.testing

from server.adapters.turn import FLUSHES_PER_LOOK, SLICE_S, Turn


def slow_clock() -> Turn:
    """Return a turn by whose clock more than a slice passes between two looks."""
    return Turn(count(0.0, 2 * SLICE_S).__next__)


async def test_a_reader_flushes_once_for_all_that_it_caused() -> None:
    turn, flushed = Turn(), []
    with turn:
        turn.defer(lambda: flushed.append("a"))
        turn.defer(lambda: flushed.append("b"))
        assert flushed == []
    assert flushed == []
    turn.flush()
    turn.flush()
    assert flushed == ["a", "b"]


async def test_what_a_flush_defers_is_flushed_too() -> None:
    turn, flushed = Turn(), []

    def first() -> None:
        flushed.append("first")
        turn.defer(lambda: flushed.append("second"))

    turn.defer(first)
    turn.flush()
    assert flushed == ["first", "second"]


async def test_a_flush_may_send_at_once_as_long_as_there_is_time() -> None:
    turn, sent = slow_clock(), 0

    def hand_out() -> None:
        nonlocal sent
        while turn.is_flushing:
            sent += 1
            turn.sends_left -= 1
            if not turn.sends_left:
                turn.look_at_clock()

    turn.defer(hand_out)
    turn.flush()
    assert sent == FLUSHES_PER_LOOK
    assert not turn.is_flushing


async def test_nothing_is_sent_at_once_before_and_after_a_flush() -> None:
    turn, seen = Turn(), []
    with turn:
        turn.defer(lambda: seen.append(turn.is_flushing))
        seen.append(turn.is_flushing)
    turn.flush()
    seen.append(turn.is_flushing)
    assert seen == [False, True, False]


async def test_what_is_deferred_by_no_reader_is_flushed_soon(nursery: trio.Nursery) -> None:
    turn, flushed = Turn(), []
    nursery.start_soon(turn.run)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(3):
        turn.defer(lambda: flushed.append("late"))
        turn.defer(lambda: flushed.append("with it"))
        assert flushed == []
        await trio.testing.wait_all_tasks_blocked()
        assert flushed == ["late", "with it"]
        flushed.clear()


async def test_what_was_deferred_before_the_task_ran_is_flushed_by_it(nursery: trio.Nursery) -> None:
    turn, flushed = Turn(), []
    turn.defer(lambda: flushed.append("early"))
    nursery.start_soon(turn.run)
    await trio.testing.wait_all_tasks_blocked()
    assert flushed == ["early"]


async def test_nobody_is_woken_for_what_a_reader_defers(nursery: trio.Nursery) -> None:
    turn, flushed = Turn(), []
    nursery.start_soon(turn.run)
    await trio.testing.wait_all_tasks_blocked()
    with turn:
        turn.defer(lambda: flushed.append("reader's"))
    await trio.testing.wait_all_tasks_blocked()
    assert flushed == []  # the reader has promised to flush, and no other task did its work
    turn.flush()
    assert flushed == ["reader's"]


async def test_a_reader_that_fails_leaves_nothing_behind(nursery: trio.Nursery) -> None:
    turn, flushed = Turn(), []
    nursery.start_soon(turn.run)
    await trio.testing.wait_all_tasks_blocked()

    def read() -> None:
        with turn:
            turn.defer(lambda: flushed.append("kept"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read()
    await trio.testing.wait_all_tasks_blocked()
    assert flushed == ["kept"]


async def test_one_task_flushes_at_a_time_and_another_may_follow_it() -> None:
    turn, flushed = Turn(), []
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn.run)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="running already"):
                await turn.run()
            nursery.cancel_scope.cancel()
        turn.defer(lambda: flushed.append("nobody runs"))
    turn.flush()
    assert flushed == ["nobody runs"] * 2


# -- Long turns ---------------------------------------------------------------------------------------------------


async def test_what_takes_too_long_to_flush_is_left_over_and_others_have_their_turn_between(
    nursery: trio.Nursery,
) -> None:
    turn, order = slow_clock(), []
    nursery.start_soon(turn.run)
    await trio.testing.wait_all_tasks_blocked()
    flushes = 4 * FLUSHES_PER_LOOK
    with turn:
        for number in range(flushes):
            turn.defer(lambda number=number: order.append(number))  # type: ignore[misc]  # bound now, not at the end
    assert not turn.flush()
    assert len(order) == FLUSHES_PER_LOOK
    assert not turn.is_caught_up

    turns_of_another = 0
    while not turn.is_caught_up:
        before = len(order)
        with turn:
            turn.defer(lambda: order.append(-1))
        assert turn.flush()  # what is left over is not this one's to flush
        assert order[-1] == -1
        await trio.lowlevel.checkpoint()
        assert len(order) <= before + 1 + 2 * FLUSHES_PER_LOOK  # one pass, or two where this one fell between
        turns_of_another += 1
    assert turns_of_another >= 2
    await turn.caught_up()
    assert [number for number in order if number >= 0] == list(range(flushes))


async def test_what_is_deferred_while_something_is_left_over_comes_behind_it(nursery: trio.Nursery) -> None:
    turn, order = slow_clock(), []

    def first() -> None:
        order.append("first")
        turn.defer(lambda: order.append("deferred by a flush"))

    with turn:
        turn.defer(first)
        for _ in range(FLUSHES_PER_LOOK):
            turn.defer(lambda: order.append("more"))
    nursery.start_soon(turn.run)
    await turn.let_others()
    assert order == ["first", *["more"] * FLUSHES_PER_LOOK, "deferred by a flush"]


async def test_what_goes_on_for_long_does_so_a_slice_in_each_pass(nursery: trio.Nursery) -> None:
    turn, steps = slow_clock(), []

    def go_on() -> None:
        steps.append(turn.has_time())
        if len(steps) < 3:
            turn.leave_over(go_on)

    turn.defer(go_on)
    assert not turn.flush()
    assert steps == [False]
    assert turn.flush(), "what was left over before is not this one's to flush"
    nursery.start_soon(turn.run)
    await turn.caught_up()
    assert steps == [False] * 3


async def test_who_leaves_something_over_has_it_done_also_when_nothing_else_happens(
    nursery: trio.Nursery,
) -> None:
    turn, done = Turn(), []
    nursery.start_soon(turn.run)
    await trio.testing.wait_all_tasks_blocked()
    with turn:
        turn.defer(lambda: turn.leave_over(lambda: done.append(turn.has_time())))
    assert not turn.flush()
    await trio.testing.wait_all_tasks_blocked()
    assert done == [True]


async def test_several_wait_until_all_is_caught_up(nursery: trio.Nursery) -> None:
    turn, flushed = slow_clock(), []
    for _ in range(3 * FLUSHES_PER_LOOK):
        turn.defer(lambda: flushed.append(True))
    assert not turn.flush()
    async with trio.open_nursery() as waiting:
        for _ in range(3):
            waiting.start_soon(turn.caught_up)
        nursery.start_soon(turn.run)
    assert len(flushed) == 3 * FLUSHES_PER_LOOK


async def test_a_turn_is_long_after_a_slice_and_begins_anew_with_a_flush() -> None:
    now = 0.0
    turn = Turn(lambda: now)
    assert not turn.is_long
    for _ in range(2):
        with turn:
            assert not turn.is_long
        now += SLICE_S / 2
        with turn:
            assert not turn.is_long
            now += SLICE_S
            assert turn.is_long
        assert turn.flush()
        assert not turn.is_long
