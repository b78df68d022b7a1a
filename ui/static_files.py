"""The page's own scripts and styles, under a path that changes with what is in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"


class _Immutable(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        # The path names the content, so that it never has to be asked for again.
        response.headers["cache-control"] = "private, max-age=31536000, immutable"
        return response


def static_path() -> str:
    """``/static/<digest>``: another one as soon as any file differs."""
    digest = hashlib.sha256()
    for path in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    return f"/static/{digest.hexdigest()[:16]}"


def static_files() -> StaticFiles:
    return _Immutable(directory=FOLDER)
