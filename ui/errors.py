"""Every error of the app's own routes as ``{"error": {"code", "message", "hint"}}``."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from loop.errors import LoopError

_log = structlog.get_logger(__name__)


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(LoopError, _loop_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


async def _loop_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LoopError)  # noqa: S101 (registered for nothing else)
    if error.http_status >= 500 and error.http_status != 503:
        # Its message may name paths of the machine.
        _log.error("request.failed", path=request.url.path, error=error.as_dict(), exc_info=error)
        body = {
            "code": "internal",
            "message": "Something went wrong on our side.",
            "hint": "Nothing of yours is lost: try again, and tell your admin if it stays.",
        }
        return JSONResponse({"error": body}, 500)
    return JSONResponse({"error": error.as_dict()}, error.http_status)


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    body = {
        "code": "validation",
        "message": f"{where}: {first['msg']}.",
        "hint": "Reload the page: it may be older than the server.",
    }
    return JSONResponse({"error": body}, 422)
