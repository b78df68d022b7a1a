"""What each part of a split holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from loop.near_duplicates import Groups


@dataclass(frozen=True, slots=True)
class PartCounts:
    """What one part of a split holds; ``boxes`` are by class id.

    ``groups`` are what a split never parts; ``near_duplicate_groups`` those of two or more images
    in this part that look the same.
    """

    part: str
    images: int
    subjects: int
    groups: int
    near_duplicate_groups: int
    negatives: int
    boxes: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "images": self.images,
            "subjects": self.subjects,
            "groups": self.groups,
            "near_duplicate_groups": self.near_duplicate_groups,
            "negatives": self.negatives,
            "boxes": list(self.boxes),
        }


@dataclass(frozen=True, slots=True)
class FoldReport:
    """The parts of a split, in the order of their names; parts that are missing are empty."""

    parts: tuple[PartCounts, ...]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        parts: Sequence[str],
        subjects: Sequence[str],
        classes_per_image: Sequence[Collection[int]],
        class_count: int,
        *,
        groups: Groups,
        near: Groups,
    ) -> FoldReport:
        """``parts`` is the part of each image; ``classes_per_image`` the class id of each box.

        ``groups`` is what a split keeps together, ``near`` which images look the same.
        """
        rows = []
        for name in names:
            inside = [index for index, part in enumerate(parts) if part == name]
            boxes = Counter(found for index in inside for found in classes_per_image[index])
            alike = Counter(int(near[index]) for index in inside)
            rows.append(
                PartCounts(
                    part=name,
                    images=len(inside),
                    subjects=len({subjects[index] for index in inside}),
                    groups=len({int(groups[index]) for index in inside}),
                    near_duplicate_groups=sum(count > 1 for count in alike.values()),
                    negatives=sum(not classes_per_image[index] for index in inside),
                    boxes=tuple(boxes[class_id] for class_id in range(class_count)),
                )
            )
        return cls(tuple(rows))

    def as_dict(self) -> list[dict[str, Any]]:
        return [part.as_dict() for part in self.parts]
