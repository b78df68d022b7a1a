from __future__ import annotations

import numpy as np

from loop.fold_report import FoldReport


def test_the_report_counts_images_subjects_groups_negatives_and_boxes() -> None:
    report = FoldReport.of(
        ["0", "1", "gold"],
        ["0", "0", "0", "1", "1"],
        ["s", "s", "t", "u", "v"],
        [[0, 0, 1], [], [0], [1], [1]],
        2,
        groups=np.array([0, 0, 1, 2, 2], np.int32),
        near=np.array([0, 1, 2, 3, 3], np.int32),
    )
    nothing = {"images": 0, "subjects": 0, "groups": 0, "near_duplicate_groups": 0, "negatives": 0}
    assert report.as_dict() == [
        {
            "part": "0",
            "images": 3,
            "subjects": 2,
            "groups": 2,
            "near_duplicate_groups": 0,
            "negatives": 1,
            "boxes": [3, 1],
        },
        {
            "part": "1",
            "images": 2,
            "subjects": 2,
            "groups": 1,
            "near_duplicate_groups": 1,
            "negatives": 0,
            "boxes": [0, 2],
        },
        {"part": "gold", **nothing, "boxes": [0, 0]},
    ]


def test_images_alike_in_two_parts_are_no_group_of_either() -> None:
    report = FoldReport.of(
        ["0", "1"],
        ["0", "1"],
        ["s", "t"],
        [[0], [0]],
        1,
        groups=np.array([0, 0], np.int32),
        near=np.array([0, 0], np.int32),
    )
    assert [part.near_duplicate_groups for part in report.parts] == [0, 0]
