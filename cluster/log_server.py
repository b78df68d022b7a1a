"""The audit log's files over HTTP, for any client of https://c2sp.org/tlog-tiles."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

_NUMBER = r"(x\d{3}/)*\d{3}"
_STAMP = r"timestamps/[1-9]\d{0,18}\.(tsr|checkpoint)"
_PATH = re.compile(rf"checkpoint|{_STAMP}|tile/(entries|\d{{1,2}})/{_NUMBER}(\.p/\d{{1,3}})?")
_TYPES = {".checkpoint": "text/plain", ".tsr": "application/timestamp-reply"}
# Tiles, bundles and timestamps never change; the checkpoint does with each entry.
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
        type = _TYPES.get(Path(path).suffix, "application/octet-stream")
        return FileResponse(folder / path, media_type=type, headers=headers)

    return Starlette(routes=[Route("/{path:path}", file)])
