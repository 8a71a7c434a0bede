"""Play many random lives of small clusters on all cores, and show those that break a law.

    make simulate SEEDS=10000          plays seeds 0 … 9999
    make simulate SEED=4711            plays one, with its history and what each node believed when
    python -m support.simulate --help  (with tests/ on PYTHONPATH)

Ends with 1 when a law was broken.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import attrs
import msgspec

from support.plans import Plan, Regression, plan_of
from support.scenario import Outcome, play
from support.shrinking import shrink

BLOCK = 25
"""Seeds that a process plays in one go: about a second's worth."""

SHOWN = 5
"""Failing seeds that are shrunk and shown; the others are only named."""


@attrs.frozen
class Tally:
    """What came of some seeds."""

    seeds: int = 0
    simulated_s: float = 0.0
    frames: int = 0
    notifications: int = 0
    broken: tuple[tuple[int, str], ...] = ()
    """The seed, and the law as it was found broken."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            *(mine + theirs for mine, theirs in zip(attrs.astuple(self), attrs.astuple(other), strict=True))
        )


def play_seeds(first: int, count: int) -> Tally:
    """Play so many seeds, one after the other."""
    tally = Tally()
    for seed in range(first, first + count):
        outcome = play(plan_of(seed))
        world = outcome.world
        broken = ((seed, str(outcome.broken)),) if outcome.broken else ()
        tally += Tally(1, world.now, world.network.frames_sent, len(world.ledger.notifications), broken)
    return tally


def play_many(first: int, count: int, processes: int | None = None) -> Iterator[Tally]:
    """Play them on all cores (or so many); yields what came of each block, in order. A single block is played here."""
    if count <= BLOCK:
        yield play_seeds(first, count)
        return
    starts = range(first, first + count, BLOCK)
    counts = [min(BLOCK, first + count - start) for start in starts]
    # Not forked: whoever calls may have threads.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(play_seeds, starts, counts)


def explain(plan: Plan) -> str:
    """The plan's history, with what each node came to believe, and the law that was broken."""
    outcome = play(plan)
    return "\n".join([*_lines(outcome), f"limits: {plan.limits or 'as they are'}", _verdict(outcome)])


def describe(plan: Plan) -> str:
    """The plan's history, without beliefs."""
    outcome = play(plan)
    return "\n".join([*outcome.history, f"limits: {plan.limits or 'as they are'}", _verdict(outcome)])


def _lines(outcome: Outcome) -> list[str]:
    told = [
        (when, f"{when:8.3f}     {node.name}: {event} {_fields(fields)}")
        for node in (*outcome.world.former, *outcome.world.nodes.values())
        for when, event, fields in node.beliefs
    ]
    done = [(float(line[:8]), line) for line in outcome.history]
    return [line for _, line in sorted(done + told, key=lambda entry: entry[0])]


def _fields(fields: dict[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())


def _verdict(outcome: Outcome) -> str:
    if outcome.broken is None:
        return f"all laws hold; healed {outcome.healed_after_s:.3f} s after all connections were back"
    return f"at {outcome.world.now:.3f} s: {outcome.broken}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="simulate", description="Play random lives of small clusters.")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many (10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="play only this one, and show everything")
    parser.add_argument(
        "--kept", type=Path, metavar="FILE", help="play only the plan in it, and show everything"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="write shrunk plans of failing seeds there"
    )
    options = parser.parse_args(arguments)
    if options.kept is not None:
        return _show_one(msgspec.json.decode(options.kept.read_bytes(), type=Regression).plan)
    if options.seed is not None:
        return _show_one(plan_of(options.seed))
    return _play_and_report(options.first, options.seeds, options.keep)


def _show_one(plan: Plan) -> int:
    print(explain(plan))
    return 0 if play(plan).broken is None else 1


def _play_and_report(first: int, count: int, keep: Path | None) -> int:
    began = time.monotonic()
    total = Tally()
    is_terminal = sys.stdout.isatty()
    again = "\r" if is_terminal else ""
    next_line = count // 10
    for tally in play_many(first, count):
        total += tally
        for seed, what in tally.broken:
            print(f"{again}seed {seed}: {what}", flush=True)
        if is_terminal:
            print(f"{again}{_progress(total, count, began)}", end="", flush=True)
        elif total.seeds >= next_line:
            print(_progress(total, count, began), flush=True)
            next_line += count // 10
    print(f"{again}{_summary(total, time.monotonic() - began)}")
    for seed, _ in total.broken[:SHOWN]:
        _show_shrunk(seed, keep)
    return 1 if total.broken else 0


def _progress(total: Tally, count: int, began: float) -> str:
    took = time.monotonic() - began
    left = took / total.seeds * (count - total.seeds)
    return f"{total.seeds:,} of {count:,} seeds, {len(total.broken)} violations, {left:.0f} s to go "


def _summary(total: Tally, took: float) -> str:
    return (
        f"{total.seeds:,} seeds, {len(total.broken)} violations: {total.simulated_s / 3600:.1f} simulated hours, "
        f"{total.frames:,} frames and {total.notifications:,} notifications in {took:.1f} s on {os.cpu_count()} cores, "
        f"{total.seeds / took:.0f} seeds a second"
    )


def _show_shrunk(seed: int, keep: Path | None) -> None:
    plan = plan_of(seed)
    broken = play(plan).broken
    if broken is None:
        raise AssertionError(f"seed {seed} broke a law in another process and does not in this one")
    small = shrink(plan, broken.law)
    print(
        f"\nseed {seed}, shrunk from {len(plan.actions)} actions to {len(small.actions)}:\n{describe(small)}"
    )
    print(f"to see what each node believed: make simulate SEED={seed}")
    if keep is not None:
        kept = Regression(found="say here what it was", law=broken.law.name, plan=small)
        path = keep / f"seed-{seed}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
        print(f"kept in {path}")


if __name__ == "__main__":
    sys.exit(main())
