"""Objects in a bucket, on a server with S3's protocol, and what is said when it is not there."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loop.errors import Misconfigured, NotFound, Unavailable
from store.objects import Bucket, open_objects
from store.settings import Settings
from store.storage_url import BucketStorage, FolderStorage, parse_storage_url
from tests.flaky_server import flaky_server
from tests.s3 import S3Server, client, open_bucket


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return open_bucket(s3.bucket())


def test_what_was_put_comes_back(bucket: Bucket) -> None:
    bucket.put("a/b", b"one")
    bucket.put("a/b", b"two")
    assert bucket.get("a/b") == b"two"


def test_nothing_is_not_found(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="a/b"):
        bucket.get("a/b")
    with pytest.raises(NotFound):
        bucket.get_file("a/b", tmp_path / "file")
    assert bucket.info("a/b") is None
    assert list(tmp_path.iterdir()) == []


def test_of_several_that_put_something_new_one_succeeds(bucket: Bucket) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: bucket.put_new("lock", b"%d" % n), range(8)))
    assert sum(won) == 1
    assert bucket.get("lock") == b"%d" % won.index(True)


def test_files_go_and_come_whole(bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / "weights.pt"
    source.write_bytes(bytes(range(256)) * 40_000)  # more than a part of an upload
    bucket.put_file("weights", source)
    bucket.get_file("weights", tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == source.read_bytes()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["copy"]


def test_a_list_is_below_its_prefix_and_has_sizes(bucket: Bucket) -> None:
    for number in range(1005):  # more than a page
        bucket.put(f"many/{number:04d}", b"x" * (number % 3))
    bucket.put("other", b"")
    found = list(bucket.list("many/"))
    assert [each.key for each in found] == [f"many/{number:04d}" for number in range(1005)]
    assert [each.size for each in found[:4]] == [0, 1, 2, 0]
    bucket.delete(each.key for each in found)
    assert [each.key for each in bucket.list("")] == ["other"]


def test_deleting_what_is_not_there_is_nothing(bucket: Bucket) -> None:
    bucket.delete(["nothing"])
    bucket.delete([])


def test_a_bucket_travels_to_another_process(bucket: Bucket) -> None:
    bucket.put("a", b"1")
    assert pickle.loads(pickle.dumps(bucket)).get("a") == b"1"  # noqa: S301


def test_prefixes_do_not_see_one_another(s3: S3Server) -> None:
    url = s3.bucket()
    one, two = open_bucket(url), open_bucket(url.replace("/second-look", "/elsewhere"))
    one.put("a", b"1")
    with pytest.raises(NotFound):
        two.get("a")
    whole = url.partition("//")[2].partition("/")[0]
    keys = client(s3.endpoint).list_objects_v2(Bucket=whole)["Contents"]
    assert [each["Key"] for each in keys] == ["second-look/a"]


def test_a_missing_bucket_is_named(s3: S3Server, tmp_path: Path) -> None:
    missing = open_bucket(f"s3://no-such-bucket?endpoint_url={s3.endpoint}")
    (tmp_path / "file").write_text("text")
    for action in (
        lambda: missing.get("a"),
        lambda: missing.put("a", b""),
        lambda: missing.put_file("a", tmp_path / "file"),
        lambda: missing.get_file("a", tmp_path / "copy"),
        lambda: missing.info("a"),
        lambda: list(missing.list("")),
        missing.check,
    ):
        with pytest.raises(Misconfigured, match="no-such-bucket"):
            action()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.objects._ATTEMPTS", 2)


@pytest.mark.usefixtures("impatient")
def test_a_store_that_does_not_answer_is_unavailable(s3: S3Server, tmp_path: Path) -> None:
    nobody = open_bucket("s3://bucket?endpoint_url=http://127.0.0.1:9")
    (tmp_path / "file").write_text("text")
    for action in (
        lambda: nobody.get("a"),
        lambda: nobody.put("a", b""),
        lambda: nobody.put_file("a", tmp_path / "file"),
        lambda: nobody.get_file("a", tmp_path / "copy"),
        lambda: nobody.put_new("a", b""),
    ):
        with pytest.raises(Unavailable) as caught:
            action()
        assert "127.0.0.1:9" in caught.value.message
        assert "SECONDLOOK_STORAGE_URL" in caught.value.hint


def test_without_credentials_they_are_asked_for(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(Misconfigured) as caught:
        open_bucket(f"s3://bucket?endpoint_url={s3.endpoint}").get("a")
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_a_store_that_comes_back_in_time_is_waited_for() -> None:
    """A server that answers 503 twice and then as it should."""
    with flaky_server(failures=2) as server:
        bucket = open_bucket(f"s3://bucket?endpoint_url={server.url}")
        assert bucket.get("a") == b"at last"
    assert server.requests == 3


@pytest.mark.parametrize("reads", ["get", "get_file", "list"])
def test_a_store_that_breaks_off_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reads: str
) -> None:
    monkeypatch.setattr("store.objects._ATTEMPTS", 2)
    with flaky_server(failures=0, body=b"half of it", missing_bytes=10) as server:
        bucket = open_bucket(f"s3://bucket?endpoint_url={server.url}")
        actions: dict[str, Callable[[], object]] = {
            "get": lambda: bucket.get("a"),
            "get_file": lambda: bucket.get_file("a", tmp_path / "file"),
            "list": lambda: list(bucket.list("")),
        }
        with pytest.raises(Unavailable):
            actions[reads]()
    assert list(tmp_path.iterdir()) == []


def test_a_profile_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, s3: S3Server) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-nobody")
    with pytest.raises(Unavailable, match="of-nobody"):
        list(open_bucket(f"s3://bucket?endpoint_url={s3.endpoint}").list(""))


@pytest.mark.parametrize(
    "url",
    ["s3://AKIAIOSFODNN7EXAMPLE:wJalrXUt/nFEMI@bucket", "s3://AKIA:wJalrXUt@bucket"],
    ids=["slash", "plain"],
)
def test_keys_in_the_url_are_not_repeated(url: str) -> None:
    with pytest.raises(Misconfigured, match="more than a bucket") as caught:
        parse_storage_url(url)
    assert "wJal" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", None),
        ("file:///mnt/images", FolderStorage(Path("/mnt/images"))),
        ("s3://bucket", BucketStorage("bucket", "")),
        ("s3://bucket/a/b/", BucketStorage("bucket", "a/b/")),
        (
            "s3://bucket/a?endpoint_url=http://minio:9000&region=eu-west-1",
            BucketStorage("bucket", "a/", "http://minio:9000", "eu-west-1"),
        ),
    ],
)
def test_urls(url: str, expected: object) -> None:
    assert parse_storage_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "bucket",
        "/mnt/images",
        "file://images",
        "http://bucket",
        "gs://bucket",
        "s3://",
        "s3://Upper_Case",
        "s3://key:hunter2hunter2@bucket",
        "s3://bucket:99999999",
        "s3://bucket?endpoint=http://minio:9000",
        "s3://bucket?endpoint_url=minio:9000",
        "s3://bucket#part",
    ],
)
def test_wrong_urls_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_storage_url(url)
    assert "SECONDLOOK_STORAGE_URL" in caught.value.message
    assert caught.value.hint
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_without_a_bucket_there_are_no_objects(tmp_path: Path) -> None:
    assert open_objects(Settings(home=tmp_path)) is None
    assert open_objects(Settings(home=tmp_path, storage_url=f"file://{tmp_path}")) is None
