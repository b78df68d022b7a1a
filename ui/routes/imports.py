"""``/desk/imports``: engineers bring a data set in as a ZIP, and see what became of it.

Not by way of Gradio's own uploads: every user of the app can read those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from loop.access import Permission, Person
from loop.errors import NotAllowed, TooLarge
from store.formats import Format
from ui.bulk_import import BulkImports, ImportAs, ImportOptions, Reception
from ui.routes.bodies import limited
from ui.routes.uploads import NOBODY_LISTENS

# Pieces come as small as 64 KiB; each write is a hop to another thread.
_WRITE_BYTES = 1024 * 1024


class NewImport(BaseModel):
    """``size`` is that of the archive in bytes, so that it is refused before it is sent."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    format: Format
    import_as: Annotated[ImportAs, Field(alias="as")] = "truth"
    gold: bool = False
    subject_pattern: Annotated[str, Field(max_length=1000)] = ""
    name: Annotated[str, Field(max_length=200)] = ""
    size: Annotated[int, Field(gt=0)]

    @property
    def options(self) -> ImportOptions:
        return ImportOptions(
            self.format, self.import_as, self.gold, self.subject_pattern, self.name
        )


def router(
    *, imports: BulkImports, person_of: Callable[[Request], Person], max_bytes: int
) -> APIRouter:
    """``max_bytes`` is the size of the largest archive."""
    routes = APIRouter()
    handlers = _Imports(imports, person_of, max_bytes)
    routes.get("/desk/imports")(handlers.list)
    routes.post("/desk/imports", status_code=201)(handlers.begin)
    routes.get("/desk/imports/{import_id}")(handlers.show)
    routes.put("/desk/imports/{import_id}/archive", response_model=None)(handlers.archive)
    return routes


class _Imports:
    def __init__(
        self, imports: BulkImports, person_of: Callable[[Request], Person], max_bytes: int
    ) -> None:
        self._imports = imports
        self._person_of = person_of
        self._max_bytes = max_bytes

    async def list(self, request: Request) -> dict[str, Any]:
        """All of them, for whoever may import, and the size of the largest archive."""
        self._person_of(request).acting(Permission.IMPORT)
        statuses = await run_sync(self._imports.list)
        imports = [status.as_dict(with_problems=False) for status in statuses]
        return {"imports": imports, "max_bytes": self._max_bytes}

    async def begin(self, request: Request, new: NewImport) -> dict[str, Any]:
        """Ask for an import; its archive is to follow."""
        actor = self._person_of(request).acting(Permission.IMPORT)
        if new.size > self._max_bytes:
            raise self._too_large()
        status = await run_sync(self._imports.begin, new.options, new.size, actor)
        return status.as_dict()

    async def show(self, request: Request, import_id: str) -> dict[str, Any]:
        """How far it is, and its report: for engineers, and for whoever started it."""
        person = self._person_of(request)
        if not person.may(Permission.IMPORT):
            await self._require_own(person, import_id)
        return (await run_sync(self._imports.find, import_id)).as_dict()

    async def archive(self, request: Request, import_id: str) -> dict[str, Any] | Response:
        """Take the ZIP in, from whoever began the import, and start it."""
        person = self._person_of(request)
        person.acting(Permission.IMPORT)
        await self._require_own(person, import_id)
        reception = await run_sync(self._imports.open, import_id)
        try:
            await self._receive(request, reception)
            await run_sync(reception.start)
        except ClientDisconnect:
            return Response(status_code=NOBODY_LISTENS)
        finally:
            # Shielded, for a server that stops cancels what it runs.
            with anyio.CancelScope(shield=True):
                await run_sync(reception.abandon)
        return (await run_sync(self._imports.find, import_id)).as_dict()

    async def _receive(self, request: Request, reception: Reception) -> None:
        waiting = bytearray()
        async for piece in limited(request, self._max_bytes, self._too_large()):
            waiting += piece
            if len(waiting) >= _WRITE_BYTES:
                await run_sync(reception.write, bytes(waiting))
                waiting.clear()
        await run_sync(reception.write, bytes(waiting))

    async def _require_own(self, person: Person, import_id: str) -> None:
        # To others an import that is not theirs and one that is not there look the same.
        statuses = await run_sync(self._imports.list)
        if not any(s.id == import_id and s.started_by == person.pseudonym for s in statuses):
            raise NotAllowed(
                "This import was started by somebody else, or it is not there.",
                hint="Begin an import of your own.",
            )

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"The ZIP is larger than {self._max_bytes / 2**20:,.0f} MiB.",
            hint="Split the data set, have SECONDLOOK_MAX_IMPORT_BYTES raised, or use "
            "`secondlook import` where the app runs.",
            code="too_many_bytes",
        )
