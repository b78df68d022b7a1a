"""What every form of the technical documentation says about itself."""

from __future__ import annotations

from loop.techfile import Techfile
from loop.techfile_records import day

INTRODUCTION = (
    "The points are those of Annex IV of Regulation (EU) 2024/1689, the EU AI Act. This document "
    "produces evidence for an assessment and assesses nothing itself.",
    "Each statement names what it rests on. What is not on record is said to be a gap. Events are "
    "entries of the audit log; each that is cited lies beside this document, in evidence/, with a "
    "proof that needs only the log's public key to be checked.",
)


def facts(document: Techfile) -> list[tuple[str, str]]:
    """What stands at the top, by name."""
    model, log = document.model, document.log
    rows = [
        ("Model", f"{model.name} version {model.version}"),
        ("Weights, SHA-256", model.digest),
        ("Made", f"{day(document.made_at)} by {document.made_by}"),
        ("Gaps", str(len(document.gaps()))),
        ("Events cited", str(len(document.events))),
    ]
    if log is None:
        return [*rows, ("Audit log", "empty")]
    return [
        *rows,
        ("Audit log", f"{log.origin}, {log.size} entries"),
        ("Root of the log", log.root),
        ("Public key of the log", log.key),
    ]
