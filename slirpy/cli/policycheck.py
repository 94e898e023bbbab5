"""``slirpy policy check``: the rule that decides about a flow, and warnings about a policy."""

from __future__ import annotations

from collections.abc import Sequence

import click

from slirpy.audit.text import plain
from slirpy.cli.flags import Command, check_plain_name
from slirpy.config.policy import RulePolicy, check_flow, lint

__all__ = ["policy"]

EXAMPLES = """
\b
Examples:
  slirpy policy check policy.toml
  slirpy policy check policy.toml tcp:example.org:443 host:8000 icmp:metadata
"""


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.argument("action", type=click.Choice(["check"]), metavar="check")
@click.argument("file", metavar="FILE")
@click.argument("flows", nargs=-1, metavar="[FLOW]...")
def policy(action: str, file: str, flows: Sequence[str]) -> None:
    """Check a policy: the rule that decides about each FLOW, and warnings.

    FILE is what --policy reads. FLOW is [tcp:|udp:|quic:|icmp:]DESTINATION[:PORT], tcp if it says nothing: an
    address, a name, or a word of rules such as host, self, private, metadata, internet. Warnings are about rules that
    never match, and about destinations that look closed but are not. The exit status is 0, or 2 if FILE or a FLOW
    cannot be read.
    """
    check_plain_name("FILE", file)
    found = RulePolicy.from_file(file)
    decisions = [each for text in flows for each in check_flow(found, text)]
    for each in decisions:
        print(plain(each.text))
    for warning in lint(found):
        print(f"warning: {plain(warning)}")
