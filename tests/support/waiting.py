"""Waiting for a condition, bounded; what tests do where others would sleep."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

TIMEOUT_S = 20.0
"""For what takes milliseconds on an idle machine. Generous, since test machines are neither idle nor fast."""

INTERVAL_S = 0.01
"""Between two looks at a condition that nothing signals."""


async def eventually(
    condition: Callable[[], Any] | Callable[[], Awaitable[Any]],
    what: str = "",
    timeout_s: float = TIMEOUT_S,
) -> Any:
    """Return the condition's first true result. It is called again and again; it may be async.

    An AssertionError it raises counts as "not yet". Fails with `what`, and the last result, after `timeout_s`; a look
    that was not over by then is none.
    """
    last: Any = None
    with trio.move_on_after(timeout_s):
        while True:
            try:
                found = condition()
                last = await found if isinstance(found, Awaitable) else found
            except AssertionError as error:
                last = error
            else:
                if last:
                    return last
            await trio.sleep(INTERVAL_S)
    name = what or getattr(condition, "__name__", "condition")
    raise AssertionError(f"not within {timeout_s:g} s: {name}; the last look gave {last!r}")
