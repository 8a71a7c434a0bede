"""Whether programs that were started left anything behind: processes and files, found by a /tmp of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def environment(directory: Path) -> dict[str, str]:
    """Return an environment by which every process that is started can be found, and with a /tmp of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOAL_")}
    return inherited | {"TMPDIR": str(directory), "COLUMNS": "100"}


def processes_of(directory: Path) -> list[str]:
    """Return the living processes that were started, directly or not, with that directory as their /tmp."""
    mark = f"\0TMPDIR={directory}\0"
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                # Redis writes its title over its environment; its socket's path is in the title.
                if (
                    mark in "\0" + (entry / "environ").read_text(errors="replace")
                    or str(directory) in command
                ):
                    found.append(f"{entry.name} {command}")
        except OSError:
            continue
    return found


@contextmanager
def nothing_left_behind(directory: Path) -> Iterator[None]:
    """Fail when something that was started in the block still runs, or left a file, at its end."""
    yield
    assert processes_of(directory) == []
    assert list(directory.iterdir()) == []
