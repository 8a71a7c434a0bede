"""The page of measurements, and its plots, say what was measured."""

import attrs
import pytest

from support.bench_goals import GOALS
from support.bench_page import IDLE, LOAD_LIMIT, PAGE, page, plots
from support.bench_report import Measurement, Results, Skipped
from support.bench_runs import CPU, P50, RATE

MACHINE = {"cores": "2", "processor": "abacus"}


def measured(
    contender: str, unit: str, values: list[float], workload: str = "W1", **others: float
) -> Measurement:
    measurement = Measurement(
        workload=workload, title="fan-out", contender=contender, unit=unit, values=values
    )
    return attrs.evolve(measurement, session="now", **others)  # type: ignore[arg-type] # fields of any name


def results(*measurements: Measurement) -> Results:
    return Results(machine=MACHINE, sessions={"now": "abc"}, measurements=list(measurements))


def judged(what: str, *measurements: Measurement) -> str:
    (goal,) = (goal for goal in GOALS if goal.what == what)
    return goal.judged(results(*measurements))


def test_the_page_and_its_plots_are_made_from_the_data_beside_it() -> None:
    data = Results.read(PAGE.with_suffix(".json"))
    assert data.measurements
    assert PAGE.read_text() == page(data)
    drawn = {each.name: each.read_text() for each in PAGE.with_suffix("").iterdir()}
    assert drawn == plots(data)
    assert all(f"({PAGE.stem}/{name})" in PAGE.read_text() for name in drawn)


def test_medians_spread_and_ratios_are_shown() -> None:
    text = page(
        results(
            measured("Shoal", RATE, [90, 200, 110]),
            measured("other", RATE, [11, 22, 33]),
            measured("Shoal", CPU, [0.5]),
        )
    )
    assert f"|  | {RATE} | of Shoal | {CPU} | of Shoal |" in text
    assert "| Shoal | 110 (90 … 200) | 1.00 | 0.5 | 1.00 |" in text
    assert "| other | 22 (11 … 33) | 0.20 |  |  |" in text


def test_what_is_behind_a_number_is_named() -> None:
    text = page(
        attrs.evolve(
            results(
                measured("slow", RATE, [1], missing=1234), measured("fast", RATE, [9], load_share=LOAD_LIMIT)
            ),
            skipped=[Skipped(workload="W1", contender="absent", why="not there")],
        )
    )
    assert "Missing: 1,234 deliveries of slow." in text
    assert "The load had no time left: fast." in text
    assert "- W1, absent: not there" in text


def test_growth_is_drawn_and_told_in_numbers() -> None:
    places = [measured("Shoal", RATE, [rate], "subscribers", at=at) for at, rate in ((100, 7.0), (1, 5.0))]
    found = results(*places, measured("Shoal", CPU, [0.5], "subscribers", at=1))
    assert list(plots(found)) == ["subscribers.svg"]
    text = page(found)
    assert "(performance/subscribers.svg)" in text
    assert "| Shoal | 1 | 5 | 0.5 |\n| Shoal | 100 | 7 |  |" in text, "in rising order"


def test_the_state_of_the_code_is_named() -> None:
    one = results(measured("Shoal", RATE, [1]))
    assert "commit `abc`, on 2 cores of abacus" in page(one)
    two = attrs.evolve(one, sessions={"now": "abc", "before": "def+"})
    assert "| Measured now | `abc`: W1 |" in page(two)
    assert "`def` and changes" in page(two)


@pytest.mark.parametrize(("busy", "is_named"), [(0.0, False), (IDLE, False), (0.5, True)])
def test_a_busy_machine_is_named(busy: float, is_named: bool) -> None:
    measurement = attrs.evolve(measured("Shoal", RATE, [1]), busy_before=[busy, busy])
    assert ("**The machine was busy" in page(results(measurement))) == is_named


@pytest.mark.parametrize(
    ("rate", "word"), [(1_499_999, "**short**"), (1_500_000, "enough"), (2_500_000, "goal reached")]
)
def test_more_is_better_for_a_rate(rate: float, word: str) -> None:
    assert judged("W1: fan-out, window 16", measured("Shoal", RATE, [rate])) == word


@pytest.mark.parametrize(("p50", "word"), [(160, "goal reached"), (161, "enough"), (221, "**short**")])
def test_less_is_better_for_a_latency(p50: float, word: str) -> None:
    assert judged("W2: latency between nodes", measured("Shoal", P50, [p50], "W2")) == word


def test_a_ratio_is_of_two_places_of_one_curve() -> None:
    what = "A delivery with 10,000 subscribers, next to 500"
    few, many = (
        measured("Shoal", CPU, [1], "subscribers", at=500),
        measured("Shoal", CPU, [1.3], "subscribers", at=10_000),
    )
    assert judged(what, few, many) == "enough"
    assert judged(what, few, attrs.evolve(many, values=[1.31])) == "**short**"
    assert judged(what, few) == "", "nothing is said of what was not measured"


def test_a_loss_of_shoals_counts_and_one_of_others_does_not() -> None:
    fine, other = measured("Shoal", RATE, [1]), measured("websockets broadcast", RATE, [1], missing=9)
    assert judged("Lost in all of these", fine, other) == "enough"
    assert judged("Lost in all of these", attrs.evolve(fine, missing=1)) == "**short**"


def test_every_goal_has_a_number_on_the_page() -> None:
    data = Results.read(PAGE.with_suffix(".json"))
    assert [goal.what for goal in GOALS if goal.seen(data) is None] == []
