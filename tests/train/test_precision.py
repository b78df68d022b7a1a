from __future__ import annotations

from typing import Any

import pytest
import torch

from train.params import Precision
from train.precision import (
    FullPrecisionLoss,
    computes_in_bf16,
    gains_from_channels_last,
    has_bf16,
)


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    return found


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16"])
def test_bf16_is_chosen_where_the_cpu_multiplies_it(cpu: dict[str, Any], feature: str) -> None:
    assert not computes_in_bf16(Precision.AUTO, "cpu")
    cpu[feature] = True
    assert computes_in_bf16(Precision.AUTO, "cpu")
    assert not computes_in_bf16(Precision.FP32, "cpu")


def test_bf16_is_done_when_asked_for_with_a_warning_where_it_is_slow(
    cpu: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert computes_in_bf16(Precision.BF16, "cpu")
    assert "only emulates" in caplog.text
    caplog.clear()
    cpu["amx_bf16"] = True
    assert computes_in_bf16(Precision.BF16, "cpu")
    assert not caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_has_no_bf16() -> None:
    assert not has_bf16("0")


def test_a_gpu_is_left_to_ultralytics_to_lay_out() -> None:
    assert not gains_from_channels_last("0")


def test_a_loss_gets_full_precision_inside_autocast() -> None:
    def loss(preds: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.dtype]:
        (scores,) = preds["scores"]
        return scores @ batch["weights"], scores.dtype

    full = FullPrecisionLoss(loss, "cpu")
    scores = torch.rand(2, 2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product, dtype = full({"scores": [scores]}, {"weights": torch.rand(2, 2)})
    assert (product.dtype, dtype) == (torch.float32, torch.float32)
    assert not hasattr(full, "update")
