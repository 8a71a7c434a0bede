"""What a node that is deaf on purpose hears."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster.ports import Arrivals


class Ears:
    """`Arrivals` to which no publication is given on while the node is deaf."""

    def __init__(self, arrivals: Arrivals, is_deaf: Callable[[], bool]) -> None:
        self._arrivals = arrivals
        self._is_deaf = is_deaf
        self.asked, self.answered = arrivals.asked, arrivals.answered
        self.hung_up, self.kept_out = arrivals.hung_up, arrivals.kept_out

    def published(self, frames: Sequence[bytes]) -> int:
        return 0 if self._is_deaf() else self._arrivals.published(frames)
