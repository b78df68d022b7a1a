"""Where statements come from: a place in the document for each source."""

from __future__ import annotations

import re

from loop.techfile import Evidence, Gap, Source, Techfile

SOURCES = (
    "What statements rest on besides events: runs in MLflow, files by their SHA-256, settings, the "
    "operator's words, the database, and what the software does."
)
_NO_ANCHOR = re.compile(r"[^A-Za-z0-9_-]+")


def anchor(evidence: Evidence) -> str:
    """The id of the place that a link to ``evidence`` goes to."""
    return f"{evidence.source.value}-{_NO_ANCHOR.sub('-', evidence.ref)}"


def short(evidence: Evidence) -> str:
    """Its label in a row that says the rest already."""
    return f"event {evidence.ref}" if evidence.source is Source.EVENT else evidence.label


def sources(document: Techfile) -> list[Evidence]:
    """All but events, each once, in the order of their kinds."""
    found: dict[str, Evidence] = {}
    for section in document.walk():
        for item in section.items:
            for each in () if isinstance(item, Gap) else item.evidence:
                if each.source is not Source.EVENT:
                    found.setdefault(anchor(each), each)
    kinds = list(Source)
    return sorted(found.values(), key=lambda each: (kinds.index(each.source), each.label))
