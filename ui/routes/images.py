"""Image bytes, for whoever works with them, through our own door and no cache of Gradio's."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from loop.access import Permission
from loop.errors import NotAllowed
from loop.ports import ImageStore, UnitsOfWork
from ui.gate import person_of
from ui.routes import schemas

_SEEING = (Permission.REVIEW, Permission.SEE_MODELS)


@dataclass(frozen=True, slots=True)
class ImageRoutes:
    units: UnitsOfWork
    images: ImageStore

    def router(self) -> APIRouter:
        router = APIRouter()
        router.get("/desk/images/{image_id}", response_class=Response)(self.image)
        return router

    def image(self, request: Request, image_id: schemas.Id) -> Response:
        """The stored image, which has no metadata left in it."""
        person = person_of(request)
        if not any(person.may(permission) for permission in _SEEING):
            raise NotAllowed(
                "Your roles do not include looking at images.",
                hint="Reviewers, adjudicators, engineers and auditors may.",
            )
        with self.units() as uow:
            image = uow.images.get(image_id)
        # Not to be kept on the disk of a machine that several people use.
        headers = {"cache-control": "no-store", "content-disposition": "inline"}
        return Response(self.images.get(image.id), media_type=image.media_type, headers=headers)
