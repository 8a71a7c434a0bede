"""Long runs say how far they are, at once; short ones only when they fail."""

import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line: in a test marked `slow` also while pytest captures what is printed."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    is_slow = request.node.get_closest_marker("slow") is not None

    def say_it(text: str) -> None:
        line = f"{request.node.name}: {text}"
        if is_slow and capture is not None:
            with capture.global_and_fixture_disabled():
                print(f"\n{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    return say_it
