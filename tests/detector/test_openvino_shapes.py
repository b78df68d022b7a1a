from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.exporting import export_model
from detector.formats import ExportFormat
from detector.openvino_env import import_openvino
from detector.openvino_shapes import CompiledShapes, Shape

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(checkpoint: Path, config_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("exports")
    made = export_model(checkpoint, [ExportFormat.OPENVINO], out, config_dir=config_dir)
    return import_openvino().Core().read_model(made.folders[ExportFormat.OPENVINO] / "model.xml")


@pytest.fixture
def shapes(model: Any) -> CompiledShapes:
    return CompiledShapes(model, {"INFERENCE_PRECISION_HINT": "f32"})


def run(shapes: CompiledShapes, shape: Shape) -> np.ndarray[Any, Any]:
    with shapes.request(shape) as request:
        request.pixels[:] = np.random.default_rng(0).integers(0, 256, (*shape, 3))
        return request.run().copy()


def settle(shapes: CompiledShapes) -> set[Shape]:
    """The shapes that are compiled for, once nothing is being compiled any more."""
    shapes._compiler.submit(lambda: None).result()
    return shapes.shapes()


def test_a_shape_is_compiled_when_it_is_asked_for_often(shapes: CompiledShapes) -> None:
    first = run(shapes, (64, 96))
    assert settle(shapes) == set()
    for _ in range(15):
        run(shapes, (64, 96))
    assert settle(shapes) == {(64, 96)}
    np.testing.assert_allclose(run(shapes, (64, 96)), first, atol=1e-3)
    shapes.close()


def test_many_shapes_are_answered_and_few_are_compiled(shapes: CompiledShapes) -> None:
    sides = [32 * count for count in range(1, 21)]
    for _ in range(3):
        for width in sides:
            assert run(shapes, (32, width)).shape[0] == 7
    assert settle(shapes) == set()
    for width in sides[:8]:
        for _ in range(20):
            run(shapes, (32, width))
        settle(shapes)
    assert shapes.shapes() == {(32, width) for width in sides[:4]}
    shapes.close()


def test_a_shape_that_became_frequent_drives_out_one_that_is_no_longer(
    shapes: CompiledShapes,
) -> None:
    for width in (32, 64, 96, 128):
        shapes.prepare((32, width))
    for _ in range(20):
        run(shapes, (64, 64))
    compiled = settle(shapes)
    assert (64, 64) in compiled
    assert len(compiled) == 4
    shapes.close()


def test_a_shape_that_cannot_be_compiled_is_served_by_the_open_model(
    shapes: CompiledShapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Shape] = []

    def refuse(shape: Shape) -> None:
        tries.append(shape)
        raise RuntimeError("no memory")

    monkeypatch.setattr(shapes, "_compile", refuse)
    for _ in range(40):
        run(shapes, (64, 64))
    assert settle(shapes) == set()
    assert tries == [(64, 64)]
    shapes.close()


def test_requests_are_for_one_thread_each_and_used_again(shapes: CompiledShapes) -> None:
    shapes.prepare((32, 32))
    with shapes.request((32, 32)) as one, shapes.request((32, 32)) as other:
        assert one is not other
        one.pixels[:] = 0
        other.pixels[:] = 255
        assert not np.array_equal(one.run(), other.run())
    with shapes.request((32, 32)) as again:
        assert again in (one, other)
    shapes.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("compile-shape")]
