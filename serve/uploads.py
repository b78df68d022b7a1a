"""Reads one image out of a request, and never more bytes than allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio.lowlevel
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from loop.errors import InvalidImage, InvalidInput, TooLarge

# Boundaries, part headers and the text fields of a multipart body, on top of the image.
_MULTIPART_OVERHEAD_BYTES = 64 * 1024
_MULTIPART_FIELD_BYTES = 1024
# The parser looks at each line break in Python, some seconds for a body that is nothing else:
# in between, other requests get their turn.
_PARSED_AT_ONCE_BYTES = 256 * 1024
_NAMES = ("subject", "source")
_HOW = "Send the image as the raw body (Content-Type: image/jpeg) or as multipart field `image`."


@dataclass(frozen=True, slots=True)
class Upload:
    """The bytes as sent, not decoded, and the text fields that came in the same form."""

    data: bytes
    fields: dict[str, str]


async def read_upload(request: Request, max_bytes: int) -> Upload:
    """The image in ``request``, raw or multipart.

    The limit is on what is read, whatever Content-Length says. Raises `InvalidInput` (codes
    ``no_image``, ``too_many_images``, ``malformed_form``, ``incomplete_upload``), `InvalidImage`
    (``unsupported_media_type``) or `TooLarge` (``too_many_bytes``).
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return await _read_form(request, max_bytes)
    # No type at all is fine: what the bytes are is found out by decoding them.
    if media_type not in ("", "application/octet-stream") and not media_type.startswith("image/"):
        raise InvalidImage(
            f"Content-Type {media_type[:100]!r} is not accepted.",
            hint=f"{_HOW} With curl: -H 'Content-Type: image/jpeg' --data-binary @FILE.",
            code="unsupported_media_type",
        )
    data = await _read_limited(request, max_bytes)
    if not data:
        raise InvalidInput("The request has no image in it.", hint=_HOW, code="no_image")
    return Upload(data, {})


async def _read_form(request: Request, max_bytes: int) -> Upload:
    body = await _read_limited(request, max_bytes + _MULTIPART_OVERHEAD_BYTES)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), _PARSED_AT_ONCE_BYTES):
            yield body[start : start + _PARSED_AT_ONCE_BYTES]
            await anyio.lowlevel.checkpoint()
        yield b""

    parser = MultiPartParser(
        request.headers,
        chunks(),  # type: ignore[arg-type] # an async generator is one, but not for mypy
        max_files=4,
        max_fields=8,
        max_part_size=_MULTIPART_FIELD_BYTES,
    )
    parser.spool_max_size = len(body) + 1  # in memory: the body is there already
    try:
        form = await parser.parse()
    except (MultiPartException, LookupError, ValueError, AssertionError) as error:
        raise InvalidInput(
            f"The multipart form cannot be read: {getattr(error, 'message', error)}",
            hint="With curl: -F image=@FILE.",
            code="malformed_form",
        ) from error
    images = [part for part in form.getlist("image") if isinstance(part, UploadFile)]
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not images:
        raise InvalidInput(
            "The form has no file in a field `image`.",
            hint="With curl: -F image=@FILE.",
            code="no_image",
        )
    if len(files) > 1:
        raise InvalidInput(
            f"The form has {len(files)} files.",
            hint="Send one image in a request.",
            code="too_many_images",
        )
    data = await images[0].read()
    if len(data) > max_bytes:
        raise _too_many_bytes(max_bytes)
    if not data:
        raise InvalidInput("The file in `image` is empty.", hint=_HOW, code="no_image")
    fields = {name: value for name in _NAMES if isinstance(value := form.get(name), str) and value}
    return Upload(data, fields)


async def _read_limited(request: Request, max_bytes: int) -> bytes:
    promised = request.headers.get("content-length", "")
    if promised.isdecimal() and int(promised[:20]) > max_bytes:
        raise _too_many_bytes(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_many_bytes(max_bytes)
    return bytes(body)


def _too_many_bytes(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"The upload is larger than {max_bytes / 2**20:.1f} MiB.",
        hint="Send a smaller image, or raise SECONDLOOK_MAX_IMAGE_BYTES where the API runs.",
        code="too_many_bytes",
    )
