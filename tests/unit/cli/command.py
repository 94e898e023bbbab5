"""The command line: what it configures, and the program in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import click

from slirpy import Config
from slirpy.cli.app import app
from slirpy.cli.options import network_config
from tests.support.platforms import require
from tests.support.repository import environment

__all__ = ["command_of", "given", "slirpy"]


def command_of(name: str) -> click.Command:
    """A command by its name, such as ``run``."""
    command = app.get_command(click.Context(app), name)
    assert command is not None
    return command


def given(*arguments: str, command: str = "run") -> Config:
    """The network that a command line describes."""
    with command_of(command).make_context(command, [*arguments, "x"]) as context:
        own = {name: context.params[name] for name in ("hub",) if name in context.params}
        return network_config(context.params, **own)


def slirpy(
    *arguments: str, code: str = "", redirect: str = "", program: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; ``code`` runs before it, ``redirect`` is a shell's."""
    program = program or (
        f"{code}\nimport sys\nsys.argv[1:] = {list(arguments)!r}\nfrom slirpy.cli.main import main\nmain()"
    )
    if redirect:
        require("a shell")
    shell = ["sh", "-c", f'exec "$0" -c "$1" {redirect}'] if redirect else []
    return subprocess.run(
        [*shell, sys.executable, *([] if redirect else ["-c"]), program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
