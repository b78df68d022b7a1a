"""``python -m bench.gate``: how often the gate is wrong, and how often it sees what is there.

Simulated (`bench.gate_simulation`), beside the rule that compares two scores. **Level**: loops of
ten candidates that are exactly as good as the champion; how many loops promote one or more.
**Power**: single candidates that are better by so much; how many are promoted, refused, left open.
A table for people, ``--json`` for machines.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from bench.gate_simulation import USUAL_SKILL, World, draw_gold, draw_model, scores, skill_for
from loop.bootstrap import Resampled, pair, resample
from loop.gate import Evidence, decide
from loop.gate_findings import Outcome, findings
from loop.gate_settings import GateSettings
from loop.promotions import Decision, Verdict
from loop.resampling import draw_weights
from loop.spending import next_use

SIZES = (72, 150, 300, 600)
GAINS = (0.02, 0.05, 0.10)
CANDIDATES = 10
_MEANS = ("mAP50-95", "mAP50")


@dataclass(frozen=True, slots=True)
class Loop:
    """Verdicts on candidates one after the other; ``by_points`` says for each whether two scores
    alone would have promoted it, ``unmet`` which of mAP50-95, mAP50 and classes was in its way."""

    verdicts: tuple[Verdict, ...]
    by_points: tuple[bool, ...]
    unmet: tuple[frozenset[str], ...]


def run_loop(
    seed: int, *, images: int, skills: Sequence[float], settings: GateSettings, world: World
) -> Loop:
    """Candidates of these skills against a champion of the usual one, on one gold set. One that is
    promoted is the champion of the next; each rule has a champion of its own."""
    rng = np.random.default_rng(seed)
    gold = draw_gold(rng, images, world)
    groups = gold.groups.tolist()
    weights = draw_weights(groups, settings.replicates, seed)
    champion = champion_by_points = resample(draw_model(rng, gold, USUAL_SKILL), groups, weights)
    verdicts, by_points, unmet = [], [], []
    for number, skill in enumerate(skills):
        candidate = resample(draw_model(rng, gold, skill), groups, weights)
        evidence = Evidence(pair(champion, candidate, seed), None, images, {})
        use = next_use([images] * number, images, settings)
        decision = decide(evidence, use, settings)
        verdicts.append(decision.verdict)
        unmet.append(_unmet(decision))
        if verdicts[-1] is Verdict.PROMOTE:
            champion = candidate
        by_points.append(_better_by_points(champion_by_points, candidate, settings))
        if by_points[-1]:
            champion_by_points = candidate
    return Loop(tuple(verdicts), tuple(by_points), tuple(unmet))


def _unmet(decision: Decision) -> frozenset[str]:
    found = findings(decision.gate) if decision.gate else []
    names = (each.requirement for each in found if each.outcome is not Outcome.MET)
    return frozenset(name if name in _MEANS else "classes" for name in names)


def _better_by_points(champion: Resampled, candidate: Resampled, settings: GateSettings) -> bool:
    change = (candidate.scores[:, 0] - champion.scores[:, 0]).mean(axis=1)
    return bool(change.mean() > 0 and (change >= -settings.max_class_loss).all())


def level(loops: Sequence[Loop]) -> dict[str, Any]:
    """Of loops of equally good candidates: in how many of them something was promoted."""
    wrong = sum(Verdict.PROMOTE in loop.verdicts for loop in loops)
    by_points = sum(any(loop.by_points) for loop in loops)
    return {
        "loops": len(loops),
        "wrong": wrong / len(loops),
        "wrong_at_most": _at_most(wrong, len(loops)),
        "wrong_by_points": by_points / len(loops),
    }


def power(loops: Sequence[Loop]) -> dict[str, Any]:
    """Of loops of one better candidate."""
    counts = Counter(loop.verdicts[0] for loop in loops)
    by_points = sum(loop.by_points[0] for loop in loops)
    shares = {verdict.value: counts[verdict] / len(loops) for verdict in Verdict}
    unmet = {
        name: sum(name in loop.unmet[0] for loop in loops) / len(loops)
        for name in (*_MEANS, "classes")
    }
    return {
        "candidates": len(loops),
        **shares,
        "by_points": by_points / len(loops),
        "unmet": unmet,
    }


def _at_most(hits: int, of: int) -> float:
    """The upper end of Clopper and Pearson's 95 % interval."""
    return 1.0 if hits == of else float(stats.beta.ppf(0.975, hits + 1, of - hits))


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    settings = GateSettings(replicates=options.replicates)
    world = World()
    results: dict[str, Any] = {
        "settings": settings.as_dict(),
        "world": asdict(world),
        "map50_95_of_the_champion": _usual_score(world),
        "level": {},
        "power": {},
    }
    with get_context("spawn").Pool(options.processes) as pool:
        for images in options.sizes:
            run = partial(run_loop, images=images, settings=settings, world=world)
            equal = partial(run, skills=[USUAL_SKILL] * CANDIDATES)
            # The same question at every size: the small sets, where luck is greatest, get the most.
            loops = options.loops if images == min(options.sizes) else options.loops // 10
            found = pool.map(equal, range(loops), chunksize=4)
            results["level"][images] = level(found)
            _note(f"{images} images: level {results['level'][images]}")
            for gain in GAINS:
                better = partial(run, skills=[skill_for(gain, world)])
                found = pool.map(better, range(options.candidates), chunksize=4)
                results["power"].setdefault(images, {})[gain] = power(found)
                _note(f"{images} images, +{gain}: {results['power'][images][gain]}")
    return results


def _usual_score(world: World) -> float:
    rng = np.random.default_rng(0)
    return float(scores(draw_model(rng, draw_gold(rng, 20_000, world), USUAL_SKILL)).mean())


def _note(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _show(results: dict[str, Any]) -> None:
    console = Console()
    table = Table(title="10 equally good candidates: loops that promote one or more")
    for heading in ("gold images", "loops", "gate", "at most (95 %)", "two scores alone"):
        table.add_column(heading, justify="right")
    for images, found in results["level"].items():
        table.add_row(
            str(images),
            str(found["loops"]),
            *(f"{found[name]:.1%}" for name in ("wrong", "wrong_at_most", "wrong_by_points")),
        )
    console.print(table)
    table = Table(title="One better candidate, at the first use of the gold set")
    headings = ("gold images", "gain in mAP50-95", "promoted", "not enough evidence", "refused")
    for heading in (*headings, "two scores alone"):
        table.add_column(heading, justify="right")
    names = ("promote", "not_enough_evidence", "refuse", "by_points")
    for images, by_gain in results["power"].items():
        for gain, found in by_gain.items():
            table.add_row(str(images), f"+{gain:.2f}", *(f"{found[name]:.0%}" for name in names))
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--loops", type=int, default=2000, help="at the smallest size")
    parser.add_argument("--candidates", type=int, default=400, help="for each gain and size")
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    options = parser.parse_args()
    results = _measure(options)
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        _show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
