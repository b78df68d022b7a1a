from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from loop.snapshots import Labels, Manifest, Shard
from tests.strategies import digests, few_examples

counts = st.dictionaries(st.sampled_from(("images", "boxes", "negatives")), st.integers(0, 2**40))
shards = st.builds(
    Shard,
    path=st.integers(0, 999).map("images/{:03d}.parquet".format),
    sha256=digests,
    bytes=st.integers(0, 2**40),
    rows=st.integers(0, 2**30),
)
manifests = st.builds(
    Manifest,
    schema=st.just(1),
    labels=st.sampled_from(Labels),
    classes=st.lists(st.text("abc", min_size=1), min_size=1, max_size=3, unique=True).map(tuple),
    image_shards=st.lists(shards, max_size=2).map(tuple),
    annotation_shards=st.lists(shards, max_size=2).map(tuple),
    counts=counts,
)


@few_examples
@given(manifests)
def test_a_manifest_survives_the_way_through_json(manifest: Manifest) -> None:
    again = Manifest.from_dict(json.loads(json.dumps(manifest.as_dict())))
    assert again == manifest
    assert again.sha256 == manifest.sha256


@few_examples
@given(manifests, shards)
def test_a_snapshot_is_named_by_everything_in_it(manifest: Manifest, shard: Shard) -> None:
    others = [
        replace(manifest, image_shards=(*manifest.image_shards, shard)),
        replace(manifest, annotation_shards=(*manifest.annotation_shards, shard)),
        replace(manifest, classes=(*manifest.classes, "new")),
        replace(manifest, counts={**manifest.counts, "images": -1}),
        replace(manifest, schema=2),
    ]
    assert manifest.sha256 not in {other.sha256 for other in others}


def test_first_answers_and_adjudicated_ones_are_different_snapshots() -> None:
    manifests = [Manifest(1, labels, ("cell",), (), (), {}) for labels in Labels]
    assert len({manifest.sha256 for manifest in manifests}) == 2
