"""Objects in a bucket of a store with S3's protocol: what processes without a common disk share.

An object appears whole or not at all, and what was put is read by whoever asks after that: Amazon
promises it, and the stores that speak its protocol do
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from loop.errors import Misconfigured, NotFound, Unavailable
from store.storage_url import BucketStorage, parse_storage_url

if TYPE_CHECKING:
    from store.settings import Settings

# Attempts of a request, with waits that double from about a second (botocore's "standard" mode).
_ATTEMPTS = 5
_CONNECT_SECONDS, _READ_SECONDS = 5, 60
# S3 deletes at most so many in one request.
_MOST_DELETED = 1000
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_REFUSED = frozenset(
    {
        "403",
        "401",
        "AccessDenied",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "Unauthorized",
    }
)
# Answers to a conditional write: there is one, or somebody else writes one at this moment.
_THERE = frozenset({"412", "409", "PreconditionFailed", "ConditionalRequestConflict"})

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """``modified`` is the store's time, with its zone; ``size`` is in bytes."""

    key: str
    size: int
    modified: datetime


class Objects(Protocol):
    """Keys are relative, with slashes. Everything raises `Unavailable` when the store does not
    answer after some attempts, and `Misconfigured` when it refuses who asks."""

    def put(self, key: str, data: bytes) -> None:
        """In place of what is there."""

    def put_new(self, key: str, data: bytes) -> bool:
        """False, and nothing happens, if something is there: of several at once, one succeeds."""

    def put_file(self, key: str, path: Path) -> None: ...

    def get(self, key: str) -> bytes:
        """Raises `NotFound`."""

    def get_file(self, key: str, path: Path) -> None:
        """Into the file ``path``, which is there whole or not at all. Raises `NotFound`."""

    def info(self, key: str) -> ObjectInfo | None:
        """None if there is none."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All whose keys begin with ``prefix``, by key."""

    def delete(self, keys: Iterable[str]) -> None:
        """Nothing happens for those that are not there."""

    def now(self) -> datetime:
        """By the store's clock, which made `ObjectInfo.modified`, to the second."""


class Bucket:
    """Implements `Objects`. Making one talks to nobody; threads may share it."""

    def __init__(self, storage: BucketStorage) -> None:
        self._storage = storage

    def __str__(self) -> str:
        return self._storage.below("").rstrip("/")

    def __reduce__(self) -> tuple[type[Bucket], tuple[BucketStorage]]:
        return (Bucket, (self._storage,))

    def put(self, key: str, data: bytes) -> None:
        self._call(lambda: self._client.put_object(**self._at(key), Body=data))

    def put_new(self, key: str, data: bytes) -> bool:
        try:
            self._call(lambda: self._client.put_object(**self._at(key), Body=data, IfNoneMatch="*"))
        except _ThereAlready:
            return False
        return True

    def put_file(self, key: str, path: Path) -> None:
        self._call(lambda: self._client.upload_file(str(path), *self._at(key).values()))

    def get(self, key: str) -> bytes:
        def read() -> bytes:
            data: bytes = self._client.get_object(**self._at(key))["Body"].read()
            return data

        return self._call(read, key)

    def get_file(self, key: str, path: Path) -> None:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._download(key, draft)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def _download(self, key: str, path: Path) -> None:
        try:
            self._call(lambda: self._client.download_file(*self._at(key).values(), str(path)), key)
        except NotFound:
            self.check()  # as in `info`: it begins with a HEAD
            raise

    def info(self, key: str) -> ObjectInfo | None:
        try:
            head = self._call(lambda: self._client.head_object(**self._at(key)), key)
        except NotFound:
            # That is also what a missing bucket looks like, without a word (HEAD has no body).
            self.check()
            return None
        return ObjectInfo(key, int(head["ContentLength"]), head["LastModified"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        whole = self._storage.prefix + prefix
        pages = self._call(lambda: self._client.get_paginator("list_objects_v2"))
        remaining = iter(pages.paginate(Bucket=self._storage.bucket, Prefix=whole))
        while (page := self._call(lambda: next(remaining, None))) is not None:
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self._storage.prefix)
                yield ObjectInfo(key, int(found["Size"]), found["LastModified"])

    def delete(self, keys: Iterable[str]) -> None:
        wanted = [{"Key": self._storage.prefix + key} for key in keys]
        for start in range(0, len(wanted), _MOST_DELETED):
            batch = {"Objects": wanted[start : start + _MOST_DELETED], "Quiet": True}
            answer = self._call(
                lambda batch=batch: self._client.delete_objects(  # type: ignore[misc]
                    Bucket=self._storage.bucket, Delete=batch
                )
            )
            for error in answer.get("Errors", ()):
                raise Unavailable(
                    f"{self} does not delete {error.get('Key')}: {error.get('Message')}.",
                    hint="Allow s3:DeleteObject, or lift what locks the object.",
                )

    def check(self) -> None:
        """Raises what anything else would if nobody answers, the bucket is missing, or it may not
        be listed."""
        self._first()

    def now(self) -> datetime:
        said = self._first()["ResponseMetadata"]["HTTPHeaders"].get("date")
        # A store that does not say is taken to agree with this machine.
        return parsedate_to_datetime(said) if said else datetime.now(UTC)

    def _first(self) -> Any:
        return self._call(
            lambda: self._client.list_objects_v2(
                Bucket=self._storage.bucket, Prefix=self._storage.prefix, MaxKeys=1
            )
        )

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._storage.bucket, "Key": self._storage.prefix + key}

    @cached_property
    def _client(self) -> Any:
        # Half a second of imports, which nobody without a bucket should pay.
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "max_attempts": _ATTEMPTS},
            max_pool_connections=32,
            # Others than Amazon's do not all know the checksums that are new since 2025.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        # A session of its own: the default one must not be used by several threads at once.
        session = boto3.session.Session()
        region = self._storage.region or session.region_name or "us-east-1"
        try:
            return session.client(
                "s3",
                region_name=region,
                endpoint_url=self._storage.endpoint_url or None,
                config=config,
            )
        except ValueError as error:
            raise Misconfigured(
                f"The object store's address is wrong: {error}.",
                hint="Correct endpoint_url in SECONDLOOK_STORAGE_URL, or AWS_ENDPOINT_URL_S3.",
            ) from error

    def _call(self, action: Callable[[], _T], key: str = "") -> _T:
        from boto3.exceptions import RetriesExceededError, S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return action()
        except S3UploadFailedError as error:
            # s3transfer packs what a request raised into text, and keeps it as the context.
            cause = error.__context__
            raise self._translated(cause if cause is not None else error, key) from error
        except RetriesExceededError as error:
            # A download that broke off time and again; what it was is kept beside the text.
            raise self._translated(error.last_exception or error, key) from error
        except (ClientError, BotoCoreError) as error:
            raise self._translated(error, key) from error

    def _translated(self, error: BaseException, key: str) -> Exception:
        from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError

        keys = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role."
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return Misconfigured(f"{self} wants credentials, and there are none.", hint=keys)
        if not isinstance(error, ClientError):
            return Unavailable(
                f"{self} does not answer: {_line(error)}",
                hint="Check SECONDLOOK_STORAGE_URL, the network and the store itself; nothing was "
                "lost that was stored before.",
            )
        answer: Any = error.response.get("Error", {})
        code, said = str(answer.get("Code", "")), str(answer.get("Message", "")) or _line(error)
        if code == "NoSuchBucket":
            return Misconfigured(
                f"There is no bucket {self._storage.bucket}.",
                hint="Make it, or correct SECONDLOOK_STORAGE_URL.",
            )
        if code in _MISSING:
            return NotFound(f"{self} has no {key}.")
        if code in _THERE:
            return _ThereAlready()
        if code in _REFUSED:
            return Misconfigured(f"{self} refuses it: {said}", hint=keys)
        return Unavailable(f"{self} answers {code}: {said}", hint="The store's own log says more.")


class _ThereAlready(Exception):
    """A conditional write found something."""


def open_objects(settings: Settings) -> Bucket | None:
    """None where files are kept on a disk. Raises `Misconfigured` for another kind of URL."""
    storage = parse_storage_url(settings.storage_url)
    return Bucket(storage) if isinstance(storage, BucketStorage) else None


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
