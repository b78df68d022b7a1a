"""The keys of an installation as variables, for machines that do not share its home."""

from __future__ import annotations

import os

from loop.errors import NotFound
from store.audit_log import AuditLog
from store.model_keys import open_model_keys
from store.own_key import own_key
from store.pseudonyms import subject_key
from store.settings import Settings

# What a machine that only serves needs. All others can sign, or use the API as the app does.
SERVING = ("SECONDLOOK_AUDIT_KEY", "SECONDLOOK_MODEL_VERIFY_KEYS", "SECONDLOOK_SUBJECT_KEY")


def exported_keys(settings: Settings, log: AuditLog, *, serving: bool = False) -> dict[str, str]:
    """By the names of the variables, each value in one line; those that there are not yet are made
    as on first use, but for the API's. Raises `NotFound` where there is no key to sign with."""
    keys = open_model_keys(settings)
    if serving and keys.own_fingerprint() is None and not keys.trusted():
        raise NotFound(
            "There is no key of model signatures yet.",
            hint="Register a model first, or export all keys: that makes one.",
        )
    signing = None if serving else keys.signing_key()
    values = {
        "SECONDLOOK_AUDIT_KEY": str(log.public_key()),
        "SECONDLOOK_MODEL_VERIFY_KEYS": os.pathsep.join(
            _line(key.pem) for _, key in sorted(keys.trusted().items())
        ),
        "SECONDLOOK_SUBJECT_KEY": subject_key(settings).hex(),
        "SECONDLOOK_MODEL_SIGNING_KEY": _line(signing.pem()) if signing else "",
        "SECONDLOOK_API_KEY": settings.api_key.get_secret_value() or own_key(settings),
    }
    return {
        name: value for name, value in values.items() if value and (not serving or name in SERVING)
    }


def _line(pem: bytes) -> str:
    return pem.decode().strip().replace("\n", "\\n")
