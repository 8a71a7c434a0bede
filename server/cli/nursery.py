"""A nursery inside a context manager that the context's user does not notice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_inner_nursery() -> AsyncIterator[trio.Nursery]:
    """Give a nursery whose tasks are cancelled at the end of the context.

    An exception of the context's body comes out as it is, and not in an exception group: who uses a context manager
    need not know that there is a nursery in it. What goes wrong in the tasks comes out in a group, as ever.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:  # raised again below, outside of the nursery
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
