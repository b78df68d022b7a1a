from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop import near_duplicates
from loop.errors import InvalidInput
from loop.near_duplicates import connected, near_duplicate_groups, numbered
from loop.perceptual_hash import NO_HASH, bits_apart


@st.composite
def hashes(draw: st.DrawFn) -> list[str]:
    """Hashes of a few families: each member is some flipped bits away from another one."""
    values = [draw(st.integers(0, 2**64 - 1))]
    for _ in range(draw(st.integers(0, 14))):
        value = draw(st.sampled_from(values))
        for bit in draw(st.lists(st.integers(0, 63), max_size=14)):
            value ^= 1 << bit
        values.append(value)
    texts = [f"{value:016x}" for value in values]
    blanks = draw(st.integers(0, 2))
    return draw(st.permutations([*texts, *[NO_HASH] * blanks]))


def by_comparing_all(texts: list[str], distance: int) -> list[set[int]]:
    groups: list[set[int]] = []
    for place, text in enumerate(texts):
        near = [g for g in groups if any(bits_apart(text, texts[o]) <= distance for o in g)]
        groups = [g for g in groups if g not in near] + [set().union({place}, *near)]
    return sorted(groups, key=min)


def as_sets(groups: np.ndarray) -> list[set[int]]:
    return [set(np.flatnonzero(groups == number).tolist()) for number in range(groups.max() + 1)]


@given(hashes(), st.integers(0, 16))
def test_groups_are_those_that_comparing_all_pairs_finds(texts: list[str], distance: int) -> None:
    assert as_sets(near_duplicate_groups(texts, distance)) == by_comparing_all(texts, distance)


@given(hashes(), st.integers(0, 16), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(texts: list[str], distance: int, random: object) -> None:
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]
    groups = near_duplicate_groups(texts, distance)
    shuffled = near_duplicate_groups([texts[place] for place in order], distance)
    assert np.array_equal(shuffled, numbered(groups[order].tolist()))


def test_nothing_is_grouped_when_it_is_turned_off() -> None:
    assert near_duplicate_groups(["0" * 16, "0" * 16], -1).tolist() == [0, 1]
    assert near_duplicate_groups(["0" * 16, "0" * 16], 0).tolist() == [0, 0]


def test_images_without_a_hash_are_each_alone() -> None:
    assert near_duplicate_groups([NO_HASH, "0" * 16, NO_HASH], 16).tolist() == [0, 1, 2]
    assert near_duplicate_groups([NO_HASH, NO_HASH], 4).tolist() == [0, 1]
    assert near_duplicate_groups([], 4).tolist() == []


@pytest.mark.parametrize("distance", [-2, 32])
def test_a_distance_that_means_nothing_is_refused(distance: int) -> None:
    with pytest.raises(InvalidInput):
        near_duplicate_groups([], distance)


@pytest.mark.parametrize(("distance", "share"), [(4, 0.01), (6, 0.01), (10, 0.05)])
def test_few_of_all_pairs_are_compared(distance: int, share: float) -> None:
    rng = np.random.default_rng(0)
    values = np.unique(rng.integers(0, 2**64, 20_000, dtype=np.uint64))
    compared = sum(len(left) for left, _ in near_duplicates._candidates(values, distance))
    assert compared < share * len(values) ** 2 / 2


def test_crowded_buckets_are_compared_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 7)
    texts = [f"{1 << bit:016x}" for bit in range(30)]
    assert set(near_duplicate_groups(texts, 2).tolist()) == {0}


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_what_shares_a_group_in_one_way_or_another_is_connected(
    names: list[tuple[int, int]],
) -> None:
    left, right = (numbered(column) for column in zip(*names, strict=True))
    together = connected(left, right)
    for i, one in enumerate(names):
        for j, two in enumerate(names):
            if one[0] == two[0] or one[1] == two[1]:
                assert together[i] == together[j]
    assert np.array_equal(connected(right, left), together)
    assert np.array_equal(connected(together, left), together)
    # And nothing else: no group can be cut in two without parting a pair of those.
    for group in as_sets(together):
        reached = {min(group)}
        while more := {
            b
            for a in reached
            for b in group - reached
            if left[a] == left[b] or right[a] == right[b]
        }:
            reached |= more
        assert reached == group
