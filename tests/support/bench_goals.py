"""What Shoal is held to, next to what was seen.

The numbers were set on one machine of two cores, and mean little on a slower one: there the bare limit, measured in the
same minutes, says how much slower it is. Ratios mean the same everywhere.
"""

import statistics
from collections.abc import Callable
from typing import Final

import attrs

from support.bench_peers import BARE, SOCKETIO, STARLETTE, WEBSOCKETS
from support.bench_report import Measurement, Results, number
from support.bench_runs import CPU, P50, P99, RATE

Seen = Callable[[Results], float | None]


@attrs.frozen
class Goal:
    """One line of the table."""

    what: str
    unit: str
    goal: float | None
    """What it is to be; None where only the least is set."""
    least: float
    """What it must be."""
    seen: Seen
    is_least_best: bool = False
    limit: Seen | None = None
    """The bare limit in the same run, in the same unit."""

    def judged(self, results: Results) -> str:
        """Say in a word whether what was seen is enough; nothing when nothing was."""
        seen = self.seen(results)
        if seen is None:
            return ""
        if self.goal is not None and self._is_met(seen, self.goal):
            return "goal reached"
        return "enough" if self._is_met(seen, self.least) else "**short**"

    def _is_met(self, seen: float, bar: float) -> bool:
        return seen <= bar if self.is_least_best else seen >= bar


@attrs.frozen
class Row:
    """One measured number: of whom, and where on a curve."""

    workload: str
    unit: str
    contender: str = "Shoal"
    at: float | None = None

    def __call__(self, results: Results) -> float | None:
        """Return its median."""
        found = self.found(results)
        return None if found is None else found.median

    def found(self, results: Results) -> Measurement | None:
        """Return it, if it was measured."""
        return results.find(self.workload, self.contender, self.unit, self.at)


def quotient(upper: Row, lower: Row, factor: float = 1.0) -> Seen:
    """Return a question for how many times the second the first is: the median over the rounds, since two that were
    measured in turn met the same machine."""

    def find(results: Results) -> float | None:
        above, below = upper.found(results), lower.found(results)
        if above is None or below is None:
            return None
        return statistics.median(
            factor * over / under for over, under in zip(above.values, below.values, strict=True)
        )

    return find


def lost(results: Results) -> float | None:
    """Return how many deliveries of Shoal's never came, in all that was measured."""
    others = {each.name for each in (BARE, WEBSOCKETS, STARLETTE, SOCKETIO)}
    own = [each.missing for each in results.measurements if each.contender not in others]
    return sum(own) if own else None


GOALS: Final = (
    Goal(
        "W1: fan-out, window 16",
        RATE,
        2_500_000,
        1_500_000,
        Row("W1", RATE),
        limit=Row("W1", RATE, BARE.name),
    ),
    Goal(
        "W1 next to websockets",
        "times",
        None,
        8,
        quotient(Row("W1", RATE), Row("W1", RATE, WEBSOCKETS.name)),
    ),
    Goal(
        "W1w1: fan-out, window 1",
        "% of the bare loop",
        90,
        75,
        quotient(Row("W1w1", RATE), Row("W1w1", RATE, BARE.name), 100),
    ),
    Goal("W2: latency between nodes", P50, 160, 220, Row("W2", P50), is_least_best=True),
    Goal("", P99, 300, 600, Row("W2", P99), is_least_best=True),
    Goal("W2p: the same, 1,000 a second", P50, 160, 220, Row("W2p", P50), is_least_best=True),
    Goal("", P99, 300, 600, Row("W2p", P99), is_least_best=True),
    Goal("W3: one subscriber on another node", RATE, 150_000, 75_000, Row("W3", RATE)),
    Goal("W4: fan-out on another node", RATE, 2_300_000, 1_200_000, Row("W4", RATE)),
    Goal("W5: idle connections", "kB each", 8, 14, Row("W5", "kB each"), is_least_best=True),
    Goal("", "set up/s", 4_000, 1_500, Row("W5", "set up/s")),
    Goal("W6: 1,000 rooms", RATE, 66_000, 45_000, Row("W6", RATE), limit=Row("W6", RATE, BARE.name)),
    Goal("Lost in all of these", "deliveries", None, 0, lost, is_least_best=True),
    Goal(
        "A delivery with 10,000 subscribers, next to 500",
        "times the cost",
        None,
        1.3,
        quotient(Row("subscribers", CPU, at=10_000), Row("subscribers", CPU, at=500)),
        is_least_best=True,
        limit=quotient(Row("subscribers", CPU, BARE.name, 10_000), Row("subscribers", CPU, BARE.name, 500)),
    ),
    Goal(
        "A publish for one of 8 nodes, next to one of 2",
        "times the cost",
        None,
        1.1,
        quotient(Row("one-of-many", CPU, at=8), Row("one-of-many", CPU, at=2)),
        is_least_best=True,
    ),
    Goal(
        "An answer to somebody else during W1",
        "ms p99",
        None,
        20,
        Row("fairness", "ms p99", "during W1"),
        is_least_best=True,
    ),
    Goal(
        "The same during W3",
        "ms p99",
        None,
        20,
        Row("fairness", "ms p99", "during W3, the publisher's node"),
        is_least_best=True,
    ),
)


def goals_table(results: Results) -> list[str]:
    """Render the table."""
    lines = ["| | | goal | at least | seen | | bare limit |", "|---|---|---:|---:|---:|---|---:|"]
    for goal in GOALS:
        found, limit = goal.seen(results), goal.limit(results) if goal.limit else None
        cells = [_text(goal.goal), _text(goal.least), _text(found), goal.judged(results), _text(limit)]
        lines.append(f"| {goal.what} | {goal.unit} | {' | '.join(cells)} |")
    return lines


def _text(value: float | None) -> str:
    return "" if value is None else number(value)
