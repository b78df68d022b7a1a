"""The audit log's files over HTTP, for any client of https://c2sp.org/tlog-tiles."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

_NUMBER = r"(x\d{3}/)*\d{3}"
_PATH = re.compile(rf"checkpoint|tile/(entries|\d{{1,2}})/{_NUMBER}(\.p/\d{{1,3}})?")
# Tiles and bundles never change; the checkpoint does with each entry.
_FOR_EVER = "public, max-age=31536000, immutable"
_NEVER = "no-store"


def build_log_app(folder: Path) -> Starlette:
    """Serves the log in ``folder``, and nothing else that lies there."""

    def file(request: Request) -> Response:
        path = request.path_params["path"]
        if not _PATH.fullmatch(path) or not (folder / path).is_file():
            return PlainTextResponse("There is no such file of the log.\n", 404)
        if path == "checkpoint":
            headers = {"cache-control": _NEVER}
            return FileResponse(folder / path, media_type="text/plain", headers=headers)
        headers = {"cache-control": _FOR_EVER}
        return FileResponse(folder / path, media_type="application/octet-stream", headers=headers)

    return Starlette(routes=[Route("/{path:path}", file)])
