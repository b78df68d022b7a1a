"""What ``SECONDLOOK_STORAGE_URL`` says: a folder, or a bucket of a store with S3's protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from loop.errors import Misconfigured

# Amazon's rules for names of buckets; other stores have no wider ones that matter.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_OPTIONS = ("endpoint_url", "region")
_HINT = (
    "SECONDLOOK_STORAGE_URL is file:///FOLDER or s3://BUCKET/PREFIX, the latter with "
    "?endpoint_url=http://HOST:PORT for a store that is not Amazon's; unset, files are kept in "
    "SECONDLOOK_HOME."
)


@dataclass(frozen=True, slots=True)
class FolderStorage:
    folder: Path


@dataclass(frozen=True, slots=True)
class BucketStorage:
    """``prefix`` is empty or ends with a slash. ``endpoint_url`` and ``region`` are empty where the
    environment says (``AWS_ENDPOINT_URL_S3``, ``AWS_REGION``, …)."""

    bucket: str
    prefix: str
    endpoint_url: str = ""
    region: str = ""

    def below(self, folder: str) -> str:
        """``s3://…`` of a folder in it, as other programs want it."""
        return f"s3://{self.bucket}/{self.prefix}{folder}"


def parse_storage_url(url: str) -> FolderStorage | BucketStorage | None:
    """None for an empty one. Raises `Misconfigured`."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:  # what it says holds a part of the URL, where somebody may have put keys
        raise Misconfigured("SECONDLOOK_STORAGE_URL is no URL.", hint=_HINT) from None
    if parts.scheme == "file":
        path = Path(url.removeprefix("file://"))
        if not path.is_absolute():
            raise Misconfigured(
                "SECONDLOOK_STORAGE_URL names a folder relative to nothing.", hint=_HINT
            )
        return FolderStorage(path)
    if parts.scheme != "s3":
        raise Misconfigured(
            f"SECONDLOOK_STORAGE_URL begins with {parts.scheme or url[:20]!r}.", hint=_HINT
        )
    if "@" in parts.netloc or ":" in parts.netloc:
        raise Misconfigured(
            "SECONDLOOK_STORAGE_URL holds more than a bucket before its prefix.",
            hint="Keys go into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, another server into "
            "?endpoint_url=http://HOST:PORT.",
        )
    bucket = parts.netloc
    if not _BUCKET.fullmatch(bucket):
        raise Misconfigured(
            f"SECONDLOOK_STORAGE_URL: {bucket!r} is no name of a bucket.", hint=_HINT
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown or parts.fragment:
        raise Misconfigured(
            f"SECONDLOOK_STORAGE_URL has the option {unknown[0] if unknown else '#'}.",
            hint=f"There are {', '.join(_OPTIONS)}.",
        )
    endpoint = options.get("endpoint_url", "")
    if endpoint and not re.fullmatch(r"https?://[^/?#\s@]+/?", endpoint):
        raise Misconfigured(
            "SECONDLOOK_STORAGE_URL: endpoint_url is not http://HOST:PORT.", hint=_HINT
        )
    prefix = parts.path.strip("/")
    return BucketStorage(
        bucket, f"{prefix}/" if prefix else "", endpoint.rstrip("/"), options.get("region", "")
    )
