"""One turn of the loop, and the one place that flushes.

    reader:   with turn: handle everything that one read gave        (writes queue, and defer a flush each)
              turn.flush()                                           one write per client, one frame per peer

Whoever queues bytes defers a flush; whoever has handled all that was at hand runs them. What is queued by a task
that is no reader (a late answer, a timer) is flushed by `run`, one pass of the scheduler later, together with
everything else of that pass. It refuses to know what a flush does.
"""

from collections.abc import Callable
from types import TracebackType

import trio


class Turn:
    """Gathers flushes until the work at hand is done."""

    def __init__(self) -> None:
        self._deferred: list[Callable[[], None]] = []
        self._readers = 0
        self._parked: trio.lowlevel.Task | None = None
        self._is_running = False

    def defer(self, flush: Callable[[], None]) -> None:
        """Let `flush` be called once, at the end of the present turn. It must not raise."""
        self._deferred.append(flush)
        if self._parked is not None and not self._readers:
            self._wake(self._parked)

    def flush(self) -> None:
        """Run everything deferred, also what is deferred meanwhile."""
        while self._deferred:
            due, self._deferred = self._deferred, []
            for flush in due:
                flush()

    # -- Readers --------------------------------------------------------------------------------------------------
    # Within `with turn:` nobody is woken for what is deferred, since the reader's own `flush()` follows. There must be
    # no await inside.

    def __enter__(self) -> None:
        self._readers += 1

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._readers -= 1
        if kind is not None and self._deferred and self._parked is not None:
            # The reader will not get to its flush.
            self._wake(self._parked)

    # -- Everyone else --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush what is deferred outside of any reader's work, until cancelled. One such task per turn."""
        if self._is_running:
            raise RuntimeError("Turn.run is running already: one task flushes")
        self._is_running = True
        try:
            while True:
                if self._deferred:
                    await trio.lowlevel.checkpoint()
                else:
                    await self._park()
                self.flush()
        finally:
            self._is_running = False

    async def _park(self) -> None:
        def abort(_raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self, task: trio.lowlevel.Task) -> None:
        self._parked = None
        trio.lowlevel.reschedule(task)
