from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cluster import ray_jobs
from cluster.addresses import is_loopback_url
from cluster.ray_jobs import KIND, RayJobs
from loop.errors import Misconfigured, NotFound, Unavailable
from store.processes import free_port
from tests.cluster.ray_dashboard import TOKEN, Dashboard, dashboard_at


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with dashboard_at(tmp_path, runs=False) as dashboard:
        yield dashboard


def submit(ray: Dashboard, job_id: str = "sl-kfold-00000001", kind: str = "kfold") -> None:
    RayJobs(ray.url).submit(job_id, "true", environment={"A": "1"}, metadata={KIND: kind})


def test_a_job_is_told_as_ray_has_it(ray: Dashboard) -> None:
    submit(ray)
    ray.end("sl-kfold-00000001", "FAILED", "It broke.", log="one\n")
    jobs = RayJobs(ray.url)
    (job,) = jobs.jobs()
    assert (job.status, job.message, job.active) == ("FAILED", "It broke.", False)
    assert job.started_at.endswith("Z")
    assert jobs.get(job.id) == job
    assert jobs.log(job.id) == "one\n"


def test_without_a_token_it_says_that_one_is_wanted(
    ray: Dashboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(Misconfigured, match="wants a token"):
        RayJobs(ray.url).jobs()


def test_a_wrong_token_is_said_to_be_wrong(ray: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(Misconfigured, match="does not accept the token") as caught:
        submit(ray)
    assert "wrong" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("token", [TOKEN, ""], ids=["with-token", "open"])
def test_a_cluster_that_runs_programs_of_anybody_is_refused_unless_on_loopback(
    ray: Dashboard, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    ray.token = token
    RayJobs(ray.url).require_token()
    assert ray.asked == []
    monkeypatch.setattr(ray_jobs, "is_loopback_url", lambda url: False)
    if token:
        RayJobs(ray.url).require_token()
    else:
        with pytest.raises(Misconfigured, match="asks nobody for a token"):
            RayJobs(ray.url).require_token()


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://localhost:8265", True),
        ("http://[::1]:8265", True),
        ("http://10.0.0.1:8265", False),
        ("http://training-head-svc:8265", False),
        ("", False),
    ],
)
def test_what_loopback_is(url: str, loopback: bool) -> None:
    assert is_loopback_url(url) is loopback


def test_where_nobody_listens_it_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        RayJobs(f"http://127.0.0.1:{free_port()}").jobs()


@contextmanager
def another_server(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and the tokens that it is sent."""
    sent: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            sent.append(self.headers.get("authorization", ""))
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(status)
            self.send_header("location", "/sign-in")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

    server = HTTPServer(("127.0.0.1", 0), Other)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>hello</html>"),
        (200, b'{"jobs": []}'),
        (200, b'[{"submission_id": "sl-kfold-00000001"}]'),
        (200, b'[{"submission_id": "sl-kfold-00000001", "status": "FLYING"}]'),
        (302, b""),
        (404, b"<html>hello</html>"),
    ],
    ids=["a-page", "other-json", "no-status", "unknown-status", "sign-in", "nothing-there"],
)
def test_another_server_is_not_taken_for_a_dashboard(status: int, body: bytes) -> None:
    with (
        another_server(status, body) as (url, _),
        pytest.raises(Misconfigured, match="is not Ray's dashboard"),
    ):
        RayJobs(url).jobs()


def test_a_job_is_not_handed_in_where_a_proxy_sends_it_elsewhere() -> None:
    with (
        another_server(302, b"") as (url, _),
        pytest.raises(Misconfigured, match="is not Ray's dashboard"),
    ):
        RayJobs(url).submit("sl-kfold-00000001", "true", environment={}, metadata={})


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_is_no_dashboard_is_found_out_before_it_gets_the_token(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setattr(ray_jobs, "is_loopback_url", lambda url: False)
    with another_server(status, b"") as (url, sent):
        with pytest.raises((Misconfigured, Unavailable)) as caught:
            RayJobs(url).require_token()
        assert "asks nobody" not in caught.value.message
        assert sent == [""]


def test_a_job_that_was_taken_without_a_word_is_handed_in(ray: Dashboard) -> None:
    ray.mute = 1
    submit(ray)
    assert list(ray.jobs) == ["sl-kfold-00000001"]
    ray.drops = 2
    with pytest.raises(Unavailable, match="does not answer"):
        submit(ray, "sl-kfold-00000002")


def test_a_job_that_is_not_there_is_not_found(ray: Dashboard) -> None:
    for call in (RayJobs(ray.url).get, RayJobs(ray.url).log, RayJobs(ray.url).stop):
        for job_id in ("sl-kfold-00000009", "../jobs", ""):
            with pytest.raises(NotFound):
                call(job_id)


def test_jobs_of_other_programs_are_not_ours(ray: Dashboard) -> None:
    RayJobs(ray.url).submit("raysubmit_1", "true", environment={}, metadata={})
    submit(ray)
    assert [job.id for job in RayJobs(ray.url).jobs()] == ["sl-kfold-00000001"]


def test_a_package_that_is_there_is_not_sent_again(ray: Dashboard, tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    package.write_bytes(b"the code")
    digest = hashlib.sha256(b"the code").hexdigest()
    uri = RayJobs(ray.url).upload(package, digest)
    assert RayJobs(ray.url).upload(package, digest) == uri
    assert list(ray.packages.values()) == [b"the code"]
    assert uri == f"gcs://{next(iter(ray.packages))}"
    assert sum(line.startswith("PUT") for line in ray.asked) == 1
