"""What SIGHUP means to a node: the terminal is gone, or read the certificate anew.

Without TLS it stops the node, unless it was to be ignored (`nohup`). With TLS it is what everybody sends to a server
that shall read its certificate anew; it then stops the node only if the terminal from which that was started is gone.
It refuses to guess from how the process was started: whether there still is a terminal can be looked up.
"""

import os
import signal
from collections.abc import Iterator


class Hangup:
    """How this process takes SIGHUP; made before anything heeds it."""

    def __init__(self, *, reads_anew: bool) -> None:
        """`reads_anew` is whether there is anything to read anew."""
        self._reads_anew = reads_anew
        self._is_to_be_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._had_terminal = _has_terminal()

    def signals(self) -> Iterator[signal.Signals]:
        """Yield the signals to heed: those that end a node, and SIGHUP if it means anything."""
        yield from (signal.SIGINT, signal.SIGTERM)
        if self._reads_anew or not self._is_to_be_ignored:
            yield signal.SIGHUP

    def means_to_read_anew(self, number: int) -> bool:
        """Tell whether a signal that came is no reason to stop."""
        if number != signal.SIGHUP or not self._reads_anew:
            return False
        return self._is_to_be_ignored or not self._had_terminal or _has_terminal()

    def reactions(self) -> Iterator[tuple[signal.Signals, signal.Handlers]]:
        """Yield what is to be done about each of the signals while the node stops, by the system itself."""
        for number in self.signals():
            is_harmless = number is signal.SIGHUP and self._reads_anew
            yield number, signal.SIG_IGN if is_harmless else signal.SIG_DFL


def _has_terminal() -> bool:
    """Tell whether this process has a terminal from which it is controlled: the system takes it away at a hangup."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
