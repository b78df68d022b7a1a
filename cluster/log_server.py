"""The audit log's files over HTTP, for any client of https://c2sp.org/tlog-tiles."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from loop.errors import LoopError
from store.log_files import LogFiles
from store.log_reading import LogReader

_NUMBER = r"(x\d{3}/)*\d{3}"
_STAMP = r"timestamps/[1-9]\d{0,18}\.(tsr|checkpoint)"
_PATH = re.compile(rf"checkpoint|{_STAMP}|tile/(entries|\d{{1,2}})/{_NUMBER}(\.p/\d{{1,3}})?")
_TYPES = {".checkpoint": "text/plain", ".tsr": "application/timestamp-reply"}
# Tiles, bundles and timestamps never change; the checkpoint does with each entry.
_FOR_EVER = "public, max-age=31536000, immutable"
_NEVER = "no-store"


def build_log_app(files: LogReader) -> Starlette:
    """Serves the log's ``files``, and nothing else that lies with them."""

    def file(request: Request) -> Response:
        path = request.path_params["path"]
        if not _PATH.fullmatch(path):
            return _nothing()
        headers = {"cache-control": _NEVER if path == "checkpoint" else _FOR_EVER}
        usual = "text/plain" if path == "checkpoint" else "application/octet-stream"
        type = _TYPES.get(Path(path).suffix, usual)
        if isinstance(files, LogFiles):
            if not (files.folder / path).is_file():
                return _nothing()
            return FileResponse(files.folder / path, media_type=type, headers=headers)
        try:
            data = files.find(path)
        except LoopError as error:
            return PlainTextResponse(f"{error.message}\n", error.http_status)
        return _nothing() if data is None else Response(data, media_type=type, headers=headers)

    return Starlette(routes=[Route("/{path:path}", file)])


def _nothing() -> Response:
    return PlainTextResponse("There is no such file of the log.\n", 404)
