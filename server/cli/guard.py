"""Runs a program that must not outlive whoever started it, when the program cannot see to that itself.

    python -m server.cli.guard [--hold DIRECTORY] PROGRAM [ARGUMENT…]

The program ends when this process's standard input closes, which the system does even for a parent that was killed
with SIGKILL, and on SIGTERM or SIGINT. Its exit code is passed on. Standard library only: it costs little to have.
(Linux could signal the program at its parent's death, but "parent" there means the thread that made it.)
A directory that is held is removed by whoever is the last to use it: see `server.cli.shared_directory`.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext

from server.cli.shared_directory import hold_directory

GRACE_S = 3.0
"""From SIGTERM to SIGKILL; shorter than who started us waits before it kills this process."""


def main(command: list[str]) -> int:
    """Run the command; return its exit code, or 128 + n when signal n ended it, as a shell does."""
    directory = None
    if command[0] == "--hold":
        _, directory, *command = command
    with (
        hold_directory(directory) if directory else nullcontext(),
        subprocess.Popen(command, stdin=subprocess.DEVNULL) as program,  # noqa: S603 (running it is our purpose)
    ):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: program.terminate())
        threading.Thread(target=_end_with_stdin, args=(program,), daemon=True).start()
        exit_code = program.wait()
    return 128 - exit_code if exit_code < 0 else exit_code


def _end_with_stdin(program: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 1024):
        pass
    program.terminate()
    try:
        program.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        program.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
