"""Random lives of small clusters, by seed. What found a fault in the mesh stays in `regressions`, as the shrunk plan:
what a number stands for changes with every new kind of fault."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cluster.testing import Law
from support.plans import Plan, Regression, plan_of
from support.scenario import play
from support.simulate import describe, play_many

QUICK_SEEDS = 250
MANY_SEEDS = 2500

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.json"))


def broken_in(first: int, count: int) -> list[tuple[int, str]]:
    return [found for tally in play_many(first, count) for found in tally.broken]


def test_the_laws_hold() -> None:
    assert broken_in(0, QUICK_SEEDS) == [], "make simulate SEED=… shows it all"


@pytest.mark.slow
def test_the_laws_hold_in_many_lives() -> None:
    assert broken_in(QUICK_SEEDS, MANY_SEEDS) == [], "make simulate SEED=… shows it all"


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_was_mended_stays_mended(path: Path) -> None:
    kept = msgspec.json.decode(path.read_bytes(), type=Regression)
    assert Law[kept.law]
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
