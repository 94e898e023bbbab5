"""``slirpy ctl``: the client of ``--control``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from slirpy.cli.ctltables import Column, print_table, print_values
from slirpy.cli.flags import Command
from slirpy.control.client import ControlClient
from slirpy.errors import ConfigError, SlirpyError

__all__ = ["Client", "command", "completing", "ctl", "show"]

EXAMPLES = """
\b
Examples:
  slirpy run --control unix:/tmp/net.ctl -- bash
  slirpy ctl /tmp/net.ctl flows
  slirpy ctl /tmp/net.ctl forwards add tcp::8080-:80
  slirpy ctl /tmp/net.ctl forwards --json
  slirpy ctl --network lan0 /tmp/qemu.ctl leases
  SLIRPY_CONTROL_TOKEN=... slirpy ctl tcp:127.0.0.1:9000 stats
"""
_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
_Rows = Sequence[Mapping[str, Any]]


class Client:
    """The client of one command line, made when it is first needed, and its output."""

    def __init__(self, place: str, token_file: str | None, network: str | None = None) -> None:
        self._place = place
        self._token_file = token_file
        self._network = network

    def ask(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """Make a request; returns the JSON of the answer."""
        return self.client().ask(method, path, body, query)

    def client(self, *, of_all: bool = False) -> ControlClient:
        """The client, with the token of this command line; ``of_all``: for what no single network has."""
        token = os.environ.get("SLIRPY_CONTROL_TOKEN")
        if self._token_file is not None:
            try:
                with open(self._token_file, encoding="ascii") as file:
                    token = file.read(4097)
            except (OSError, UnicodeDecodeError) as error:
                why = (error.strerror or "").lower() if isinstance(error, OSError) else "it is no token"
                raise ConfigError(f'--token-file "{self._token_file}": cannot be read: {why}') from None
        token = None if token is None else token.strip()
        return ControlClient(self._place, token=token, network=None if of_all else self._network)


@click.group(context_settings=_SETTINGS, epilog=EXAMPLES)
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(),
    help="The token, for TCP.  [default: the variable SLIRPY_CONTROL_TOKEN]",
)
@click.option(
    "--network",
    metavar="NAME",
    help="The network, where several are controlled: a name that `networks` lists.  [default: the first]",
)
@click.argument("place", metavar="PLACE", type=click.Path())
@click.pass_context
def ctl(context: click.Context, place: str, token_file: str | None, network: str | None) -> None:
    """Inspect and change a running network.

    PLACE is that of the network's option --control: a path, unix:PATH or tcp:ADDRESS:PORT. Each command has --json,
    for programs. The exit status is 2 if the network refuses a request, or is not there.
    """
    context.obj = Client(place, token_file, network)


def command(
    group: click.Group, name: str, *parameters: click.Parameter
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command with ``--json``, which gets the client as its first argument."""

    def decorate(function: Callable[..., None]) -> click.Command:
        def run(**given: Any) -> None:
            function(click.get_current_context().obj, **given)

        made = Command(
            name,
            callback=run,
            help=function.__doc__,
            context_settings=_SETTINGS,
            params=[
                *parameters,
                click.Option(["--json", "as_json"], is_flag=True, help="Write JSON, on one line."),
            ],
        )
        group.add_command(made)
        return made

    return decorate


def show(answer: Any, as_json: bool, table: Callable[[], None]) -> None:
    """Write an answer as JSON, or as a table."""
    if as_json:
        print(json.dumps(answer))
    else:
        table()


def completing(
    path: str, key: str, field: str
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Complete a value by what the network has."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        given = next((each.params for each in _chain(context) if "place" in each.params), None)
        if given is None or given["place"] is None:
            return []
        try:
            rows = Client(given["place"], given.get("token_file"), given.get("network")).ask("GET", path)[key]
        except SlirpyError:
            return []
        return [CompletionItem(str(row[field])) for row in rows if str(row[field]).startswith(incomplete)]

    return complete


def _chain(context: click.Context | None) -> Sequence[click.Context]:
    found = []
    while context is not None:
        found.append(context)
        context = context.parent
    return found


# ------------------------------------------------------------------------------------------------ tables

_FLOWS = (
    Column("protocol", "protocol"),
    Column("state", "state"),
    Column("guest", lambda row: _place(row["guest"])),
    Column("", lambda row: "<-" if row["inbound"] else "->"),
    Column("host", lambda row: "*" if row["host"] is None else _place(row["host"])),
    Column("in", "bytes_in", right=True),
    Column("out", "bytes_out", right=True),
    Column("age", lambda row: f"{row['age']:.1f}", right=True),
    Column("idle", lambda row: f"{row['idle']:.1f}", right=True),
)
_NETWORKS = (
    Column("network", "name"),
    Column("addresses", lambda row: ", ".join(row["networks"]) or "-"),
)
_LEASES = (
    Column("address", "address"),
    Column("MAC", "mac"),
    Column("name", lambda row: row["hostname"] or "-"),
    Column("state", "state"),
    Column("expires", lambda row: "never" if row["expires"] is None else f"{row['expires']:.0f} s", right=True),
)
_NEIGHBORS = (
    Column("address", "address"),
    Column("MAC", "mac"),
    Column("idle", lambda row: f"{row['idle']:.1f} s", right=True),
)
_FORWARDS = (
    Column("rule", "rule"),
    Column("protocol", "protocol"),
    Column("host", lambda row: row["path"] or _place(row["host"])),
    Column("guest", lambda row: row["guest"] or "first"),
    Column("port", "guest_port", right=True),
    Column("ports", "count", right=True),
)


def _place(place: Mapping[str, Any]) -> str:
    from slirpy.config.text import with_port

    return with_port(place["address"], place["port"])


@command(ctl, "networks")
def networks(client: Client, as_json: bool) -> None:
    """List the networks that are controlled at PLACE, for --network."""
    answer = client.client(of_all=True).ask("GET", "/networks")
    show(answer, as_json, lambda: print_table(_NETWORKS, answer["networks"]))


@command(ctl, "info")
def info(client: Client, as_json: bool) -> None:
    """Describe the network in a few words."""
    answer = client.ask("GET", "/v1")
    show(answer, as_json, lambda: print_values(answer))


@command(
    ctl,
    "flows",
    click.Option(["--closed"], is_flag=True, help="The last flows that ended, instead."),
    click.Option(["--protocol"], type=click.Choice(["tcp", "udp", "icmp"]), help="Only this protocol."),
    click.Option(
        ["--guest"],
        metavar="ADDRESS",
        help="Only flows of this guest.",
        shell_complete=completing("/v1/neighbors", "neighbors", "address"),
    ),
)
def flows(client: Client, as_json: bool, closed: bool, protocol: str | None, guest: str | None) -> None:
    """List the flows."""
    if closed and (protocol or guest):
        raise click.UsageError("--closed excludes --protocol and --guest")
    if closed:
        answer = client.ask("GET", "/v1/flows/closed")
    else:
        answer = client.ask("GET", "/v1/flows", protocol=protocol, guest=guest)
    show(answer, as_json, lambda: print_table(_FLOWS, answer["flows"]))


@command(ctl, "stats", click.Option(["--all", "everything"], is_flag=True, help="Also counters that are 0."))
def stats(client: Client, as_json: bool, everything: bool) -> None:
    """List the counters."""
    answer = client.ask("GET", "/v1/stats")
    counters = answer["counters"]
    shown = counters if everything else {name: count for name, count in counters.items() if count}
    show(answer, as_json, lambda: print_values(shown))


@command(ctl, "leases")
def leases(client: Client, as_json: bool) -> None:
    """List the DHCP leases."""
    answer = client.ask("GET", "/v1/leases")
    show(answer, as_json, lambda: print_table(_LEASES, answer["leases"]))


@command(ctl, "neighbors")
def neighbors(client: Client, as_json: bool) -> None:
    """List the addresses of guests that were seen."""
    answer = client.ask("GET", "/v1/neighbors")
    show(answer, as_json, lambda: print_table(_NEIGHBORS, answer["neighbors"]))


@command(
    ctl,
    "forwards",
    click.Argument(["action"], type=click.Choice(["add", "remove"]), required=False),
    click.Argument(
        ["rules"], nargs=-1, metavar="[RULE]...", shell_complete=completing("/v1/forwards", "forwards", "rule")
    ),
)
def forwards(client: Client, as_json: bool, action: str | None, rules: Sequence[str]) -> None:
    """List the forwards of host ports, or add or remove some.

    RULE is written as for --hostfwd, or as the list shows it.
    """
    if action is None:
        answer = client.ask("GET", "/v1/forwards")
        show(answer, as_json, lambda: print_table(_FORWARDS, answer["forwards"]))
        return
    if not rules:
        raise click.UsageError(f"{action} needs a RULE, such as tcp::8080-:80")
    changed = []
    for rule in rules:
        if action == "add":
            changed.append(client.ask("POST", "/v1/forwards", {"rule": rule}))
        else:
            changed.append(client.ask("DELETE", "/v1/forwards", rule=rule))
    show({"forwards": changed}, as_json, lambda: print_table(_FORWARDS, changed))
