"""A time-stamping authority to test with: openssl's, behind a small HTTP server."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from rfc3161_client import decode_timestamp_response

from store.timestamp_der import sorted_certificates

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the program openssl, which is the TSA"
)
DAY = timedelta(days=1)
_CONFIG = """
[tsa]
default_tsa = test
[test]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
certs = {folder}/chain.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
"""


@dataclass(frozen=True)
class Issuer:
    name: x509.Name
    key: ec.EllipticCurvePrivateKey


class Authority:
    """With a root, an intermediate and its own certificate, which is good for ``valid``, by days
    from now, and for ``usage``."""

    def __init__(
        self,
        folder: Path,
        valid: tuple[int, int] = (-1, 1),
        usage: ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING,
        *,
        critical: bool = True,
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.roots = folder / "root.pem"
        always, now = (-4000, 4000), datetime.now(UTC)
        top = self._certificate("root", None, [], now, always)
        middle = self._certificate("chain", top, [], now, always)
        use = x509.ExtendedKeyUsage([usage])
        self._certificate("tsa", middle, [(use, critical)], now, valid)
        (folder / "openssl.cnf").write_text(_CONFIG.format(folder=folder))
        (folder / "serial").write_text("01\n")

    def reply(self, query: bytes) -> bytes:
        """As openssl answers, which refuses to be of the wrong usage."""
        (self.folder / "query").write_bytes(query)
        config = ("-config", "openssl.cnf", "-section", "test")
        self._openssl("ts", "-reply", *config, "-queryfile", "query", "-out", "reply")
        return (self.folder / "reply").read_bytes()

    def sign_anew(self, reply: bytes, change: Callable[[bytes], bytes] = bytes) -> bytes:
        """What another authority answered, changed, under a signature of this one."""
        token = decode_timestamp_response(sorted_certificates(reply)).time_stamp_token()
        (self.folder / "token").write_bytes(token)
        self._openssl("cms", "-verify", "-noverify", *_der("token", "info"))
        info = self.folder / "info"
        info.write_bytes(change(info.read_bytes()))
        signer = ("-signer", "tsa.pem", "-inkey", "tsa.key", "-certfile", "chain.pem")
        kind = ("-econtent_type", "1.2.840.113549.1.9.16.1.4", "-nodetach", "-binary", "-cades")
        out = ("-in", "info", "-outform", "DER", "-out", "token")
        self._openssl("cms", "-sign", *signer, *kind, *out)
        granted = b"\x30\x03\x02\x01\x00"
        return _sequence(granted + (self.folder / "token").read_bytes())

    def _certificate(
        self,
        file: str,
        issuer: Issuer | None,
        extensions: list[tuple[x509.ExtensionType, bool]],
        now: datetime,
        valid: tuple[int, int],
    ) -> Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.COMMON_NAME, f"{self.folder.name} {file}")]
        mine = Issuer(x509.Name(names), key)
        by = issuer or mine
        builder = (
            x509.CertificateBuilder(by.name, mine.name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + valid[0] * DAY)
            .not_valid_after(now + valid[1] * DAY)
            .add_extension(x509.BasicConstraints(not extensions, None), critical=True)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        signed = builder.sign(by.key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        private = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / f"{file}.key").write_bytes(private)
        (self.folder / f"{file}.pem").write_bytes(signed.public_bytes(pem))
        return mine

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


class Server:
    """``answer`` may be changed; the first thing that it gives is a status. ``asked`` counts."""

    def __init__(self, answer: Callable[[bytes], tuple[int, bytes]]) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.url = ""


@contextmanager
def serving(answer: Callable[[bytes], tuple[int, bytes]]) -> Iterator[Server]:
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.asked.append(self.headers["content-type"])
            status, body = server.answer(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/tsr"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def _der(source: str, to: str) -> tuple[str, ...]:
    return "-inform", "DER", "-in", source, "-out", to


def _sequence(content: bytes) -> bytes:
    length = len(content).to_bytes(2, "big")
    return b"\x30\x82" + length + content
