"""Mistakes on the command line: each is one line that names the option as it was typed."""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from slirpy import Config, ConfigError, Slirp, SlirpyError
from slirpy.cli.app import COMMANDS, app
from slirpy.cli.flags import in_flags
from slirpy.cli.options import network_config

NETWORK = ("run", "listen", "qemu")


def command_of(name: str) -> click.Command:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    return command


def mistake(*arguments: str) -> str:
    """The line that a command line ends with."""
    result = CliRunner().invoke(app, list(arguments), prog_name="slirpy", standalone_mode=False)
    assert result.stdout == ""
    error = result.exception
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, SystemExit):
        assert error.code == 2
        return result.stderr.removeprefix("slirpy: ").rstrip()
    assert isinstance(error, SlirpyError), repr(error)
    return str(error)


# ------------------------------------------------------------------------------------- empty values

TEXTS = [
    (name, option.opts[0])
    for name in COMMANDS
    for option in command_of(name).params
    if isinstance(option, click.Option) and not option.is_flag and not isinstance(command_of(name), click.Group)
]
RULES = [("run", flag) for flag in ("--allow", "--deny", "--reject", "--drop", "--redirect", "--policy")]


@pytest.mark.parametrize(("command", "flag"), sorted({*TEXTS, *RULES}))
def test_no_option_takes_an_empty_value(command: str, flag: str) -> None:
    """``"$UNSET"`` gives an empty value, and most system functions take an empty path as the current folder."""
    for words in ([flag, ""], [f"{flag}="]) if flag.startswith("--") else ([flag, ""],):
        rest = ["-netdev", "user"] if command == "switch" and flag != "-netdev" else []
        said = mistake(command, *words, *(rest if command in ("switch", "demo") else ["x"]))
        assert flag in said
        # The latter two of numbers and choices.
        assert "empty" in said or "is not a valid" in said or "is not one of" in said


@pytest.mark.parametrize("command", ["listen", "packetdrill"])
def test_no_argument_is_empty(command: str) -> None:
    name = {"listen": "ADDRESS", "packetdrill": "FILE"}[command]
    for words in ([""], ["x", ""]):
        assert mistake(command, *words) == f"{name} is empty; give one, or leave it out"


@pytest.mark.parametrize(
    "argument",
    ["smb", "tftp", "lease_file", "bootfile", "tftp_server_name", "hostname", "domainname"],
)
def test_config_takes_no_empty_text_either(argument: str) -> None:
    with pytest.raises(ConfigError, match=argument):
        Config(**{argument: ""})  # type: ignore[arg-type] # each value fits its argument


# ------------------------------------------------------------------------- names with options in them


@pytest.mark.parametrize("flag", ["--trace", "--lease-file", "--tftp", "--smb", "--policy", "--capture"])
@pytest.mark.parametrize("name", ["x,maxsize=10M", "x,ro=on", "/srv/x,fmt=json"])
def test_options_after_a_name_are_a_mistake(flag: str, name: str, tmp_path: Path) -> None:
    said = mistake("run", flag, name, "--", "true")
    assert said.startswith(f'{flag} "{name}": ')
    assert name.partition(",")[2] in said


def test_options_after_an_address_are_a_mistake(tmp_path: Path) -> None:
    said = mistake("listen", f"unix:{tmp_path}/net.sock,server=on")
    assert 'takes no option "server=on"' in said


def test_a_folder_may_have_such_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "a,b=c"
    folder.mkdir()
    with command_of("listen").make_context("listen", ["--tftp", str(folder), "x"]) as context:
        assert network_config(context.params).tftp == folder


# ------------------------------------------------------------------- messages name the option as typed

WRONG = [
    (["--net", "10.0.2.0/33"], "--net"),
    (["--host", "10.0.3.2"], "--host"),
    (["--dns-address", "x"], "--dns-address"),
    (["--dns-address", "10.0.3.2"], "--dns-address"),
    (["--dhcpstart", "10.0.2.3"], "--dhcpstart"),
    (["--net6", "fec0::/127"], "--net6"),
    (["--host6", "2001:db8::1"], "--host6"),
    (["--nat64", "--no-ipv6"], "--nat64"),
    (["--nat64-prefix", "2001:db8::/33"], "--nat64-prefix"),
    (["--dns46", "10.0.0.0/8"], "--dns46"),
    (["--dns6-address", "10.0.2.3"], "--dns6-address"),
    (["--dhcpstart6", "fec0::3"], "--dhcpstart6"),
    (["--mtu", "1"], "--mtu"),
    (["--memory", "1M"], "--memory"),
    (["--rate", "fast"], "--rate"),
    (["--flow-rate", "-1"], "--flow-rate"),
    (["--tcp-keepalive", "-1"], "--tcp-keepalive"),
    (["--hostname", "a b"], "--hostname"),
    (["--domain", "a b"], "--domain"),
    (["--dns-search", "a b"], "--dns-search"),
    (["--bootfile", "x" * 300], "--bootfile"),
    (["--tftp", "/nonexistent"], "--tftp"),
    (["--tftp-write"], "--tftp-write"),
    (["--tftp-ignore-case"], "--tftp-ignore-case"),
    (["--tftp-single-port"], "--tftp-single-port"),
    (["--tftp-server-name", "x" * 300], "--tftp-server-name"),
    (["--lease", "x"], "--lease"),
    (["--lease", "52:54:00:12:34:56=10.0.3.9"], "--lease"),
    (["--route", "x"], "--route"),
    (["--lease-time", "1"], "--lease-time"),
    (["--dhcp-option", "x"], "--dhcp-option"),
    (["--hostfwd", "tcp:80"], "--hostfwd"),
    (["--guestfwd", "x"], "--guestfwd"),
    (["--smbserver", "10.0.2.9"], "--smbserver"),
    (["--smbserver6", "fec0::9"], "--smbserver6"),
    (["--dns", "x"], "--dns"),
    (["--dns-record", "x"], "--dns-record"),
    (["--dns-record", "x.test=a b"], "--dns-record"),
    (["--dns-cache", "-1"], "--dns-cache"),
    (["--dns-mode", "x"], "--dns-mode"),
    (["--dns-refused", "x"], "--dns-refused"),
    (["--dns-grace", "-1"], "--dns-grace"),
    (["--dns-name-rate", "-1"], "--dns-name-rate"),
    (["--profile", "x"], "--profile"),
    (["--outbound", "0.0.0.0"], "--outbound"),
    (["--allow", "x"], "--allow"),
    (["--deny", "x"], "--deny"),
    (["--reject", "x"], "--reject"),
    (["--drop", "x"], "--drop"),
    (["--redirect", "x"], "--redirect"),
    (["--redirect", "any=10.0.2.9"], "--redirect"),
    (["--policy", "/nonexistent"], "--policy"),
    (["--proxy", "ftp://192.0.2.1"], "--proxy"),
    (["--proxy-auth-file", "/nonexistent"], "--proxy-auth-file"),
    (["--no-proxy", "a b"], "--no-proxy"),
    (["--audit", "fd:x"], "--audit"),
    (["--audit-fail", "closed"], "--audit-fail"),
    (["--ask-save", "/nonexistent/x"], "--ask-save"),
    (["--congestion", "x"], "--congestion"),
    (["--capture", "x,max=0"], "--capture"),
    (["--capture", "x,maxsize=1"], "--capture"),
]


@pytest.mark.parametrize("command", NETWORK)
@pytest.mark.parametrize(("options", "flag"), WRONG, ids=[" ".join(options)[:40] for options, _ in WRONG])
def test_a_message_names_the_option_that_was_typed(command: str, options: list[str], flag: str) -> None:
    said = mistake(command, *options, "--", "tcp:127.0.0.1:0")
    assert re.search(rf"(^|'){flag}(?![\w-])", said), said
    assert not re.search(r"\b(tcp_keepalive|dns_\w+|lease_\w+|tftp_\w+|domainname|dnssearch|resolver)\b", said)


def test_every_option_of_a_network_is_tried_above() -> None:
    flags = {flag for _, flag in WRONG}
    for parameter in command_of("run").params:
        if (
            isinstance(parameter, click.Option)
            and parameter.opts not in (["--hostfwd-loopback"], ["--no-hide"])
            and (not parameter.is_flag or parameter.name == "tftp_write")
        ):
            # Those that need a network.
            named = set(parameter.opts) & {*flags, "--trace", "--lease-file", "--smb", "--learn"}
            named |= set(parameter.opts) & {"--hide", "--keep", "--keep-fd", "--keep-env", "--uid", "--sandbox"}
            named |= set(parameter.opts) & {
                "--config",
                "--capture-dir",
                "--control",
                "--control-token-file",
                "--log-level",
                "--log-format",
                "--web",
            }
            assert named, parameter.opts


def test_options_that_are_named_inside_of_a_message() -> None:
    assert "there is no SMB server without --smb DIR" in mistake("run", "--smbserver", "10.0.2.9", "true")
    assert "give --tftp /srv/tftp" in mistake("run", "--tftp-write", "true")
    rule = mistake("run", "--reject", "allow", "true")
    assert rule.startswith('--reject "allow": ')


@pytest.mark.parametrize("flag", ["--capture", "--trace"])
def test_a_file_that_cannot_be_written_is_named_with_its_option(flag: str) -> None:
    listen, switch = ["listen", "tcp:127.0.0.1:0"], ["switch", *("-netdev", "socket,listen=127.0.0.1:0") * 2]
    for command, *rest in (listen, switch):
        said = mistake(command, flag, "/nonexistent/x", *rest)
        assert said.startswith(f'{flag} "/nonexistent/x": cannot be written: ')


def test_words_of_the_user_are_not_translated() -> None:
    assert in_flags('hostname "smb=x tftp=y": given was dns="tftp=z"') == (
        '--hostname "smb=x tftp=y": given was --dns-address "tftp=z"'
    )
    assert in_flags('policy "x": rule "allow y": no') == '--policy "x": rule "allow y": no'
    assert in_flags("net.example is no option, nor is hosted") == "net.example is no option, nor is hosted"
    assert in_flags("lease_file: x, and xdns=5") == "--lease-file: x, and xdns=5"


def test_errors_at_the_start_of_the_network_name_flags(tmp_path: Path) -> None:
    other = tmp_path / "important.conf"
    other.write_text("hello\n")
    said = mistake("listen", "--lease-file", str(other), "tcp:127.0.0.1:0")
    assert said.startswith(f'--lease-file "{other}": it has content that slirpy did not write')
    assert other.read_text() == "hello\n"
    assert os.listdir(tmp_path) == ["important.conf"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = mistake("listen", "--hostfwd", f"tcp::{port}-:80", "tcp:127.0.0.1:0")
    assert said.startswith('--hostfwd "tcp:')


def test_python_and_qemu_keep_their_own_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^tcp_keepalive -1 "):
        Config(tcp_keepalive=-1)
    other = tmp_path / "important.conf"
    other.write_text("hello\n")
    with pytest.raises(ConfigError, match=f'^lease_file "{other}": '):
        Slirp(Config(lease_file=other))
    said = mistake("switch", "-netdev", "user,dns=x", "-netdev", "socket,connect=127.0.0.1:1")
    assert "--dns-address" not in said
    assert "dns" in said


# ------------------------------------------------------------------------------------------- others


def test_top_without_a_terminal_fails_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "net.sock"
    assert "--top draws on standard error" in mistake("listen", "--top", f"unix:{path}")
    assert not path.exists()


@pytest.mark.parametrize(
    ("control", "folder", "says"),
    [
        ([], ".", "captures are started through --control"),
        (["--control", "unix:/tmp/x"], "none", "there is no such folder"),
        (["--control", "unix:/tmp/x"], "file", "there is no such folder"),
    ],
)
def test_a_folder_for_captures(control: list[str], folder: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = str(tmp_path / folder)
    result = CliRunner().invoke(app, ["listen", *control, "--capture-dir", given, "unix:/nowhere/x"])
    said = result.stderr or str(result.exception)
    assert says in said
    assert "--capture-dir" in said


def test_qemu_without_a_name_is_not_found() -> None:
    result = CliRunner().invoke(app, ["qemu", "--", ""], prog_name="slirpy")
    assert (result.exit_code, result.stderr) == (127, "slirpy: '': not found\n")


def test_a_device_behind_a_lease_file_is_left_alone() -> None:
    said = mistake("listen", "--lease-file", os.devnull, "tcp:127.0.0.1:0")
    assert "is not a file" in said
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


# ------------------------------------------------------------------------------------- two in one place


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (["--lease-file", "{}/x", "--trace", "{}/x"], "--trace"),
        (["--lease-file", "{}/x", "--capture", "{}/./x,max=10M"], "--capture"),
        (["--trace", "{}/link", "--capture", "{}/x"], "--capture"),
    ],
)
@pytest.mark.parametrize("command", ["run", "listen", "qemu"])
def test_two_options_cannot_write_to_one_file(
    command: str, options: list[str], flag: str, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("x")
    nowhere = f"unix:{tmp_path}/none/socket"  # what would come next fails
    said = mistake(command, *(option.format(tmp_path) for option in options), "--", nowhere)
    assert said.startswith(f"{flag} ")
    assert "writes to this file already; name another" in said
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(os.name != "posix", reason="a folder in use cannot be removed")
@pytest.mark.parametrize("flag", ["--smb", "--tftp", "--lease-file"])
def test_a_path_from_a_folder_that_is_gone(flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert mistake("run", flag, ".", "--", "true") == (
        f'{flag} ".": the current folder has been removed; give an absolute path'
    )


def test_the_name_of_a_host_is_no_option() -> None:
    """``--host`` is the address of the gateway."""
    assert mistake("listen", "tcp:a..b:1").startswith('there is no address of "a..b": ')
