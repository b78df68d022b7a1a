from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from loop.errors import Misconfigured
from loop.events import Role
from loop.witnessing import WitnessAddress
from store.log_role import LogRole
from store.settings import Settings, load_settings
from tests.loop.test_witnessing import LOG, STRANGER, WITNESS


def test_people_reach_the_app_where_it_listens_unless_told_otherwise(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).app_url == "http://127.0.0.1:7860"
    for url in ("https://look.test", "https://look.test/"):
        settings = Settings(home=tmp_path, public_url=url)
        assert settings.app_url == "https://look.test"
        assert settings.welcome_url("abc") == "https://look.test/welcome?token=abc"


@pytest.mark.parametrize("url", ["look.test", "ftp://look.test", "https://look.test/app", "x y"])
def test_a_public_address_is_one_of_a_whole_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("SECONDLOOK_PUBLIC_URL", url)
    with pytest.raises(Misconfigured, match="SECONDLOOK_PUBLIC_URL"):
        load_settings(tmp_path)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, session_key="s3cret" * 9, oidc_client_secret="s3cret")
    assert "s3cret" not in f"{settings!r} {settings}"


def test_what_the_sign_in_allows_is_set_in_peoples_units(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, lockout_minutes=1, session_idle_hours=2, session_days=3, link_hours=4
    )
    allowed = settings.sign_in
    assert allowed.lockout == timedelta(minutes=1)
    assert allowed.idle == timedelta(hours=2)
    assert allowed.lifetime == timedelta(days=3)
    assert allowed.link == timedelta(hours=4)


def test_a_default_role_may_be_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(tmp_path).oidc_default_role is None
    monkeypatch.setenv("SECONDLOOK_OIDC_DEFAULT_ROLE", "reviewer")
    assert load_settings(tmp_path).oidc_default_role is Role.REVIEWER
    monkeypatch.setenv("SECONDLOOK_OIDC_DEFAULT_ROLE", "")
    assert load_settings(tmp_path).oidc_default_role is None


def test_drift_is_not_measured_on_a_handful_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_DRIFT_IMAGES", "0")
    assert load_settings(tmp_path).drift_images == 0
    monkeypatch.setenv("SECONDLOOK_DRIFT_IMAGES", "20")
    with pytest.raises(Misconfigured, match="SECONDLOOK_DRIFT_IMAGES"):
        load_settings(tmp_path)


def test_each_machine_has_a_cache_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "one")
    one = load_settings(tmp_path)
    assert one.plans.is_relative_to(tmp_path)
    before = one.plans, one.export_cache
    monkeypatch.setattr("socket.gethostname", lambda: "two")
    assert one.plans != before[0]
    assert one.export_cache != before[1]
    monkeypatch.setenv("SECONDLOOK_MACHINE_CACHE", "here")
    assert load_settings(tmp_path).own_cache == Path("here").absolute()


def test_the_level_of_the_log_is_one_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDLOOK_LOG_LEVEL", "warning")
    assert load_settings(tmp_path).log_level == "WARNING"
    monkeypatch.setenv("SECONDLOOK_LOG_LEVEL", "chatty")
    with pytest.raises(Misconfigured, match="chatty"):
        load_settings(tmp_path)


def test_witnesses_are_an_address_and_a_key_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(tmp_path).audit_witnesses == ()
    assert "SECONDLOOK_AUDIT_WITNESSES" not in load_settings(tmp_path).environment()
    one, two = f"https://w.example {WITNESS.key}", f"http://127.0.0.1:8266/a {STRANGER.key}"
    monkeypatch.setenv("SECONDLOOK_AUDIT_WITNESSES", f" {one} ;\n{two};")
    settings = load_settings(tmp_path)
    assert settings.audit_witnesses == tuple(map(WitnessAddress.parse, (one, two)))
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings(tmp_path).audit_witnesses == settings.audit_witnesses


def test_the_time_stamping_authority_is_handed_on_to_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(tmp_path)
    assert (settings.audit_tsa_url, settings.audit_tsa_roots) == ("", None)
    assert not [name for name in settings.environment() if "TSA" in name]
    monkeypatch.setenv("SECONDLOOK_AUDIT_TSA_URL", "https://tsa.example/tsr?a=b")
    monkeypatch.setenv("SECONDLOOK_AUDIT_TSA_ROOTS", "~/roots.pem")
    monkeypatch.setenv("SECONDLOOK_AUDIT_TSA_HOURS", "0.5")
    settings = load_settings(tmp_path)
    assert settings.audit_tsa_roots == Path.home() / "roots.pem"
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    child = load_settings(tmp_path)
    for name in ("audit_tsa_url", "audit_tsa_roots", "audit_tsa_hours"):
        assert getattr(child, name) == getattr(settings, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "tsa.example"),
        ("URL", "ftp://tsa.example"),
        ("URL", "https://"),
        ("HOURS", "0"),
        ("HOURS", "nan"),
    ],
)
def test_what_is_no_time_stamping_authority_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"SECONDLOOK_AUDIT_TSA_{name}", value)
    with pytest.raises(Misconfigured, match=f"SECONDLOOK_AUDIT_TSA_{name}"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "https://w.example",
        f"https://w.example {WITNESS.key} https://v.example {STRANGER.key}",
        f"https://w.example {LOG.key}",
        f"https://w.example {WITNESS.key};https://v.example {WITNESS.key}",
    ],
)
def test_what_is_no_list_of_witnesses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SECONDLOOK_AUDIT_WITNESSES", text)
    with pytest.raises(Misconfigured, match="SECONDLOOK_AUDIT_WITNESSES"):
        load_settings(tmp_path)


def test_that_the_log_is_elsewhere_is_handed_on_and_that_it_is_here_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(tmp_path).audit_log is LogRole.AUTO
    for role, passed_on in (("auto", None), ("here", None), ("elsewhere", "elsewhere")):
        monkeypatch.setenv("SECONDLOOK_AUDIT_LOG", role)
        assert load_settings(tmp_path).environment().get("SECONDLOOK_AUDIT_LOG") == passed_on
    monkeypatch.setenv("SECONDLOOK_AUDIT_LOG", "there")
    with pytest.raises(Misconfigured, match="SECONDLOOK_AUDIT_LOG"):
        load_settings(tmp_path)


def test_no_secret_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDLOOK_SUBJECT_KEY", "ab" * 32)
    monkeypatch.setenv("SECONDLOOK_API_KEY", "ab" * 32)
    monkeypatch.setenv("SECONDLOOK_SESSION_KEY", "ab" * 32)
    monkeypatch.setenv("SECONDLOOK_MODEL_SIGNING_KEY", "-----BEGIN abababab")
    assert "abab" not in str(load_settings(tmp_path).environment())


@pytest.mark.parametrize("key", ["a/log", WITNESS.key])
def test_the_log_s_public_key_is_one_of_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: object
) -> None:
    monkeypatch.setenv("SECONDLOOK_AUDIT_KEY", str(key))
    with pytest.raises(Misconfigured, match="SECONDLOOK_AUDIT_KEY"):
        load_settings(tmp_path)


@pytest.mark.parametrize("name", ["DASHBOARD_URL", "API_URL", "PUBLIC_URL"])
@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://head:8265", True),
        ("https://[fd00::7]:8265/", True),
        ("https://ray.example.org", True),
        ("http://ada:secret@head:8265", False),
        ("http://head:port", False),
        ("http://fd00::7:8265", False),
    ],
)
def test_the_address_of_a_server_is_a_host_and_a_port(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, good: bool
) -> None:
    monkeypatch.setenv(f"SECONDLOOK_{name}", url)
    if good:
        load_settings()
        return
    with pytest.raises(Misconfigured, match=name) as caught:
        load_settings()
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"
