"""What the OpenAPI description promises, held against the answers to requests made from it."""

from __future__ import annotations

from typing import Any

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from serve.service import ServiceStatus
from tests.serve.conftest import World
from tests.serve.fakes import model_ref
from tests.serve.mutations import valid_files

CHECKS = [
    allow_header_conformance,
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
EXAMPLES = 40


def api_of(world: World) -> FastAPI:
    app = world.client().app
    assert isinstance(app, FastAPI)
    return app


# Bytes alone would see nothing but refusals.
images = st.sampled_from(sorted(valid_files().values()))
schemathesis.openapi.format("binary", images | st.binary(max_size=64))

serving = schemathesis.openapi.from_asgi("/openapi.json", api_of(World()))
without_model = World()
without_model.service.state = ServiceStatus(wanted=model_ref("1"), loading=True)
starting = schemathesis.openapi.from_asgi("/openapi.json", api_of(without_model))

bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@serving.parametrize()
@bounded
def test_every_answer_is_as_described(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)


@starting.parametrize()
@bounded
def test_every_answer_without_a_model_is_as_described(case: Any) -> None:
    case.call_and_validate(checks=[check for check in CHECKS if check is not not_a_server_error])
