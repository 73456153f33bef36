"""Requests by the thousand, worked out from the OpenAPI document: each is answered as it says, none by a mistake."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.server import RemudaServer, remuda_server

SECONDS = 25


@pytest.fixture(scope="module")
def server() -> Iterator[RemudaServer]:
    with remuda_server() as running:
        running.call("POST", "/v1/projects/1a5/environments", {"name": "shop"})
        yield running


@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", ["v1", "v2-beta"])
def test_every_answer_is_one_that_the_document_foresees(server: RemudaServer, version: str) -> None:
    key = server.call("POST", "/v1/projects/1a5/apikeys", {"name": version})
    secret = base64.b64encode(f"{key['publicValue']}:{key['secretValue']}".encode()).decode()
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    done = subprocess.run(
        [
            Path(sys.executable).with_name("st"), "run", f"{server.url}/{version}/projects/1a5/openapi.json",
            "-H", f"Authorization: Basic {secret}", "-c", checks, "--max-time", str(SECONDS), "--seed", "1", "--no-color",
            # it would take away its own key
            "--exclude-operation-id", "delete_apiKey", "--exclude-operation-id", "act_apiKey",
        ],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-500:]
    assert "Test cases" in done.stdout
