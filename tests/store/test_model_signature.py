from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loop.errors import BrokenRecord, Misconfigured
from loop.predictions import ModelRef
from store.model_cache import VerifiedModel, check_model, put_in_place
from store.model_keys import ModelKeys, SigningKey, VerifyKey, read_verify_key
from store.model_signature import (
    check_files,
    file_digests,
    read_signature,
    read_signature_file,
    sign,
)

WHAT = "detector 3"
DATA = Path(__file__).parent / "data"
FILES = {
    "MLmodel": b"flavor\n",
    "artifacts/weights.pt": b"weights",
    "artifacts/openvino/model.xml": b"<net/>",
    "artifacts/openvino/model.bin": b"numbers",
}
REF = ModelRef("detector", "3", hashlib.sha256(b"weights").hexdigest())


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return ModelKeys(tmp_path / "keys").signing_key()


@pytest.fixture
def trusted(key: SigningKey) -> dict[str, VerifyKey]:
    return {key.public.fingerprint: key.public}


@pytest.fixture
def model(tmp_path: Path, key: SigningKey) -> Path:
    return signed_model(tmp_path / "model", key)


def signed_model(folder: Path, key: SigningKey, name: str = "detector") -> Path:
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "model.sig").write_bytes(sign(name, file_digests(WHAT, folder), key))
    return folder


def test_a_signed_folder_is_accepted_as_it_is(model: Path, trusted: dict[str, VerifyKey]) -> None:
    found = check_model(REF, model, trusted)
    expected = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
    assert dict(found.signed.files) == expected
    assert {found.signed.key} == trusted.keys()
    assert found.weights.read_bytes() == b"weights"
    assert found.export("openvino") == model / "artifacts" / "openvino"


def test_what_mlflow_adds_to_an_open_model_is_no_part_of_it(
    model: Path, trusted: dict[str, VerifyKey]
) -> None:
    (model / "registered_model_meta").write_text("model_name: detector")
    (model / "__pycache__").mkdir()
    (model / "__pycache__" / "mlflow_model.cpython-311.pyc").write_bytes(b"code")
    assert check_model(REF, model, trusted).signed.files.keys() == FILES.keys()


def _flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def _link(path: Path) -> None:
    content = path.with_name("elsewhere")
    path.rename(content)
    path.symlink_to(content)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda folder: _flip(folder / "artifacts/weights.pt"), r"artifacts/weights\.pt has the"),
        (lambda folder: _flip(folder / "artifacts/openvino/model.bin"), r"openvino/model\.bin has"),
        (
            lambda folder: (folder / "artifacts/openvino/model.xml").write_bytes(b"<ne"),
            r"openvino/model\.xml has the digest",
        ),
        (lambda folder: (folder / "MLmodel").unlink(), "MLmodel is missing"),
        (lambda folder: (folder / "artifacts/more.py").write_text("x"), r"artifacts/more\.py was"),
        (lambda folder: _link(folder / "artifacts/weights.pt"), r"a link .*weights\.pt"),
        (lambda folder: (folder / "model.sig").unlink(), "no signature"),
        (lambda folder: (folder / "model.sig").write_bytes(b""), "damaged"),
        (lambda folder: (folder / "model.sig").write_bytes(b"[1]"), "damaged"),
        (lambda folder: (folder / "model.sig").write_bytes(b"\xff\xfe" * 99), "damaged"),
        (lambda folder: (folder / "model.sig").write_bytes(b" " * 5_000_000), "damaged"),
        (lambda folder: _flip(folder / "model.sig"), "damaged"),
    ],
)
def test_what_was_changed_is_named(
    model: Path, trusted: dict[str, VerifyKey], change: Callable[[Path], Any], named: str
) -> None:
    change(model)
    with pytest.raises(BrokenRecord, match=named) as refusal:
        check_model(REF, model, trusted)
    assert refusal.value.hint


def edited(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A signature whose statement says something else, under the same bytes of signature."""
    bundle = json.loads(content)
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps(bundle).encode()


def test_a_statement_that_was_edited_is_refused(model: Path, trusted: dict[str, VerifyKey]) -> None:
    content = (model / "model.sig").read_bytes()
    changed = edited(content, lambda s: s["predicate"]["resources"].pop())
    with pytest.raises(BrokenRecord, match="does not fit"):
        read_signature(WHAT, changed, trusted)


def test_a_signature_by_another_key_is_refused_and_names_it(
    tmp_path: Path, model: Path, key: SigningKey
) -> None:
    other = ModelKeys(tmp_path / "other").signing_key().public
    with pytest.raises(BrokenRecord, match=key.public.fingerprint[:16]) as refusal:
        check_model(REF, model, {other.fingerprint: other})
    assert "VERIFY_KEYS" in refusal.value.hint
    # One that claims to be by the trusted key is none either.
    bundle = json.loads((model / "model.sig").read_bytes())
    bundle["verificationMaterial"]["publicKey"]["hint"] = other.fingerprint
    with pytest.raises(BrokenRecord, match="does not fit"):
        read_signature(WHAT, json.dumps(bundle).encode(), {other.fingerprint: other})


def test_a_signature_of_another_version_or_model_is_refused(
    tmp_path: Path, model: Path, key: SigningKey, trusted: dict[str, VerifyKey]
) -> None:
    other = ModelRef("detector", "4", hashlib.sha256(b"other weights").hexdigest())
    with pytest.raises(BrokenRecord, match="another version"):
        check_model(other, model, trusted)
    named = signed_model(tmp_path / "named", key, "classifier")
    with pytest.raises(BrokenRecord, match="classifier"):
        check_model(REF, named, trusted)


def test_without_a_key_nothing_is_accepted(model: Path) -> None:
    with pytest.raises(Misconfigured, match="no public key"):
        read_signature_file(WHAT, model, {})


def test_a_path_that_leaves_the_folder_is_no_file_of_a_model(
    key: SigningKey, trusted: dict[str, VerifyKey]
) -> None:
    for path in ("../weights.pt", "/etc/passwd"):
        with pytest.raises(BrokenRecord, match="damaged"):
            read_signature(WHAT, sign("detector", {path: "00" * 32}, key), trusted)


def test_a_signature_by_the_openssf_tool_is_read_as_it_reads_it(tmp_path: Path) -> None:
    """``model_signing sign key model --signature …`` (1.1.1) over these two files."""
    for path in ("MLmodel", "artifacts/weights.pt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(FILES[path])
    public = read_verify_key(DATA / "openssf.pub.pem")
    content = (DATA / "openssf.sig").read_bytes()
    signed = read_signature(WHAT, content, {public.fingerprint: public})
    check_files(WHAT, signed, file_digests(WHAT, tmp_path))
    with pytest.raises(BrokenRecord, match="does not fit"):
        changed = edited(content, lambda s: s["subject"][0].update(name="x"))
        read_signature(WHAT, changed, {public.fingerprint: public})


def test_ours_has_the_members_of_the_openssf_tools(model: Path) -> None:
    ours = json.loads((model / "model.sig").read_bytes())
    theirs = json.loads((DATA / "openssf.sig").read_bytes())
    assert _shape(ours) == _shape(theirs)
    ours, theirs = (
        json.loads(base64.b64decode(each["dsseEnvelope"]["payload"])) for each in (ours, theirs)
    )
    assert _shape(ours) == _shape(theirs)
    assert [ours[name] for name in ("_type", "predicateType")] == [
        theirs[name] for name in ("_type", "predicateType")
    ]


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    return [_shape(each) for each in value[:1]] if isinstance(value, list) else type(value)


def test_copies_are_of_what_was_checked(
    tmp_path: Path, model: Path, trusted: dict[str, VerifyKey]
) -> None:
    found = check_model(REF, model, trusted)
    into = tmp_path / "own"
    copies = found.copy(["openvino", "onnx", "weights"], into)
    assert copies == {
        "openvino": into / "artifacts/openvino",
        "weights": into / "artifacts/weights.pt",
    }
    names = {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()}
    assert {name: (into / name).read_bytes() for name in names} == {
        name: content for name, content in FILES.items() if name.startswith("artifacts")
    }


def test_a_file_that_is_swapped_after_the_check_is_not_handed_out(
    tmp_path: Path, model: Path, trusted: dict[str, VerifyKey]
) -> None:
    found = check_model(REF, model, trusted)
    (model / "artifacts/openvino/model.bin").write_bytes(b"other numbers")
    with pytest.raises(BrokenRecord, match=r"model\.bin .* changed while it was read"):
        found.copy(["openvino"], tmp_path / "own")
    assert isinstance(found, VerifiedModel)


def test_a_damaged_folder_in_the_cache_is_replaced(tmp_path: Path, model: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "target").mkdir(parents=True)
    (cache / "target" / "half").write_bytes(b"a fi")
    put_in_place(model, cache / "target")
    assert (cache / "target" / "MLmodel").read_bytes() == FILES["MLmodel"]
    assert [path.name for path in cache.iterdir()] == ["target"]
