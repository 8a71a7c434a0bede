"""Hold Shoal's WebSocket front to the Autobahn suite.

    make autobahn                      runs all cases, in less than a minute, and shows what came of them
    make autobahn CASES=6.4.*,7.*      runs some; 12.1.* and its like take minutes, so all are only some of those
    python -m support.autobahn --help  (with tests/ on PYTHONPATH)

The server is the real listener, with the limits as they are, before an App that echoes; the few cases whose messages
are larger than these limits allow run against a second one, and those about compression against one that has it. Ends
with 1 when a case is not as it must be, when a server logged anything, or when the suite cannot be run here. The
suite's own pages are left in build/autobahn.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any

import trio

from support.autobahn_results import (
    COMPRESSED,
    JUDGED,
    NEEDS_ROOM,
    QUICK,
    ROOM,
    Result,
    judge,
    read_results,
    summary,
)
from support.autobahn_suite import Suite, SuiteUnavailable, find_python, install
from support.documents import ROOT
from support.echo import EchoApp
from support.front import open_front

OUT = ROOT / "build" / "autobahn"

ALL = "*"
"""What is asked for when nothing else is."""

PATIENCE_S = 240
"""For one run of the suite, which takes 20 s: continuous integration has five minutes for all of it."""


class Progress:
    """One line for each section, when its first case begins."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._section = 0

    def began(self, case: str) -> None:
        """Hear that a case begins."""
        number = int(case.partition(".")[0])
        if number == self._section:
            return
        self._section = number
        name = next((section.title for section in JUDGED.sections if section.number == number), "")
        print(f"{self._title}: {number} {name}", flush=True)


async def run_cases(
    suite: Suite, cases: Sequence[str], without: Sequence[str], title: str, **settings: Any
) -> tuple[list[Result], list[str]]:
    """Run cases against a server with these settings; return what the suite saw, and what the server logged."""
    out = OUT / title.replace(" ", "-")
    shutil.rmtree(out, ignore_errors=True)
    async with open_front(app_type=EchoApp, timeout_s=PATIENCE_S, **settings) as front:
        is_any = await suite.run(front.ws_url, cases, without, out, Progress(title).began)
        return read_results(out) if is_any else [], [str(call.kwargs) for call in front.log.calls]


async def run_all(suite: Suite, cases: Sequence[str]) -> tuple[list[Result], list[str]]:
    """Run these cases, each against the server that it is for."""
    results, logged = await run_cases(suite, cases, (*NEEDS_ROOM, *COMPRESSED), "limits as they are")
    for patterns, title, settings in (
        (NEEDS_ROOM, "more room", ROOM),
        (QUICK if ALL in cases else COMPRESSED, "with compression", {"compression": True}),
    ):
        some = list(_both(patterns, cases))
        if some:
            more, also = await run_cases(suite, some, (), title, **settings)
            results, logged = results + more, logged + also
    return [result for result in results if any(fnmatch(result.case, wanted) for wanted in cases)], logged


def _both(patterns: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    """Yield patterns for the cases that are among `patterns` as well as wanted; of each pair the narrower one."""
    for pattern in patterns:
        for other in wanted:
            if fnmatch(other, pattern):
                yield other
            elif fnmatch(pattern, other):
                yield pattern


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="make autobahn", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default=ALL, help="which, separated by commas; * stands for anything")
    parser.add_argument(
        "--find-python", action="store_true", help="only print where a Python 2.7 is, or why there is none"
    )
    options = parser.parse_args(arguments)
    try:
        python = find_python(os.environ)
        if options.find_python:
            print(python)
            return 0
        install(python, print)
        cases = options.cases.split(",")
        results, logged = trio.run(run_all, Suite(python), cases)
    except (SuiteUnavailable, trio.TooSlowError) as error:
        print(str(error) or f"The Autobahn suite did not end within {PATIENCE_S} s.", file=sys.stderr)
        return 1
    if not results:
        print(f"There is no such case: {options.cases}", file=sys.stderr)
        return 1
    report = judge(results, is_whole=options.cases == ALL)
    print(f"\n{summary(report)}")
    for line in logged:
        print(f"FAULT the server logged {line}")
    print(f"The suite's own pages: {OUT.relative_to(ROOT)}/*/index.html")
    return 1 if report.faults or logged else 0


if __name__ == "__main__":
    sys.exit(main())
