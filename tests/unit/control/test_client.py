"""The client of the control socket: what can be sent, and answers that are not as expected."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from slirpy import ConfigError, LinkError, Slirp
from slirpy.control import ControlClient, ControlError


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ControlClient]:
    with Slirp() as net:
        net.serve_control(f"unix:{tmp_path}/ctl")
        net.start()
        yield ControlClient(f"{tmp_path}/ctl")


@pytest.mark.parametrize("body", [b"x", object(), [object()], {1.5: {2}}, math.nan, [math.inf]])
def test_a_body_that_json_cannot_hold(client: ControlClient, body: object) -> None:
    with pytest.raises(ConfigError, match=r"body .* cannot be sent as JSON"):
        client.ask("POST", "/v1/forwards", body)


@pytest.mark.parametrize("body", [True, 5, "x", [], {"rule": 5}, {}])
def test_the_network_refuses_a_body_of_another_shape(client: ControlClient, body: object) -> None:
    with pytest.raises(ControlError):
        client.ask("POST", "/v1/forwards", body)


@pytest.mark.parametrize("path", ["", "v1/flows", "http://x/v1/flows"])
def test_a_path_begins_with_a_slash(client: ControlClient, path: str) -> None:
    with pytest.raises(ConfigError, match="must be text that begins with /, such as /v1/flows"):
        client.ask("GET", path)
    with pytest.raises(ConfigError, match="must be text that begins with /"):
        client.stream(path)


@pytest.mark.parametrize("word", ["", "GE T", "GET\r\nX-Y: z", "G\0", "é"])
def test_a_method_and_a_token_are_words(word: str, client: ControlClient) -> None:
    with pytest.raises(ConfigError, match="method must be text of visible ASCII characters"):
        client.ask(word, "/v1/flows")
    with pytest.raises(ConfigError, match="token must be text of visible ASCII characters"):
        ControlClient("unix:/run/x.ctl", token=word)


def test_an_answer_that_is_not_json(client: ControlClient) -> None:
    with pytest.raises(LinkError, match=r"the answer to /metrics is not JSON; read it with stream\(\)"):
        client.ask("GET", "/metrics")
    assert b"slirpy_" in b"".join(client.stream("/metrics"))
