"""The parts of ``--profile agent`` that are no rules: guests apart, and a clean environment."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from slirpy.cli.border import Border, check_variables
from slirpy.cli.options import network_config, network_options
from slirpy.config import Config
from slirpy.errors import ConfigError

VARIABLES = {"PATH": "/bin", "HOME": "/root", "LC_ALL": "C", "TERM": "xterm", "API_TOKEN": "secret",
             "AWS_SECRET_ACCESS_KEY": "secret", "SSH_AUTH_SOCK": "/tmp/a"}  # fmt: skip


def configuration(*flags: str) -> Config:
    """The configuration that flags make."""
    made: list[Config] = []

    @click.command()
    @network_options("guests", several=True)
    def command(**network: object) -> None:
        made.append(network_config(network))

    CliRunner().invoke(command, flags, catch_exceptions=False)
    return made[0]


def test_guests_are_apart() -> None:
    assert configuration("--profile", "agent").isolate
    assert not configuration("--allow", "any").isolate
    assert not configuration("--profile", "agent", "--hub").isolate


def test_the_environment_is_clean() -> None:
    plain = {"PATH", "HOME", "LC_ALL", "TERM"}
    assert set(Border(clean=True, closed=True, environment=VARIABLES).variables()) == plain
    kept = Border(clean=True, closed=True, variables_kept=["API_TOKEN", "SSH_AUTH_SOCK"], environment=VARIABLES)
    assert set(kept.variables()) == plain | {"API_TOKEN", "SSH_AUTH_SOCK"}
    assert set(Border(closed=True, environment=VARIABLES).variables()) == set(VARIABLES) - {"SSH_AUTH_SOCK"}
    assert Border(environment=VARIABLES).variables() == VARIABLES


@pytest.mark.parametrize("name", ["", "A=B", "A\0"])
def test_names_of_variables(name: str) -> None:
    with pytest.raises(ConfigError, match="--keep-env"):
        check_variables([name])
    check_variables(["API_TOKEN", "*"])
