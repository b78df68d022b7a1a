"""Password hashes: Argon2id, by argon2-cffi."""

from __future__ import annotations

from argon2 import PasswordHasher, profiles
from argon2.exceptions import InvalidHashError, VerificationError


class Argon2Passwords:
    """Implements `loop.ports.PasswordHasher` with RFC 9106's second recommended option (section
    4: t=3 passes, p=4 lanes, 64 MiB), which the library calls its low-memory profile.

    A hash names its parameters: it can be verified after they have changed here.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(profiles.RFC_9106_LOW_MEMORY)

    def hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def verify(self, hashed: str | None, password: str) -> bool:
        if hashed is None:
            self._hasher.hash(password)  # the same work as to verify one
            return False
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, hashed: str) -> bool:
        return self._hasher.check_needs_rehash(hashed)
