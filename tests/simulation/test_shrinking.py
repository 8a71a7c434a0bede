"""A broken law is shown by the shortest history that breaks it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from cluster.core.streams import Inbound
from cluster.testing import Law
from support import actions as act
from support.plans import Plan, Regression, plan_of
from support.scenario import play
from support.shrinking import shrink
from support.simulate import main


def needs(*wanted: act.Action):
    def is_broken(plan: Plan, _law: Law) -> bool:
        rest = iter(plan.actions)
        return all(action in rest for action in wanted)

    return is_broken


def test_only_what_is_needed_is_left() -> None:
    wanted = (act.Start("a"), act.Crash("a"), act.Heal())
    noise = [act.Open("b", f"r{number}") for number in range(40)]
    plan = Plan(1, {}, [*noise[:7], wanted[0], *noise[7:20], wanted[1], *noise[20:], wanted[2]])
    assert shrink(plan, Law.QUIET, needs(*wanted)).actions == list(wanted)


def test_what_is_left_is_made_simpler() -> None:
    plan = Plan(
        1,
        {},
        [
            act.Start("a", 500, ["b"]),
            act.Wait(0.1),
            act.Wait(0.4),
            act.Publish("a", ["x", "y"], 40),
            act.Open("a", "r", 3),
        ],
    )

    def is_broken(plan: Plan, _law: Law) -> bool:
        kinds = [type(action) for action in plan.actions]
        waited = sum(action.seconds for action in plan.actions if isinstance(action, act.Wait))
        return {act.Start, act.Publish, act.Open} <= set(kinds) and waited >= 0.5

    assert shrink(plan, Law.QUIET, is_broken).actions == [
        act.Start("a"),
        act.Wait(0.5),
        act.Publish("a", ["x"]),
        act.Open("a", "r"),
    ]


def test_it_ends_when_everything_is_needed() -> None:
    plan = plan_of(3)
    assert shrink(plan, Law.QUIET, lambda small, _law: small == plan) == plan


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Duplicates are given on, from the second one on."""
    take = Inbound.take

    def take_again(self, first, items, *, is_resent=False):
        again = items[: max(0, self.position - first + 1)]
        return [*again, *take(self, first, items, is_resent=is_resent)]

    monkeypatch.setattr(Inbound, "take", take_again)


def test_the_command_shows_and_keeps_what_it_found(
    planted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--first", "1", "--seeds", "1", "--keep", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "1 seeds, 1 violations" in shown
    assert Law.IN_ORDER.value in shown
    (kept,) = tmp_path.iterdir()
    small = msgspec.json.decode(kept.read_bytes(), type=Regression)
    assert re.search(rf"shrunk from {len(plan_of(1).actions)} actions to {len(small.plan.actions)}", shown)
    assert len(small.plan.actions) < len(plan_of(1).actions) / 4
    found = play(small.plan).broken
    assert found is not None
    assert found.law is Law.IN_ORDER
    assert main(["--kept", str(kept)]) == 1
    assert "peer live" in capsys.readouterr().out, "with what each node believed"


def test_the_command_is_content_with_a_mesh_that_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "20"]) == 0
    assert re.search(r"20 seeds, 0 violations: \d\.\d simulated hours", capsys.readouterr().out)
    assert main(["--seed", "5"]) == 0
    assert "all laws hold" in capsys.readouterr().out
