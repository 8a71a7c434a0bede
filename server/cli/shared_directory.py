"""A private directory that several processes share, and that is gone when the last of them is, however they end.

Each holds a lock on it for as long as it uses it; the system takes the lock back from a process that was killed. Who
leaves tries to have the lock alone: the one that gets it is the last, and removes the directory. Standard library only.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def make_directory(prefix: str) -> Iterator[str]:
    """Make a directory that only this user may enter, and hold it. Raises OSError when there is no place for it."""
    path = tempfile.mkdtemp(prefix=prefix)
    with hold_directory(path):
        yield path


@contextmanager
def hold_directory(path: str) -> Iterator[None]:
    """Hold a directory that another process made; whoever is the last to let go of it removes it.

    Raises OSError when it is not there (any more).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        with suppress(BlockingIOError):  # somebody else holds it still
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)
