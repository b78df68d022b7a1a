from __future__ import annotations

import json
from pathlib import Path

import pytest

from loop.events import Actor, Event, Role
from store.audit_log import open_audit_log
from store.settings import load_settings
from store.unit_of_work import open_units_of_work
from tests.cluster.test_cli import run
from tests.store.tsa import Authority, needs_openssl, serving

pytestmark = needs_openssl


def test_verify_checks_timestamps_once_it_is_given_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    authority = Authority(tmp_path / "tsa")
    home = tmp_path / "home"
    with serving(lambda query: (200, authority.reply(query))) as server:
        settings = load_settings(home).model_copy(update={"audit_tsa_url": server.url})
        with open_units_of_work(settings)() as uow:
            uow.record(Event("test.happened", Actor("somebody", Role.SYSTEM), {}))
            uow.commit()
        log = open_audit_log(settings)
        log.integrate()
        assert log.timestamps.stamp() or log.files.timestamps()
    done = run("audit", "verify", home=home)
    assert (done.returncode, "Timestamps: 1, not checked" in done.stdout) == (0, True)
    done = run("audit", "verify", "--tsa-roots", str(authority.roots), home=home)
    assert (done.returncode, "the first 1 entries were there at" in done.stdout) == (0, True)
    done = run("audit", "verify", "--json", "--tsa-roots", str(authority.roots), home=home)
    found = json.loads(done.stdout)["timestamps"]
    assert (found["count"], found["checked"], found["newest"]["size"]) == (1, True, 1)

    events = log.head().size
    done = run("audit", "verify", "--tsa-roots", str(home / "none.pem"), home=home)
    assert (done.returncode, "none.pem" in done.stderr) == (1, True)
    assert log.head().size == events  # which says nothing of the log
    (home / "log/timestamps/1.tsr").write_bytes(b"garbage")
    done = run("audit", "verify", "--tsa-roots", str(authority.roots), home=home)
    assert (done.returncode, "timestamps/1.tsr" in done.stderr) == (1, True)
    done = run("audit", "verify", "--json", home=home)
    assert json.loads(done.stdout)["timestamps"] == {"count": 1, "checked": False}
