"""Give a target what strangers might send, for some time; or one input again.

    make fuzz                              all targets, a minute each
    make fuzz TARGET=filters SECONDS=600
    make fuzz TARGET=filters KEEP=1        and add what took new ways to the corpus
    make fuzz TARGET=filters INPUT=build/fuzz/filters/fault-0123456789abcdef

Each target runs in a process of its own. Ends with 1 when a law was broken: the input is then in `build/fuzz`.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import attrs
import msgspec

from support.documents import ROOT
from support.fuzz_coverage import Plant, install
from support.fuzz_engine import (
    BUILD,
    CORPUS,
    TARGETS,
    Fault,
    Session,
    bounded,
    corpus_of,
    fewest,
    load,
)
from support.fuzz_mutations import MOST_BYTES

PACKAGES = ("server", "cluster")
"""What is told apart by the ways that it takes. Libraries are not: they are given less and less that is new."""

AROUND_S = 60
"""For a process to import everything and try the corpus before, and to make what it found smaller after."""

KEPT_AT_MOST = 60
"""Inputs added to a corpus at a time: the corpus is for a test that has to be quick."""

SHOWN_BYTES = 1_000
"""Of an input, in full, where nobody can get at the file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="make fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="?", choices=TARGETS, help="one target; without it, all")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, help="of the dice")
    parser.add_argument("--input", type=Path, help="try this file, and nothing else")
    parser.add_argument("--keep", action="store_true", help="add what took new ways to the corpus")
    parser.add_argument("--running", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plants", type=_plants, default=(), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.input is not None:
        if options.target is None:
            parser.error("an input is for one target: name it")
        load(options.target).check(options.input.read_bytes())
        print(f"{options.target} keeps its law with {options.input}.")
        return 0
    if options.running is not None:
        seed = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
        return _fuzz_here(
            options.target, options.seconds, seed, options.plants, options.running, keep=options.keep
        )
    found = False
    for target in [options.target] if options.target else TARGETS:
        outcome = fuzz(target, options.seconds, seed=options.seed, keep=options.keep)
        print(outcome.output, end="", flush=True)
        found |= outcome.is_fault
    return int(found)


# -- In another process ----------------------------------------------------------------------------------------------


@attrs.frozen
class Outcome:
    """What became of fuzzing a target."""

    is_fault: bool
    runs: int
    """Inputs tried."""
    output: str
    """For people."""


def fuzz(
    target: str, seconds: float, *, seed: int | None = None, plants: Sequence[Plant] = (), keep: bool = False
) -> Outcome:
    """Fuzz a target in a process of its own, perhaps with faults planted in the product."""
    folder = BUILD / "planted" / target if plants else BUILD / target
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "support.fuzz", target, "--seconds", str(seconds)]
    command += [] if seed is None else ["--seed", str(seed)]
    command += ["--keep"] * keep
    command += ["--plants", msgspec.json.encode(plants).decode()] if plants else []
    with tempfile.NamedTemporaryFile(dir=folder, prefix="running-") as running:
        try:
            done = subprocess.run(
                [*command, "--running", running.name],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT / "tests"), "PYTHONHASHSEED": "0"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds + AROUND_S,
            )
        except subprocess.TimeoutExpired as hung:
            fault = _of_the_last(running.read(), f"the process did not end within {hung.timeout:g} s")
            return Outcome(True, 0, _told(folder, target, fault))
        output = done.stdout
        if done.returncode < 0:  # no traceback of its own
            fault = _of_the_last(running.read(), f"the process ended with signal {-done.returncode}")
            output += _told(folder, target, fault)
    return Outcome(done.returncode != 0, _runs(output, target), output)


def _of_the_last(running: bytes, how: str) -> Fault:
    """Return the fault of the input that was tried last."""
    data = running[4 : 4 + int.from_bytes(running[:4], "big")]
    return Fault(data, data, f"{how}\n")


def _runs(output: str, target: str) -> int:
    counts = [line.split()[1] for line in output.splitlines() if line.startswith(f"{target}: ")]
    return int(counts[0].replace(",", "")) if counts else 0


def _plants(text: str) -> list[Plant]:
    return msgspec.json.decode(text, type=list[Plant])


# -- In this process -------------------------------------------------------------------------------------------------


def _fuzz_here(
    name: str, seconds: float, seed: int, plants: Sequence[Plant], path: Path, *, keep: bool
) -> int:
    coverage = install(PACKAGES, plants)
    target = load(name)
    corpus = list(target.seeds())
    if not plants:  # which are to be found by what is made anew, not by what is known
        corpus += [file.read_bytes() for file in corpus_of(name)]
    size = 4 + max(MOST_BYTES, *map(len, corpus))
    path.write_bytes(bytes(size))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as running, bounded():
        session = Session(target, coverage, Random(seed), running)
        fault = session.run(corpus, seconds)
        rate = session.runs / max(session.seconds, 1e-9)
        print(
            f"{name}: {session.runs:,} inputs in {session.seconds:.0f} s ({rate:,.0f} a second), seed {seed}; "
            f"{len(coverage.edges):,} edges, {len(session.news)} inputs took new ones",
            flush=True,
        )
        if fault is not None:
            print(_told(path.parent, name, fault), end="", flush=True)
            return 1
        if keep:
            kept = fewest(target, coverage, corpus, session.news)[:KEPT_AT_MOST]
            for data in kept:
                _written(CORPUS / name, "", data)
            print(f"{name}: {len(kept)} inputs added to {CORPUS.relative_to(ROOT)}/{name}")
    return 0


# -- What is found ---------------------------------------------------------------------------------------------------


def _told(folder: Path, name: str, fault: Fault) -> str:
    """Keep the input; return what to say of the fault."""
    path = _written(folder, "fault-", fault.data).relative_to(ROOT)
    size = len(fault.data)
    text = fault.data.hex() if size <= SHOWN_BYTES else f"{fault.data[:SHOWN_BYTES].hex()} (…)"
    return (
        f"\n{fault.report}\n"
        f"{name} broke its law with {size} bytes (found with {len(fault.found)}), in hexadecimal:\n  {text}\n"
        f"Again:\n  make fuzz TARGET={name} INPUT={path}\n"
        f"To keep, when it is fixed:\n  cp {path} {CORPUS.relative_to(ROOT)}/{name}/regression-<what-it-was>\n"
    )


def _written(folder: Path, prefix: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prefix}{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    sys.exit(main())
