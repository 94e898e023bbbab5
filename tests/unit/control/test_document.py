"""The OpenAPI document, and a server that keeps to it: asked by schemathesis."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.core.result import Ok

from slirpy import Slirp
from slirpy.control import ControlServer
from tests.support.control import request

EXAMPLES = 10
"""For each operation, but for those by the name of a network: one, since they lead to the same code."""


Case: TypeAlias = "schemathesis.Case[Any]"


def document(server: ControlServer) -> dict[str, Any]:
    """The server's own description of itself."""
    status, found = request(server, "GET", "/openapi.json")
    assert status == 200
    assert isinstance(found, dict)
    return found


def test_every_path_is_described(server: ControlServer) -> None:
    found = document(server)
    names = []
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (method, path)
            names.append(operation["operationId"])
    assert len(set(names)) == len(names)
    assert {"flows", "add_forward"} <= set(names)


STREAMS = ("/v1/events", "/v1/captures/stream", "/tunnel")
"""Paths whose answers have no end, so that only their beginnings are read."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.long
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_schemathesis_finds_no_5xx(tcp: ControlServer, net: Slirp, mode: GenerationMode) -> None:
    """TCP, since its client speaks no Unix sockets."""
    schema = schemathesis.openapi.from_dict(document(tcp))
    url = f"http://127.0.0.1:{tcp.address.address[1]}"
    asked = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
            continue

        @settings(
            max_examples=1 if "{network}" in operation.path else EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            nonlocal asked
            asked += 1
            if case.operation.path.removeprefix("/networks/{network}") in STREAMS:
                asking = case.as_transport_kwargs(
                    base_url=url, headers={"Authorization": f"Bearer {tcp.token}"}
                )
                with requests.request(**asking, timeout=20, stream=True) as answer:
                    assert answer.status_code < 500
                return
            case.call_and_validate(
                base_url=url, headers={"Authorization": f"Bearer {tcp.token}"}, checks=CHECKS, timeout=20
            )

        ask()
    assert asked >= EXAMPLES
    assert request(tcp, "GET", "/v1")[0] == 200
