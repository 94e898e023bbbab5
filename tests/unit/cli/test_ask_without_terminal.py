"""``--ask`` where there is no terminal: the control API answers, if there is one."""

from __future__ import annotations

import os
from typing import Any

import pytest

from slirpy.cli.asking import Asker
from slirpy.errors import ConfigError
from tests.unit.cli.command import given


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def opened(path: Any, *arguments: Any, **more: Any) -> int:
        if path == "/dev/tty":
            raise OSError
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.usefixtures("no_terminal")
def test_without_a_control_api_it_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="or --control"):
        given("--ask")
    with pytest.raises(ConfigError, match="terminal"):
        Asker()


@pytest.mark.usefixtures("no_terminal")
@pytest.mark.parametrize("option", [("--control", "unix:/tmp/x"), ("--web", "127.0.0.1:0")])
def test_the_control_api_is_enough(option: tuple[str, str]) -> None:
    config = given("--ask", *option)
    assert config.asker is None
    assert config.policy is not None
    with pytest.raises(ConfigError, match="terminal"):  # there, the answers are written
        given("--ask", "--ask-save", "answers.toml", *option)
