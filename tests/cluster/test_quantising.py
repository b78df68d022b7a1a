"""From a champion to its INT8 version, through the gate, into an engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from cluster import cli
from cluster.quantising import choose_images, register_quantised
from detector.formats import INT8
from loop.boxes import Box
from loop.corrections import FinalBox, Origin
from loop.errors import InvalidInput, NotEnoughData, NotFound
from loop.events import Actor, Event, Role, now
from loop.images import Image
from loop.intake import NewImage, TrueBox, add_truth
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.snapshots import Labels, SnapshotRecord
from loop.synthetic import CLASSES, generate
from serve.loading import load_engine
from store.audit_log import open_audit_log
from store.image_codec import encode_png
from store.image_files import sha256_of
from store.image_store import open_image_store
from store.model_registry import ModelRegistry, open_model_registry
from store.settings import Settings
from store.snapshot_files import Snapshot, SnapshotEntry, open_snapshot, write_snapshot
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from tests.detector.checkpoints import write_checkpoint
from train.gold import measure_again, propose_promotion

ENGINEER = Actor("engineer-1", Role.ENGINEER)
SIZE_PX = 64


def snapshot_of(gold: Sequence[bool]) -> Snapshot:
    samples = [
        SimpleNamespace(image_id=f"{number:02}", gold=each) for number, each in enumerate(gold)
    ]
    return cast("Snapshot", SimpleNamespace(samples=samples))


def test_images_are_drawn_by_the_seed_and_never_from_the_gold_set() -> None:
    snapshot = snapshot_of([number % 3 == 0 for number in range(90)])
    chosen = choose_images(snapshot, 30, seed=1)
    assert chosen == choose_images(snapshot, 30, seed=1)
    other = choose_images(snapshot, 30, seed=2)
    assert other.calibration != chosen.calibration
    assert other.sha256 != chosen.sha256
    both = {*chosen.calibration, *chosen.compared}
    assert (len(chosen.calibration), len(chosen.compared), len(both)) == (30, 20, 50)
    assert not any(int(each) % 3 == 0 for each in both)


def test_a_small_snapshot_is_used_whole() -> None:
    chosen = choose_images(snapshot_of([False] * 4), 300, seed=0)
    assert (len(chosen.calibration), chosen.compared) == (4, ())
    with pytest.raises(NotEnoughData, match="gold"):
        choose_images(snapshot_of([True] * 4), 300, seed=0)


@dataclass(frozen=True)
class Home:
    settings: Settings
    units: UnitsOfWork
    registry: ModelRegistry
    snapshot: Snapshot
    champion: ModelRef

    def quantise(self, source: ModelRef, seed: int = 0) -> ModelRef:
        return register_quantised(
            self.settings,
            self.units,
            self.registry,
            source,
            self.snapshot,
            images=6,
            seed=seed,
            actor=ENGINEER,
        )

    def events(self, type: str) -> list[Event]:
        log = open_audit_log(self.settings)
        log.verify()
        return [entry.event for entry in log.tail(200) if entry.event.type == type]

    def command(self, *arguments: str) -> Any:
        line = ["--home", str(self.settings.home), "models", *arguments, "--json"]
        result = CliRunner().invoke(cli.app, line)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def home(settings: Settings, tmp_path: Path) -> Home:
    settings = settings.model_copy(update={"min_gold_images": 4, "gate_replicates": 200})
    units = open_units_of_work(settings)
    open_tracking(settings).prepare()
    registry = open_model_registry(settings)
    config_dir = settings.home / "ultralytics"
    weights = write_checkpoint(tmp_path / "tiny.pt", config_dir=config_dir, names=CLASSES.names)
    champion = registry.register(weights, classes=CLASSES, run_id=None, tags={})
    registry.set_alias("champion", champion)
    with units() as uow:
        uow.classes.set(CLASSES)
        uow.record(Event("test.happened", ENGINEER, {}))
        uow.commit()
    add_gold(settings, units)
    return Home(settings, units, registry, recorded_snapshot(tmp_path, units), champion)


def add_gold(settings: Settings, units: UnitsOfWork) -> None:
    store = open_image_store(settings)
    for number, made in enumerate(generate(6, seed=9, size=SIZE_PX)):
        png = encode_png(made.pixels)
        new = NewImage(png, "image/png", SIZE_PX, SIZE_PX, f"s{number}", "test")
        truth = [TrueBox(Box(4, 4, 40, 40), number % len(CLASSES))]
        add_truth(units, store, new, truth, actor=ENGINEER, gold=True)


def recorded_snapshot(folder: Path, units: UnitsOfWork) -> Snapshot:
    entries, data = [], {}
    for number, made in enumerate(generate(10, seed=4, size=SIZE_PX)):
        png = encode_png(made.pixels)
        image_id = sha256_of(png)
        data[image_id] = png
        box = FinalBox("b", Box(4, 4, 40, 40), 0, Origin.IMPORTED)
        image = Image(image_id, SIZE_PX, SIZE_PX, "image/png", f"t{number}", "test", now())
        entries.append(SnapshotEntry(image, f"a{number}", 1, "imported", (box,), ("p",), None))
    manifest = write_snapshot(
        folder / "snapshot", Labels.ADJUDICATED, CLASSES, entries, data.__getitem__
    )
    with units() as uow:
        uow.snapshots.add(SnapshotRecord(manifest.sha256, manifest, now(), "engineer-1"))
        uow.record(Event("test.happened", ENGINEER, {}))
        uow.commit()
    return open_snapshot(folder / "snapshot")


@pytest.mark.slow
def test_a_version_in_int8_is_gated_and_served_as_that(home: Home) -> None:
    ref = home.quantise(home.champion)
    assert ref.digest == home.champion.digest
    assert ref.version != home.champion.version
    assert home.registry.find_alias("candidate") == ref
    (intent,) = home.events("model.quantising")
    (done,) = home.events("model.registered")
    assert intent.details["source"] == done.details["source"] == home.champion.as_dict()
    assert done.details["snapshot_sha256"] == home.snapshot.sha256
    assert (done.details["images"], done.details["seed"]) == (6, 0)
    assert done.details["exports"] == home.registry.exports_of(ref)
    assert set(done.details["exports"]) == {INT8}

    promotion = propose_promotion(home.settings, ref)
    assert promotion is not None
    score, before, gate = (
        promotion.candidate_score,
        promotion.champion_score,
        promotion.decision.gate,
    )
    assert before is not None
    assert gate is not None
    assert before.quantised is None
    assert score.quantised is not None
    assert score.quantised.files_sha256 == home.registry.exports_of(ref)[INT8]
    assert score.quantised.source_map50_95 == before.map50_95
    assert promotion.decision.reasons[0].startswith("It is version 1 in INT8: mAP50-95 ")
    # It is the champion itself: it must be as good, not better.
    assert gate.settings.min_gain == gate.settings.min_gain_50 == -home.settings.int8_margin
    # What was measured is not the weights again: those see the same as the champion to a hair.
    digests = gate.detections_sha256
    assert digests["candidate"] != digests["champion"]
    shown = home.command("show", ref.version)["quantised"]
    assert shown["snapshot_sha256"] == home.snapshot.sha256
    assert (shown["source_version"], shown["images"], shown["seed"]) == ("1", "6", "0")
    assert shown["gold_change"] == score.quantised.changes(score.map50, score.map50_95)
    assert home.command("show", home.champion.version)["quantised"] is None
    assert home.command("gate", ref.version, "--recompute")["agrees"] is True

    engine = load_engine(home.settings, home.registry, ref, measures=False)
    engine.close()
    assert engine.backend == INT8
    engine = load_engine(home.settings, home.registry, home.champion, measures=False)
    engine.close()
    assert engine.backend != INT8


@pytest.mark.slow
def test_another_calibration_is_another_use_of_the_gold_set(home: Home) -> None:
    uses = []
    for seed in (0, 0, 1):
        promotion = propose_promotion(home.settings, home.quantise(home.champion, seed))
        assert promotion is not None
        assert promotion.decision.gate is not None
        uses.append(promotion.decision.gate.use.number)
    assert uses == [1, 1, 2]


@pytest.mark.slow
def test_what_cannot_be_quantised_is_refused_and_on_record(home: Home, tmp_path: Path) -> None:
    ref = home.quantise(home.champion)
    with pytest.raises(InvalidInput, match="in INT8 already"):
        home.quantise(ref)
    (failed,) = home.events("model.quantised")
    assert "in INT8 already" in failed.details["error"]
    stranger = recorded_snapshot(tmp_path / "other", home.units)
    stranger.sha256 = "0" * 64
    with pytest.raises(NotFound, match="no snapshot"):
        replace(home, snapshot=stranger).quantise(home.champion)


@pytest.mark.slow
def test_a_version_does_not_pass_for_one_in_int8_or_not_by_its_tags(home: Home) -> None:
    ref = home.quantise(home.champion)
    client = open_tracking(home.settings).client
    client.delete_model_version_tag(ref.name, ref.version, f"loop.export.{INT8}.sha256")
    client.set_model_version_tag(ref.name, ref.version, "loop.quantised.source_version", "9")
    (score,) = measure_again(home.settings, [ref])
    assert score.quantised is not None
    assert score.quantised.changes(score.map50, score.map50_95) == {}
    engine = load_engine(home.settings, home.registry, ref, measures=False)
    engine.close()
    assert engine.backend == INT8
