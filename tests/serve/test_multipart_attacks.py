"""Forms made to keep the parser busy or to fill the memory: 4xx, and bounded."""

from __future__ import annotations

import sys

import pytest
from fastapi.testclient import TestClient

from tests.memory import peak_growth_mib
from tests.serve.conftest import MAX_BYTES, World, picture
from tests.serve.test_api import error_of

FORM = {"content-type": "multipart/form-data; boundary=abc"}
PART = b'--abc\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
FIELD = b'--abc\r\nContent-Disposition: form-data; name="subject"\r\n\r\n'
END = b"\r\n--abc--\r\n"
NESTED = (
    b"Content-Type: multipart/mixed; boundary=def\r\n\r\n--def\r\nContent-Type: image/jpeg\r\n\r\n"
)

ATTACKS = {
    "headers without end": PART + b"a: b\r\n" * 30_000,
    "one header of a hundred kilobytes": PART + b"a: " + b"b" * 100_000,
    "a header name of a hundred kilobytes": PART + b"a" * 100_000,
    "thousands of parts": (FIELD + b"x\r\n") * 3000 + b"--abc--\r\n",
    "thousands of files": (PART + b"\r\nx\r\n") * 2000 + b"--abc--\r\n",
    "a text field of a hundred kilobytes": FIELD + b"s" * 100_000 + END,
    "a form in the form": PART + NESTED + picture() + b"\r\n--def--" + END,
    "the wrong boundary": PART.replace(b"abc", b"abd") + b"\r\n" + picture() + END,
    "no end": PART + b"\r\n" + picture(),
    "nothing but line breaks": PART + b"\r\n" + b"\r\n" * 90_000 + END,
    "boundaries that are almost one": PART + b"\r\n" + b"\r\n--ab" * 30_000 + END,
    "base64": PART + b"Content-Transfer-Encoding: base64\r\n\r\n/9j/4AAQSkZJRg==" + END,
    "no name": b"--abc\r\nContent-Disposition: form-data\r\n\r\nx" + END,
    "no disposition": b"--abc\r\n\r\n" + picture() + END,
    "a name that is no text": PART.replace(b'"image"', b'"\xff\xfe\0"') + b"\r\nx" + END,
    "more than may be sent": PART + b"\r\n" + b"x" * 10 * MAX_BYTES + END,
    "an epilogue of megabytes": PART + b"\r\n" + picture() + END + b"x" * 10 * MAX_BYTES,
}


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/images"])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_form_that_attacks_the_parser_is_refused(
    client: TestClient, world: World, path: str, name: str
) -> None:
    response = client.post(path, content=ATTACKS[name], headers=FORM)
    assert 400 <= response.status_code < 500, response.text
    error_of(response)
    assert world.images.kept == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_attacks_on_the_parser_take_no_memory(client: TestClient) -> None:
    def attack() -> None:
        for body in ATTACKS.values():
            client.post("/v1/detect", content=body, headers=FORM)

    attack()
    # Bodies are a few megabytes at most, and one is read at a time.
    assert peak_growth_mib(attack) < 64


@pytest.mark.parametrize("promised", ["0", "1", "99999999999999999999", "-1", "1e9", "\xb2"])
def test_a_content_length_that_lies_is_not_believed(client: TestClient, promised: str) -> None:
    headers = {"content-type": "image/jpeg", "content-length": promised.encode("latin-1")}
    response = client.post("/v1/detect", content=picture(), headers=headers)
    assert response.status_code in (200, 413)
