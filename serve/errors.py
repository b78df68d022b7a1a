"""Every error as ``{"error": {"code", "message", "hint"}}``, in the one place that catches."""

from __future__ import annotations

import math
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from loop.errors import LoopError
from serve import request_log
from serve.middleware import internal_error
from serve.schemas import ErrorBody, error_body

_log = structlog.get_logger(__name__)

# Seconds until a client should try again when there is no model.
_RETRY_AFTER_SECONDS = "5"
_RETRY_AFTER = {
    "description": "seconds until another try makes sense",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
# Errors of ours that are for the client to read all the same.
SHOWN = (503, 504)
_MEANING = {
    401: "no API key, or one that is not accepted (`no_key`, `invalid_key`)",
    403: "the API key does not have the scope (`missing_scope`)",
    409: "the state forbids it (`conflict`)",
    413: "too many bytes or pixels (`too_many_bytes`, `too_many_pixels`)",
    415: "not an image that is accepted (`not_an_image`, `truncated`, `unsupported_type`, "
    "`unsupported_media_type`, `empty`)",
    422: "no or more than one image, or a field that cannot be used (`no_image`, "
    "`too_many_images`, `malformed_form`, `invalid_field`, `validation`)",
    429: "more than the API key is good for, or than there is room for (`rate_limited`, `busy`): "
    "come again after Retry-After seconds",
    500: "our failure; the log of the API has more under the request's id (`internal`)",
    503: "no model is in service (`no_model`, `stopped`, `unavailable`)",
    504: "the image took too long (`timeout`)",
}
_ROUTES = "POST /v1/detect, POST /v1/images, GET /v1/model; all are described at /docs."


class TimedOut(LoopError):
    code = "timeout"
    http_status = 504


def documented_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Entries for FastAPI's ``responses``."""
    return {status: _documented(status) for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {"model": ErrorBody, "description": _MEANING[status].capitalize()}
    if status == 503:
        response["headers"] = {"Retry-After": _RETRY_AFTER}
    return response


def install_error_handlers(api: FastAPI) -> None:
    api.add_exception_handler(LoopError, _loop_error)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(RequestValidationError, _validation_error)


async def _loop_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LoopError)  # noqa: S101 (registered for nothing else)
    if error.http_status >= 500 and error.http_status not in SHOWN:
        # Ours to mend, and its message may name paths that are not for clients.
        _log.error("request.failed", error=error.as_dict(), exc_info=error)
        return internal_error(request.state.request_id)
    request_log.note(error=error.detail_code)
    return JSONResponse({"error": error.as_dict()}, error.http_status, retry_after(error))


def retry_after(error: LoopError) -> dict[str, str]:
    """The header that says when to come again; none where that would not help."""
    seconds = getattr(error, "retry_after_seconds", None)
    if seconds is not None:
        return {"retry-after": str(math.ceil(seconds))}
    return {"retry-after": _RETRY_AFTER_SECONDS} if error.http_status == 503 else {}


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 404:
        body = error_body("not_found", f"There is no {request.url.path[:200]}.", _ROUTES)
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        body = error_body(
            "method_not_allowed",
            f"{request.method[:20]} is not for {request.url.path[:200]}.",
            f"Use {allowed}.",
        )
    else:
        body = error_body("http_error", str(error.detail), _ROUTES)
    request_log.note(error=body["error"]["code"])
    return JSONResponse(body, error.status_code, error.headers)


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    request_log.note(error="validation")
    body = error_body("validation", f"{where}: {first['msg']}.", "See /docs.")
    return JSONResponse(body, 422)
