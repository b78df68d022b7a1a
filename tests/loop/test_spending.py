from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.gate_settings import GateSettings
from loop.spending import Use, next_use, share

SETTINGS = GateSettings()


@given(st.integers(1, 60), st.floats(0.001, 0.4), st.integers(1, 2000))
def test_however_many_uses_there_are_they_never_exceed_the_total(
    planned: int, alpha: float, uses: int
) -> None:
    settings = GateSettings(alpha=alpha, planned_uses=planned)
    assert next_use([100] * uses, 100, settings).spent <= alpha * (1 + 1e-12)


def test_planned_uses_have_equal_shares_and_those_after_them_half_of_the_last_each() -> None:
    shares = [share(number, SETTINGS) for number in range(1, 14)]
    assert shares[:10] == [pytest.approx(0.0045)] * 10
    assert shares[10:] == [pytest.approx(0.0025), pytest.approx(0.00125), pytest.approx(0.000625)]


def test_each_comparison_on_the_same_images_is_one_more_use() -> None:
    uses = [next_use([72] * before, 72, SETTINGS) for before in range(4)]
    assert [use.number for use in uses] == [1, 2, 3, 4]
    assert uses[3].spent == pytest.approx(4 * 0.0045)


@pytest.mark.parametrize(
    ("earlier", "images", "number"),
    [
        ([100] * 5, 100, 6),
        ([100] * 5, 101, 6),  # a few new images bring back nothing
        ([100] * 5, 110, 6),
        ([100] * 5, 200, 4),  # half of the images are new: half of the uses are left over
        ([100] * 5, 1000, 2),
        ([100] * 3 + [200] * 2, 200, 5),
        ([30] * 3, 90, 2),  # three thirds are one
        ([], 50, 1),
    ],
)
def test_uses_carry_over_to_a_grown_set_by_the_share_of_its_images_that_are_old(
    earlier: list[int], images: int, number: int
) -> None:
    assert next_use(earlier, images, SETTINGS).number == number


def test_a_use_comes_back_from_its_record() -> None:
    use = next_use([72, 72], 80, SETTINGS)
    assert Use.from_dict(use.as_dict()) == use
