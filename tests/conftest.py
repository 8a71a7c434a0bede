"""What holds for every test.

In continuous integration (`CI=true`) a skip is a failure: there, everything that a test needs is to be installed, and a
test that nobody runs protects nobody.
"""

import os
import signal
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")

# How long an example takes says how busy the machine is. What is to be fast has a benchmark.
hypothesis.settings.register_profile("shoal", deadline=None, print_blob=True)
hypothesis.settings.load_profile("shoal")

# Under `nohup` this process ignores SIGHUP, and so would the nodes that it starts. Who handles it hands on nothing.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test into a failure."""
    return _without_skip((yield), item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole file into a failure."""
    return _without_skip((yield), collector.nodeid)


def _without_skip(report: Any, name: str) -> Any:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{name} was skipped, which counts as a failure where CI is set. {reason}"
    return report
