from __future__ import annotations

import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loop.errors import Misconfigured, NotFound
from store.model_keys import ModelKeys, open_model_keys, read_verify_key
from store.settings import load_settings

DATA = b"what is signed"


def openssl(*arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def pair(folder: Path, name: str, curve: str = "prime256v1") -> tuple[Path, Path]:
    """As somebody makes one on the command line."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    openssl("ecparam", "-name", curve, "-genkey", "-noout", "-out", str(private))
    openssl("pkey", "-in", str(private), "-pubout", "-out", str(public))
    return private, public


def test_a_home_makes_its_key_once_and_keeps_it_from_others(tmp_path: Path) -> None:
    folder = tmp_path / "keys" / "models"
    assert ModelKeys(folder).own_fingerprint() is None
    assert ModelKeys(folder).trusted() == {}
    assert not folder.exists()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ModelKeys(folder).signing_key(), range(8)))
    assert len({key.public.fingerprint for key in made}) == 1
    assert stat.S_IMODE((folder / "signing.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["signing.pem", "signing.pub.pem"]
    assert list(ModelKeys(folder).trusted()) == [made[0].public.fingerprint]


def test_the_fingerprint_is_what_sha256sum_prints_of_the_public_key(tmp_path: Path) -> None:
    keys = ModelKeys(tmp_path)
    fingerprint = keys.signing_key().public.fingerprint
    line = subprocess.run(
        ["sha256sum", tmp_path / "signing.pub.pem"], check=True, capture_output=True, text=True
    ).stdout
    assert line.startswith(fingerprint)
    assert keys.own_fingerprint() == fingerprint


def test_a_signature_is_accepted_by_its_own_key_and_openssl_only(tmp_path: Path) -> None:
    key = ModelKeys(tmp_path / "a").signing_key()
    signature = key.sign(DATA)
    assert key.public.accepts(signature, DATA)
    assert not key.public.accepts(signature, DATA + b".")
    assert not key.public.accepts(signature[:-1], DATA)
    assert not ModelKeys(tmp_path / "b").signing_key().public.accepts(signature, DATA)
    (tmp_path / "sig").write_bytes(signature)
    (tmp_path / "data").write_bytes(DATA)
    public, sig, data = (str(tmp_path / name) for name in ("a/signing.pub.pem", "sig", "data"))
    said = openssl("dgst", "-sha256", "-verify", public, "-signature", sig, data)
    assert said == b"Verified OK\n"


@pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
def test_a_key_from_openssl_signs_in_place_of_the_homes(tmp_path: Path, curve: str) -> None:
    private, public = pair(tmp_path, "ours", curve)
    keys = ModelKeys(tmp_path / "home", signing=private)
    signature = keys.signing_key().sign(DATA)
    assert read_verify_key(public).accepts(signature, DATA)
    assert list(keys.trusted()) == [read_verify_key(public).fingerprint]
    assert not (tmp_path / "home").exists()


def test_a_machine_with_public_keys_trusts_those_alone(tmp_path: Path) -> None:
    _, public = pair(tmp_path, "ours")
    keys = ModelKeys(tmp_path / "home", trusted=[public])
    assert list(keys.trusted()) == [read_verify_key(public).fingerprint]
    with pytest.raises(Misconfigured, match="MODEL_VERIFY_KEYS"):
        keys.signing_key()
    assert list(keys.trusted()) == [read_verify_key(public).fingerprint]


def test_after_a_rotation_the_earlier_public_key_is_trusted_as_long_as_it_is_kept(
    tmp_path: Path,
) -> None:
    keys = ModelKeys(tmp_path)
    earlier = keys.signing_key().public.fingerprint
    (tmp_path / "signing.pub.pem").rename(tmp_path / "2026.pub.pem")
    (tmp_path / "signing.pem").unlink()
    later = keys.signing_key().public.fingerprint
    assert keys.trusted().keys() == {earlier, later}
    (tmp_path / "2026.pub.pem").unlink()
    assert keys.trusted().keys() == {later}


def test_what_is_no_key_is_refused_and_says_how_to_make_one(tmp_path: Path) -> None:
    private, public = pair(tmp_path, "ours")
    odd = tmp_path / "odd.pem"
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(odd))
    for file in (odd, public):
        with pytest.raises(Misconfigured, match="private key") as refusal:
            ModelKeys(tmp_path / "home", signing=file).signing_key()
        assert "openssl" in refusal.value.hint
    with pytest.raises(Misconfigured, match="public key"):
        read_verify_key(private)
    with pytest.raises(NotFound, match=r"none\.pem"):
        read_verify_key(tmp_path / "none.pem")


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    private, _ = pair(tmp_path, "ours")
    locked = tmp_path / "locked.pem"
    files = ("-in", str(private), "-out", str(locked))
    openssl("pkcs8", "-topk8", "-v2", "aes256", "-passout", "pass:secret", *files)
    with pytest.raises(Misconfigured, match="private key"):
        ModelKeys(tmp_path / "home", signing=locked).signing_key()


def test_a_key_that_others_may_read_is_noticed(tmp_path: Path) -> None:
    keys = ModelKeys(tmp_path)
    keys.signing_key()
    assert not keys.exposed
    (tmp_path / "signing.pem").chmod(0o640)
    assert keys.exposed


def test_settings_name_keys_and_hand_them_to_child_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECONDLOOK_MODEL_SIGNING_KEY", "own.pem")
    monkeypatch.setenv("SECONDLOOK_MODEL_VERIFY_KEYS", f"a.pub.pem:{tmp_path}/b.pub.pem")
    settings = load_settings(tmp_path / "home")
    assert settings.model_signing_key == tmp_path / "own.pem"
    assert settings.model_verify_keys == (tmp_path / "a.pub.pem", tmp_path / "b.pub.pem")
    passed_on = settings.environment()
    assert passed_on["SECONDLOOK_MODEL_SIGNING_KEY"] == str(tmp_path / "own.pem")
    assert passed_on["SECONDLOOK_MODEL_VERIFY_KEYS"] == ":".join(
        str(tmp_path / name) for name in ("a.pub.pem", "b.pub.pem")
    )
    monkeypatch.setenv("SECONDLOOK_MODEL_VERIFY_KEYS", "")
    assert load_settings(tmp_path / "home").model_verify_keys == ()
    monkeypatch.setenv("SECONDLOOK_MODEL_SIGNING_KEY", "")
    assert not [name for name in load_settings(tmp_path).environment() if "KEY" in name]


def test_keys_may_stand_in_the_environment_in_one_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ModelKeys(tmp_path / "first").signing_key()
    private, public = (pem.decode().replace("\n", "\\n") for pem in (made.pem(), made.public.pem))
    monkeypatch.setenv("SECONDLOOK_MODEL_SIGNING_KEY", private)
    monkeypatch.setenv("SECONDLOOK_MODEL_VERIFY_KEYS", f"{public}:{public}")
    settings = load_settings(tmp_path / "home")
    keys = open_model_keys(settings)
    assert keys.signing_key().public.fingerprint == made.public.fingerprint
    assert list(keys.trusted()) == [keys.own_fingerprint()] == [made.public.fingerprint]
    assert not (tmp_path / "home").exists()
    # A child on another machine gets what is public, and the rest from that machine.
    passed_on = settings.environment()
    assert "SECONDLOOK_MODEL_SIGNING_KEY" not in passed_on
    monkeypatch.setenv("SECONDLOOK_MODEL_VERIFY_KEYS", passed_on["SECONDLOOK_MODEL_VERIFY_KEYS"])
    assert list(open_model_keys(load_settings(tmp_path)).trusted()) == [made.public.fingerprint]


def test_what_is_no_key_in_the_environment_is_refused_without_repeating_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_MODEL_SIGNING_KEY", "-----BEGIN nonsense")
    with pytest.raises(Misconfigured) as caught:
        open_model_keys(load_settings(tmp_path)).signing_key()
    assert "nonsense" not in caught.value.message
