"""Python's garbage collector in a node: hardly anything here is garbage that only it could find.

Everything else is freed as soon as nobody refers to it. It is not switched off: plugins may make cycles.
"""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""Made since the garbage collector last looked, and still there. Python's 700 were chosen for programs that are done
soon: at 60,000 messages a second it would look a hundred times a second, for nothing."""

YOUNG_LOOKS: Final = 5
"""Looks at what is new before one at what survived them. Nothing else runs meanwhile: 50,000 objects, or what 700 new
clients are made of, take 20 ms."""

MIDDLE_LOOKS: Final = 20
"""Looks at those before one at everything. Python waits longer when there is much that stays."""


def spare() -> None:
    """Do not let it look again and again at what is there now, and let it look less often at what is new."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_LOOKS, MIDDLE_LOOKS)
