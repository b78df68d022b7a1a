"""The papers of a model, built from a small home as they would be from a large one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster import techfile_building
from cluster.cli import app
from cluster.techfile_building import Built, build
from loop.checkpoints import Proof
from loop.classes import ClassList
from loop.errors import Conflict, LoopError, NotFound, Unavailable
from loop.events import Actor, Role
from loop.signed_notes import VerifierKey
from loop.snapshots import Labels
from store.audit_log import open_audit_log
from store.image_codec import encode_png
from store.image_store import open_image_store
from store.model_registry import open_model_registry
from store.settings import Settings, load_settings
from store.tracking import EXPERIMENT, open_tracking
from store.unit_of_work import open_units_of_work
from tests.cluster.test_gold import call, data_set, fields
from train.data_collection import collect
from train.paths import StagePaths

pytestmark = pytest.mark.slow  # MLflow takes seconds to import and to make its database
ENGINEER = Actor("engineer-1", Role.ENGINEER)
CLASSES = ClassList(("cell", "rod"))
PAPERS = {"techfile.html", "techfile.md", "techfile.json", "model-card.md", "croissant.json"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Imported images, a snapshot of them in a workspace, and a model of two folds."""
    folder = tmp_path_factory.mktemp("papers")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("SECONDLOOK_HOME", "SECONDLOOK_DATABASE_URL", "MLFLOW_TRACKING_URI"):
            patch.delenv(variable, raising=False)
        yield made(folder)


def made(folder: Path) -> Settings:
    settings = load_settings(folder / "home")
    one, two = map(encode_png, fields(2))
    call(settings, "import", data_set(folder / "in", {"p1_a": one, "p2_b": two}), "--format", "voc")
    snapshot = folder / "workspace" / StagePaths(Labels.ADJUDICATED).snapshot
    units = open_units_of_work(settings)
    read = open_image_store(settings).get
    manifest = collect(units, read, snapshot, Labels.ADJUDICATED, ENGINEER)
    tracking = open_tracking(settings)
    tracking.prepare()
    tags = {"loop.kind": "cv", "loop.snapshot_sha256": manifest.sha256, "loop.seed": "3"}
    run_id = tracking.start_run(EXPERIMENT, "kfold", tags=tags, params={"EPOCHS": 2})
    for fold in range(2):
        own = {"loop.kind": "fold", "loop.fold": str(fold)}
        child = tracking.start_run(EXPERIMENT, f"fold {fold}", tags=own, params={}, parent=run_id)
        scores = {"best_map50": 0.5 + fold / 10, "best_map50_95": 0.4, "class_map50_95/cell": 0.4}
        tracking.log_metrics(child, scores, 2)
        tracking.end_run(child, ok=True)
    tracking.end_run(run_id, ok=True)
    weights = folder / "best.pt"
    weights.write_bytes(b"weights")
    registry = open_model_registry(settings)
    ref = registry.register(weights, classes=CLASSES, run_id=run_id, tags=tags)
    registry.set_alias("champion", ref)
    return settings


def built(home: Settings, out: Path, which: str = "detector:champion", **options: Any) -> Built:
    options = {"operator_file": None} | options
    workspaces = [home.home.parent / "workspace"]
    return build(
        home, which, actor=ENGINEER, out=out, workspaces=workspaces, step=lambda *_: None, **options
    )


def test_all_papers_are_there_and_on_record_with_their_digests(
    home: Settings, tmp_path: Path
) -> None:
    found = built(home, tmp_path / "out")
    assert found.files.keys() == PAPERS
    assert {path.name for path in found.folder.iterdir()} == PAPERS | {"evidence"}
    for name, digest in found.files.items():
        assert hashlib.sha256((found.folder / name).read_bytes()).hexdigest() == digest
    [last] = open_audit_log(home).tail(1)
    assert last.event.type == "evidence.built"
    assert last.event.actor == ENGINEER
    assert last.event.subject["model"] == found.model.as_dict()
    assert last.event.outputs == found.files
    assert last.event.details["gaps"] == len(found.gaps)


def test_each_event_that_is_cited_comes_with_a_proof(home: Settings, tmp_path: Path) -> None:
    found = built(home, tmp_path / "out")
    evidence = found.folder / "evidence"
    key = VerifierKey.parse((evidence / "log.vkey").read_text().strip())
    cited = [folder for folder in evidence.iterdir() if folder.is_dir()]
    assert len(cited) == found.events > 0
    for folder in cited:
        proof = Proof.parse((folder / "proof.tlog-proof").read_bytes())
        data = (folder / "event.json").read_bytes()
        proof.check(data)
        assert proof.checkpoint.signed_by(key)
        assert proof.index == int(folder.name)
        assert data == open_audit_log(home).get(proof.index).data
    told = json.loads((found.folder / "techfile.json").read_text())
    assert {str(event["index"]) for event in told["events"]} <= {folder.name for folder in cited}


def test_it_is_filled_from_runs_shards_and_the_database(home: Settings, tmp_path: Path) -> None:
    text = (built(home, tmp_path / "out").folder / "techfile.md").read_text()
    assert "cross-validation with 2 folds" in text
    assert "| mAP50 | 0.550 | 0.071 | 0.500 | 0.600 | 2 |" in text
    assert "2 images of 2 subjects" in text
    assert "All files of the version are signed" in text
    assert "| EPOCHS | 2 |" in text.replace("\\", "")


def test_the_data_set_s_description_is_accepted(home: Settings, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    found = built(home, tmp_path / "out")
    data = mlcroissant.Dataset(jsonld=found.folder / "croissant.json")
    assert not data.metadata.issues.errors


def test_beside_its_manifest_the_description_gives_the_boxes(
    home: Settings, tmp_path: Path
) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    workspace = home.home.parent / "workspace"
    snapshot = workspace / StagePaths(Labels.ADJUDICATED).snapshot
    copy = tmp_path / "copy"
    shutil.copytree(snapshot, copy)
    done = run(home, "snapshot", "croissant", "--out", str(copy / "croissant.json"))
    assert done.exit_code == 0, done.output
    rows = list(mlcroissant.Dataset(jsonld=copy / "croissant.json").records("annotations"))
    boxes = [box for row in rows for box in row["annotations/boxes"]]
    assert len(rows) == 2
    assert [box["annotations/boxes/x1"] for box in boxes] == [1.0, 1.0]


def test_the_operator_s_words_are_taken_and_cited_by_digest(home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "techfile.yaml"
    file.write_text("intended_purpose: Counting <b>cells</b>.\n")
    before = built(home, tmp_path / "one")
    after = built(home, tmp_path / "two", operator_file=file)
    gaps = [{gap.what for _, gap in each.gaps} for each in (before, after)]
    assert gaps[0] - gaps[1] == {"what the system is intended for"}
    page = (after.folder / "techfile.html").read_text()
    assert "Counting &lt;b&gt;cells&lt;/b&gt;." in page
    assert hashlib.sha256(file.read_bytes()).hexdigest() in page


def test_without_its_shards_the_data_sheet_has_gaps(home: Settings, tmp_path: Path) -> None:
    found = build(
        home, "1", actor=ENGINEER, out=tmp_path / "out", operator_file=None, workspaces=[],
        step=lambda *_: None,
    )  # fmt: skip
    assert "where the snapshot's images came from" in {gap.what for _, gap in found.gaps}


@pytest.mark.parametrize("which", ["detector:7", "detector:candidate", "other:1", "nothing"])
def test_a_model_that_does_not_exist_is_told_with_what_to_do(
    which: str, home: Settings, tmp_path: Path
) -> None:
    with pytest.raises(NotFound) as caught:
        built(home, tmp_path / "out", which)
    assert "secondlook models list" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("which", ["detector", "detector:1", "champion", "1"])
def test_a_model_goes_by_name_version_or_alias(which: str, home: Settings, tmp_path: Path) -> None:
    found = built(home, tmp_path / "out", which)
    assert found.model == open_model_registry(home).resolve("1")


def test_papers_are_never_written_over(home: Settings, tmp_path: Path) -> None:
    built(home, tmp_path / "out")
    with pytest.raises(Conflict, match="already"):
        built(home, tmp_path / "out")


def test_without_its_event_there_are_no_papers(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise Unavailable("The audit log cannot be written.")

    monkeypatch.setattr(techfile_building, "_record", refuse)
    with pytest.raises(Unavailable):
        built(home, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command_lists_gaps_and_files_and_ends_well(home: Settings, tmp_path: Path) -> None:
    told = call(home, "techfile", "build", "detector", "--out", tmp_path / "out")
    assert told["files"].keys() == PAPERS
    assert {"point", "what", "how"} == told["gaps"][0].keys()
    assert Path(told["folder"]) == tmp_path / "out"
    own = run(home, "techfile", "build", "detector")
    assert own.exit_code == 0
    [folder] = (home.home / "papers").iterdir()
    assert folder.name.startswith("detector-1-")
    assert "not recorded" in own.stdout


def test_a_template_is_written_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = call(settings, "techfile", "init")
    assert Path(told["file"]) == settings.home / "techfile.yaml"
    with pytest.raises(LoopError, match="already"):
        call(settings, "techfile", "init")


def run(settings: Settings, *words: str) -> Any:
    return CliRunner().invoke(app, ["--home", str(settings.home), *words])
