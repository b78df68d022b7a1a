from __future__ import annotations

from pathlib import Path

import pytest

from cluster.demo_data import demo_images, demo_lock, empty_home, is_demo_home
from loop.errors import Conflict, Misconfigured
from store.settings import Settings


def ignore(done: int, total: int) -> None:
    pass


def test_a_new_home_is_made_and_marked(tmp_path: Path) -> None:
    home = tmp_path / "var" / "demo"
    assert not is_demo_home(home)
    empty_home(home)
    assert is_demo_home(home)


def test_what_an_earlier_demo_left_is_removed_and_the_home_stays_a_demos(tmp_path: Path) -> None:
    empty_home(tmp_path)
    (tmp_path / "secondlook.db").write_bytes(b"old")
    (tmp_path / "workspace" / ".git").mkdir(parents=True)
    empty_home(tmp_path)
    assert is_demo_home(tmp_path)
    assert not (tmp_path / "secondlook.db").exists()
    assert not (tmp_path / "workspace").exists()


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(Misconfigured, match="no demo made it"):
        empty_home(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_two_demos_do_not_share_a_home(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    with demo_lock(home), pytest.raises(Conflict, match="running"), demo_lock(home):
        pass
    with demo_lock(tmp_path / "demo"):
        pass


def test_kinds_of_images_share_no_subject_and_no_image(settings: Settings) -> None:
    gold = demo_images(settings, "gold", 8, ignore)
    new = demo_images(settings, "new", 8, ignore)
    assert not {image.new.subject for image in gold} & {image.new.subject for image in new}
    assert not {image.new.data for image in gold} & {image.new.data for image in new}


def test_the_same_kind_is_the_same_images_every_time(settings: Settings) -> None:
    assert demo_images(settings, "gold", 4, ignore) == demo_images(settings, "gold", 4, ignore)
