"""A node without a socket for the fuzzer, and whether anything is logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from server.config import LoadedConfig, ServerConfig
from server.core.limits import Limits
from server.node import Node, assemble
from server.testing import Log

NODE_ID = "fuzzed"


def make_node(**limits: Any) -> tuple[Node, Log]:
    """Return a node that serves, and what it logs."""
    log = Log()
    node = assemble(LoadedConfig(server=ServerConfig(name=NODE_ID), limits=Limits(**limits)), log.logger)
    node.app.execution.start()
    return node, log


@contextmanager
def nothing_is_logged(node: Log | None = None) -> Iterator[None]:
    """Fail when something is logged meanwhile: by the node, or by a library, in the node's name and past its log."""
    kept = _Kept()
    root = logging.getLogger()
    root.addHandler(kept)
    try:
        yield
    finally:
        root.removeHandler(kept)
    assert kept.lines == []
    assert node is None or node.lines == []


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
