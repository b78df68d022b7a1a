"""How often the gate promotes a model that is no better, and how often it sees one that is.

`python -m bench.gate` asks the same of thousands of loops and of more sizes.
"""

from __future__ import annotations

import pytest
from scipy import stats

from bench.gate import CANDIDATES, run_loop
from bench.gate_simulation import USUAL_SKILL, World, skill_for
from loop.gate_settings import GateSettings
from loop.promotions import Verdict

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGES = 72
LOOPS, BETTER = 200, 40
SETTINGS = GateSettings(replicates=300)
# Smaller than the benchmark's, to be quick.
WORLD = World(boxes=(1.5, 0.5))


def test_ten_equal_candidates_promote_one_or_more_in_at_most_5_percent_of_loops() -> None:
    loops = [
        run_loop(
            seed,
            images=IMAGES,
            skills=[USUAL_SKILL] * CANDIDATES,
            settings=SETTINGS,
            world=WORLD,
        )
        for seed in range(LOOPS)
    ]
    wrong = sum(Verdict.PROMOTE in loop.verdicts for loop in loops)
    # A gate of exactly 5 % passes this 99 times in 100; one of 12 % fails it as often.
    assert wrong <= stats.binom.ppf(0.99, LOOPS, 0.05)
    # Two scores alone, as the rule was before: nearly every loop promotes some.
    assert sum(any(loop.by_points) for loop in loops) > 0.9 * LOOPS
    by_points = sum(sum(loop.by_points[:1]) for loop in loops)
    assert 0.3 * LOOPS < by_points < 0.6 * LOOPS


@pytest.mark.parametrize(("gain", "images", "least"), [(0.05, 300, 0.5), (0.10, 150, 0.7)])
def test_a_better_candidate_is_promoted_where_there_are_images_enough(
    gain: float, images: int, least: float
) -> None:
    skill = skill_for(gain, WORLD)
    verdicts = [
        run_loop(seed, images=images, skills=[skill], settings=SETTINGS, world=WORLD).verdicts[0]
        for seed in range(BETTER)
    ]
    power = verdicts.count(Verdict.PROMOTE) / BETTER

    assert power >= least
    assert verdicts.count(Verdict.REFUSE) <= 2
