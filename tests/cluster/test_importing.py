from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from cluster import cli
from cluster.importing import ImportAs, ImportReport, import_dataset
from loop.cases import CaseState
from loop.classes import ClassList
from loop.errors import InvalidInput
from loop.events import Actor, Role
from store.audit_log import open_audit_log
from store.formats import ExportedImage, ImportedBox, write_dataset
from store.settings import Settings
from store.unit_of_work import open_units_of_work

ACTOR = Actor("engineer-1", Role.ENGINEER)
CLASSES = ClassList(("cell", "rod"))


def png(shade: int, size: tuple[int, int] = (40, 30), exif_orientation: int = 1) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", size, (shade, 10, 10))
    exif = image.getexif()
    exif[0x0112] = exif_orientation
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    from loop.boxes import Box

    boxes = (ImportedBox("cell", Box(1, 2, 11, 12)), ImportedBox("rod", Box(20, 5, 30, 25)))
    folder = tmp_path / "cells"
    write_dataset(
        folder,
        "voc",
        [
            ExportedImage(name, png(shade), "image/png", 40, 30, boxes)
            for shade, name in enumerate(("p1_a", "p1_b", "p2_a"))
        ],
        CLASSES,
    )
    return folder


def bring_in(settings: Settings, path: Path, **changes: object) -> ImportReport:
    options: dict[str, object] = {
        "import_as": ImportAs.TRUTH,
        "gold": False,
        "subject_pattern": "",
        "only": None,
        "actor": ACTOR,
        "progress": lambda done, total: None,
    }
    return import_dataset(settings, path, "voc", **(options | changes))  # type: ignore[arg-type]


def test_truth_becomes_annotations_and_the_data_sets_classes(
    settings: Settings, dataset: Path
) -> None:
    report = bring_in(settings, dataset)
    assert (report.images, report.boxes, report.problems) == (3, 6, [])
    with open_units_of_work(settings)() as uow:
        assert uow.classes.get() == CLASSES
        annotations = list(uow.annotations.latest())
        assert uow.cases.counts() == {}
    assert [len(annotation.boxes) for annotation in annotations] == [2, 2, 2]
    log = open_audit_log(settings)
    log.verify()
    assert log.tail(1)[0].event.type == "dataset.imported"


def test_importing_again_changes_nothing(settings: Settings, dataset: Path) -> None:
    bring_in(settings, dataset)
    report = bring_in(settings, dataset)
    assert (report.images, report.unchanged) == (0, 3)


def test_predictions_wait_for_review_and_are_not_true(settings: Settings, dataset: Path) -> None:
    bring_in(settings, dataset, import_as=ImportAs.PREDICTION)
    with open_units_of_work(settings)() as uow:
        assert uow.cases.counts() == {CaseState.FIRST: 3}
        assert list(uow.annotations.latest()) == []


def test_the_subject_is_found_by_pattern_and_kept_as_a_pseudonym(
    settings: Settings, dataset: Path
) -> None:
    report = bring_in(settings, dataset, subject_pattern=r"^(\w+?)_")
    assert len(report.subjects) == 2
    with open_units_of_work(settings)() as uow:
        subjects = {uow.images.get(a.image_id).subject for a in uow.annotations.latest()}
    assert len(subjects) == 2
    assert not any("p1" in subject or "p2" in subject for subject in subjects)


def test_a_name_that_the_pattern_does_not_match_is_reported_and_stands_alone(
    settings: Settings, dataset: Path
) -> None:
    report = bring_in(settings, dataset, subject_pattern=r"^(p1)_")
    assert len(report.subjects) == 2
    assert [reason for _, reason in report.problems] == [
        "the subject pattern does not match; taken as a subject of its own"
    ]


def test_gold_images_are_frozen(settings: Settings, dataset: Path) -> None:
    bring_in(settings, dataset, gold=True)
    with open_units_of_work(settings)() as uow:
        assert len(uow.images.gold()) == 3
    report = bring_in(settings, dataset, gold=False)
    assert report.images == 0
    assert all("gold" in reason for _, reason in report.problems)
    assert len(report.problems) == 3


def test_only_the_listed_names_come_in(settings: Settings, dataset: Path, tmp_path: Path) -> None:
    only = tmp_path / "only.txt"
    only.write_text("p1_a\n\np2_a\np9_a\n")
    broken = dataset / "Annotations/p1_b.xml"
    broken.write_text("<annotation")
    report = bring_in(settings, dataset, only=only)
    assert report.images == 2
    assert report.problems == [(str(only), "no image is called p9_a")]


def test_an_image_that_exif_turns_is_reported_and_the_rest_comes_in(
    settings: Settings, dataset: Path
) -> None:
    image = next(dataset.rglob("p1_a.png"))
    image.write_bytes(png(0, exif_orientation=6))
    report = bring_in(settings, dataset)
    assert report.images == 2
    assert "EXIF" in report.problems[0][1]


def test_a_pattern_that_is_none_is_explained(settings: Settings, dataset: Path) -> None:
    with pytest.raises(InvalidInput, match="regular expression"):
        bring_in(settings, dataset, subject_pattern="(")


def test_gold_predictions_make_no_sense(settings: Settings, dataset: Path) -> None:
    with pytest.raises(InvalidInput, match="true boxes"):
        bring_in(settings, dataset, gold=True, import_as=ImportAs.PREDICTION)


def test_a_pattern_that_makes_all_images_one_subject_is_told(
    settings: Settings, dataset: Path
) -> None:
    command = ["--home", str(settings.home), "import", str(dataset), "--format", "voc"]
    done = CliRunner().invoke(cli.app, [*command, "--subject-pattern", "^p"])
    assert done.exit_code == 0
    assert "of 1 subject came in" in done.stdout
    assert "never split into folds" in done.stdout
