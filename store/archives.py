"""ZIP archives from people, unpacked without trusting anything that stands in them.

All of the table of contents is checked before the first byte is written. What is written are
plain files and folders, none of them outside the given folder, whatever the archive calls them.
"""

from __future__ import annotations

import io
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from loop.errors import InvalidDataset, LoopError, TooLarge, Unavailable

_ENCRYPTED = 0x1 | 0x40 | 0x2000  # APPNOTE.TXT 4.4.4: encrypted, strongly so, masked headers
# Deflate is what archives have. Of the others, LZMA takes a dictionary of 4 GiB on request.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# Of an entry in the table of contents: 46 bytes, its name and extra fields. `zipfile` reads the
# table in one piece and makes an object of each entry, before anybody can count them.
_BYTES_PER_ENTRY = 256
_LONGEST_PART_BYTES = 255  # a file's name in ext4, XFS, APFS and NTFS
_LONGEST_NAME_BYTES = 1024
_DEEPEST = 32
_CHUNK_BYTES = 1024 * 1024
# What macOS adds beside every file: its name ends as the file's does, and it is no image.
_LEFT_OUT = "__MACOSX"
_DRIVE = re.compile(r"[A-Za-z]:")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """``max_bytes`` of all files unpacked; ``max_ratio`` of those to the archive's own bytes.

    Text packs to a tenth and images hardly at all; deflate's own limit is a thousand.
    """

    max_bytes: int
    max_entries: int = 100_000
    max_ratio: float = 100.0


def unpack(
    archive: Path, folder: Path, limits: ArchiveLimits, progress: Progress | None = None
) -> int:
    """Unpack into ``folder``, which is made, for this user alone; returns how many files.

    Names come out in Unicode's form NFC. After an error the folder holds what was unpacked until
    then: remove it. Raises `InvalidDataset` for what is not a plain ZIP of plain files,
    `TooLarge` beyond the limits, `Unavailable` when the disk does not take it.
    """
    with _opened(archive, limits) as opened:
        files = _checked(opened.infolist(), archive.stat().st_size, limits)
        try:
            folder.mkdir(mode=0o700)
            for done, (name, entry) in enumerate(files.items(), start=1):
                _write(folder, name, _chunks(opened, entry))
                if progress is not None:
                    progress(done, len(files))
        except OSError as error:
            raise Unavailable(
                f"The ZIP cannot be unpacked: {error.strerror or error}.",
                hint="Make room on the disk, then try again.",
            ) from error
    return len(files)


class _Bounded(io.BufferedReader):
    """A file of which nobody reads more than ``most`` bytes in one go."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(io.FileIO(path))
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._most:
            raise _too_many_entries()
        return super().read(size)


@contextmanager
def _opened(archive: Path, limits: ArchiveLimits) -> Iterator[zipfile.ZipFile]:
    most = max(limits.max_entries * _BYTES_PER_ENTRY, _CHUNK_BYTES)
    with _Bounded(archive, most) as file:
        try:
            opened = zipfile.ZipFile(file)
        except LoopError:
            raise
        # `zipfile` lets through what its parser runs into: struct.error, UnicodeDecodeError,
        # NotImplementedError, OSError for offsets that are none, and more.
        except Exception as error:
            raise InvalidDataset(
                f"This is not a ZIP archive, or it is damaged: {error}.",
                hint="Pack the data set's folder again, as ZIP.",
                code="not_a_zip",
            ) from error
        with opened:
            yield opened


def _checked(
    entries: Sequence[zipfile.ZipInfo], archive_bytes: int, limits: ArchiveLimits
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files to unpack by their names; folders come with them."""
    if len(entries) > limits.max_entries:
        raise _too_many_entries()
    _check_sizes(entries, archive_bytes, limits)
    files: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for entry in entries:
        _check_kind(entry)
        name = _name_of(entry)
        if entry.is_dir() or name.parts[0] == _LEFT_OUT:
            continue
        if name in files:
            raise _refused(entry, "is there twice")
        files[name] = entry
    for name, entry in files.items():
        if any(parent in files for parent in name.parents):
            raise _refused(entry, "lies in a folder that is also a file")
    if not files:
        raise InvalidDataset("The ZIP is empty.", hint="Pack the data set's folder.")
    return files


def _check_sizes(
    entries: Sequence[zipfile.ZipInfo], archive_bytes: int, limits: ArchiveLimits
) -> None:
    # Entries that share their packed bytes are how a small archive holds petabytes: D. Fifield,
    # "A better zip bomb", USENIX WOOT 2019.
    if sum(entry.compress_size for entry in entries) > archive_bytes:
        raise InvalidDataset("The ZIP's files overlap, or it is cut off.", code="overlapping_files")
    total = sum(entry.file_size for entry in entries)
    if total > limits.max_bytes:
        raise TooLarge(
            f"Unpacked, the ZIP would have {_mebibytes(total)}; at most "
            f"{_mebibytes(limits.max_bytes)} are taken.",
            hint="Split the data set, raise SECONDLOOK_MAX_IMPORT_BYTES or make room on the disk.",
            code="too_many_bytes",
        )
    if total > limits.max_ratio * archive_bytes:
        raise TooLarge(
            f"Unpacked, the ZIP would be {total / archive_bytes:.0f} times as large; at most "
            f"{limits.max_ratio:.0f} times is taken.",
            hint="Images and labels do not pack like that: look at what is in it.",
            code="suspicious_ratio",
        )


def _check_kind(entry: zipfile.ZipInfo) -> None:
    if entry.flag_bits & _ENCRYPTED:
        raise _refused(entry, "is encrypted", "Pack the data set without a password.")
    if entry.compress_type not in _METHODS:
        raise _refused(entry, "is packed in an unusual way", "Pack it with plain ZIP (Deflate).")
    # Unix archivers put the file's mode here, others nothing.
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(entry, "is a link or a device", "Pack the files themselves.")


def _name_of(entry: zipfile.ZipInfo) -> PurePosixPath:
    name = unicodedata.normalize("NFC", entry.orig_filename)
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise _refused(entry, "has control characters in its name")
    if "\\" in name:
        raise _refused(entry, "has a backslash in its name", "Pack it with another program.")
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or _DRIVE.match(name):
        raise _refused(entry, "has an absolute path")
    if ".." in parts:
        raise _refused(entry, "leads out of the archive")
    parts = [part for part in parts if part not in ("", ".")]
    if not parts:
        raise _refused(entry, "has no name")
    if (
        len(parts) > _DEEPEST
        or len(name.encode()) > _LONGEST_NAME_BYTES
        or any(len(part.encode()) > _LONGEST_PART_BYTES for part in parts)
    ):
        raise _refused(entry, "has too long a name")
    return PurePosixPath(*parts)


def _chunks(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The file's bytes, no more of them than the table of contents says."""
    try:
        with opened.open(entry) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except LoopError:
        raise
    except Exception as error:  # see _opened; zlib.error and EOFError here
        raise _refused(entry, "is damaged", "Pack the data set's folder again.") from error


def _write(folder: Path, name: PurePosixPath, chunks: Iterator[bytes]) -> None:
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        for chunk in chunks:
            file.write(chunk)


def _refused(entry: zipfile.ZipInfo, why: str, hint: str = "") -> InvalidDataset:
    shown = entry.orig_filename[:100]
    return InvalidDataset(
        f"{shown!r} in the ZIP {why}.",
        hint=hint or "Pack the data set's folder again, with plain files only.",
        code="unsafe_archive",
    )


def _too_many_entries() -> TooLarge:
    return TooLarge(
        "The ZIP has too many files.", hint="Split the data set.", code="too_many_files"
    )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
