"""Options of the DNS server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from slirpy.config import DNS_CACHE_MAX, DNS_MODES

__all__ = ["dns_options", "dns_values"]

Option = Callable[[Any], Any]


def dns_options() -> tuple[Option, ...]:
    """The options, for :func:`dns_values`."""
    return (
        click.option(
            "--dns",
            multiple=True,
            metavar="ADDR[:PORT]",
            help="Forward DNS queries to this server.  [default: those of /etc/resolv.conf]  May be repeated.",
        ),
        click.option(
            "--dns-record",
            "dns_records",
            multiple=True,
            metavar="RECORD",
            help="A name for guests: NAME=ADDRESS, NAME=OTHERNAME, or 'NAME [TTL] TYPE VALUE' with a type of A, AAAA,"
            " CNAME, TXT, PTR, MX, SRV, NS, CAA or HTTPS. *.NAME is every name below. May be repeated.",
        ),
        click.option(
            "--dns-cache",
            type=int,
            metavar="N",
            help=f"Keep so many DNS answers, 0 to {DNS_CACHE_MAX}; 0 keeps none.  [default: 1000]",
        ),
        click.option(
            "--dns-mode",
            metavar="MODE",
            help=f"Who is asked for names, {', '.join(DNS_MODES)}: forward asks DNS servers; system asks the host's"
            " own resolver library for addresses; auto does so where no server is known.  [default: auto]",
        ),
        click.option(
            "--dns-mix-case",
            is_flag=True,
            help="Ask for names in a random mix of upper and lower case, so that answers are harder to forge.",
        ),
    )


def dns_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of :class:`~slirpy.config.Config` from the values of the options."""
    values = {name: given[name] for name in ("dns_records", "dns_cache", "dns_mode", "dns_mix_case")}
    values["resolvers"] = given["dns"] or None
    return values
