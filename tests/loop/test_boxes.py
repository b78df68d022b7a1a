from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loop.boxes import Box, FloatArray, as_array, ciou_matrix, iou_matrix
from loop.errors import InvalidBox
from tests.strategies import boxes, not_finite, ordinary_boxes

some_boxes = st.lists(boxes(640, 480), min_size=1, max_size=3)
some_ordinary_boxes = st.lists(ordinary_boxes(), min_size=1, max_size=3)


@pytest.mark.parametrize(
    "edges",
    [(5, 0, 5, 9), (6, 0, 5, 9), (0, 9, 5, 9), (0, 9, 5, 0), (0, 0, 1e-200, 1e-200)],
)
def test_a_box_without_area_is_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(InvalidBox, match="no usable area"):
        Box(*edges)


def test_a_box_whose_area_overflows_is_refused() -> None:
    with pytest.raises(InvalidBox, match="no usable area"):
        Box(0, 0, 1e200, 1e200)


@given(st.integers(0, 3), not_finite)
def test_an_edge_that_is_not_finite_is_refused(place: int, bad: float) -> None:
    edges = [0.0, 0.0, 4.0, 4.0]
    edges[place] = bad
    with pytest.raises(InvalidBox, match="finite"):
        Box.of(edges)


@pytest.mark.parametrize(
    "edges", [[1, 2, 3], [1, 2, 3, 4, 5], [], [0, 0, "wide", 1], [0, 0, None, 1]]
)
def test_what_is_not_four_numbers_is_refused(edges: list[Any]) -> None:
    with pytest.raises(InvalidBox):
        Box.of(edges)


@given(boxes(640, 480))
def test_edges_make_the_box_again(box: Box) -> None:
    assert Box.of(box.xyxy) == box
    assert Box.of(list(as_array([box])[0])) == box


def test_no_boxes_make_an_array_of_four_columns() -> None:
    assert as_array([]).shape == (0, 4)
    assert iou_matrix(as_array([]), as_array([Box(0, 0, 1, 1)])).shape == (0, 1)
    assert ciou_matrix(as_array([]), as_array([])).shape == (0, 0)


@given(ordinary_boxes(), st.integers(1, 800), st.integers(1, 800))
def test_a_clipped_box_is_inside_and_clipping_it_again_changes_nothing(
    box: Box, width: int, height: int
) -> None:
    clipped = box.clipped(width, height)
    if clipped is None:
        return
    assert clipped.inside(width, height)
    assert clipped.clipped(width, height) == clipped
    assert clipped.area <= box.area


@given(ordinary_boxes(), st.integers(1, 800), st.integers(1, 800))
def test_clipping_leaves_nothing_of_a_box_that_is_all_outside(
    box: Box, width: int, height: int
) -> None:
    outside = box.x2 <= 0 or box.y2 <= 0 or box.x1 >= width or box.y1 >= height
    assert (box.clipped(width, height) is None) == outside


@given(boxes(640, 480))
def test_clipping_leaves_a_box_inside_as_it_is(box: Box) -> None:
    assert box.clipped(640, 480) == box


def test_the_edges_of_the_image_are_inside() -> None:
    assert Box(0, 0, 640, 480).inside(640, 480)
    assert not Box(0, 0, math.nextafter(640, 641), 480).inside(640, 480)


@given(some_boxes, some_boxes)
def test_iou_is_symmetric_and_between_0_and_1(left: list[Box], right: list[Box]) -> None:
    iou = iou_matrix(as_array(left), as_array(right))
    assert np.array_equal(iou, iou_matrix(as_array(right), as_array(left)).T)
    assert ((iou >= 0) & (iou <= 1)).all()


@given(some_boxes, some_boxes)
def test_ciou_is_symmetric_and_at_most_iou(left: list[Box], right: list[Box]) -> None:
    ciou = ciou_matrix(as_array(left), as_array(right))
    assert np.array_equal(ciou, ciou_matrix(as_array(right), as_array(left)).T)
    assert (ciou <= iou_matrix(as_array(left), as_array(right))).all()
    assert (ciou > -2).all()


@given(boxes(640, 480))
def test_a_box_agrees_with_itself_in_full(box: Box) -> None:
    alone = as_array([box])
    assert iou_matrix(alone, alone).item() == 1
    assert ciou_matrix(alone, alone).item() == 1


@given(boxes(640, 480), boxes(640, 480))
def test_other_boxes_agree_less_than_a_box_with_itself(box: Box, other: Box) -> None:
    assert iou_matrix(as_array([box]), as_array([other])).item() <= 1
    assume(abs(box.x1 - other.x1) > 1)
    assert ciou_matrix(as_array([box]), as_array([other])).item() < 1


@given(some_ordinary_boxes, some_ordinary_boxes, st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_overlap_does_not_depend_on_where_the_boxes_are(
    left: list[Box], right: list[Box], x: float, y: float
) -> None:
    offset = np.array([x, y, x, y])
    _same(as_array(left), as_array(right), as_array(left) + offset, as_array(right) + offset)


@given(some_ordinary_boxes, some_ordinary_boxes, st.floats(0.01, 100))
def test_overlap_does_not_depend_on_the_scale(
    left: list[Box], right: list[Box], scale: float
) -> None:
    _same(as_array(left), as_array(right), as_array(left) * scale, as_array(right) * scale)


def _same(
    left: FloatArray, right: FloatArray, left_after: FloatArray, right_after: FloatArray
) -> None:
    for measure in (iou_matrix, ciou_matrix):
        # 1e4 pixels carry errors of 2e-12, on sides of a pixel at least.
        assert np.allclose(measure(left, right), measure(left_after, right_after), atol=1e-7)


def test_iou_of_known_boxes() -> None:
    left, right = as_array([Box(0, 0, 10, 10)]), as_array([Box(5, 0, 15, 10), Box(10, 0, 20, 10)])
    assert iou_matrix(left, right)[0].tolist() == pytest.approx([1 / 3, 0])


def test_ciou_of_known_boxes() -> None:
    square = Box(0, 0, 10, 10)
    beside, flat = Box(10, 0, 20, 10), Box(0, 0, 10, 5)
    found = ciou_matrix(as_array([square]), as_array([beside, flat]))[0]
    # Beside: the centres lie 10 apart in an enclosing box of 20 x 10; ratios are equal.
    aspect = 4 / math.pi**2 * (math.pi / 4 - math.atan(2)) ** 2
    flat_ciou = 0.5 - 2.5**2 / 200 - aspect**2 / (0.5 + aspect)
    assert found.tolist() == pytest.approx([-100 / 500, flat_ciou])


def test_ciou_is_that_of_torchvision() -> None:
    ops = pytest.importorskip("torchvision.ops")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (2, 30, 2))
    left, right = np.concatenate([corners, corners + rng.uniform(5, 200, corners.shape)], axis=2)
    theirs = ops.complete_box_iou(torch.from_numpy(left), torch.from_numpy(right)).numpy()
    # Both keep a division finite, torchvision by 1e-7 beside the squared diagonal.
    assert np.allclose(ciou_matrix(left, right), theirs, atol=1e-8)
