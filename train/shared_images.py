"""Decoded images in Ray's object store, which all workers of a node map into their memory.

The store is shared memory: an object is there once for a node, whoever reads it, Ray brings it to
another node once, and it goes with the process that put it there, however that ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions

from store.snapshot_files import Snapshot
from train.decoded import DecodedImages, decode_images, decoded_bytes

# Above 80 % Ray writes objects to disk; checkpoints and whoever else uses the cluster need room.
_LARGEST_SHARE = 0.6
# How long a node waits for what others have.
_LEAST_SECONDS = 60.0
_SLOWEST_BYTES_A_SECOND = 10e6


@dataclass(frozen=True, slots=True)
class SharedImages:
    """References to the chunks. They are there for as long as the process that shared them."""

    chunks: tuple[Any, ...]
    nbytes: int

    def open(self) -> DecodedImages | None:
        """The images, not copied; None where they are lost, as with the node that they were on, or
        do not come: others' objects may fill this node's store for as long as they like."""
        patience = _LEAST_SECONDS + self.nbytes / _SLOWEST_BYTES_A_SECOND
        try:
            return DecodedImages(ray.get(list(self.chunks), timeout=patience))
        except ray.exceptions.RayError:
            return None


def share_images(
    snapshot: Snapshot,
    rows: Iterable[int],
    image_size: int,
    *,
    note: Callable[[str], object] = print,
    largest_share: float = _LARGEST_SHARE,
) -> SharedImages | None:
    """Decode the images of ``rows`` once, for all folds; needs a connection to Ray.

    None, with a ``note`` that says why, when they would take more than ``largest_share`` of a
    node's object store. Raises `BrokenRecord` naming an image that does not decode.
    """
    wanted = [*rows]
    needed, room = decoded_bytes(snapshot, wanted, image_size), largest_share * _store_bytes()
    if needed > room:
        note(
            f"The decoded images take {_mb(needed)}, and folds may share {_mb(room)} of Ray's "
            f"object store: each fold decodes them for itself."
        )
        return None
    chunks = tuple(map(ray.put, decode_images(snapshot, wanted, image_size)))
    return SharedImages(chunks, needed)


def _store_bytes() -> float:
    """The object store of the node that has the smallest one: a fold may land there."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    stores = [node["Resources"].get("object_store_memory", 0) for node in nodes if node["Alive"]]
    return float(min(stores, default=0))


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"
