"""A witness over HTTP (https://c2sp.org/tlog-witness): takes checkpoints from logs, and shows the
last one of each to whoever asks."""

from __future__ import annotations

import asyncio
import socket

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from loop.errors import Misconfigured, Unavailable
from loop.witnessing import Refusal, Why
from store.logs import configure_logs
from store.witness_state import Witness

# A note with 16 signatures, as many as a verifier must accept, of 5 kB each, and a proof.
_MOST_BYTES = 2**17
_BODY_SECONDS = 10
_IDLE_SECONDS = 30
# Of one log, one is enough; so a crowd cannot take all descriptors of the process.
_MOST_CONNECTIONS = 200

_log = structlog.get_logger("witness")


def build_witness_app(witness: Witness) -> Starlette:
    """``/add-checkpoint``, ``/<sha256 of the origin>/checkpoint``, ``/key`` and ``/healthz``."""

    async def add_checkpoint(request: Request) -> Response:
        body = await _body(request)
        if isinstance(body, Response):
            return body
        try:
            note = await run_in_threadpool(witness.add_checkpoint, body)
        except Refusal as refusal:
            return _refused(refusal)
        except Unavailable as error:
            _log.error("not_written", message=error.message, hint=error.hint)
            return PlainTextResponse("The witness cannot keep its state.\n", 503)
        return PlainTextResponse(note.signatures[-1].line())

    async def checkpoint(request: Request) -> Response:
        note = witness.checkpoint(request.path_params["origin"])
        if note is None:
            return PlainTextResponse("Nothing of this log was cosigned.\n", 404)
        return PlainTextResponse(str(note), headers={"cache-control": "no-cache"})

    async def key(_: Request) -> Response:
        return PlainTextResponse(f"{witness.key}\n")

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{origin}/checkpoint", checkpoint),
            Route("/key", key),
            Route("/healthz", healthz),
        ]
    )


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket at that address, and its URL; port 0 is any that is free. Raises `Misconfigured`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise Misconfigured(
            f"Nothing can listen at {host}, port {port}: {error.strerror or error}.",
            hint="Name another one: --host, --port.",
        ) from error
    name = f"[{host}]" if ":" in host else host
    return listener, f"http://{name}:{listener.getsockname()[1]}"


def serve(witness: Witness, listener: socket.socket) -> None:
    """Until a signal ends it."""
    configure_logs("INFO")
    config = uvicorn.Config(
        build_witness_app(witness),
        lifespan="off",
        access_log=False,
        log_level="warning",
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_BODY_SECONDS,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


async def _body(request: Request) -> bytes | Response:
    received = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                received += part
                if len(received) > _MOST_BYTES:
                    return _away("The request is too long.\n", 413)
    except TimeoutError:
        return _away("The request did not come in time.\n", 408)
    except ClientDisconnect:
        return _away("", 400)
    return bytes(received)


def _away(text: str, status: int) -> Response:
    return PlainTextResponse(text, status, headers={"connection": "close"})


def _refused(refusal: Refusal) -> Response:
    if refusal.why is Why.OTHER_SIZE:
        # The specification has this type without a charset, which Starlette would add.
        headers = {"content-type": "text/x.tlog.size"}
        return Response(f"{refusal.size}\n", refusal.why, headers=headers)
    if refusal.signed is not None:
        # It is signed by the log: what an auditor needs to show that the log misbehaved.
        _log.warning("refused", message=refusal.message, checkpoint=str(refusal.signed))
    return PlainTextResponse(f"{refusal.message}\n", refusal.why)
