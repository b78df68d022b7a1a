from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from train.fold_checkpoints import Checkpoints, copy_files, is_intact

FILES = ("last.pt", "state.json")
# Keeps one checkpoint after the other, and says which are safe.
KEEPS = """
import sys
from pathlib import Path
from tests.train.test_fold_checkpoints import files_of
from train.fold_checkpoints import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
for number in range(1, 1000):
    checkpoints.keep(files_of(Path(sys.argv[1]), str(number), size=200_000))
    print(number, flush=True)
"""


def files_of(folder: Path, content: str, size: int = 1) -> Path:
    files = folder / f"new-{content}"
    files.mkdir(parents=True)
    for name in FILES:
        (files / name).write_text(content.ljust(size))
    return files


def keep(folder: Path, *contents: str) -> list[Path]:
    """The checkpoints that are there then, the newest first."""
    checkpoints = Checkpoints(folder)
    for content in contents:
        checkpoints.keep(files_of(folder, content))
    return sorted(folder.glob("checkpoint-*"), reverse=True)


def content_of(checkpoint: Path | None) -> str:
    assert checkpoint is not None
    return (checkpoint / FILES[0]).read_text().strip()


def test_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    kept = keep(tmp_path, "one", "two", "three")
    assert [content_of(path) for path in kept] == ["three", "two"]
    assert sorted(tmp_path.iterdir(), reverse=True) == kept
    assert Checkpoints(tmp_path).newest() == Checkpoints(tmp_path).latest() == kept[0]


def test_numbers_go_on_where_another_process_stopped(tmp_path: Path) -> None:
    keep(tmp_path, "one", "two")
    assert content_of(keep(tmp_path, "three")[0]) == "three"


@pytest.mark.parametrize("name", [*FILES, "digests.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, name: str, damage: str
) -> None:
    newest, before = keep(tmp_path, "one", "two")
    file = newest / name
    if damage == "gone":
        file.unlink()
    else:
        text = file.read_text()
        file.write_text(text[: len(text) // 2] if damage == "cut" else text.replace("t", "T"))
    if name == "digests.json" and damage == "changed":
        file.write_text('{"last.pt": "0"}')
    assert Checkpoints(tmp_path).newest() == before
    assert content_of(before) == "one"
    assert not newest.exists()


def test_without_an_intact_checkpoint_a_fold_starts_from_the_beginning(tmp_path: Path) -> None:
    for checkpoint in keep(tmp_path, "one", "two"):
        (checkpoint / "state.json").write_text("")
    (tmp_path / ".partial-3").mkdir()
    assert Checkpoints(tmp_path).newest() is None
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_checkpoint_replace_what_a_folder_held(tmp_path: Path) -> None:
    [checkpoint] = keep(tmp_path / "fold", "one")
    target = tmp_path / "out" / "fold_0"
    target.mkdir(parents=True)
    (target / "stale").touch()
    copy_files(checkpoint, target)
    assert sorted(path.name for path in target.iterdir()) == sorted(FILES)


def test_a_process_killed_while_it_writes_leaves_what_it_said_is_safe(tmp_path: Path) -> None:
    rng = random.Random(4)
    root = Path(__file__).parents[2]
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", KEEPS, str(folder)],
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        time.sleep(rng.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
        process.wait()
        newest = Checkpoints(folder).newest()
        assert newest is not None
        assert is_intact(newest)
        assert int(content_of(newest)) >= len([line for line in said if line.endswith("\n")])
