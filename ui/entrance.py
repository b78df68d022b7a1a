"""The way into the app put together: the gate around it, and the pages in front of the gate."""

from __future__ import annotations

from fastapi import FastAPI

from loop.errors import Misconfigured
from store.settings import Settings
from ui.gate import HEALTH, METRICS, OIDC_CALLBACK, OIDC_START, SIGN_IN, WELCOME, Gate
from ui.oidc import ProviderSignIn
from ui.sessions import People
from ui.sign_in import sign_in_routes
from ui.sign_in_pages import Pages
from ui.static_files import static_path

_STYLESHEET = "sign-in.css"


def add_entrance(app: FastAPI, settings: Settings, people: People) -> None:
    """Before Gradio is mounted on ``/``, which would answer in place of these routes.

    Raises `Misconfigured` for a provider without a client's id.
    """
    if settings.oidc_issuer and not settings.oidc_client_id:
        raise Misconfigured(
            "SECONDLOOK_OIDC_ISSUER is set, and SECONDLOOK_OIDC_CLIENT_ID is not.",
            hint="It is the name under which the provider knows this app.",
        )
    stylesheet = f"{static_path()}/{_STYLESHEET}"
    pages = Pages(
        stylesheet,
        passwords=settings.password_sign_in,
        provider=settings.oidc_name if settings.oidc_issuer else "",
    )
    open_paths = {SIGN_IN, WELCOME, HEALTH, METRICS, stylesheet}
    app.include_router(sign_in_routes(people, pages, passwords=settings.password_sign_in))
    if settings.oidc_issuer:
        app.router.routes.extend(ProviderSignIn(settings, people, pages).routes)
        open_paths |= {OIDC_START, OIDC_CALLBACK}
    app.add_middleware(
        Gate,
        people=people,
        open_paths=frozenset(open_paths),
        public_url=settings.public_url,
    )
