"""Files that the wheel installs beside the package: manual pages, completions, units."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from slirpy.cli.app import COMMANDS
from slirpy.cli.installed import files
from slirpy.cli.unit import unit_text
from tests.support.repository import environment
from tests.unit.cli.command import command_of, slirpy

FILES = dict(files())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_page_with_all_its_options(name: str) -> None:
    text = FILES[f"share/man/man1/slirpy-{name}.1"]
    assert text.startswith(f".TH SLIRPY\\-{name.upper()} 1 ")
    assert f"\n.SH NAME\nslirpy\\-{name} \\- " in text
    for option in command_of(name).params:
        for word in (*option.opts, *option.secondary_opts) if isinstance(option, click.Option) else ():
            assert "\\fB" + word.replace("-", "\\-") in text
    assert "\b" not in text
    assert f".BR slirpy\\-{name} (1)" in FILES["share/man/man1/slirpy.1"]


def test_pages_are_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    first = dict(files())
    assert first == dict(files())
    assert "1970-01-02" in first["share/man/man1/slirpy.1"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("slirpy lis", "plain,listen"),
        ("slirpy listen --no-ipv", "plain,--no-ipv6"),
        ("slirpy run --congestion c", "plain,cubic"),
        ("slirpy listen --log-format ", "plain,json"),
        ("slirpy listen --config x", "file,x"),
        ("slirpy run --capture ", "file,"),
    ],
)
def test_a_shell_gets_completions(words: str, expected: str) -> None:
    count = len(words.split()) - (not words.endswith(" "))
    more = {"_SLIRPY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    done = subprocess.run(
        [sys.executable, "-m", "slirpy"],
        env=environment() | more,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert expected in done.stdout.splitlines(), done.stdout + done.stderr
    assert "_SLIRPY_COMPLETE=bash_complete" in FILES["share/bash-completion/completions/slirpy"]


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_units_are_printed_with_the_path_of_the_program(kind: str) -> None:
    shown = slirpy("unit", kind).stdout
    assert FILES[f"lib/systemd/system/slirpy@.{kind}"] == unit_text(kind, "slirpy")
    if kind == "service":
        (start,) = [line for line in shown.splitlines() if line.startswith("ExecStart=")]
        program, rest = start.removeprefix("ExecStart=").split(" ", 1)
        assert os.path.isabs(program)
        assert rest == "listen --config %E/slirpy/%i.toml"
        assert "DynamicUser=yes" in shown
        assert "DynamicUser" not in slirpy("unit", "--user", kind).stdout
    else:
        assert shown == unit_text(kind, "slirpy")


def test_a_path_is_quoted_for_systemd() -> None:
    text = unit_text("service", "/opt/a b/50%/slirpy")
    assert 'ExecStart="/opt/a b/50%%/slirpy" listen' in text
