"""Structured logs: readable lines for a terminal, JSON for collectors. Standard ``logging`` ends in the same place."""

from __future__ import annotations

import logging
import sys

import structlog

_CONTROL = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if n != 9}


def _one_line(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Names and messages from elsewhere must not be able to write log lines, or to move a terminal's cursor."""
    return {k: v.translate(_CONTROL) if isinstance(v, str) else v for k, v in event.items()}


def configure(style: str = "text", level: int = logging.INFO) -> None:
    """Set logging up for this process. ``style``: text or json."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _one_line,
    ]
    # rich tracebacks would print local variables, and those may hold secrets
    plain = structlog.dev.plain_traceback
    rendered: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if style == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("kazoo", "uvicorn.access", "asyncio", "websockets", "alembic", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
