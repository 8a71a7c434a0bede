"""What Shoal is held to, next to what was seen.

The numbers were set on one machine of two cores, and mean little on a slower one: there the bare limit, measured in the
same minutes, says how much slower it is. Ratios mean the same everywhere.
"""

from collections.abc import Callable
from typing import Final

import attrs

from support.bench_peers import BARE, SOCKETIO, STARLETTE, WEBSOCKETS
from support.bench_report import Results, number
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


def seen(workload: str, unit: str, contender: str = "Shoal", at: float | None = None) -> Seen:
    """Return a question for one median."""

    def find(results: Results) -> float | None:
        found = results.find(workload, contender, unit, at)
        return None if found is None else found.median

    return find


def quotient(upper: Seen, lower: Seen, factor: float = 1.0) -> Seen:
    """Return a question for how many times the second the first is."""

    def find(results: Results) -> float | None:
        above, below = upper(results), lower(results)
        return None if above is None or not below else factor * above / below

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
        seen("W1", RATE),
        limit=seen("W1", RATE, BARE.name),
    ),
    Goal(
        "W1 next to websockets",
        "times",
        None,
        8,
        quotient(seen("W1", RATE), seen("W1", RATE, WEBSOCKETS.name)),
    ),
    Goal(
        "W1w1: fan-out, window 1",
        "% of the bare loop",
        90,
        75,
        quotient(seen("W1w1", RATE), seen("W1w1", RATE, BARE.name), 100),
    ),
    Goal("W2: latency between nodes", P50, 160, 220, seen("W2", P50), is_least_best=True),
    Goal("", P99, 300, 600, seen("W2", P99), is_least_best=True),
    Goal("W2p: the same, 1,000 a second", P50, 160, 220, seen("W2p", P50), is_least_best=True),
    Goal("", P99, 300, 600, seen("W2p", P99), is_least_best=True),
    Goal("W3: one subscriber on another node", RATE, 150_000, 75_000, seen("W3", RATE)),
    Goal("W4: fan-out on another node", RATE, 2_300_000, 1_200_000, seen("W4", RATE)),
    Goal("W5: idle connections", "kB each", 8, 14, seen("W5", "kB each"), is_least_best=True),
    Goal("", "set up/s", 4_000, 1_500, seen("W5", "set up/s")),
    Goal("W6: 1,000 rooms", RATE, 66_000, 45_000, seen("W6", RATE), limit=seen("W6", RATE, BARE.name)),
    Goal("Lost in all of these", "deliveries", None, 0, lost, is_least_best=True),
    Goal(
        "A delivery with 10,000 subscribers, next to 500",
        "times the cost",
        None,
        1.3,
        quotient(seen("subscribers", CPU, at=10_000), seen("subscribers", CPU, at=500)),
        is_least_best=True,
        limit=quotient(seen("subscribers", CPU, BARE.name, 10_000), seen("subscribers", CPU, BARE.name, 500)),
    ),
    Goal(
        "A publish for one of 8 nodes, next to one of 2",
        "times the cost",
        None,
        1.1,
        quotient(seen("one-of-many", CPU, at=8), seen("one-of-many", CPU, at=2)),
        is_least_best=True,
    ),
    Goal(
        "An answer to somebody else during W1",
        "ms p99",
        None,
        20,
        seen("fairness", "ms p99", "during W1"),
        is_least_best=True,
    ),
    Goal(
        "The same during W3",
        "ms p99",
        None,
        20,
        seen("fairness", "ms p99", "during W3, the publisher's node"),
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
