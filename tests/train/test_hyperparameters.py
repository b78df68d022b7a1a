from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from detector.ultralytics_env import prepare
from loop.errors import Misconfigured
from tests.train.generated import small_spec
from train.hyperparameters import (
    HYPERPARAMETERS,
    NOT_SETTABLE,
    OPTIMIZERS,
    check_hyperparameters,
)
from train.params import load_params

VALUES: tuple[Any, ...] = (
    *(0, 1, 5, -1, 0.5, 1.5, -0.1, 100.0, True, "fast", "AdamW", "sgd", "1e-3"),
    *([0.5, 1.5], [3, "23.cv2"], [], None),
)


def defaults() -> dict[str, Any]:
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "cfg" / "default.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def test_every_argument_of_ultralytics_can_be_set_or_has_a_reason_against_it() -> None:
    assert defaults().keys() <= HYPERPARAMETERS.keys() | NOT_SETTABLE.keys()
    assert not HYPERPARAMETERS.keys() & NOT_SETTABLE.keys()
    assert HYPERPARAMETERS.keys() <= defaults().keys()


def test_the_defaults_of_ultralytics_can_be_set() -> None:
    check_hyperparameters({name: defaults()[name] for name in HYPERPARAMETERS})


@pytest.mark.slow
def test_ultralytics_takes_what_is_taken_here(tmp_path: Path) -> None:
    prepare(tmp_path)
    from ultralytics.cfg import get_cfg

    taken = 0
    for name in HYPERPARAMETERS:
        for value in VALUES:
            try:
                check_hyperparameters({name: value})
            except Misconfigured:
                continue
            get_cfg(overrides={name: value})
            taken += 1
    assert taken > 2 * len(HYPERPARAMETERS)


@pytest.mark.slow
def test_ultralytics_knows_the_optimizers(tmp_path: Path) -> None:
    prepare(tmp_path)
    import torch
    from ultralytics import optim

    for name in OPTIMIZERS:
        spelled = {"RMSProp": "RMSprop"}.get(name, name)
        assert name == "auto" or hasattr(torch.optim, spelled) or hasattr(optim, spelled)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("lr0", 2, "a number from 0 to 1"),
        ("lr0", "fast", "a number from 0 to 1"),
        ("lr0", True, "a number from 0 to 1"),
        ("lr0", float("nan"), "a number from 0 to 1"),
        ("box", -1, "a number from 0"),
        ("nbs", 0, "a whole number from 1"),
        ("nbs", 8.5, "a whole number from 1"),
        ("cos_lr", 1, "true or false"),
        ("optimizer", "Lion", "one of auto, SGD"),
        ("freeze", 1.5, "a number of layers"),
        ("scale", [1.5, 0.5], r"a pair \[smallest, largest\]"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(Misconfigured, match=rf"train\.{name} is .* must be .*{wanted}"):
        check_hyperparameters({name: value})


def test_a_name_with_a_slip_in_it_is_corrected() -> None:
    with pytest.raises(Misconfigured, match=r"train\.mosiac is not") as refusal:
        check_hyperparameters({"mosiac": 0.5})
    assert refusal.value.hint == "Did you mean mosaic?"


def test_a_name_that_is_like_no_other_gets_the_list() -> None:
    with pytest.raises(Misconfigured, match=r"search\.depth is not") as refusal:
        check_hyperparameters({"depth": 3}, section="search")
    assert "lr0" in refusal.value.hint


def test_a_number_that_yaml_takes_for_text_is_explained() -> None:
    value = yaml.safe_load("lr0: 1e-3")["lr0"]
    with pytest.raises(Misconfigured) as refusal:
        check_hyperparameters({"lr0": value})
    assert refusal.value.hint == "YAML reads 1e-3 as text: write 0.001, or 1.0e-3 for 1e-3."


@pytest.mark.parametrize(
    ("name", "reason"),
    [("epochs", "EPOCHS"), ("pretrained", "BASE_MODEL"), ("erasing", "not for detection")],
)
def test_what_cannot_be_set_comes_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(Misconfigured, match=rf"train\.{name} cannot be set: .*{reason}"):
        check_hyperparameters({name: 1})


def test_a_training_is_not_even_described_with_wrong_hyperparameters(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"train\.pretrained"):
        replace(small_spec(tmp_path), hyperparameters={"pretrained": "evil.pt"})


def test_parameters_with_a_wrong_hyperparameter_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("train: {lr1: 0.01}")
    with pytest.raises(Misconfigured, match=r"train\.lr1") as refusal:
        load_params(tmp_path / "params.yaml")
    assert "Did you mean lr" in refusal.value.hint
