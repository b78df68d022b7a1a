from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loop.errors import Conflict, NotFound
from loop.signed_notes import KeyType, Signer
from store.audit_log import AuditLog
from store.log_export import copy_of, export_log, zip_of, zip_of_entry
from tests.store.logs import put, sqlite_log

WITNESS = Signer("witness.example.org", KeyType.WITNESS, Ed25519PrivateKey.generate())


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return sqlite_log(tmp_path / "home", 300)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """The script as an auditor runs it: without the project."""
    command = [sys.executable, "-I", str(folder / "verify.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_an_export_is_verified_by_its_own_script(log: AuditLog, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    assert export_log(log, folder).size == 300
    key = str(log.key.signer().key)
    code, told = run(folder, "--key", key)
    assert (code, "All 300 entries" in told, "No witness was asked for" in told) == (0, True, True)
    code, told = run(folder)
    assert (code, "compare it with the one that you were given" in told) == (0, True)
    lines = (folder / "events.jsonl").read_bytes().splitlines()
    assert lines == [entry.data for entry in log.tail(300)]
    with pytest.raises(Conflict):
        export_log(log, folder)


def test_a_log_that_grew_meanwhile_is_exported_as_it_is_signed(
    log: AuditLog, tmp_path: Path
) -> None:
    old = log.checkpoint()

    put(log.rows.engine, *range(300, 700))
    log.integrate()
    log.files.publish(old)
    log.checkpoint = lambda: old  # type: ignore[method-assign]
    assert export_log(log, tmp_path / "export").size == 300
    assert run(tmp_path / "export")[0] == 0


def test_a_zip_holds_the_same_files_and_is_verified_by_its_own_script(
    log: AuditLog, tmp_path: Path
) -> None:
    export_log(log, tmp_path / "folder")
    pieces = list(zip_of(copy_of(log)))
    (tmp_path / "log.zip").write_bytes(b"".join(pieces))
    with zipfile.ZipFile(tmp_path / "log.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "zip")
    unpacked = tmp_path / "zip" / "audit-log-300"
    files = {path.relative_to(tmp_path / "folder"): path for path in _files(tmp_path / "folder")}
    assert {path.relative_to(unpacked) for path in _files(unpacked)} == set(files)
    for name, path in files.items():
        assert (unpacked / name).read_bytes() == path.read_bytes()
    assert run(unpacked, "--key", str(log.key.signer().key))[0] == 0


def test_an_entry_with_its_proof_is_verified_by_its_own_script(
    log: AuditLog, tmp_path: Path
) -> None:
    key = log.key.signer().key
    data = zip_of_entry(log.get(7), log.prove(7), key)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path / "entry")
    folder = tmp_path / "entry"
    asked = (
        "--key",
        str(key),
        "proof",
        str(folder / "event.json"),
        str(folder / "proof.tlog-proof"),
    )
    assert run(folder, *asked)[0] == 0
    (folder / "event.json").write_bytes(log.get(8).data)
    assert run(folder, *asked)[0] != 0


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("index", [0, 256, 299])
def test_the_script_names_the_first_entry_that_was_changed(
    log: AuditLog, tmp_path: Path, index: int
) -> None:
    folder = tmp_path / "export"
    export_log(log, folder)
    bundle = next(folder.glob(f"log/tile/entries/00{index // 256}*"))
    bundle = bundle if bundle.is_file() else bundle / "44"
    data = bundle.read_bytes()
    changed = log.get(index).data
    bundle.write_bytes(data.replace(changed, changed.replace(b"happened", b"appeared")))
    code, told = run(folder)
    assert code == 1
    assert f"WRONG: Entry {index} was changed" in told


def test_the_script_notices_other_damage(log: AuditLog, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export_log(log, folder)
    checkpoint = folder / "log/checkpoint"
    whole = checkpoint.read_text()
    for damaged, words in [
        (whole.replace("\n300\n", "\n299\n"), "WRONG"),
        (whole.replace("\n300\n", "\n256\n"), "do not add up"),
        (whole.replace("\u2014", "-"), "has not signed"),
        (whole[:-10], "WRONG"),
        ("", "WRONG"),
    ]:
        checkpoint.write_text(damaged)
        code, told = run(folder)
        assert (code, words in told) == (1, True), told
    checkpoint.write_text(whole)
    other = Signer(log.key.signer().name, KeyType.LOG, Ed25519PrivateKey.generate())
    code, told = run(folder, "--key", str(other.key))
    assert (code, "has not signed" in told) == (1, True)
    (folder / "log/tile/entries/000").unlink()
    assert "is missing" in run(folder)[1]


def test_the_script_checks_witnesses(log: AuditLog, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export_log(log, folder)
    code, told = run(folder, "--witness", str(WITNESS.key))
    assert (code, "witness.example.org has not signed" in told) == (1, True)
    note = log.checkpoint()
    cosigned = note.with_signatures([WITNESS.sign(note.text, 1_700_000_000)])
    (folder / "log/checkpoint").write_text(str(cosigned))
    code, told = run(folder, "--witness", str(WITNESS.key))
    assert (code, "cosigned it at 2023-11-14T22:13:20+00:00" in told) == (0, True)


@pytest.mark.parametrize("index", [0, 255, 299])
def test_the_script_checks_a_proof_without_the_log(
    log: AuditLog, tmp_path: Path, index: int
) -> None:
    folder = tmp_path / "export"
    export_log(log, folder)
    event, proof = tmp_path / "event.json", tmp_path / "event.tlog-proof"
    event.write_bytes(log.get(index).data)
    proof.write_text(str(log.prove(index)))
    arguments = ("--key", str(log.key.signer().key), "proof", str(event), str(proof))
    code, told = run(folder, *arguments)
    assert (code, f"entry {index} of 300" in told) == (0, True)
    event.write_bytes(log.get((index + 1) % 300).data)
    code, told = run(folder, *arguments)
    assert (code, "is not in the log" in told) == (1, True)


def test_an_empty_log_has_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        export_log(sqlite_log(tmp_path / "home"), tmp_path / "export")
