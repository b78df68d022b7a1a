"""The keys of model signatures: the installation's own, and the public ones that it trusts.

A home keeps its own below ``keys/models/``: ``signing.pem``, made on first use, and the public keys
that it trusts as ``*.pub.pem``, its own among them. Settings put files from elsewhere in their
place, so that a cluster that only serves holds no private key.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from loop.errors import Misconfigured, NotFound
from store.private_files import write_private, write_private_once
from store.settings import Settings

# A PEM file, or what would be in one.
KeySource = Path | bytes

PRIVATE, PUBLIC = "signing.pem", "signing.pub.pem"
_PUBLIC_FILES = "*.pub.pem"
# The curves of OpenSSF Model Signing 1.0, each with its digest.
_DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key. ``pem`` is its SubjectPublicKeyInfo, as OpenSSL writes it."""

    pem: bytes
    _key: ec.EllipticCurvePublicKey

    @property
    def fingerprint(self) -> str:
        """What ``sha256sum`` prints for the PEM file, and a signature calls its key's hint."""
        return hashlib.sha256(self.pem).hexdigest()

    def accepts(self, signature: bytes, data: bytes) -> bool:
        try:
            self._key.verify(signature, data, ec.ECDSA(_DIGESTS[self._key.curve.name]()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    _key: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> VerifyKey:
        return _verify_key(self._key.public_key())

    def pem(self) -> bytes:
        """The private key itself."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, data: bytes) -> bytes:
        """ECDSA over ``data``, in DER."""
        return self._key.sign(data, ec.ECDSA(_DIGESTS[self._key.curve.name]()))


class ModelKeys:
    """``folder`` is where a home keeps its own; ``signing`` and ``trusted`` stand in for those.

    With ``trusted`` those keys are all that is trusted. What is on disk is read at each call, so
    that a key that was replaced counts from then on.
    """

    def __init__(
        self, folder: Path, *, signing: KeySource | None = None, trusted: Sequence[KeySource] = ()
    ) -> None:
        self._folder = folder
        self._signing = signing
        self._trusted = tuple(trusted)

    def signing_key(self) -> SigningKey:
        """The key to sign with; a home makes its own on first use.

        Raises `Misconfigured` if it cannot be read, or if its signatures would not be trusted here.
        """
        if self._signing is None:
            _make_once(self._folder)
        key = read_signing_key(self._own)
        if self._signing is None:
            _publish(self._folder / PUBLIC, key.public)
        if self._trusted and key.public.fingerprint not in self.trusted():
            raise Misconfigured(
                f"The key of {_named(self._own)} is not among SECONDLOOK_MODEL_VERIFY_KEYS: what "
                "it signs would not be loaded here.",
                hint="Add its public key there: openssl pkey -in KEY.pem -pubout -out KEY.pub.pem",
            )
        return key

    def trusted(self) -> dict[str, VerifyKey]:
        """The public keys whose signatures are accepted, by fingerprint; makes none."""
        if self._trusted:
            keys = [read_verify_key(path) for path in self._trusted]
        else:
            keys = [read_verify_key(path) for path in sorted(self._folder.glob(_PUBLIC_FILES))]
            own = self._own
            if not isinstance(own, Path) or self._signing or _is_readable(own):
                keys.append(read_signing_key(own).public)
        return {key.fingerprint: key for key in keys}

    def own_fingerprint(self) -> str | None:
        """Of the key that signs here, if there is one already."""
        if self._signing is None and not (self._folder / PRIVATE).exists():
            return None
        return read_signing_key(self._own).public.fingerprint

    @property
    def exposed(self) -> bool:
        """Whether other users of this machine may read the home's own private key."""
        own = self._folder / PRIVATE
        return own.exists() and bool(stat.S_IMODE(own.stat().st_mode) & 0o077)

    @property
    def _own(self) -> KeySource:
        return self._signing or self._folder / PRIVATE


def open_model_keys(settings: Settings) -> ModelKeys:
    signing, trusted = settings.model_signing_key, settings.model_verify_keys
    return ModelKeys(
        settings.home / "keys" / "models",
        signing=signing.get_secret_value().encode() if isinstance(signing, SecretStr) else signing,
        trusted=[each.encode() if isinstance(each, str) else each for each in trusted],
    )


def read_signing_key(path: KeySource) -> SigningKey:
    """Raises `NotFound`, and `Misconfigured` for what is not an unencrypted EC private key."""
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise _unusable(path, "private") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _DIGESTS:
        raise _unusable(path, "private")
    return SigningKey(key)


def read_verify_key(path: KeySource) -> VerifyKey:
    """Raises `NotFound`, and `Misconfigured` for what is not an EC public key."""
    try:
        key = serialization.load_pem_public_key(_read(path))
    except ValueError as error:
        raise _unusable(path, "public") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _DIGESTS:
        raise _unusable(path, "public")
    return _verify_key(key)


def _verify_key(key: ec.EllipticCurvePublicKey) -> VerifyKey:
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return VerifyKey(pem, key)


def _is_readable(path: Path) -> bool:
    return path.exists() and os.access(path, os.R_OK)


def _named(source: KeySource) -> str:
    """Without the key."""
    return str(source) if isinstance(source, Path) else "the text in the environment"


def _read(path: KeySource) -> bytes:
    if isinstance(path, bytes):
        return path
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"There is no key {path}.",
            hint="Correct SECONDLOOK_MODEL_SIGNING_KEY, SECONDLOOK_MODEL_VERIFY_KEYS or --key.",
        ) from None
    except OSError as error:
        raise Misconfigured(f"The key {path} cannot be read: {error.strerror}.") from error


def _unusable(path: KeySource, kind: str) -> Misconfigured:
    named = _named(path)
    return Misconfigured(
        f"{named[0].upper()}{named[1:]} is not the {kind} key of a model signature.",
        hint="It must be an unencrypted PEM file with an EC key. Make a pair with: openssl ecparam "
        "-name prime256v1 -genkey -noout -out KEY.pem; openssl pkey -in KEY.pem -pubout "
        "-out KEY.pub.pem",
    )


def _make_once(folder: Path) -> None:
    target = folder / PRIVATE
    if target.exists():
        return
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private_once(target, pem)


def _publish(path: Path, key: VerifyKey) -> None:
    if not path.exists() or path.read_bytes() != key.pem:
        write_private(path, key.pem, mode=0o644)
