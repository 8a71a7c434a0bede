"""Random lives of small clusters, by seed. What ever broke a law stays in `regressions`, as the shrunk history."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from support.plans import Plan, plan_of
from support.scenario import play
from support.simulate import describe, play_many

QUICK_SEEDS = 250
MANY_SEEDS = 2500

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))


class Regression(msgspec.Struct, forbid_unknown_fields=True):
    """A history that broke a law once: which, and what was wrong with the product."""

    found: str
    law: str
    plan: Plan


@pytest.mark.parametrize("block", range(QUICK_SEEDS // 50))
def test_the_laws_hold(block: int) -> None:
    for seed in range(50 * block, 50 * (block + 1)):
        outcome = play(plan_of(seed))
        assert outcome.broken is None, f"make simulate SEED={seed} shows it all: {outcome.broken}"


@pytest.mark.slow
def test_the_laws_hold_in_many_lives() -> None:
    broken = [found for tally in play_many(QUICK_SEEDS, MANY_SEEDS, os.cpu_count()) for found in tally.broken]
    assert broken == [], "make simulate SEED=… shows it all"


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_mended_stays_mended(path: Path) -> None:
    kept = msgspec.json.decode(path.read_bytes(), type=Regression)
    assert play(kept.plan).broken is None, f"{kept.found}\n{describe(kept.plan)}"


def test_a_seed_replays_exactly() -> None:
    first, again = play(plan_of(11)), play(plan_of(11))
    assert first.history == again.history
    assert len(first.history) > 20
    assert first.world.network.frames_sent == again.world.network.frames_sent
    assert {name: node.beliefs for name, node in first.world.nodes.items()} == {
        name: node.beliefs for name, node in again.world.nodes.items()
    }


def test_a_plan_survives_being_written_down() -> None:
    plan = plan_of(7)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
