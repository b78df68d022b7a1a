from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loop.cases import CaseState
from loop.errors import BrokenRecord
from loop.serving_orders import Stop
from serve.admission import Busy
from serve.service import ServiceStatus
from tests.serve.conftest import MAX_BYTES, World, picture
from tests.serve.fakes import model_ref

JPEG = {"content-type": "image/jpeg"}
UPLOADS = ("/v1/detect", "/v1/images")


def error_of(response: object) -> dict[str, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert {"code", "message", "hint"} <= set(body["error"])
    assert body["error"]["message"]
    assert body["error"]["hint"]
    assert "Traceback" not in response.text
    return body["error"]


def test_detect_answers_in_the_documented_shape(client: TestClient) -> None:
    response = client.post("/v1/detect", content=picture(60, 40), headers=JPEG)
    assert response.status_code == 200
    assert response.json() == {
        "model": model_ref("1").as_dict(),
        "width": 60,
        "height": 40,
        "detections": [
            {
                "id": "d1",
                "box": [15.0, 10.0, 45.0, 30.0],
                "class_id": 0,
                "class_name": "rod",
                "confidence": 0.9,
            }
        ],
    }


def test_detect_stores_nothing(client: TestClient, world: World) -> None:
    client.post("/v1/detect", content=picture(), headers=JPEG)
    assert world.images.kept == {}
    assert world.database.commits == 0


def test_an_image_is_stored_and_queued_for_review(client: TestClient, world: World) -> None:
    answer = client.post("/v1/images", content=picture(), headers=JPEG).json()
    (image,) = world.database.images.values()
    (prediction,) = world.database.predictions
    (case,) = world.database.cases
    assert answer["image_id"] == image.id
    assert answer["prediction_id"] == prediction.id
    assert answer["review_id"] == case.id
    assert hashlib.sha256(world.images.kept[image.id]).hexdigest() == image.id
    assert image.phash is not None
    assert case.state is CaseState.FIRST
    assert prediction.model == model_ref("1")
    assert answer["detections"][0]["class_name"] == "rod"
    assert world.database.commits == 1


def test_multipart_and_raw_upload_are_the_same_image(client: TestClient, world: World) -> None:
    raw = client.post("/v1/images", content=picture(), headers=JPEG).json()
    form = client.post("/v1/images", files={"image": ("a.jpg", picture(), "image/jpeg")}).json()
    assert raw == form
    assert len(world.database.cases) == 1


def test_an_octet_stream_or_an_untyped_body_is_looked_at(client: TestClient) -> None:
    for headers in ({"content-type": "application/octet-stream"}, {}):
        response = client.post("/v1/detect", content=picture(kind="PNG"), headers=headers)
        assert response.status_code == 200


def test_a_subject_is_stored_as_a_pseudonym(client: TestClient, world: World) -> None:
    answer = client.post(
        "/v1/images",
        files={"image": ("a.jpg", picture())},
        data={"subject": "Mrs Smith", "source": "ward-3"},
    ).json()
    image = world.database.images[answer["image_id"]]
    assert image.subject == "p-Mrs Smith"  # as the fake makes them
    assert image.source == "ward-3"


def test_subject_and_source_can_stand_in_the_query(client: TestClient, world: World) -> None:
    answer = client.post(
        "/v1/images?subject=s1&source=microscope", content=picture(), headers=JPEG
    ).json()
    image = world.database.images[answer["image_id"]]
    assert (image.subject, image.source) == ("p-s1", "microscope")


def test_images_without_a_subject_are_subjects_of_their_own(
    client: TestClient, world: World
) -> None:
    for seed in (1, 2):
        client.post("/v1/images", content=picture(seed=seed), headers=JPEG)
    assert len({image.subject for image in world.database.images.values()}) == 2


@pytest.mark.parametrize("subject", ["x" * 200, "a\nb"])
def test_a_subject_that_is_no_plain_short_text_is_refused(client: TestClient, subject: str) -> None:
    response = client.post(
        "/v1/images", params={"subject": subject}, content=picture(), headers=JPEG
    )
    assert response.status_code == 422
    assert error_of(response)["code"] == "invalid_field"


# What a client may send instead of an image: body, content type, status, code.
HOSTILE = {
    "nothing": (b"", "image/jpeg", 422, "no_image"),
    "text": (b"hello, I am an image", "image/png", 415, "not_an_image"),
    "text that says so": (b"hello", "text/plain", 415, "unsupported_media_type"),
    "a form of the other kind": (
        b"image=x",
        "application/x-www-form-urlencoded",
        415,
        "unsupported_media_type",
    ),
    "json": (b"{}", "application/json", 415, "unsupported_media_type"),
    "a truncated jpeg": (picture(200, 200)[:1500], "image/jpeg", 415, "truncated"),
    "a truncated png": (picture(200, 200, "PNG")[:-200], "image/png", 415, "truncated"),
    "a gif": (picture(kind="GIF"), "image/gif", 415, "unsupported_type"),
    "a gif that claims to be a jpeg": (
        picture(kind="GIF"),
        "image/jpeg",
        415,
        "unsupported_type",
    ),
    "an svg": (
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        "image/svg+xml",
        415,
        None,
    ),
    "html": (b"<!doctype html><script>alert(1)</script>", "image/jpeg", 415, None),
    "html behind a jpeg's first bytes": (
        b"\xff\xd8\xff\xe0<!doctype html><script>alert(1)</script>",
        "image/jpeg",
        415,
        None,
    ),
    "too many pixels": (picture(400, 400), "image/jpeg", 413, "too_many_pixels"),
    "too many bytes": (b"\0" * (MAX_BYTES + 1), "image/jpeg", 413, "too_many_bytes"),
    "nonsense for a content type": (picture(), "\x01;;=,", 415, "unsupported_media_type"),
}


def png_bomb() -> bytes:
    """A PNG of a few bytes whose header promises 65000 x 65000 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", 65000, 65000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


HOSTILE["a png bomb"] = (png_bomb(), "image/png", 413, "too_many_pixels")


@pytest.mark.parametrize("path", UPLOADS)
@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_good_image_is_refused_with_a_hint(
    client: TestClient, world: World, path: str, name: str
) -> None:
    body, content_type, status, code = HOSTILE[name]
    response = client.post(path, content=body, headers={"content-type": content_type})
    error = error_of(response)
    assert response.status_code == status, error
    if code is not None:
        assert error["code"] == code
    assert world.service.seen == []
    assert world.images.kept == {}


def test_a_picture_with_a_page_behind_it_is_stored_without_the_page(
    client: TestClient, world: World
) -> None:
    polyglot = picture() + b"<html><script>alert(1)</script></html>"
    response = client.post("/v1/images", content=polyglot, headers=JPEG)
    assert response.status_code in (200, 415)
    assert all(b"script" not in data for data in world.images.kept.values())


@pytest.mark.parametrize("path", UPLOADS)
@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"picture": ("a.jpg", picture())}, "no_image"),
        ({"image": ("a.jpg", b"")}, "no_image"),
        ({"image": (None, "not a file")}, "no_image"),
        ([("image", ("a.jpg", picture())), ("image", ("b.jpg", picture()))], "too_many_images"),
        ([("image", ("a.jpg", picture())), ("more", ("b.jpg", picture()))], "too_many_images"),
        ([("image", ("a.jpg", picture()))] * 9, "malformed_form"),
        ({"image": ("a.jpg", picture()), "subject": (None, "s" * 5000)}, "malformed_form"),
    ],
)
def test_a_form_without_exactly_one_image_is_refused(
    client: TestClient, path: str, files: object, code: str
) -> None:
    response = client.post(path, files=files)
    assert response.status_code == 422
    assert error_of(response)["code"] == code


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=abc; charset=zlib",
        "multipart/form-data; boundary=" + "b" * 5000,
    ],
)
@pytest.mark.parametrize("body", [b"", b"--abc\r\n\r\nx", b"--abc\r\nnonsense\r\n--abc--"])
def test_a_malformed_form_is_refused(client: TestClient, content_type: str, body: bytes) -> None:
    response = client.post("/v1/detect", content=body, headers={"content-type": content_type})
    assert response.status_code == 422
    assert error_of(response)["code"] in ("malformed_form", "no_image")


@pytest.mark.parametrize("path", UPLOADS)
def test_the_byte_limit_holds_without_a_content_length(client: TestClient, path: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 50 * MAX_BYTES:
            sent += 10_000
            yield b"\xff" * 10_000

    response = client.post(path, content=endless(), headers=JPEG)
    assert response.status_code == 413
    assert error_of(response)["code"] == "too_many_bytes"


def test_the_byte_limit_holds_in_a_form(client: TestClient) -> None:
    for size in (MAX_BYTES + 1, MAX_BYTES + 100_000):
        response = client.post("/v1/images", files={"image": ("a.jpg", b"\xff" * size)})
        assert response.status_code == 413
        assert error_of(response)["code"] == "too_many_bytes"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=100).map(lambda tail: picture()[:300] + tail),
        st.integers(0, len(picture())).map(lambda at: picture()[:at] + b"\0\xff" + picture()[at:]),
    ),
    content_type=st.sampled_from(
        ["image/jpeg", "image/x", "", "multipart/form-data; boundary=x", "application/octet-stream"]
    ),
)
def test_no_bytes_at_all_make_it_fail(client: TestClient, body: bytes, content_type: str) -> None:
    response = client.post("/v1/images", content=body, headers={"content-type": content_type})
    assert response.status_code < 500
    if response.status_code != 200:
        error_of(response)


def test_without_a_model_uploads_get_503_and_a_hint(client: TestClient, world: World) -> None:
    world.service.state = ServiceStatus()
    for path in UPLOADS:
        response = client.post(path, content=picture(), headers=JPEG)
        assert response.status_code == 503
        assert error_of(response)["code"] == "no_model"
        assert response.headers["retry-after"]
    assert world.images.kept == {}


@pytest.mark.parametrize("path", UPLOADS)
def test_what_there_is_no_room_for_is_told_when_to_come_again(
    client: TestClient, world: World, path: str
) -> None:
    world.service.busy = Busy("Too much.", hint="Send less.")
    world.service.busy.retry_after_seconds = 7
    # Not an image: it is sent away before anybody looks at it.
    response = client.post(path, content=b"no image", headers=JPEG)
    assert response.status_code == 429
    assert error_of(response)["code"] == "busy"
    assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("path", UPLOADS)
def test_an_image_that_takes_too_long_is_a_504(client: TestClient, world: World, path: str) -> None:
    world.service.never_answers = True
    world.service.request_seconds = 0.05
    response = client.post(path, content=picture(), headers=JPEG)
    assert response.status_code == 504
    assert error_of(response)["code"] == "timeout"
    assert world.images.kept == {}
    assert 'secondlook_timeouts_total{replica="r1"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    "failure",
    [RuntimeError("secret path /srv/x"), BrokenRecord("secret path /srv/x", hint="no")],
)
def test_an_unexpected_failure_gives_a_request_id_and_no_details(
    client: TestClient, world: World, failure: Exception
) -> None:
    world.service.failure = failure
    response = client.post(
        "/v1/images", content=picture(), headers={**JPEG, "x-request-id": "abc-1"}
    )
    assert response.status_code == 500
    error = error_of(response)
    assert error["code"] == "internal"
    assert error["request_id"] == "abc-1"
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == "abc-1"


def test_a_request_id_goes_into_the_audit_event(client: TestClient, world: World) -> None:
    headers = {**JPEG, "x-request-id": "client-7"}
    response = client.post("/v1/images", content=picture(), headers=headers)
    assert response.headers["x-request-id"] == "client-7"
    assert [event.request_id for event in world.database.events] == ["client-7"]
    assert world.database.predictions[0].request_id == "client-7"


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "<script>", "é"])
def test_a_request_id_that_is_none_is_replaced(client: TestClient, sent: str) -> None:
    response = client.get("/healthz", headers={"x-request-id": sent.encode()})
    assert response.status_code == 200
    given_back = response.headers["x-request-id"]
    assert given_back != sent
    assert given_back.isalnum()


def test_an_unknown_route_says_which_there_are(client: TestClient) -> None:
    response = client.get("/v2/nothing")
    assert response.status_code == 404
    assert error_of(response)["code"] == "not_found"


def test_a_wrong_method_says_which_is_right(client: TestClient) -> None:
    response = client.get("/v1/detect")
    assert response.status_code == 405
    assert error_of(response)["code"] == "method_not_allowed"
    assert response.headers["allow"] == "POST"


def test_the_model_state_names_what_serves_and_what_failed(
    client: TestClient, world: World
) -> None:
    world.service.state = replace(
        world.service.state, wanted=model_ref("2"), error="Not a checkpoint.", order="o2"
    )
    assert client.get("/v1/model").json() == {
        "model": model_ref("1").as_dict(),
        "classes": ["rod", "ring"],
        "image_size": 64,
        "wanted": model_ref("2").as_dict(),
        "loading": False,
        "error": "Not a checkpoint.",
        "trial": None,
        "order": "o2",
        "stopped": None,
    }


def test_it_is_healthy_without_a_model_but_not_ready(client: TestClient, world: World) -> None:
    assert client.get("/readyz").status_code == 200
    world.service.state = ServiceStatus(wanted=model_ref("1"), loading=True)
    assert client.get("/healthz").json() == {"status": "ok"}
    response = client.get("/readyz")
    assert response.status_code == 503
    assert error_of(response)["code"] == "no_model"
    assert client.get("/v1/model").json()["model"] is None


def test_while_it_is_stopped_it_is_healthy_and_not_ready_and_says_by_whom_and_why(
    client: TestClient, world: World
) -> None:
    stop = Stop("person-1", "2026-01-01T00:00:00.000000Z", "It sees rods everywhere.")
    world.service.state = ServiceStatus(order="o3", stopped=stop)
    assert client.get("/healthz").status_code == 200
    response = client.get("/readyz")
    assert response.status_code == 503
    assert error_of(response)["code"] == "stopped"
    assert "person-1" not in response.text  # which is open to everybody
    told = client.get("/v1/model").json()
    assert (told["model"], told["stopped"]) == (None, stop.as_dict())


def test_metrics_count_requests_detections_and_name_the_model(client: TestClient) -> None:
    client.post("/v1/detect", content=picture(), headers=JPEG)
    client.post("/v1/detect", content=b"x", headers=JPEG)
    client.get("/somewhere/else")
    client.request("BREW", "/v1/detect")
    text = client.get("/metrics").text
    assert (
        'secondlook_requests_total{code="200",method="POST",replica="r1",route="/v1/detect"} 1.0'
        in text
    )
    assert (
        'secondlook_requests_total{code="415",method="POST",replica="r1",route="/v1/detect"} 1.0'
        in text
    )
    assert 'code="404",method="GET",replica="r1",route="unknown"' in text
    assert "BREW" not in text
    assert 'secondlook_detections_total{class_name="rod",replica="r1"} 1.0' in text
    assert f'secondlook_model_info{{digest="{model_ref("1").digest}"' in text
    assert 'secondlook_request_seconds_bucket{le="0.5",replica="r1",route="/v1/detect"}' in text
    for stage in ("read", "queue", "decode"):
        assert f'secondlook_stage_seconds_count{{replica="r1",stage="{stage}"}} ' in text
    assert 'secondlook_scores_bucket{class_name="rod",le="0.9",replica="r1"} 1.0' in text


def test_openapi_documents_uploads_and_errors(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in UPLOADS:
        post = paths[path]["post"]
        assert set(post["requestBody"]["content"]) == {
            "image/*",
            "application/octet-stream",
            "multipart/form-data",
        }
        for status in ("413", "415", "422", "429", "503", "504"):
            schema = post["responses"][status]["content"]["application/json"]["schema"]
            assert schema["$ref"].endswith("/ErrorBody")
    assert "HTTPValidationError" not in json.dumps(paths)
    assert client.get("/docs").status_code == 200
