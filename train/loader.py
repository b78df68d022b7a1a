"""Ultralytics' loader of training batches, with a place in its order that can be kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import RandomSampler
from ultralytics.data.build import InfiniteDataLoader


class TrainLoader(InfiniteDataLoader):  # type: ignore[misc]  # Ultralytics is not typed
    """Loads what ``plain`` would, in the same order and in this process."""

    def __init__(self, plain: InfiniteDataLoader) -> None:
        super().__init__(
            dataset=plain.dataset,
            batch_size=plain.batch_size,
            shuffle=isinstance(plain.sampler, RandomSampler),
            collate_fn=plain.collate_fn,
            pin_memory=plain.pin_memory,
            generator=plain.generator,
        )
        self._order: torch.Tensor | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._order is not None:
            self.iterator = self._get_iterator()
            self.generator.set_state(self._order)
            self._order = None
        yield from super().__iter__()

    def state(self, *, reset: bool) -> dict[str, Any]:
        """Between two epochs: what the next one starts from. ``reset``: after a `reset`."""
        following = torch.Generator()
        following.set_state(self.generator.get_state())
        images = len(self.dataset)
        if reset:  # a new iterator draws a seed (torch.utils.data.dataloader._BaseDataLoaderIter)
            torch.empty((), dtype=torch.int64).random_(generator=following)
        elif images % self.batch_size == 0:
            # An order ends in one more draw, which is still to come after a full last batch
            # (torch.utils.data.RandomSampler).
            torch.randperm(images, generator=following)
        return {"order": following.get_state(), "buffer": list(self.dataset.buffer)}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a `state`. Mosaics draw from the images that were loaded last."""
        self._order = state["order"]
        for index in state["buffer"]:
            self.dataset.load_image(index)
        self.dataset.buffer[:] = state["buffer"]
