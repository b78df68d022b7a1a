"""How the API and the app write their logs: a JSON object a line, on standard output."""

from __future__ import annotations

import structlog


def configure_logs(level: str) -> None:
    """``level`` is that of `store.settings`; what is below it costs next to nothing.

    Exceptions are written without the values of variables: they may be what a client sent.
    """
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level.lower()),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(),
        # Else the chain is put together again for each line.
        cache_logger_on_first_use=True,
    )
