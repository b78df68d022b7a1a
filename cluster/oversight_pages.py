"""The oversight report in words, tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cluster.report_pages import Block, Heading, Plot, Point, Table, Text
from loop.oversight import Bias, Oversight, Work
from loop.rates import FEWEST, Mean, Rate, Spread

TITLE = "Human oversight report"
_PHASES = {
    "first": "the image with the model's boxes",
    "blind": "the image alone (blind)",
    "settle": "model, first answer and own blind boxes",
    "done": "a settled case, to read",
}
_PICKS = {"order": "in the queue's order", "random": "by lot", "asked": "by name"}
_FEW = f"fewer than {FEWEST}"


def blocks(found: Oversight, since: str, until: str, log: str) -> list[Block]:
    return [
        Text(
            f"Answers from {since or 'the beginning'} to {until}. This produces evidence for Art. "
            "14 and Art. 26(2) of the EU AI Act: what the people who oversee the model saw, how "
            "long they looked, and what they made of it."
        ),
        Text(f"The audit log then: {log}. People appear by pseudonym."),
        *[Text(gap, warns=True) for gap in gaps(found)],
        *_shown(found),
        *_overridden(found),
        *_time(found),
        *_second(found),
        *_bias(found.bias),
        Heading("How to read it"),
        Text(
            "Overridden: the share of the model's boxes that were moved, relabelled or rejected. "
            "Changed: the share of answers in which anything is not as the model had it. Shares "
            "have 95 % intervals (Wilson), means 95 % bootstrap intervals. Where there are fewer "
            f"than {FEWEST}, nothing is said: a share of so few says little, and much about single "
            "people. A low share of overrides is no fault, and a high one no merit: what counts is "
            "whether it changes while the model does not, and what the comparison with blind "
            "readers says."
        ),
    ]


def gaps(found: Oversight) -> list[str]:
    """What cannot be said, and why."""
    said = []
    if found.changed_first.total < FEWEST:
        said.append(f"There are {_FEW} second reviews: nothing is said of automation bias.")
    if found.total.changed.total < FEWEST:
        said.append(f"There are {_FEW} first answers: no share is given.")
    if not found.shown:
        said.append("The log has no record of what was opened in this time; it may be purged.")
    if not any(each.name == "random" for each in found.by_pick):
        said.append(
            "No case came to a reviewer by lot: all shares are of what the queue put first, which "
            "is not what the model usually sees (SECONDLOOK_RANDOM_SHARE)."
        )
    few = [each.name for each in found.reviewers if 0 < each.changed.total < FEWEST]
    if few:
        said.append(f"{len(few)} of {len(found.reviewers)} people have {_FEW} first answers.")
    return said


def _shown(found: Oversight) -> Iterable[Block]:
    yield Heading("What reviewers were shown")
    yield Table(
        ["shown", "how it came", "times opened"],
        [
            (_PHASES.get(e.phase, e.phase), _PICKS.get(e.picked, e.picked), str(e.count))
            for e in found.shown
        ],
    )
    yield Text("First answers, by the model whose boxes were shown:")
    yield _work_table("model", found.models)


def _overridden(found: Oversight) -> Iterable[Block]:
    yield Heading("How often the model was overridden")
    yield _work_table("person", [found.total, *found.reviewers])
    if found.by_pick:
        yield Text("By how the case came to its reviewer. What came by lot stands for all images:")
        by_pick = [replace(each, name=_PICKS.get(each.name, each.name)) for each in found.by_pick]
        yield _work_table("how it came", by_pick)
    yield Plot(
        "Boxes of the model that were overridden, week by week, with 95 % intervals",
        [Point(e.name, e.overridden.value, *_ends(e.overridden.interval)) for e in found.weeks],
        "%",
        100,
    )
    yield _work_table("week", found.weeks)


def _time(found: Oversight) -> Iterable[Block]:
    yield Heading("Time spent")
    yield Text("Active seconds an answer: median, and the middle half.")
    yield Table(
        ["person", "first answers", "seconds", "second reviews", "seconds"],
        [
            (
                e.name,
                str(e.first_seconds.total),
                _spread(e.first_seconds),
                str(e.second_seconds.total),
                _spread(e.second_seconds),
            )
            for e in (found.total, *found.reviewers)
        ],
    )
    yield Plot(
        "Seconds for a first answer, week by week: median and quartiles",
        [
            Point(e.name, e.first_seconds.median, e.first_seconds.low, e.first_seconds.high)
            for e in found.weeks
        ],
        "s",
    )


def _second(found: Oversight) -> Iterable[Block]:
    yield Heading("Second reviews")
    yield Table(
        ["", "share", "of"],
        [
            ("first answers that went to a second person", *_rate(found.sent_on)),
            ("second answers that are not the first one", *_rate(found.changed_first)),
            ("second answers that are not the own blind one", *_rate(found.changed_blind)),
        ],
    )
    if found.sent_for:
        yield Table(
            ["why a second person had to look", "times"],
            [(name.replace("_", " "), str(count)) for name, count in found.sent_for.items()],
        )


def _bias(found: Bias) -> Iterable[Block]:
    yield Heading("Does seeing the model lead people?")
    yield Text(
        f"{found.images} images were seen by two people: the first saw the model's boxes, the "
        "second drew on the image alone, and then settled it with everything in view. The settled "
        "answer is the measure here, which favours the second person; and cases go to a second "
        "person because the first differed from the model. A difference is a reason to look, not a "
        "proof."
    )
    yield Table(
        ["", "who saw the model", "of", "who did not", "of"],
        [
            (
                "wrong boxes of the model that stand in the answer",
                *_rate(found.kept_seen),
                *_rate(found.kept_blind),
            ),
            (
                "objects that the model missed and the answer too",
                *_rate(found.missed_seen),
                *_rate(found.missed_blind),
            ),
        ],
    )
    yield Table(
        ["agreement with the model (F1), compared with the blind boxes", "difference", "images"],
        [
            ("the first answer, by who saw the model", *_mean(found.closer)),
            ("the settled answer, after the model was shown", *_mean(found.drawn)),
        ],
    )


def _work_table(what: str, works: Sequence[Work]) -> Table:
    headers = ["boxes shown", "accepted", "moved", "relabelled", "rejected", "added"]
    return Table(
        [what, *headers, "overridden", "answers", "changed"],
        [
            (
                e.name,
                *_counts(e),
                _rate(e.overridden)[0],
                str(e.changed.total),
                _rate(e.changed)[0],
            )
            for e in works
        ],
    )


def _counts(work: Work) -> tuple[str, ...]:
    """Counts tell the share: they are left out where that is."""
    done = work.verdicts
    parts = (done.accepted, done.moved, done.relabelled, done.rejected, done.added)
    few = work.overridden.value is None
    return (str(done.detections), *("-" if few else str(each) for each in parts))


def _rate(rate: Rate) -> tuple[str, str]:
    if rate.value is None or rate.interval is None:
        return _FEW, str(rate.total)
    low, high = rate.interval
    return f"{rate.value:.0%} ({low:.0%} to {high:.0%})", str(rate.total)


def _mean(mean: Mean) -> tuple[str, str]:
    if mean.value is None or mean.interval is None:
        return _FEW, str(mean.total)
    low, high = mean.interval
    return f"{mean.value:+.3f} ({low:+.3f} to {high:+.3f})", str(mean.total)


def _spread(spread: Spread) -> str:
    if spread.median is None:
        return _FEW if spread.total else "-"
    return f"{spread.median:.0f} ({spread.low:.0f} to {spread.high:.0f})"


def _ends(interval: tuple[float, float] | None) -> tuple[float | None, float | None]:
    return interval or (None, None)
