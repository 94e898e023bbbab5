"""Commands of ``slirpy ctl`` about rules, records, links and events."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from slirpy.audit.text import plain
from slirpy.cli.ctl import Client, command, completing, ctl, show
from slirpy.cli.ctltables import Column, print_table, print_values
from slirpy.config.policy import RulePolicy
from slirpy.config.text import with_port

__all__ = ["ctl"]

_GUEST_FORWARDS = (
    Column("rule", "rule"),
    Column("server", lambda row: row["server"] or "*"),
    Column("port", lambda row: row["port"] or "*", right=True),
    Column("target", "target"),
)
_RECORDS = (
    Column("name", "name"),
    Column("ttl", "ttl", right=True),
    Column("type", "type"),
    Column("value", "value"),
)
_LINKS = (
    Column("link", "number", right=True),
    Column("kind", "kind"),
    Column("MTU", "mtu", right=True),
    Column(
        "offloads", lambda row: "checksums" * row["checksum_offload"] + ", TCP" * row["segmentation_offload"]
    ),
    Column("blocked", lambda row: "yes" if row["blocked"] else "no"),
)
_QUESTIONS = (
    Column("number", "number", right=True),
    Column("guest", lambda row: with_port(row["guest"]["address"], row["guest"]["port"])),
    Column("flow", "flow"),
    Column("names", lambda row: ", ".join(row["names"][:3])),
    Column("rule", lambda row: row["rule"] or ""),
    Column("seconds left", lambda row: f"{row['left']:.0f}", right=True),
)
_ACTION = click.Argument(["action"], type=click.Choice(["add", "remove"]), required=False)


@command(
    ctl,
    "guest-forwards",
    _ACTION,
    click.Argument(
        ["rules"],
        nargs=-1,
        metavar="[RULE]...",
        shell_complete=completing("/v1/guest-forwards", "guest_forwards", "rule"),
    ),
)
def guest_forwards(client: Client, as_json: bool, action: str | None, rules: Sequence[str]) -> None:
    """List the addresses at which programs of the host answer guests, or add or remove some.

    RULE is written as for --guestfwd, or as the list shows it.
    """
    if action is None:
        rows = client.ask("GET", "/v1/guest-forwards")["guest_forwards"]
    elif not rules:
        raise click.UsageError(f"{action} needs a RULE, such as tcp:10.0.2.100:80-tcp:127.0.0.1:8080")
    elif action == "add":
        rows = [client.ask("POST", "/v1/guest-forwards", {"rule": rule}) for rule in rules]
    else:
        rows = [client.ask("DELETE", "/v1/guest-forwards", rule=rule) for rule in rules]
    show({"guest_forwards": rows}, as_json, lambda: print_table(_GUEST_FORWARDS, rows))


@command(
    ctl,
    "dns",
    _ACTION,
    click.Argument(
        ["records"],
        nargs=-1,
        metavar="[RECORD]...",
        shell_complete=completing("/v1/dns/records", "records", "record"),
    ),
)
def dns(client: Client, as_json: bool, action: str | None, records: Sequence[str]) -> None:
    """List the DNS records, or add or remove some.

    RECORD is written as for --dns-record; remove takes a name, too.
    """
    answer = client.ask("GET", "/v1/dns/records") if action is None else {"records": []}
    if action is not None and not records:
        raise click.UsageError(f"{action} needs a RECORD, such as web.test=192.0.2.7")
    for record in records:
        if action == "add":
            answer = client.ask("POST", "/v1/dns/records", {"record": record})
        else:
            answer = client.ask("DELETE", "/v1/dns/records", record=record)
    show(answer, as_json, lambda: print_table(_RECORDS, answer["records"]))


@command(
    ctl,
    "policy",
    click.Argument(["action"], type=click.Choice(["check", "replace", "remove"]), required=False),
    click.Argument(["words"], nargs=-1, metavar="[FLOW]...|[FILE]"),
)
def policy(client: Client, as_json: bool, action: str | None, words: Sequence[str]) -> None:
    """Show the policy; check FLOWs; replace it by that of a FILE, as --policy reads it; or remove it.

    Flows that are open and that a new policy does not allow are reset.
    """
    if action == "check":
        checked = client.ask("POST", "/v1/policy/check", {"flows": list(words)})
        lines = [each["text"] for each in checked["flows"]] + [
            f"warning: {each}" for each in checked["warnings"]
        ]
        show(checked, as_json, lambda: print("\n".join(map(plain, lines)), end="\n" * bool(lines)))
        return
    if action == "replace":
        if len(words) != 1:
            raise click.UsageError("replace needs one FILE")
        new = RulePolicy.from_file(words[0])
        rules = {"rules": [str(rule) for rule in new.rules], "default": new.default.value}
        answer = client.ask("PUT", "/v1/policy", rules)
    elif words:
        raise click.UsageError(f"there is nothing to do with {words[0]}")
    else:
        answer = client.ask("GET" if action is None else "DELETE", "/v1/policy")
    show(answer, as_json, lambda: _print_policy(answer))


def _print_policy(answer: dict[str, object]) -> None:
    rules = answer["rules"]
    assert isinstance(rules, list)
    print_values({"kind": answer["kind"], "default": answer["default"]})
    for rule in rules:
        print(plain(rule))


@command(
    ctl,
    "questions",
    click.Argument(["number"], type=int, required=False),
    click.Argument(["answer"], type=click.Choice(["yes", "no", "always", "never"]), required=False),
)
def questions(client: Client, as_json: bool, number: int | None, answer: str | None) -> None:
    """List the flows that wait for an answer, since the policy says ask, or answer one by its NUMBER.

    The answers always and never hold for the destination from now on.
    """
    if number is not None and answer is None:
        raise click.UsageError(f"{number} needs an answer: yes, no, always or never")
    if number is None:
        found = client.ask("GET", "/v1/questions")
    else:
        found = client.ask("POST", f"/v1/questions/{number}", {"answer": answer})
    show(found, as_json, lambda: print_table(_QUESTIONS, found["questions"]))


@command(ctl, "links")
def links(client: Client, as_json: bool) -> None:
    """List the links to guests."""
    answer = client.ask("GET", "/v1/links")
    show(answer, as_json, lambda: print_table(_LINKS, answer["links"]))


@command(
    ctl,
    "events",
    click.Option(["--kinds"], metavar="KIND,...", help="Only these kinds, such as open,end,refused."),
)
def events(client: Client, as_json: bool, kinds: str | None) -> None:
    """Show events as they happen, until Ctrl-C: flows, names, refusals, leases, links."""
    for event in client.client().events({"kinds": kinds}):
        if as_json:
            print(json.dumps(event), flush=True)
            continue
        said = {key: value for key, value in event.items() if key not in _HEAD and value not in (None, [], "")}
        words = " ".join(f"{key}={value}" for key, value in said.items())
        print(plain(f"{event.get('time', '')} {event['event']} {words}"), flush=True)


_HEAD = frozenset(("v", "run", "seq", "time", "monotonic", "event"))
