from __future__ import annotations

import contextlib
import io
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loop.errors import InvalidDataset, LoopError, TooLarge
from store.archives import ArchiveLimits, unpack

LIMITS = ArchiveLimits(max_bytes=1_000_000)
Entry = tuple[str | zipfile.ZipInfo, bytes]


def packed(path: Path, entries: Iterable[Entry], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def entry(name: str, mode: int = 0, **changes: object) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def test_files_come_out_as_they_went_in(tmp_path: Path) -> None:
    archive = packed(
        tmp_path / "a.zip",
        [("set/images/", b""), ("set/images/a.png", b"\x89PNG"), ("set/labels/a.txt", b"0 1")],
        zipfile.ZIP_DEFLATED,
    )
    steps: list[tuple[int, int]] = []
    count = unpack(archive, tmp_path / "out", LIMITS, lambda *step: steps.append(step))
    assert below(tmp_path / "out") == {"set/images/a.png": b"\x89PNG", "set/labels/a.txt": b"0 1"}
    assert count == 2
    assert steps == [(1, 2), (2, 2)]


def test_only_this_user_can_read_what_comes_out_and_nothing_of_it_runs(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", [(entry("run.sh", stat.S_IFREG | 0o6755), b"rm -rf")])
    unpack(archive, tmp_path / "out", LIMITS)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "out" / "run.sh").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//server/share",
        "../out.txt",
        "a/../../out.txt",
        "a/..",
        "..",
        "C:/windows/x",
        "c:x",
        "a\\..\\b",
        "\\\\server\\x",
        "a\nb",
        "a\x7f",
        "a\x00b.png",
        ".",
        "x" * 256,
        "/".join("d" * 40),
        "/".join(["y" * 200] * 6),
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    stand_in = "N" * len(name.encode())  # ZipInfo itself would clean some of them
    archive = packed(tmp_path / "a.zip", [("fine.txt", b"1"), (stand_in, b"2")])
    archive.write_bytes(archive.read_bytes().replace(stand_in.encode(), name.encode()))
    with pytest.raises(InvalidDataset) as refusal:
        unpack(archive, tmp_path / "out", LIMITS)
    assert refusal.value.detail_code == "unsafe_archive"
    assert refusal.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    archive = packed(tmp_path / "a.zip", [(entry("link", kind | 0o777), b"/etc/passwd")])
    with pytest.raises(InvalidDataset, match="link or a device"):
        unpack(archive, tmp_path / "out", LIMITS)


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
def test_an_encrypted_archive_is_refused(tmp_path: Path, flag: int) -> None:
    archive = packed(tmp_path / "a.zip", [("a.png", b"secret")])
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, at + 8, flag)
    archive.write_bytes(data)
    with pytest.raises(InvalidDataset, match="encrypted"):
        unpack(archive, tmp_path / "out", LIMITS)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_packers_that_take_memory_on_request_are_refused(tmp_path: Path, method: int) -> None:
    archive = packed(tmp_path / "a.zip", [("a.png", b"x" * 100)], method)
    with pytest.raises(InvalidDataset, match="unusual"):
        unpack(archive, tmp_path / "out", LIMITS)


def test_more_files_than_allowed_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", [(f"{n}.txt", b"") for n in range(11)])
    with pytest.raises(TooLarge) as refusal:
        unpack(archive, tmp_path / "out", ArchiveLimits(1000, max_entries=10))
    assert refusal.value.detail_code == "too_many_files"


def test_a_table_of_contents_too_large_to_read_is_not_read(tmp_path: Path) -> None:
    many = [(entry(f"{n}.txt", comment=b"c" * 60_000), b"") for n in range(20)]
    archive = packed(tmp_path / "a.zip", many)
    with pytest.raises(TooLarge) as refusal:
        unpack(archive, tmp_path / "out", ArchiveLimits(1000, max_entries=100))
    assert refusal.value.detail_code == "too_many_files"


def test_more_bytes_than_allowed_are_refused_before_any_is_written(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", [("a", b"x" * 600), ("b", b"y" * 600)])
    with pytest.raises(TooLarge) as refusal:
        unpack(archive, tmp_path / "out", ArchiveLimits(1000))
    assert refusal.value.detail_code == "too_many_bytes"
    assert not (tmp_path / "out").exists()


def test_a_bomb_is_told_by_its_ratio(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", [("a", b"0" * 900_000)], zipfile.ZIP_DEFLATED)
    with pytest.raises(TooLarge) as refusal:
        unpack(archive, tmp_path / "out", LIMITS)
    assert refusal.value.detail_code == "suspicious_ratio"


def test_files_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", [("kernel", b"k" * 5000)])
    archive = zipfile.ZipFile(path, "a")
    for name in ("b", "c"):
        again = entry(name, file_size=5000, compress_size=5000, header_offset=0, CRC=0)
        archive.filelist.append(again)
    archive._didModify = True  # type: ignore[attr-defined]
    archive.close()
    with pytest.raises(InvalidDataset) as refusal:
        unpack(path, tmp_path / "out", LIMITS)
    assert refusal.value.detail_code == "overlapping_files"


def test_a_file_that_is_longer_than_the_archive_says_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", [("a", b"z" * 50_000)], zipfile.ZIP_DEFLATED)
    data = bytearray(archive.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 10)
    archive.write_bytes(data)
    with pytest.raises(InvalidDataset, match="damaged"):
        unpack(archive, tmp_path / "out", LIMITS)
    assert sum(len(data) for data in below(tmp_path / "out").values()) <= 10


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", [("a/b", b"1"), ("a/./b", b"2")])
    with pytest.raises(InvalidDataset, match="twice"):
        unpack(archive, tmp_path / "out", LIMITS)


def test_names_that_only_unicode_tells_apart_are_one_name(tmp_path: Path) -> None:
    names = ["caf\u00e9.png", "cafe\u0301.png"]
    with pytest.raises(InvalidDataset, match="twice"):
        unpack(packed(tmp_path / "a.zip", [(n, b"") for n in names]), tmp_path / "out", LIMITS)
    unpack(packed(tmp_path / "b.zip", [(names[1], b"")]), tmp_path / "two", LIMITS)
    assert list(below(tmp_path / "two")) == [names[0]]


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", [("a/b/c", b"1"), ("a", b"2")])
    with pytest.raises(InvalidDataset, match="also a file"):
        unpack(archive, tmp_path / "out", LIMITS)


def test_what_macos_adds_is_left_out(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", [("a.png", b"1"), ("__MACOSX/._a.png", b"2")])
    assert unpack(archive, tmp_path / "out", LIMITS) == 1
    assert list(below(tmp_path / "out")) == ["a.png"]


def test_an_empty_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="empty"):
        unpack(packed(tmp_path / "a.zip", []), tmp_path / "out", LIMITS)


@pytest.mark.parametrize("data", [b"", b"not a zip", b"\x1f\x8b tar", b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_zip_is_said(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(InvalidDataset) as refusal:
        unpack(path, tmp_path / "out", LIMITS)
    assert refusal.value.detail_code == "not_a_zip"


def _sample() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/a.txt", b"0 0.5 0.5 0.1 0.1\n" * 40)
        archive.writestr("set/b.png", bytes(range(256)))
    return out.getvalue()


SAMPLE = _sample()
_NEW_FOLDERS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@_NEW_FOLDERS
@given(
    spots=st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=8
    ),
    cut=st.integers(0, 40),
)
def test_a_damaged_archive_raises_nothing_but_our_errors_and_stays_in_its_folder(
    tmp_path_factory: pytest.TempPathFactory, spots: list[tuple[int, int]], cut: int
) -> None:
    home = tmp_path_factory.mktemp("home")
    data = bytearray(SAMPLE)
    for at, value in spots:
        data[at] = value
    (home / "a.zip").write_bytes(data[: len(data) - cut])
    try:
        unpack(home / "a.zip", home / "out", LIMITS)
    except LoopError as error:
        assert error.message
    assert {path.name for path in home.iterdir()} <= {"a.zip", "out"}
    assert sum(len(data) for data in below(home / "out").values()) <= LIMITS.max_bytes


_PIECES = st.sampled_from(
    ["..", ".", "", "a", "b", "~", "C:", "\\", "e\u0301", "\u202e", "..\u200b", "con", " ", "*"]
)


@_NEW_FOLDERS
@given(names=st.lists(st.lists(_PIECES, min_size=1, max_size=5).map("/".join), max_size=5))
def test_whatever_the_names_nothing_lands_outside_and_all_of_it_has_a_plain_name(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    home = tmp_path_factory.mktemp("home")
    unique = dict.fromkeys(name for name in names if name)
    packed(home / "a.zip", [(name, b"x") for name in unique])
    with contextlib.suppress(LoopError):
        unpack(home / "a.zip", home / "out", LIMITS)
    assert {path.name for path in home.iterdir()} <= {"a.zip", "out"}
    for name in below(home / "out"):
        assert ".." not in name.split("/")
        assert unicodedata.is_normalized("NFC", name)
