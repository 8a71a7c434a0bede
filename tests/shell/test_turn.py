"""The turn: who flushes, when, and how often."""

import pytest
import trio
import trio.testing

from server.adapters.turn import Turn


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
