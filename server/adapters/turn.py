"""One turn of the loop, and the one place that flushes.

    reader:   with turn: handle what one read gave, until `is_long`      (writes queue, and defer a flush each)
              turn.flush()                                               one write per client, one frame per peer

Whoever queues bytes defers a flush; whoever has handled all that was at hand runs them. What is queued by a task
that is no reader (a late answer, a timer) is flushed by `run`, one pass of the scheduler later, together with
everything else of that pass. What a flush itself writes, to a client for whom nothing waits, need not be queued first:
`is_flushing` says that it may be sent at once.

Nobody else runs meanwhile, so both halves of a turn are short: a reader stops when its turn is long, and what cannot be
flushed in as much time is left over for `run`, a slice in each pass. A reader that leaves something over waits until
all is caught up before it reads on: that is the back pressure on who publishes more than can be written. It refuses to
know what a flush does.
"""

from collections import deque
from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import Final

import trio

SLICE_S: Final = 0.004
"""What handling, or flushing, may take before others have their turn. A request of another client then waits for some
10 ms behind one that publishes to thousands. Shorter, and fewer writes would be joined: it is some 500 of them."""

FLUSHES_PER_LOOK: Final = 16
"""Between two looks at the clock: 0.1 ms."""


class Turn:
    """Gathers flushes until the work at hand is done."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        """Take a clock in seconds."""
        self._clock = clock
        self._deferred: list[Callable[[], None]] = []
        self._left_over: deque[Callable[[], None]] = deque()
        self._has_left_some = False
        """Whether the present flush has left something over."""
        self._caught_up: trio.Event | None = None
        """While somebody waits for that."""
        self._readers = 0
        self._long_at: float | None = None
        """When the present turn will be long; None before it begins."""
        self._parked: trio.lowlevel.Task | None = None
        self._is_running = False
        self.is_flushing = False
        """Whether the turn is being flushed and there is time left: what is written now may be sent at once."""
        self.sends_left = FLUSHES_PER_LOOK
        """How many such writes there may be until somebody has to `look_at_clock`; who makes one counts it here. (To
        call a method for each would be a tenth of what Python does for it.)"""
        self._ends_at = 0.0
        """When the present flush has taken long enough."""

    def defer(self, flush: Callable[[], None]) -> None:
        """Let `flush` be called once, at the end of the present turn. It must not raise."""
        self._deferred.append(flush)
        if self._parked is not None and not self._readers:
            self._wake(self._parked)

    def leave_over(self, go_on: Callable[[], None]) -> None:
        """From within a flush: let `go_on` be called once, in a later pass. It must not raise."""
        self._left_over.append(go_on)
        self._has_left_some = True
        if self._parked is not None:
            self._wake(self._parked)

    def flush(self) -> bool:
        """End the turn: run everything deferred, also what is deferred meanwhile. False when that would take too long:
        then the rest is left over, and the caller should wait for `caught_up`."""
        self._long_at = None
        return not self._deferred or self._run_deferred()

    @property
    def is_caught_up(self) -> bool:
        """Whether nothing is left over."""
        return not self._left_over

    async def caught_up(self) -> None:
        """Wait until nothing is left over. Somebody must run `run`."""
        while self._left_over:
            if self._caught_up is None:
                self._caught_up = trio.Event()
            await self._caught_up.wait()

    async def let_others(self) -> None:
        """End the turn within what a reader has at hand: flush, and let others have theirs."""
        if self.flush():
            await trio.lowlevel.checkpoint()
        else:
            await self.caught_up()

    def look_at_clock(self) -> None:
        """Find out whether there is time for more writes at once. What is written after that is queued."""
        self.sends_left = FLUSHES_PER_LOOK
        self.is_flushing = self._clock() < self._ends_at

    def has_time(self) -> bool:
        """From within a flush: whether it may go on. If not, the rest is to be left over."""
        self.look_at_clock()
        return self.is_flushing

    def _run_deferred(self) -> bool:
        self._begin_slice()
        self._has_left_some = False
        while self._deferred:
            due, self._deferred = self._deferred, []
            for done, flush in enumerate(due, 1):
                flush()
                if done % FLUSHES_PER_LOOK == 0 and done < len(due) and self._clock() > self._ends_at:
                    for late in (*due[done:], *self._deferred):
                        self.leave_over(late)
                    self._deferred = []
                    break
        self.is_flushing = False
        return not self._has_left_some

    def _run_left_over(self) -> None:
        self._begin_slice()
        while self._left_over:
            for _ in range(min(FLUSHES_PER_LOOK, len(self._left_over))):
                self._left_over.popleft()()
            if self._clock() > self._ends_at:
                break
        self.is_flushing = False
        if not self._left_over and self._caught_up is not None:
            self._caught_up.set()
            self._caught_up = None

    def _begin_slice(self) -> None:
        self._ends_at = self._clock() + SLICE_S
        self.is_flushing = True
        self.sends_left = FLUSHES_PER_LOOK

    # -- Readers --------------------------------------------------------------------------------------------------
    # Within `with turn:` nobody is woken for what is deferred, since the reader's own `flush()` follows. There must be
    # no await inside.

    def __enter__(self) -> None:
        self._readers += 1
        if self._long_at is None:
            self._long_at = self._clock() + SLICE_S

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._readers -= 1
        if kind is not None and self._deferred and self._parked is not None:
            # The reader will not get to its flush.
            self._wake(self._parked)

    @property
    def is_long(self) -> bool:
        """Whether others should have their turn: see `let_others`."""
        return self._long_at is not None and self._clock() > self._long_at

    # -- Everyone else --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush what is deferred outside of any reader's work, and what is left over, until cancelled. One such task
        per turn."""
        if self._is_running:
            raise RuntimeError("Turn.run is running already: one task flushes")
        self._is_running = True
        try:
            while True:
                if self._deferred or self._left_over:
                    await trio.lowlevel.checkpoint()
                else:
                    await self._park()
                self.flush()
                self._run_left_over()
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
