"""Keys on the command line: of a log, and of witnesses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from loop.errors import InvalidInput, NotFound
from loop.signed_notes import KeyType, VerifierKey
from store.log_key import elsewhere_key_path, open_log_key
from store.log_role import LogRole
from store.settings import Settings

KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="The log's public key, name+id+base64, or a file with it. Default: the one in this "
        "home, which shows less.",
    ),
]
WitnessOption = Annotated[
    list[str] | None,
    typer.Option(
        "--witness",
        metavar="KEY",
        help="The public key of a witness that must have signed, or a file with it. Repeatable.",
    ),
]
TsaRootsOption = Annotated[
    Path | None,
    typer.Option(
        "--tsa-roots",
        metavar="FILE",
        help="Check the timestamps: the root certificates of their authorities, in PEM. Default: "
        "SECONDLOOK_AUDIT_TSA_ROOTS.",
    ),
]
_KINDS = {KeyType.LOG: "a log", KeyType.WITNESS: "a witness"}


def log_key(settings: Settings, text: str | None) -> VerifierKey:
    """The one that was given, or else the home's. Raises `InvalidInput`, `NotFound`."""
    if text is not None:
        return _parsed(text, KeyType.LOG)
    if settings.audit_key:
        return VerifierKey.parse(settings.audit_key)
    pinned = elsewhere_key_path(settings.home)
    elsewhere = settings.audit_log is LogRole.ELSEWHERE
    key = None if elsewhere else open_log_key(settings).public()
    if key is None and pinned.exists():
        return _parsed(str(pinned), KeyType.LOG)
    if key is None:
        raise NotFound(
            f"There is no key of an audit log in {settings.home}.",
            hint="Give the log's public key: --key. secondlook audit key prints it, where it is.",
        )
    return key


def witness_keys(texts: Sequence[str] | None) -> list[VerifierKey]:
    """Raises `InvalidInput`, `NotFound`."""
    return [_parsed(each, KeyType.WITNESS) for each in texts or ()]


def as_time(at: int) -> str:
    """Seconds since 1970 as RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _parsed(text: str, type: KeyType) -> VerifierKey:
    path = Path(text)
    try:
        is_file = len(text) < 4096 and path.is_file()
        text = path.read_text() if is_file else text
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"The key in {path} cannot be read: {error}.") from error
    if "+" not in text and not is_file:
        raise NotFound(f"{path} is no key, and no file.", hint="A key is name+1a2b3c4d+AbC…=")
    found = VerifierKey.parse(text)
    if found.type is not type:
        raise InvalidInput(f"The key of {found.name} is that of {_KINDS[found.type]}.")
    return found
