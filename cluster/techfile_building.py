"""Writes the papers that go with a model, in one step, and puts that on record."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.techfile_gathering import find_operator_file, gather, read_operator, resolve
from cluster.techfile_html import html
from cluster.techfile_markdown import card, markdown
from loop.croissant import croissant
from loop.errors import Conflict
from loop.events import Actor, Event, now
from loop.model_card import INTRODUCTION, write_card
from loop.predictions import ModelRef
from loop.techfile import Cited, Gap, Section, Techfile
from loop.techfile_contents import write_techfile
from loop.techfile_records import Records
from store.audit_log import AuditLog, open_audit_log
from store.model_registry import open_model_registry
from store.settings import Settings
from store.unit_of_work import open_units_of_work

Progress = Callable[[int, int], None]

EVIDENCE = "evidence"
_STAMP_LENGTH = len("20260131T235959")


@dataclass(frozen=True, slots=True)
class Built:
    """``files`` are SHA-256 digests by name, without those in ``evidence/``."""

    model: ModelRef
    folder: Path
    files: dict[str, str]
    gaps: list[tuple[Section, Gap]]
    events: int


def build(
    settings: Settings,
    which: str,
    *,
    actor: Actor,
    out: Path | None,
    operator_file: Path | None,
    workspaces: list[Path],
    step: Progress,
) -> Built:
    """Write the papers of the version ``which`` into ``out``, a folder that is not there yet.

    Raises `NotFound` for no such version, `Conflict` if ``out`` holds something, `InvalidInput` for
    a ``techfile.yaml`` that is none. If the event cannot be recorded there is no folder.
    """
    began = now()
    ref = resolve(settings, open_model_registry(settings), which)
    found = operator_file or find_operator_file([*workspaces, settings.home])
    records = gather(settings, ref, read_operator(found), workspaces, step)
    document, shown = write_techfile(records), write_card(records)
    folder = out or settings.home / "papers" / _name(records)
    _refuse_full(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that it goes there in one step.
    with tempfile.TemporaryDirectory(prefix=".papers-", dir=folder.parent) as own:
        partial = Path(own) / folder.name
        files = _write(partial, records, document, shown)
        cited = {each.index: each for each in (*document.events, *shown.events)}
        _prove(open_audit_log(settings), partial, list(cited.values()), step)
        _record(settings, actor, document, files, began)
        if folder.exists():  # an empty one, which was looked into above
            folder.rmdir()
        shutil.move(partial, folder)
    return Built(ref, folder, files, document.gaps(), len(cited))


def _write(folder: Path, records: Records, document: Techfile, shown: Techfile) -> dict[str, str]:
    folder.mkdir()
    title = f"Model card of {records.ref.name} version {records.ref.version}"
    texts = {
        "techfile.html": html(document),
        "techfile.md": markdown(document),
        "techfile.json": _json(document.as_dict()),
        "model-card.md": card(shown, title, INTRODUCTION),
    }
    if records.snapshot is not None:
        texts["croissant.json"] = _json(croissant(records.snapshot, records.operator.answers))
    files = {}
    for name, text in texts.items():
        data = text.encode()
        (folder / name).write_bytes(data)
        files[name] = hashlib.sha256(data).hexdigest()
    return files


def _prove(log: AuditLog, folder: Path, cited: list[Cited], step: Progress) -> None:
    """Each event as it stands in the log, its proof, and the log's public key."""
    evidence = folder / EVIDENCE
    evidence.mkdir()
    for done, each in enumerate(cited):
        own = evidence / str(each.index)
        own.mkdir()
        (own / "event.json").write_bytes(each.data)
        (own / "proof.tlog-proof").write_text(str(log.prove(each.index)), encoding="utf-8")
        step(done + 1, len(cited))
    (evidence / "log.vkey").write_text(f"{log.public_key()}\n", encoding="utf-8")


def _record(
    settings: Settings, actor: Actor, document: Techfile, files: dict[str, str], began: str
) -> None:
    statements = [item for s in document.walk() for item in s.items if not isinstance(item, Gap)]
    event = Event(
        type="evidence.built",
        actor=actor,
        subject={"kind": "techfile", "model": document.model.as_dict()},
        details={"gaps": len(document.gaps()), "statements": len(statements)},
        outputs=files,
        started=began,
    )
    with open_units_of_work(settings)() as uow:
        uow.record(event)
        uow.commit()


def _refuse_full(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(
            f"{folder} is there already, and papers are never written over.",
            hint="Name a new or empty folder: --out FOLDER.",
        )


def _name(records: Records) -> str:
    stamp = "".join(c for c in records.made_at if c.isalnum())[:_STAMP_LENGTH]
    return f"{records.ref.name}-{records.ref.version}-{stamp}"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
