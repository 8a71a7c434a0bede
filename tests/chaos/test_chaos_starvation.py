"""What a busy machine costs is told from what the product costs."""

from __future__ import annotations

import os

import pytest
import trio

from support.chaos_starvation import Starvation, Waits, waited_for_a_core


@pytest.fixture
def waits() -> Waits:
    """It waited between the looks at 2 and 3, and at 3 and 4."""
    found = Waits()
    for at, waited in ((1.0, 5.0), (2.0, 5.0), (3.0, 5.2), (4.0, 5.7)):
        found.note(at, waited)
    return found


@pytest.mark.parametrize(
    ("begin", "end", "waited"),
    [
        (1.0, 2.0, 0.0),
        (2.0, 3.0, 0.2),
        (2.5, 3.5, 0.7),  # the looks around it
        (1.0, 4.0, 0.7),
        (0.0, 9.0, 0.7),
        (3.1, 3.2, 0.1),  # no longer than the time itself
        (5.0, 6.0, 0.0),
    ],
)
def test_waiting_is_that_between_the_looks_around_it(
    waits: Waits, begin: float, end: float, waited: float
) -> None:
    assert waits.during(begin, end) == pytest.approx(waited)


def test_of_several_that_counts_which_waited_longest(waits: Waits) -> None:
    starvation = Starvation({"a": 1, "b": 2})
    starvation.waits["a"] = waits
    assert starvation.most_during(["a", "b"], 2.0, 3.0) == pytest.approx(0.2)
    assert starvation.most_during(["b"], 2.0, 3.0) == 0.0


async def test_processes_are_looked_at_until_cancelled() -> None:
    starvation = Starvation({"own": os.getpid()})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(starvation.watch)
        while len(starvation.waits["own"].looked_at) < 3:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    looks = starvation.waits["own"]
    assert list(looks.waited) == sorted(looks.waited)


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    assert waited_for_a_core(2**22 + 1) == 0.0
