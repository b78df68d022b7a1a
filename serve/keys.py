"""Who may use the API: whoever sends a key, and where that is asked for, this machine.

A process keeps the keys that are in use for some seconds, so that a request costs no query. So a
revoked key is refused within `KEYRING_SECONDS`, or within `_STALE_SECONDS` while the database does
not answer. Requests are counted in the process too: of several replicas of the ingress, each one
lets a key's rate pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import anyio
import structlog
from starlette.requests import HTTPConnection

from loop.accounts import stamp
from loop.api_keys import ApiKey, Scope, key_id
from loop.errors import InvalidKey, LoopError, NotAllowed, RateLimited
from loop.events import Actor, Authentication, Role
from loop.keyring import Keyring, no_key, read_keyring, require_scope
from loop.ports import UnitsOfWork
from loop.rate_limits import TokenBuckets
from loop.sessions import Clock, utc_now
from serve.loopback import from_this_machine, is_loopback
from serve.refusals import Refusals
from store.settings import Settings

KEYRING_SECONDS = 5.0
# A key with an id that is not known yet may be a new one; asking is not for every such request.
_UNKNOWN_SECONDS = 1.0
_STALE_SECONDS = 60.0
# Between two notes of when a key was last used: each is a write.
_NOTED_EVERY = timedelta(minutes=10)
_THIS_MACHINE = Actor("api", Role.SYSTEM, Authentication.NONE)

_log = structlog.get_logger(__name__)


class Gate(Protocol):
    async def admit(self, connection: HTTPConnection, scope: Scope | None) -> Actor:
        """As whom this request goes on. Without a ``scope`` any key will do.

        Raises `InvalidKey`, `NotAllowed`, `RateLimited` or `Unavailable`.
        """


class ClosedGate:
    """Nobody comes in."""

    async def admit(self, connection: HTTPConnection, scope: Scope | None) -> Actor:
        del connection, scope
        raise no_key()


class KeyGate:
    """Lets in who sends a good key and, if ``open_on_loopback``, who sends none from here.

    ``note_refusal`` is told of everybody else: `serve.refusals.Refusals.note`.
    """

    def __init__(
        self,
        keys: HeldKeys,
        buckets: TokenBuckets,
        *,
        open_on_loopback: bool = False,
        note_refusal: Callable[[str, str], None] = lambda _, __: None,
    ) -> None:
        self._keys = keys
        self._buckets = buckets
        self._open_on_loopback = open_on_loopback
        self._note_refusal = note_refusal

    async def admit(self, connection: HTTPConnection, scope: Scope | None) -> Actor:
        text = sent_key(connection)
        try:
            return await self._admit(connection, text, scope)
        except (InvalidKey, NotAllowed) as error:
            self._note_refusal(error.detail_code, self._keys.pseudonym(text or ""))
            raise

    async def _admit(
        self, connection: HTTPConnection, text: str | None, scope: Scope | None
    ) -> Actor:
        if text is None:
            if self._open_on_loopback and from_this_machine(connection):
                return _THIS_MACHINE
            raise no_key()
        key = await self._keys.check(text)
        if scope is not None:
            require_scope(key, scope)
        self._count(key)
        return key.actor

    def _count(self, key: ApiKey) -> None:
        if key.per_minute is None:
            return
        wait = self._buckets.take(key.id, key.per_minute)
        if wait:
            error = RateLimited(
                f"This API key is good for {key.per_minute} requests a minute.",
                hint="Wait as long as Retry-After says, or have a key made with a higher --rate.",
            )
            error.retry_after_seconds = wait
            raise error


class HeldKeys:
    """The keys in use, read again when they are too old. ``seconds`` only goes forward;
    ``stale_seconds`` is how old they may be while the database does not answer."""

    def __init__(
        self,
        units: UnitsOfWork,
        clock: Clock = utc_now,
        seconds: Callable[[], float] = time.monotonic,
        stale_seconds: float = _STALE_SECONDS,
    ) -> None:
        self._units = units
        self._clock = clock
        self._seconds = seconds
        self._stale_seconds = stale_seconds
        self._lock = asyncio.Lock()
        self._ring: Keyring | None = None
        self._read_at = 0.0
        self._noted: dict[str, str] = {}
        self._noting: set[asyncio.Task[None]] = set()

    async def check(self, text: str) -> ApiKey:
        """Raises `InvalidKey`, or `Unavailable` while there is nothing to check it with."""
        ring = await self._fresh(text)
        key = ring.check(text, stamp(self._clock()))
        self._note_use(key)
        return key

    def pseudonym(self, text: str) -> str:
        """Of the key that there is with the id in ``text``, right or wrong; empty if none has."""
        known = self._ring is not None and self._ring.knows(text)
        return f"key-{key_id(text)}" if known else ""

    async def _fresh(self, text: str) -> Keyring:
        if self._ring is not None and self._age() < self._may_be(self._ring, text):
            return self._ring
        async with self._lock:
            ring = self._ring
            if ring is None or self._age() >= self._may_be(ring, text):
                ring = await self._read(ring)
        return ring

    async def _read(self, ring: Keyring | None) -> Keyring:
        begun = self._seconds()
        try:
            new = await anyio.to_thread.run_sync(read_keyring, self._units)
        except LoopError as error:
            if ring is None or self._age() >= self._stale_seconds:
                raise
            _log.warning("api_keys.unread", error=error.as_dict())
            return ring
        self._ring, self._read_at = new, begun
        return new

    def _age(self) -> float:
        return self._seconds() - self._read_at

    def _may_be(self, ring: Keyring, text: str) -> float:
        """Seconds that ``ring`` is good for, to look for ``text`` in."""
        return KEYRING_SECONDS if ring.knows(text) else _UNKNOWN_SECONDS

    def _note_use(self, key: ApiKey) -> None:
        now = self._clock()
        noted = max(self._noted.get(key.id, ""), key.last_used_at or "")
        if noted > stamp(now - _NOTED_EVERY):
            return
        self._noted[key.id] = at = stamp(now)
        # No request waits for it: the database may have another writer.
        task = asyncio.create_task(self._write_use(key.id, at))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def _write_use(self, key_id: str, at: str) -> None:
        def write() -> None:
            with self._units() as uow:
                uow.api_keys.note_use(key_id, at)
                uow.commit()

        try:
            await anyio.to_thread.run_sync(write)
        except LoopError as error:
            _log.warning("api_keys.use_not_noted", error=error.as_dict())


def sent_key(connection: HTTPConnection) -> str | None:
    """What stands where a key belongs, whatever it is; None if nothing does."""
    scheme, _, text = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return text.strip()
    return connection.headers.get("x-api-key")


def open_key_gate(
    settings: Settings, units: UnitsOfWork, *, stale_seconds: float = _STALE_SECONDS
) -> KeyGate:
    """The gate in front of the API. It is open on loopback only if the settings say so and the
    service is bound to a loopback address. ``stale_seconds`` as in `HeldKeys`."""
    return KeyGate(
        HeldKeys(units, stale_seconds=stale_seconds),
        TokenBuckets(),
        open_on_loopback=settings.api_open_on_loopback and is_loopback(settings.host),
        note_refusal=Refusals(units).note,
    )
