"""A simulator that finds nothing proves nothing: here it has to find faults that were planted on purpose."""

from __future__ import annotations

import pytest

from support.mutations import MUTATIONS, Mutation
from support.plans import plan_of
from support.scenario import play

SEEDS = 200
"""Of these, one must show the fault; the quick scenarios show that all of them pass without it."""

RARE_SEEDS = 500
"""The same for a fault that one life in a few hundred shows."""


def first_broken(seeds: int) -> tuple[int, object]:
    for seed in range(seeds):
        broken = play(plan_of(seed)).broken
        if broken is not None:
            return seed, broken
    pytest.fail(f"not found in {seeds} seeds")


PARAMETERS = [
    pytest.param(mutation, id=str(mutation), marks=[pytest.mark.slow] if mutation.is_rare else [])
    for mutation in MUTATIONS
]


@pytest.mark.parametrize("mutation", PARAMETERS)
def test_a_planted_fault_is_found(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        mutation.plant(patch)
        seed, broken = first_broken(RARE_SEEDS if mutation.is_rare else SEEDS)
    print(f"{mutation}: seed {seed}: {broken}")
    assert broken.law in mutation.laws
    assert play(plan_of(seed)).broken is None
