"""The same random lives with the real shells of the mesh, on memory adapters."""

from __future__ import annotations

import pytest

from support.plans import plan_of
from support.shell_world import play_shells

QUICK_SEEDS = 24
MANY_SEEDS = 150


def play(seed: int) -> None:
    outcome = play_shells(plan_of(seed))
    history = "\n".join(outcome.history)
    assert outcome.broken is None, f"seed {seed}: {outcome.broken}\n{history}"


@pytest.mark.parametrize("block", range(QUICK_SEEDS // 8))
def test_the_laws_hold_for_shells(block: int) -> None:
    for seed in range(8 * block, 8 * (block + 1)):
        play(seed)


@pytest.mark.slow
def test_the_laws_hold_for_shells_in_many_lives() -> None:
    for seed in range(QUICK_SEEDS, QUICK_SEEDS + MANY_SEEDS):
        play(seed)


def test_a_seed_replays_exactly() -> None:
    outcomes = [play_shells(plan_of(QUICK_SEEDS)) for _ in range(2)]
    assert outcomes[0].told != 0
    assert outcomes[0] == outcomes[1]
