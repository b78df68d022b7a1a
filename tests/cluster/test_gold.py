from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cluster.cli import app
from loop.boxes import Box
from loop.classes import ClassList
from loop.errors import Conflict, LoopError
from loop.events import Event, now
from loop.sealing import commitment
from loop.snapshots import Labels, Manifest, SnapshotRecord
from loop.synthetic import generate
from store.audit_log import open_audit_log
from store.formats import ExportedImage, ImportedBox, write_dataset
from store.image_codec import encode_jpeg, encode_png
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from tests.cluster.test_importing import ACTOR

CLASSES = ClassList(("cell", "rod"))
SIZE = 96


def fields(count: int) -> list[np.ndarray]:
    made = generate(3 * count, seed=12, size=SIZE)
    return [image.pixels for image in made if len(image.boxes) > 2][:count]


def data_set(folder: Path, pictures: dict[str, bytes]) -> Path:
    boxes = (ImportedBox("cell", Box(1, 2, 11, 12)),)
    media_type = {b"\x89": "image/png", b"\xff": "image/jpeg"}
    images = [
        ExportedImage(name, data, media_type[data[:1]], SIZE, SIZE, boxes)
        for name, data in pictures.items()
    ]
    write_dataset(folder, "voc", images, CLASSES)
    return folder


def call(settings: Settings, *arguments: object) -> Any:
    """What a command prints as JSON; raises what it raises."""
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(app, ["--home", str(settings.home), *words, "--json"])
    if isinstance(done.exception, LoopError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def shown(settings: Settings, *arguments: object) -> str:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, ["--home", str(settings.home), *words]).stdout


@pytest.fixture
def home(settings: Settings, tmp_path: Path) -> Settings:
    """Two images to train on and two gold ones."""
    one, two, three, four = map(encode_png, fields(4))
    training = data_set(tmp_path / "training", {"p1_a": one, "p1_b": two})
    gold = data_set(tmp_path / "gold", {"g1_a": three, "g2_b": four})
    call(settings, "import", training, "--format", "voc")
    call(settings, "gold", "import", gold, "--format", "voc", "--subject-pattern", r"^(\w+?)_")
    return settings


def trained_on(settings: Settings) -> list[str]:
    with open_units_of_work(settings)() as uow:
        return [a.image_id for a in uow.annotations.latest() if not uow.images.get(a.image_id).gold]


def grown(settings: Settings) -> list[Event]:
    entries = open_audit_log(settings).tail(100)
    return [entry.event for entry in entries if entry.event.type == "gold.grown"]


def test_an_import_grows_the_gold_set_on_the_record(home: Settings) -> None:
    summary = call(home, "gold", "show")
    assert {**summary, "sha256": ""} == {
        "sha256": "",
        "images": 2,
        "subjects": 2,
        "negatives": 0,
        "boxes_per_class": {"cell": 2},
    }
    (event,) = grown(home)
    assert event.subject["gold_sha256"] == summary["sha256"]
    assert (event.details["before"]["images"], event.details["after"]["images"]) == (0, 2)
    listed = call(home, "gold", "list")
    with open_units_of_work(home)() as uow:
        salts = [(each["image_id"], uow.image_salts.of(each["image_id"])) for each in listed]
    added = [commitment(salt, "image", image_id) for image_id, salt in salts]
    assert added == event.details["added"]
    assert event.details["source"].startswith("hmac-sha256:")
    assert {each["boxes"] for each in listed} == {1}
    assert listed[0]["image_id"] in shown(home, "gold", "list")


def test_named_images_are_added_and_the_digest_changes(home: Settings) -> None:
    before = call(home, "gold", "show")["sha256"]
    one, two = trained_on(home)
    added = call(home, "gold", "add", one)
    assert added == {
        "added": [one],
        "images_before": 2,
        "images": 3,
        "sha256_before": before,
        "sha256": call(home, "gold", "show")["sha256"],
        "excluded_from_training": 0,
    }
    assert added["sha256"] != before
    assert grown(home)[-1].details["after"]["sha256"] == added["sha256"]
    assert "1 images are new in the gold set, which now has 4" in shown(home, "gold", "add", two)


def test_what_is_in_a_snapshot_needs_leave(home: Settings) -> None:
    manifest = Manifest(1, Labels.ADJUDICATED, CLASSES.names, (), (), {})
    with open_units_of_work(home)() as uow:
        uow.snapshots.add(SnapshotRecord(manifest.sha256, manifest, now(), "ana"))
        uow.record(Event("test.happened", ACTOR, {}))
        uow.commit()
    one = trained_on(home)[0]
    with pytest.raises(Conflict, match="in a snapshot"):
        call(home, "gold", "add", one)
    assert call(home, "gold", "add", one, "--allow-trained")["images"] == 3
    assert grown(home)[-1].details["allow_trained"] is True


def test_an_import_takes_no_gold_that_looks_like_a_training_image(
    home: Settings, tmp_path: Path
) -> None:
    field = fields(1)[0]
    copies = data_set(tmp_path / "copies", {"a": encode_jpeg(field, 60)})
    words = ("gold", "import", copies, "--format", "voc")
    refused = CliRunner().invoke(app, ["--home", str(home.home), *map(str, words), "--json"])
    assert refused.exit_code == 1
    ((problem),) = json.loads(refused.stdout)["problems"]
    assert "shows the same as image" in problem["reason"]
    assert call(home, "gold", "show")["images"] == 2
    report = call(home, *words, "--allow-trained")
    assert report["images"] == 1
    assert "1 near-duplicates" in report["problems"][0]["reason"]
    assert call(home, "gold", "show")["images"] == 3


def test_a_training_image_that_looks_like_gold_comes_in_with_a_warning(
    home: Settings, tmp_path: Path
) -> None:
    small = Image.fromarray(fields(3)[2]).resize((SIZE // 2, SIZE // 2)).resize((SIZE, SIZE))
    file = io.BytesIO()
    small.save(file, "PNG")
    copies = data_set(tmp_path / "copies", {"a": file.getvalue()})
    report = call(home, "import", copies, "--format", "voc")
    assert report["images"] == 1
    assert "not trained on: it shows the same as a gold image" in report["problems"][0]["reason"]
    entries = open_audit_log(home).tail(2)
    assert entries[0].event.details["gold_kin"]["near_duplicates"] == 1
