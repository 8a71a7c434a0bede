"""How a node logs: on standard error, for people on a terminal and as JSON, one object per line, for machines.

It makes a logger and changes nothing global: whoever logs was given it. It refuses to write what local variables hold
into a traceback: they may be secrets.
"""

import logging
from typing import Any, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from server.config import LogConfig


def open_log(config: LogConfig, stream: TextIO) -> Any:
    """Return the node's logger."""
    is_terminal = stream.isatty()
    is_json = config.format == "json" or (config.format == "auto" and not is_terminal)
    ending: list[Any] = (
        [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
        if is_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=is_terminal, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    return structlog.wrap_logger(
        structlog.WriteLogger(stream),
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
