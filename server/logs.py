"""How a node logs: on standard error, for people on a terminal and as JSON, one object per line, for machines.

It makes a logger and changes nothing global: whoever logs was given it.
"""

import logging
from typing import Any, TextIO

import structlog

from server.config import LogConfig


def open_log(config: LogConfig, stream: TextIO) -> Any:
    """Return the node's logger."""
    is_terminal = stream.isatty()
    is_json = config.format == "json" or (config.format == "auto" and not is_terminal)
    ending: list[Any] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if is_json
        else [structlog.dev.ConsoleRenderer(colors=is_terminal)]
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *ending,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[config.level.upper()]
        ),
    )
