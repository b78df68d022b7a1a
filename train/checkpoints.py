"""The files of a training: the state it can go on from, and the model it ends with.

Ultralytics' own checkpoint holds half precision and no random states, so that what it resumes is
another training. This one holds everything, at four bytes a number.
"""

from __future__ import annotations

import io
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from loop.errors import TrainingFailed

# Changes with what a state holds, so that one is not mistaken for another.
_FORMAT = "second-look training state 1"


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Replace the file at ``path`` by ``state``, which is tensors, plain values and containers."""
    _write(path, {"format": _FORMAT, **state})


def read_state(path: Path) -> dict[str, Any]:
    """Raises `TrainingFailed` for a file that is not a state. No code from it runs."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != _FORMAT:
            raise ValueError(f"it has the format {state['format']!r}")
    except Exception as error:  # a damaged pickle may raise anything
        raise TrainingFailed(
            f"The checkpoint {path} cannot be read: {error}.", hint="Start the run again."
        ) from error
    return dict(state)


def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as a model's file has them: half precision, what is too large for it cut off."""
    return {
        name: torch.nan_to_num(value.half()) if value.is_floating_point() else value.clone()
        for name, value in state.items()
    }


def write_model(
    path: Path, model: torch.nn.Module, weights: dict[str, torch.Tensor], details: dict[str, Any]
) -> None:
    """Write ``model`` with other ``weights`` as what Ultralytics loads as a trained model.

    ``details`` are ``train_args``, ``train_metrics`` and ``version``. The format is the one that
    ``strip_optimizer`` leaves (``ultralytics/utils/torch_utils.py``).
    """
    written: Any = deepcopy(model).cpu().half().to(memory_format=torch.contiguous_format)
    written.load_state_dict(half(weights))
    written.criterion = None
    written.args = dict(details["train_args"])
    for parameter in written.parameters():
        parameter.requires_grad = False
    emptied = ("best_fitness", "stopper", "ema", "updates", "optimizer", "scaler")
    _write(
        path,
        {
            **dict.fromkeys(emptied),
            **details,
            "epoch": -1,
            "model": written,
            "train_results": {},
            "date": datetime.now(UTC).astimezone().isoformat(),
            "license": "AGPL-3.0 License (https://ultralytics.com/license)",
            "docs": "https://docs.ultralytics.com",
        },
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    # Into memory first: torch hides why a file cannot be written, and a full disk is to be named.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    part = path.with_suffix(".part")
    try:
        part.write_bytes(buffer.getbuffer())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
