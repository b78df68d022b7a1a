from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from serve.haproxy import proxy_environment
from serve.haproxy_exec import keep_local
from store.settings import Settings, load_settings

# As Ray 2.60 renders it, in short.
RENDERED = """global
    stats socket /x/admin.sock mode 666 level admin expose-fd listeners
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    errorfile 502 /x/500.http
    errorfile 503 /x/500.http
    errorfile 504 /x/500.http
frontend prometheus
    bind :9101
    mode http
    http-request use-service prometheus-exporter if { path /metrics }
frontend http_frontend
    bind 127.0.0.1:8000
    default_backend default_backend
backend default_backend
    http-request return status 404
listen stats
  bind *:8404
  stats enable
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("SECONDLOOK_HAPROXY", raising=False)
    return load_settings(tmp_path)


def test_nothing_but_the_api_listens_on_a_port(tmp_path: Path) -> None:
    binds = [
        line.split()[1] for line in keep_local(RENDERED, tmp_path).split("\n") if "bind" in line
    ]
    assert binds == [
        f"unix@{tmp_path}/stats-0.sock",
        "127.0.0.1:8000",
        f"unix@{tmp_path}/stats-1.sock",
    ]


@pytest.mark.parametrize("bound", ["*:8000", ":8000"])
def test_the_api_is_reached_where_its_host_is_every_interface(tmp_path: Path, bound: str) -> None:
    config = keep_local(RENDERED.replace("127.0.0.1:8000", bound), tmp_path)
    assert f"frontend http_frontend\n    bind {bound}\n" in config
    assert config.count("bind unix@") == 2


def test_requests_are_kept_to_be_sent_again_and_errors_are_ours(tmp_path: Path) -> None:
    config = keep_local(RENDERED, tmp_path)
    assert "defaults\n    option http-buffer-request\n" in config
    assert "500.http" not in config
    assert "mode 600 level admin" in config


def test_haproxy_accepts_what_becomes_of_the_configuration(
    settings: Settings, tmp_path: Path
) -> None:
    environment = proxy_environment(settings, tmp_path)
    (tmp_path / "haproxy.cfg").write_text(RENDERED.replace("/x/", f"{tmp_path}/"))
    checked = subprocess.run(
        [environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-c", "-f", str(tmp_path / "haproxy.cfg")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr
    assert b"No replica answers" in (tmp_path / "503.http").read_bytes()


def test_two_homes_share_no_path(settings: Settings, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    one, two = (proxy_environment(settings, folder) for folder in folders)
    paths = {name for name, value in one.items() if value.startswith("/")}
    assert len(paths) == 7
    assert all(one[name] != two[name] for name in paths)


def test_it_can_be_left_out(settings: Settings, tmp_path: Path) -> None:
    without = settings.model_copy(update={"haproxy": False})
    assert proxy_environment(without, tmp_path) == {}
