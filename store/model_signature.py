"""Signatures of model folders, in the format of OpenSSF Model Signing 1.0, with a key.

A signature is a Sigstore bundle (media type v0.3) with a DSSE envelope with an in-toto statement
that lists the SHA-256 of every file. ``model_signing verify key`` accepts it. Nothing is sent
anywhere. Sources: OMS 1.0 (github.com/ossf/model-signing-spec), DSSE's protocol 1.0
(github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from loop.errors import BrokenRecord, Misconfigured
from store.model_keys import SigningKey, VerifyKey

SIGNATURE = "model.sig"
# At the top of the folder: the signature, and what MLflow adds when it opens a model where it lies.
# Nothing of it is ever loaded here.
UNSIGNED = (SIGNATURE, "__pycache__", "registered_model_meta")

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
# Some hundred bytes a file, and a model has about twenty.
_LARGEST_BYTES = 4 * 1024 * 1024
RESTORE = "Do not use it. Restore MLflow's artifacts from a backup."


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature says: the model's name, and the SHA-256 of each file by its path.

    ``key`` is the fingerprint of the key that made it, ``sha256`` the digest of the signature.
    """

    name: str
    files: Mapping[str, str]
    key: str
    sha256: str


def sign(name: str, files: Mapping[str, str], key: SigningKey) -> bytes:
    """The content of ``model.sig`` for a model of that name with these ``files``."""
    listed = sorted(files.items())
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _root(digest for _, digest in listed)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(UNSIGNED),
            },
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": digest} for path, digest in listed
            ],
        },
    }
    payload = json.dumps(statement, ensure_ascii=False).encode()
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {
            "publicKey": {"hint": key.public.fingerprint},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": _text(payload),
            "payloadType": _PAYLOAD,
            "signatures": [{"sig": _text(key.sign(_encoded(payload))), "keyid": ""}],
        },
    }
    return json.dumps(bundle, indent=2).encode() + b"\n"


def read_signature(what: str, content: bytes, trusted: Mapping[str, VerifyKey]) -> Signed:
    """What ``content`` says, if one of the ``trusted`` keys signed it.

    ``what`` is the model that it is the signature of, for errors. Raises `BrokenRecord`, and
    `Misconfigured` if there is no key to check it with.
    """
    if not trusted:
        raise Misconfigured(
            "There is no public key to check the signatures of models with.",
            hint="Name it in SECONDLOOK_MODEL_VERIFY_KEYS.",
        )
    try:
        bundle = json.loads(content)
        hint = str(bundle["verificationMaterial"]["publicKey"]["hint"])
        envelope = bundle["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        (each,) = envelope["signatures"]
        signature = base64.b64decode(each["sig"], validate=True)
        kinds = (bundle["mediaType"], envelope["payloadType"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(what) from error
    if kinds != (_BUNDLE, _PAYLOAD):
        raise _damaged(what)
    if hint not in trusted:
        raise BrokenRecord(
            f"{what} is signed with the key {hint[:16]}, which is not trusted here (trusted: "
            f"{', '.join(each[:16] for each in trusted)}).",
            hint="If you know that key, add its public half to SECONDLOOK_MODEL_VERIFY_KEYS. "
            f"If not, do not use the model. {_how_to_sign(what)}",
        )
    if not trusted[hint].accepts(signature, _encoded(payload)):
        raise BrokenRecord(
            f"The signature of {what} does not fit what it says: one of the two was changed.",
            hint=RESTORE,
        )
    return _statement(what, payload, hint, content)


def read_signature_file(what: str, folder: Path, trusted: Mapping[str, VerifyKey]) -> Signed:
    """As `read_signature`, of the folder of a model. Raises `BrokenRecord` if it has none."""
    path = folder / SIGNATURE
    if path.is_symlink() or not path.is_file():
        raise BrokenRecord(f"{what} has no signature.", hint=_how_to_sign(what))
    if path.stat().st_size > _LARGEST_BYTES:
        raise _damaged(what)
    return read_signature(what, path.read_bytes(), trusted)


def file_digests(what: str, folder: Path) -> dict[str, str]:
    """The SHA-256 of every file that a signature covers. Raises `BrokenRecord` for a link."""
    found: dict[str, str] = {}
    for parent, folders, files in os.walk(folder):
        place = Path(parent)
        if place == folder:
            folders[:] = [each for each in folders if each not in UNSIGNED]
            files = [each for each in files if each not in UNSIGNED]
        for name in (*folders, *files):
            path = place / name
            if path.is_symlink() or (name in files and not path.is_file()):
                raise BrokenRecord(
                    f"{what} has a link or a device among its files: {path.relative_to(folder)}.",
                    hint=RESTORE,
                )
        for name in files:
            path = place / name
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found


def check_files(what: str, signed: Signed, found: Mapping[str, str]) -> None:
    """Raises `BrokenRecord` and names the files that are not as they were signed."""
    wrong = [
        *(f"{path} is missing" for path in sorted(signed.files.keys() - found.keys())),
        *(f"{path} was added" for path in sorted(found.keys() - signed.files.keys())),
        *(
            f"{path} has the digest {found[path][:12]}, not {signed.files[path][:12]}"
            for path in sorted(signed.files.keys() & found.keys())
            if found[path] != signed.files[path]
        ),
    ]
    if wrong:
        raise BrokenRecord(
            f"The files of {what} are not those that were signed: {'; '.join(wrong)}.",
            hint=RESTORE,
        )


def _statement(what: str, payload: bytes, key: str, content: bytes) -> Signed:
    try:
        statement = json.loads(payload)
        (subject,) = statement["subject"]
        predicate = statement["predicate"]
        kinds = (statement["_type"], statement["predicateType"])
        how = (predicate["serialization"]["method"], predicate["serialization"]["hash_type"])
        files = dict(_resource(each) for each in predicate["resources"])
        root = _root(files.values())
        whole = len(files) == len(predicate["resources"]) and subject["digest"]["sha256"] == root
        if kinds != (_STATEMENT, _PREDICATE) or how != ("files", "sha256") or not whole:
            raise ValueError("not a statement of this format")
        sha256 = hashlib.sha256(content).hexdigest()
        return Signed(str(subject["name"]), files, key, sha256)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(what) from error


def _resource(each: Mapping[str, Any]) -> tuple[str, str]:
    path, digest = PurePosixPath(each["name"]), str(each["digest"])
    if path.is_absolute() or ".." in path.parts or each["algorithm"] != "sha256":
        raise ValueError(f"not a file of a model: {path}")
    return path.as_posix(), digest


def _root(digests: Any) -> str:
    """Of the model as a whole: SHA-256 over the files' digests as bytes, one after another."""
    return hashlib.sha256(b"".join(bytes.fromhex(each) for each in digests)).hexdigest()


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _damaged(what: str) -> BrokenRecord:
    return BrokenRecord(
        f"The signature of {what} is damaged, or not one of OpenSSF Model Signing 1.0 by a key.",
        hint=f"{RESTORE} {_how_to_sign(what)}",
    )


def _how_to_sign(what: str) -> str:
    version = what.rpartition(" ")[2]
    return f"To sign it, once you are sure of it: secondlook models sign {version}"
