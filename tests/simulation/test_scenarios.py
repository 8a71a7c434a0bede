"""Random lives of small clusters, by seed. A seed that ever broke a law stays here."""

from __future__ import annotations

import pytest

from cluster.testing import LawBroken
from support.scenario import Scenario

REGRESSIONS = {
    636: "a node that outbids took the boot number of a life that its informant did not know of",
}
"""Every seed that found a fault in the product, with the fault."""

QUICK_SEEDS = 200
MANY_SEEDS = 3000


def play(seed: int) -> None:
    scenario = Scenario(seed)
    try:
        scenario.play()
    except LawBroken as broken:
        history = "\n".join(scenario.history)
        pytest.fail(f"seed {seed} at {scenario.world.now:.3f} s: {broken}\n{history}")


@pytest.mark.parametrize("block", range(QUICK_SEEDS // 50))
def test_the_laws_hold(block: int) -> None:
    for seed in range(50 * block, 50 * (block + 1)):
        play(seed)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_was_mended_stays_mended(seed: int) -> None:
    play(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(MANY_SEEDS // 500))
def test_the_laws_hold_in_many_lives(block: int) -> None:
    for seed in range(QUICK_SEEDS + 500 * block, QUICK_SEEDS + 500 * (block + 1)):
        play(seed)


def test_a_seed_replays_exactly() -> None:
    first, again = Scenario(11), Scenario(11)
    first.play()
    again.play()
    assert first.history == again.history
    assert {name: node.beliefs for name, node in first.world.nodes.items()} == {
        name: node.beliefs for name, node in again.world.nodes.items()
    }
