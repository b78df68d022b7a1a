"""An app behind the real gate that says who is in it, on a database in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.testclient import TestClient

from store.settings import Settings
from tests.people import House
from ui.entrance import add_entrance
from ui.errors import install_error_handlers
from ui.gate import person_of
from ui.sessions import People, open_people
from ui.static_files import static_files, static_path

PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Entrance:
    """``house`` holds the accounts, and shares its clock with the app."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.house = House()
        self.settings = Settings(home=home, **settings)
        self.people: People = open_people(
            self.settings, self.house.units, hasher=self.house.hasher, clock=self.house.clock
        )
        self.app = FastAPI(openapi_url=None)
        add_entrance(self.app, self.settings, self.people)
        install_error_handlers(self.app)
        self.app.add_api_route("/healthz", lambda: {"status": "ok"})
        self.app.mount(static_path(), static_files())
        self.app.add_api_route("/{path:path}", _inside, methods=["GET", "POST", "PUT", "DELETE"])
        self.app.add_api_websocket_route("/{path:path}", _socket)

    def client(self) -> TestClient:
        """A browser of its own."""
        return TestClient(self.app, base_url=self.settings.app_url, follow_redirects=False)

    def signed_in(self, login: str = "ana") -> TestClient:
        client = self.client()
        token = self.people.sign_in(login, "a long sentence of mine")
        client.cookies.set(self.people.cookie.name, self.people.cookie._keys.sign(token))
        return client


async def _inside(path: str, request: Request) -> Response:
    person = request.state.person
    if path == "page":
        return HTMLResponse("<p>inside</p>")
    if path == "image":
        return Response(b"image", media_type="image/png")
    return JSONResponse(
        {
            "inside": path,
            "pseudonym": person and person.pseudonym,
            "roles": person and sorted(person.roles),
        }
    )


async def _socket(socket: WebSocket, path: str) -> None:
    await socket.accept()
    await socket.send_text(json.dumps({"inside": path, "pseudonym": person_of(socket).pseudonym}))
    await socket.close()
