from __future__ import annotations

import base64
from pathlib import Path

import pytest

from loop.errors import Misconfigured
from store.pseudonyms import open_subject_pseudonyms, subject_key
from store.settings import Settings, load_settings

KEY = bytes(range(32))


@pytest.fixture
def homes(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Three at one database; the last one has the audit log elsewhere."""
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", database_url)
    found = [load_settings(tmp_path / name) for name in ("one", "two")]
    monkeypatch.setenv("SECONDLOOK_AUDIT_LOG", "elsewhere")
    return [*found, load_settings(tmp_path / "three")]


def test_a_subject_has_one_pseudonym(homes: list[Settings]) -> None:
    one, again = (open_subject_pseudonyms(homes[0]).of("patient 7") for _ in range(2))
    assert one == again
    assert one.startswith("subject-")
    assert open_subject_pseudonyms(homes[0]).of("patient 8") != one


def test_another_home_makes_no_key_of_its_own(homes: list[Settings]) -> None:
    open_subject_pseudonyms(homes[0]).of("patient 7")
    for other in homes[1:]:
        with pytest.raises(Misconfigured) as caught:
            open_subject_pseudonyms(other).of("patient 7")
        assert "SECONDLOOK_SUBJECT_KEY" in caught.value.hint
        assert not other.home.exists()


def test_a_process_without_the_log_does_not_begin_with_one(homes: list[Settings]) -> None:
    with pytest.raises(Misconfigured):
        open_subject_pseudonyms(homes[2]).of("patient 7")
    assert open_subject_pseudonyms(homes[2]).of("") == ""  # nobody asks for a key then
    open_subject_pseudonyms(homes[1]).of("patient 7")


@pytest.mark.parametrize("text", [KEY.hex(), base64.b64encode(KEY).decode()], ids=["hex", "base64"])
def test_a_key_may_stand_in_the_environment(
    homes: list[Settings], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SECONDLOOK_SUBJECT_KEY", text)
    found = {open_subject_pseudonyms(load_settings(each.home)).of("patient 7") for each in homes}
    assert len(found) == 1
    assert not [each for each in homes if each.home.exists()]


def test_another_key_than_the_first_is_refused(
    homes: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = subject_key(homes[0])
    monkeypatch.setenv("SECONDLOOK_SUBJECT_KEY", KEY.hex())
    with pytest.raises(Misconfigured, match="a subject would be two") as caught:
        subject_key(load_settings(homes[1].home))
    assert KEY.hex() not in f"{caught.value.message}{caught.value.hint}"
    monkeypatch.setenv("SECONDLOOK_SUBJECT_KEY", first.hex())
    assert subject_key(load_settings(homes[1].home)) == first


@pytest.mark.parametrize("text", ["ab", "zz" * 32, KEY.hex()[:-1], "not base64!"])
def test_what_is_no_key_is_refused_without_repeating_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SECONDLOOK_SUBJECT_KEY", text)
    with pytest.raises(Misconfigured, match="SECONDLOOK_SUBJECT_KEY") as caught:
        load_settings(tmp_path)
    assert text not in caught.value.message
