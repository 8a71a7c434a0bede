"""A nursery inside a context manager of a test, which the test does not notice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def nursery_that_does_not_wrap() -> AsyncIterator[trio.Nursery]:
    """Give a nursery; cancel it at the end of the context.

    What the context's body raises comes out as it is, and not in an exception group: `pytest.raises` and a failed
    `assert` are to look the same with or without such a context around them.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:  # raised again below
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
