"""``--config``: keys of all options, lists, precedence, and mistakes with file and line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from slirpy import Config, SlirpyError
from slirpy.cli import logs
from slirpy.cli.app import COMMANDS, app
from slirpy.config import OPTIONS, Option
from slirpy.config.kinds import Choice, Number, Switch
from tests.support.documents import FENCE
from tests.support.repository import REPOSITORY
from tests.unit.cli.command import command_of, given

REST = {
    "run": ["x"],
    "qemu": ["x"],
    "audit": ["x"],
    "replay": ["x"],
    "packetdrill": ["x"],
    "policy": ["check", "x"],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "slirpy.toml"


def params(file: Path, text: str, *words: str, command: str = "run") -> dict[str, Any]:
    """The parameters of a command with this file."""
    file.write_text(text)
    arguments = ["--config", str(file), *words, *REST.get(command, [])]
    with command_of(command).make_context(command, arguments) as context:
        return context.params


def config(file: Path, text: str, *words: str, command: str = "run") -> Config:
    file.write_text(text)
    return given("--config", str(file), *words, command=command)


def mistake(file: Path, text: str | None, *words: str, command: str = "run") -> str:
    """The message about a file, without the folder."""
    if text is not None:
        file.write_text(text)
    arguments = [command, "--config", str(file), *words, *REST.get(command, [])]
    result = CliRunner().invoke(app, arguments, prog_name="slirpy", standalone_mode=False)
    error = result.exception
    assert isinstance(error, SlirpyError | click.ClickException), (error, result.output)
    said = error.format_message() if isinstance(error, click.ClickException) else str(error)
    return said.replace(f"{file.parent}{os.sep}", "")


# ---------------------------------------------------------------------------------------------- keys

KEYS = [
    (name, key.lstrip("-"))
    for name in COMMANDS
    for option in command_of(name).params
    if name != "ctl"  # a client, without a configuration
    and isinstance(option, click.Option)
    and option.name not in ("config", "help")
    for key in (*option.opts, *option.secondary_opts)
]


@pytest.mark.parametrize(("command", "key"), KEYS)
def test_every_option_of_every_command_is_a_key(file: Path, command: str, key: str) -> None:
    """At the top and in the command's table; a date is of no kind that an option has."""
    for text, line in ((f"# {key} = 1\n{key} = 1979-05-27\n", 2), (f"[{command}]\n\n{key} = 1979-05-27\n", 3)):
        said = mistake(file, text, command=command)
        assert said.startswith(f"slirpy.toml:{line}: {key} must be "), said
        assert said.endswith(", not 1979-05-27")


def test_every_option_of_the_table_is_a_key() -> None:
    keys = {key for command, key in KEYS if command == "listen"}
    assert {str(option.flag).lstrip("-") for option in OPTIONS if option.flag is not None} <= keys


@pytest.mark.parametrize(
    ("key", "near", "table"),
    [
        ("mut", "mtu", ""),
        ("host_fwd", "hostfwd", ""),
        ("dns-recrod", "dns-record", "[run]\n"),
        ("listn", "listen", ""),
    ],
)
def test_an_unknown_key_names_the_nearest(file: Path, key: str, near: str, table: str) -> None:
    value = "{}" if key == "listn" else "1"
    of = " of run" if table else ""
    line = 3 if table else 2
    said = mistake(file, f"{table}\n{key} = {value}\n")
    assert said == f'slirpy.toml:{line}: unknown key "{key}"{of}; did you mean {near}?'


def test_an_unknown_key_of_another_command_s_table_is_found_too(file: Path) -> None:
    assert mistake(file, "[switch]\nhubb = true") == (
        'slirpy.toml:2: unknown key "hubb" of switch; did you mean hub?'
    )


def test_keys_for_other_commands_do_no_harm(file: Path) -> None:
    text = 'hub = true\nmtu = 1400\n[listen]\nmtu = 9000\naddress = "unix:/x"\n[switch]\nnetdev = ["user"]\n'
    assert config(file, text).mtu == 1400
    assert config(file, text, command="listen").mtu == 9000
    assert config(file, text, command="listen").hub


@pytest.mark.parametrize(
    "row",
    [row for row in OPTIONS if row.flag is not None and row.name != "policy"],
    ids=lambda row: str(row.name),
)
def test_kinds_follow_from_the_table(file: Path, row: Option) -> None:
    key = str(row.flag).lstrip("-")
    good, bad, kind = '"5"', "5", "text in quotes"
    if isinstance(row.kind, Switch):
        good, bad, kind = "true", "1", "true or false"
    elif isinstance(row.kind, Number):
        good, bad, kind = "5", '"5"', "a whole number"
    elif isinstance(row.kind, Choice):
        good = f'"{row.kind.words[0]}"'
    said = mistake(file, f"\n{key} = {bad}\n", command="listen")
    assert said.startswith(f"slirpy.toml:2: {key} must be {kind}")
    found = params(file, f"{key} = {good}\n", command="listen")
    assert found != params(file, "", command="listen")
    if row.kind.several:
        assert ("5", "6") in params(file, f'{key} = ["5", "6"]\n', command="listen").values()
        assert mistake(file, f'{key} = ["5",\n 6]\n', command="listen").startswith(
            f"slirpy.toml:1: {key} must be"
        )


# ---------------------------------------------------------------------------------------- precedence


def test_the_command_line_wins(file: Path) -> None:
    assert config(file, "mtu = 9000\nipv6 = false\n", "--mtu", "1280", "--ipv6").mtu == 1280
    assert config(file, "ipv6 = false\n", "--ipv6").ipv6
    assert not config(file, "ipv6 = false\n").ipv6
    assert not config(file, "no-ipv6 = true\n").ipv6
    assert config(file, "no-ipv6 = false\n").ipv6
    assert config(file, 'congestion = "reno"\n').congestion == "reno"


def test_lists_are_joined_and_the_command_line_comes_first(file: Path) -> None:
    text = 'dns = ["192.0.2.3"]\n[run]\ndns = "192.0.2.2"\n'
    found = config(file, text, "--dns", "192.0.2.1").resolvers
    assert found is not None
    assert [str(each) for each in found] == ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"]


def test_rules_keep_the_order_of_the_file_behind_those_of_the_command_line(file: Path) -> None:
    text = 'allow = "any:443"\ndeny = ["any:22", "any:23"]\ndeny-private = true\n'
    text += 'rules = ["drop any:7", "allow any"]\n'
    assert params(file, text, "--drop", "any:1")["rules"] == (
        "drop any:1", "allow any:443", "deny any:22", "deny any:23", "deny-private", "drop any:7", "allow any",
    )  # fmt: skip
    assert params(file, "deny-private = false\n")["rules"] == ()


def test_numbers_of_a_list_are_numbers(file: Path) -> None:
    assert params(file, "[run]\nkeep-fd = [5, 6]\n", "--keep-fd", "4")["keep_fd"] == (4, 5, 6)
    assert "must be a whole number, or a list of such, not true" in mistake(file, "keep-fd = [true]\n")


def test_addresses_of_listen(file: Path) -> None:
    text = '[listen]\naddress = ["unix:/b", "fd:5"]\n'
    assert params(file, text, command="listen")["addresses"] == ("unix:/b", "fd:5")
    assert params(file, text, "unix:/a", command="listen")["addresses"] == ("unix:/a", "unix:/b", "fd:5")


def test_ports_of_a_switch(file: Path) -> None:
    text = '[switch]\nnetdev = ["user", "tap,ifname=tap0"]\n'
    assert params(file, text, command="switch")["ports"] == ("user", "tap,ifname=tap0")


# ------------------------------------------------------------------------------------------ mistakes


def test_values_that_are_wrong_name_file_and_line(file: Path) -> None:
    assert mistake(file, "\nmtu = 5\n").startswith("slirpy.toml:2: mtu 5 ")
    text = 'hostfwd = [\n  "tcp::80-:80",\n  "tcp:nonsense",\n]\n'
    assert mistake(file, text).startswith('slirpy.toml:3: hostfwd "tcp:nonsense"')
    assert mistake(file, '[run]\nsandbox = "of"\n').startswith("slirpy.toml:2: ")
    assert mistake(file, 'deny = "1.2.3.4:x"\n').startswith('slirpy.toml:1: deny "1.2.3.4:x"')


def test_mistakes_in_flags_are_not_blamed_on_the_file(file: Path) -> None:
    said = mistake(file, 'hostfwd = "tcp::80-:80"\n', "--hostfwd", "tcp:nonsense")
    assert said.startswith('--hostfwd "tcp:nonsense"')
    assert mistake(file, "mtu = 1500\n", "--mtu", "5").startswith("--mtu 5")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = '''\nmtu = 1\n'''\nmtu = '5'\n", None),
        ("hostname = '''\nmtu = 1\n'''\nmtu = '5'\n", 4),
        ("run.mtu = '5'\n", 1),
        ("\nrun = { hostname = 'x', mtu = '5' }\n", 2),
        ("[run]\nhostname = 'mtu'\n\n'mtu' = '5'\n", 4),
        ("[listen]\nmtu = 1500\n[run]\nmtu = '5'\n", 4),
    ],
)
def test_lines_are_found_in_any_spelling(file: Path, text: str, line: int | None) -> None:
    said = mistake(file, text)
    if line is None:
        assert said.startswith('slirpy.toml:1: unknown key "a"')
    else:
        assert said == f'slirpy.toml:{line}: mtu must be a whole number, not the text "5"'


def test_files_that_cannot_be_read(file: Path) -> None:
    assert mistake(file, None) == '--config "slirpy.toml": no such file or directory'
    assert mistake(file, "mtu = 1500\nmtu = \n") == "slirpy.toml:2: not TOML: Invalid value"
    file.write_bytes(b"\xff\xfe")
    assert mistake(file, None).startswith("slirpy.toml: not TOML: ")
    assert mistake(file.parent, None).startswith('--config "')


def test_the_file_of_the_guide_is_a_good_one(file: Path) -> None:
    guide = (REPOSITORY / "docs" / "howto" / "service.md").read_text()
    text = next(text for language, text in FENCE.findall(guide) if language == "toml")
    found = params(file, text, "--allow", "any:80", command="listen")
    assert found["addresses"] == ("unix:/run/slirpy/net.sock",)
    assert found["rules"] == ("allow any:80", "allow example.org:443")
    logs.style.format = "text"
    assert (config(file, text).mtu, config(file, text, command="listen").ipv6) == (9000, False)
    logs.style.format = "text"


def test_an_empty_file_and_empty_values(file: Path) -> None:
    assert config(file, "") == Config()
    assert mistake(file, 'hostname = ""\n') == "slirpy.toml:1: hostname is empty; give it NAME, or leave it out"
