"""Logging: JSON lines for machines, readable lines on a terminal, always on stderr."""

import logging
import os
import sys
from typing import Any

import structlog


def configure_logging(service: str, *, level: str = "info") -> None:
    """Set up structlog. `TEAMBUS_LOG` = json or console (default: console on a terminal);
    `TEAMBUS_LOG_LEVEL` = debug, info, warning, error (default: `level`).
    """
    console = os.environ.get("TEAMBUS_LOG", "console" if sys.stderr.isatty() else "json")
    least = os.environ.get("TEAMBUS_LOG_LEVEL", level).upper()
    # Without the locals of each frame: they hold users' text and may hold keys.
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    final: list[Any] = [
        structlog.processors.ExceptionRenderer(frames),
        structlog.processors.JSONRenderer(),
    ]
    if console == "console":
        final = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            *final,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping().get(least, logging.INFO)
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
