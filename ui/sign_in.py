"""The way in and out by password or one-time link: ``/sign-in``, ``/welcome``, ``/sign-out``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qs

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from loop.errors import InvalidInput, LoopError, NotAllowed, SignInRefused, TooLarge
from ui.gate import SIGN_IN, SIGN_OUT, WELCOME, local_path
from ui.routes.bodies import limited
from ui.sessions import People
from ui.sign_in_pages import Pages

# Each password that is tried takes 64 MiB and four threads for a moment (store.passwords).
_PASSWORDS_AT_ONCE = 4
# Three short fields and a password of 256 characters, percent-encoded.
_LONGEST_FORM_BYTES = 16 * 1024
Result = TypeVar("Result")


def sign_in_routes(people: People, pages: Pages, *, passwords: bool) -> APIRouter:
    """``passwords``: whether people may sign in with one."""
    router = APIRouter(include_in_schema=False)
    limiter = anyio.CapacityLimiter(_PASSWORDS_AT_ONCE)

    async def in_thread(function: Callable[[], Result]) -> Result:
        return await anyio.to_thread.run_sync(function, limiter=limiter)

    @router.get(SIGN_IN)
    async def show_sign_in(request: Request, next: str = "/") -> Response:
        if getattr(request.state, "person", None) is not None:
            return RedirectResponse(local_path(next), 303)
        return HTMLResponse(pages.sign_in(local_path(next)))

    @router.post(SIGN_IN)
    async def sign_in(request: Request) -> Response:
        form = await _form(request)
        login, next_path = form.get("login", ""), local_path(form.get("next", "/"))
        try:
            if not passwords:
                raise _no_passwords()
            password = form.get("password", "")
            token = await in_thread(lambda: people.sign_in(login, password))
        except LoopError as error:
            return HTMLResponse(pages.sign_in(next_path, login, error), error.http_status)
        return await _let_in(people, request, token, next_path)

    @router.get(WELCOME)
    async def show_welcome(token: str = "") -> Response:
        # Only looks: programs that preview links in messages must not use them up.
        try:
            account = await in_thread(lambda: people.invited(token))
        except LoopError as error:
            return _closed(pages, error)
        return HTMLResponse(pages.welcome(token, account))

    @router.post(WELCOME)
    async def welcome(request: Request) -> Response:
        form = await _form(request)
        link, login, name = form.get("token", ""), form.get("login", ""), form.get("name", "")
        password = form.get("password", "")
        try:
            account = await in_thread(lambda: people.invited(link))
            if not passwords:
                raise _no_passwords()
            if form.get("again", "") != password:
                raise InvalidInput("The two passwords differ.", hint="Type both again.")
            token = await in_thread(lambda: people.welcome(link, login, name, password))
        except InvalidInput as error:
            page = pages.welcome(link, account, login, name, error)
            return HTMLResponse(page, error.http_status)
        except LoopError as error:
            return _closed(pages, error)
        return await _let_in(people, request, token, "/")

    @router.post(SIGN_OUT)
    async def sign_out(request: Request) -> Response:
        token = people.token_of(request)
        if token is not None:
            await in_thread(lambda: people.sign_out(token))
        response = RedirectResponse(SIGN_IN, 303)
        people.cookie.clear(response)
        return response

    return router


async def _let_in(people: People, request: Request, token: str, path: str) -> Response:
    # A browser has one session: who signs in again leaves none behind that nobody looks after.
    before = people.token_of(request)
    if before is not None:
        await anyio.to_thread.run_sync(people.sign_out, before)
    response = RedirectResponse(path, 303)
    people.cookie.set(response, token)
    return response


async def _form(request: Request) -> dict[str, str]:
    """The fields of an HTML form. Raises `TooLarge` before more than a form's worth is read."""
    body = bytearray()
    too_large = TooLarge("This is more than the form holds.")
    async for piece in limited(request, _LONGEST_FORM_BYTES, too_large):
        body += piece
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=10)
    except ValueError as error:
        raise InvalidInput("This is not what the form sends.") from error
    return {name: values[0] for name, values in fields.items()}


def _closed(pages: Pages, error: LoopError) -> Response:
    title = "Your link" if isinstance(error, SignInRefused) else "Not possible"
    return HTMLResponse(pages.message(title, error), error.http_status)


def _no_passwords() -> NotAllowed:
    return NotAllowed(
        "Nobody signs in with a password here.", hint="Use your organisation's sign-in."
    )
