"""The pages before anybody is signed in, as HTML that needs no scripts."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from loop.accounts import LONGEST_PASSWORD, SHORTEST_PASSWORD, Account
from loop.errors import LoopError
from ui.gate import OIDC_START, SIGN_IN, WELCOME

# Two boxes around one thing: the model's, and a person's second look.
_MARK = """<svg viewBox="0 0 40 40" width="40" height="40" aria-hidden="true">
<rect x="4" y="4" width="25" height="25" rx="2" fill="none" stroke="#e69f00" stroke-width="3"
 stroke-dasharray="6 4"/>
<rect x="11" y="11" width="25" height="25" rx="2" fill="none" stroke="#0b5cad" stroke-width="3"/>
</svg>"""


class Pages:
    """``provider`` is the OpenID Connect provider's name on its button; empty: there is none."""

    def __init__(self, stylesheet: str, *, passwords: bool, provider: str) -> None:
        self._stylesheet = stylesheet
        self._passwords = passwords
        self._provider = provider

    def sign_in(self, next_path: str, login: str = "", error: LoopError | None = None) -> str:
        parts = [_problem(error)]
        if self._passwords:
            parts.append(_sign_in_form(next_path, login))
        if self._passwords and self._provider:
            parts.append('<p class="or"><span>or</span></p>')
        if self._provider:
            kind = "secondary" if self._passwords else "primary"
            parts.append(
                f'<a class="button {kind}" href="{OIDC_START}?next={quote(next_path, safe="")}">'
                f"Sign in with {escape(self._provider)}</a>"
            )
        return self._page("Sign in", "\n".join(parts))

    def welcome(
        self,
        token: str,
        account: Account | None,
        login: str = "",
        name: str = "",
        error: LoopError | None = None,
    ) -> str:
        """``account`` is whose password is set; None asks for the first account's login too."""
        if account is None:
            title = "Welcome"
            about = (
                "Make the first account. It may do everything here: review, train, decide, and "
                "invite others."
            )
            who = (
                _field("login", "Login", login, "username", "required autofocus maxlength=64")
                + _field("name", "Your name", name, "name", "required maxlength=100")
                + '<p class="note">Your name is on pages only. In the data, and on record, you are '
                "a random pseudonym.</p>"
            )
        else:
            title = f"Welcome, {account.name}"
            about = "Choose a password, and you are in."
            who = _field("login", "Login", account.login, "username", "readonly")
        focus = " autofocus" if account is not None else ""
        limits = f"required minlength={SHORTEST_PASSWORD} maxlength={LONGEST_PASSWORD}"
        body = f"""{_problem(error)}
<p class="about">{escape(about)}</p>
<form method="post" action="{WELCOME}">
<input type="hidden" name="token" value="{escape(token)}">
{who}
{_field("password", "Password", "", "new-password", limits + focus, "password")}
<p class="note">At least {SHORTEST_PASSWORD} characters. A sentence that only you would write is
easy to remember.</p>
{_field("again", "The password again", "", "new-password", limits, "password")}
<button class="button primary">Save and sign in</button>
</form>"""
        return self._page(title, body)

    def message(self, title: str, error: LoopError) -> str:
        """A page that says what went wrong, with the way back."""
        link = f'<a class="button secondary" href="{SIGN_IN}">Go to the sign-in page</a>'
        return self._page(title, f"{_problem(error)}\n{link}")

    def _page(self, title: str, body: str) -> str:
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · Second Look</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{escape(self._stylesheet)}">
</head>
<body>
<main>
<header>{_MARK}<div><p class="product">Second Look</p>
<p class="motto">Every detection gets a second look.</p></div></header>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""


def _sign_in_form(next_path: str, login: str) -> str:
    # Whoever corrects a mistyped password should not have to reach for it first.
    first, second = ("", " autofocus") if login else (" autofocus", "")
    return f"""<form method="post" action="{SIGN_IN}">
<input type="hidden" name="next" value="{escape(next_path)}">
{_field("login", "Login", login, "username", "required" + first)}
{_field("password", "Password", "", "current-password", "required" + second, "password")}
<button class="button primary">Sign in</button>
</form>"""


def _field(
    name: str, label: str, value: str, autocomplete: str, rest: str, type: str = "text"
) -> str:
    shown = f' value="{escape(value)}"' if value else ""
    return f"""<label for="{name}">{label}</label>
<input id="{name}" name="{name}" type="{type}" autocomplete="{autocomplete}"
 autocapitalize="none" spellcheck="false"{shown} {rest}>
"""


def _problem(error: LoopError | None) -> str:
    if error is None:
        return ""
    hint = f"<br>{escape(error.hint)}" if error.hint else ""
    return f'<p class="problem" role="alert"><strong>{escape(error.message)}</strong>{hint}</p>'
