from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.zip_import import data_root, import_zip
from loop.classes import ClassList
from loop.errors import InvalidDataset, LoopError
from loop.events import Actor, Role
from store.audit_log import open_audit_log
from store.formats import Format, write_dataset
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from tests.cluster.zips import CLASSES, cells, zipped
from ui.bulk_import import ImportOptions, ImportReport

ACTOR = Actor("engineer-1", Role.ENGINEER)
SHA256 = "5" * 64


def bring_in(
    settings: Settings, archive: Path, options: ImportOptions | None = None, sha256: str = SHA256
) -> ImportReport:
    steps: list[tuple[int, int]] = []
    report = import_zip(
        settings,
        archive,
        options or ImportOptions("voc"),
        sha256=sha256,
        actor=ACTOR,
        unpacking=lambda *step: steps.append(step),
        importing=lambda *step: steps.append(step),
    )
    assert steps
    return report


@pytest.mark.parametrize("format", ["voc", "coco", "yolo"])
@pytest.mark.parametrize("inside", ["", "cells", "backup/2024/cells"])
def test_a_data_set_comes_in_whatever_folders_it_was_packed_with(
    settings: Settings, tmp_path: Path, format: Format, inside: str
) -> None:
    write_dataset(tmp_path / "set", format, cells(3), CLASSES)
    archive = zipped(tmp_path / "set", tmp_path / "upload.zip", inside)
    report = bring_in(settings, archive, ImportOptions(format))
    assert (report.images, report.boxes, report.problems) == (3, 6, [])
    with open_units_of_work(settings)() as uow:
        assert uow.classes.get() == CLASSES
        assert len(list(uow.annotations.latest())) == 3


def test_the_archive_goes_as_soon_as_it_is_unpacked(settings: Settings, tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", "voc", cells(1), CLASSES)
    archive = zipped(tmp_path / "set", tmp_path / "upload.zip")
    bring_in(settings, archive)
    assert not archive.exists()


def test_what_is_kept_names_the_data_set_and_not_where_it_lay(
    settings: Settings, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "set", "voc", cells(1), CLASSES)
    bring_in(
        settings,
        zipped(tmp_path / "set", tmp_path / "upload.zip"),
        ImportOptions("voc", name="cells-2024"),
    )
    event = open_audit_log(settings).tail(1)[0].event
    assert "cells-2024" not in event.canonical().decode()
    assert event.actor == ACTOR
    with open_units_of_work(settings)() as uow:
        (annotation,) = uow.annotations.latest()
        assert uow.images.get(annotation.image_id).source == "import:cells-2024"


def test_the_same_zip_again_makes_no_second_case_of_an_image(
    settings: Settings, tmp_path: Path
) -> None:
    options = ImportOptions("voc", "prediction")
    write_dataset(tmp_path / "set", "voc", cells(2), CLASSES)
    for place in ("once", "again"):
        (tmp_path / place).mkdir()
        bring_in(settings, zipped(tmp_path / "set", tmp_path / place / "upload.zip"), options)
    with open_units_of_work(settings)() as uow:
        assert sum(uow.cases.counts().values()) == 2


def test_problems_have_the_names_that_stand_in_the_zip(settings: Settings, tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", "voc", cells(2), CLASSES)
    damaged = min((tmp_path / "set" / "JPEGImages").iterdir())
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n")
    orphan = tmp_path / "set" / "Annotations" / "orphan.xml"
    shutil.copy(next(orphan.parent.iterdir()), orphan)
    text = orphan.read_text().replace("p0_0.png", "nowhere.png").replace("p0_1.png", "nowhere.png")
    orphan.write_text(text)
    report = bring_in(settings, zipped(tmp_path / "set", tmp_path / "upload.zip", "top"))
    assert report.images == 1
    assert {file for file, _ in report.problems} == {
        "Annotations/orphan.xml",
        f"Annotations/{damaged.stem}.xml",
    }
    assert str(tmp_path) not in str(report.as_dict())


def test_bare_images_are_said_to_be_uploads(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for item in cells(2):
        (folder / item.file_name).write_bytes(item.data)
    (folder / "readme.txt").write_text("Kept since 1998.")
    with pytest.raises(InvalidDataset, match="2 images and no annotation") as refusal:
        bring_in(settings, zipped(folder, tmp_path / "upload.zip"))
    assert "upload its images" in refusal.value.hint
    assert refusal.value.detail_code == "only_images"


@pytest.mark.parametrize("format", ["voc", "coco", "yolo"])
def test_another_format_than_said_is_an_error_without_paths(
    settings: Settings, tmp_path: Path, format: Format
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "notes.txt").write_text("not labels")
    with pytest.raises(LoopError) as refusal:
        bring_in(settings, zipped(folder, tmp_path / "upload.zip"), ImportOptions(format))
    said = refusal.value.as_dict()
    assert said["message"]
    assert str(tmp_path) not in str(said)


def test_gold_and_subjects_are_kept_as_asked(settings: Settings, tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", "voc", cells(4), CLASSES)
    archive = zipped(tmp_path / "set", tmp_path / "upload.zip")
    options = ImportOptions("voc", gold=True, subject_pattern=r"^([^_]+)_")
    assert bring_in(settings, archive, options).subjects == 2
    with open_units_of_work(settings)() as uow:
        assert len(uow.images.gold()) == 4


def test_the_root_is_found_below_hidden_files_and_above_a_data_sets_own_folders(
    tmp_path: Path,
) -> None:
    (tmp_path / "outer" / "inner" / "images").mkdir(parents=True)
    (tmp_path / ".DS_Store").write_bytes(b"")
    assert data_root(tmp_path) == tmp_path / "outer" / "inner"


def test_class_lists_of_the_home_are_respected(settings: Settings, tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", "voc", cells(1), CLASSES)
    bring_in(settings, zipped(tmp_path / "set", tmp_path / "upload.zip"))
    other = ClassList(("cell", "star"))
    write_dataset(tmp_path / "other", "voc", cells(1, "star", shade=99), other)
    report = bring_in(settings, zipped(tmp_path / "other", tmp_path / "upload2.zip"))
    assert any("unknown class 'star'" in reason for _, reason in report.problems)
