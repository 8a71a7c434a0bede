"""A plugin that says how many Python objects its node holds, as `memory/memory:blocks`.

    server.plugins = ["cluster", "support.memory_probe:MemoryProbe"]     with tests/ on PYTHONPATH

The size of a process also says what ZeroMQ's queues hold at the moment, and what malloc keeps; a leak of Python's is
lost in that. Blocks of its heap are counted exactly.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from server.plugin import Controller, Plugin, Request, action

PLUGIN = "support.memory_probe:MemoryProbe"
BLOCKS = "/_plugin/memory/blocks"


class MemoryProbe(Plugin):
    """Counts when it is asked."""

    name = "memory"

    def controllers(self) -> Sequence[Controller]:
        """Its API."""
        return [MemoryController()]


class MemoryController:
    """`memory/memory:*`."""

    name = "memory"

    @action(http=[("GET", "/blocks")])
    def blocks(self, request: Request) -> int:
        """Blocks of memory that Python's objects take up, garbage apart."""
        gc.collect()
        return sys.getallocatedblocks()
