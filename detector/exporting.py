"""Exports checkpoints to ONNX and OpenVINO, and refuses an export that sees other boxes.

The graph is the bare network in 32-bit floats: batch, height and width are open, so that images
can be batched in the smallest rectangle they fit, and a server can fix the shapes that it wants
(``reshape`` in OpenVINO). Suppression stays outside: in the graph it would fix the thresholds and
the number of boxes at export. OpenVINO's model is read from the ONNX one: one graph for both, and
as fast as one that OpenVINO's converter makes from PyTorch (18.3 against 17.9 ms an image for
YOLO11n at 256 x 320 pixels on one core).
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detector.base import Pixels, smoke_image
from detector.export_check import Expected
from detector.exported import (
    INFO_KEY,
    INPUT,
    OUTPUT,
)
from detector.formats import ExportFormat
from detector.openvino_env import import_openvino
from loop.errors import LoopError

# From 19 on, ONNX Runtime's CUDA provider leaves some operators to the CPU
# (`best_onnx_opset` in ultralytics/utils/export/engine.py).
_OPSET = 18


@dataclass(frozen=True, slots=True)
class Exports:
    """By `ExportFormat`: a folder for each that works; for each other one, why it does not."""

    folders: Mapping[str, Path] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def export_model(
    weights: Path,
    formats: Iterable[ExportFormat],
    out: Path,
    *,
    config_dir: Path,
    images: Sequence[Pixels] = (),
) -> Exports:
    """Export ``weights`` (``.pt``) to ``out/<format>``, each of which appears whole or not at all.

    Each export is run on ``images`` and on noise. One that does not show the boxes that the
    checkpoint shows, within `detector.export_check.TOLERANCE`, is refused, and so is what cannot be
    converted. Raises what `detector.yolo.load_detector` raises.
    """
    wanted = tuple(dict.fromkeys(formats))
    if not wanted:
        return Exports()
    tried = [*images, smoke_image()]
    expected = Expected(weights, config_dir, tried)
    folders: dict[str, Path] = {}
    refused: dict[str, str] = {}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as temporary:
        making = Path(temporary)
        for kind in wanted:
            try:
                made = _WRITERS[kind](expected, making)
                expected.check(made)
            except LoopError as error:
                refused[kind.value] = error.message
            except Exception as error:  # of three libraries, on a network of anyone's
                refused[kind.value] = f"{type(error).__name__}: {str(error).strip()[:500]}"
            else:
                folders[kind.value] = made
        for name, made in folders.items():
            shutil.rmtree(out / name, ignore_errors=True)
            folders[name] = made.replace(out / name)
    return Exports(folders, refused)


def _write_onnx(expected: Expected, making: Path) -> Path:
    import onnx
    import torch

    folder = making / ExportFormat.ONNX.value
    file = folder / ExportFormat.ONNX.file
    if file.exists():  # made on the way to another format
        return folder
    folder.mkdir(exist_ok=True)
    stride = expected.info.stride
    # Neither square nor a single image: a size that is traced as a constant shows in the check.
    example = torch.zeros(2, 3, 2 * stride, 3 * stride)
    sizes = {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings():
        # The exporter that is to replace this one needs onnxscript.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            expected.network,
            (example,),
            str(file),
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: sizes, OUTPUT: {0: "batch", 2: "anchors"}},
            dynamo=False,
        )
    graph = onnx.load(file)
    onnx.checker.check_model(graph)
    graph.metadata_props.add(key=INFO_KEY, value=expected.info.to_json())
    onnx.save(graph, file)
    return folder


def _write_openvino(expected: Expected, making: Path) -> Path:
    source = _write_onnx(expected, making) / ExportFormat.ONNX.file
    openvino = import_openvino()
    model = openvino.Core().read_model(source)
    model.set_rt_info(expected.info.to_json(), INFO_KEY)
    folder = making / ExportFormat.OPENVINO.value
    folder.mkdir()
    openvino.save_model(model, folder / ExportFormat.OPENVINO.file, compress_to_fp16=False)
    return folder


_WRITERS = {ExportFormat.ONNX: _write_onnx, ExportFormat.OPENVINO: _write_openvino}
