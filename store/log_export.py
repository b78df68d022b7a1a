"""A copy of the audit log that an auditor can take away, with what is needed to check it."""

from __future__ import annotations

import shutil
from pathlib import Path

from loop.checkpoints import Checkpoint
from loop.errors import Conflict
from loop.tiles import Bundle, Tile, bundles_of, tiles_of
from store.audit_log import AuditLog
from store.log_files import LogFiles
from store.log_verify import Progress, Verified, verify_files

_SCRIPT = Path(__file__).parent / "auditor" / "verify.py"
_README = """The audit log {name}, as it was with {size} entries.

    log/            the log itself: RFC 6962 tree, files as in https://c2sp.org/tlog-tiles,
                    signed checkpoint as in https://c2sp.org/tlog-checkpoint
    events.jsonl    its entries, one a line, in order: for reading and searching
    key.txt         the log's public key
    verify.py       checks all of it; needs Python and the package cryptography

    python verify.py --key KEY [--witness KEY]

Get the key, and those of witnesses, from whoever is accountable for the log over another way than
this folder. What the fields of an entry mean: docs/audit-events.md of Second Look. What stands as
hmac-sha256:... is a commitment to an image or to what was said of one: whoever runs the log can
open it, unless it was erased. Entries past their retention may be gone: an event log.purged says
which, their hashes are still checked, and events.jsonl begins behind them.
"""


def export_log(log: AuditLog, folder: Path, progress: Progress | None = None) -> Verified:
    """Into ``folder``, which must be empty or not there; what was copied is verified there. Raises
    `Conflict` for one with something in it, `NotFound` for a log without entries."""
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty.", hint="Name a new folder.")
    note, key = log.checkpoint(), log.key.signer().key
    size = Checkpoint.parse(note.text).size
    copy = LogFiles(folder / "log")
    first = log.files.first_entry(size)
    files: list[Tile | Bundle] = [*tiles_of(size), *bundles_of(size, since=first)]
    for each in files:
        path = copy.folder / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(log.files.read(each))
    copy.publish(note)
    (folder / "key.txt").write_text(f"{key}\n")
    (folder / "README.txt").write_text(_README.format(name=key.name, size=size))
    shutil.copyfile(_SCRIPT, folder / "verify.py")
    with (folder / "events.jsonl").open("wb") as lines:
        for entry in copy.entries(size, since=first):
            lines.write(entry + b"\n")
    return verify_files(copy, key, progress=progress)
