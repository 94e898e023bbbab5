"""Options of DNS."""

from __future__ import annotations

from slirpy.config.dnsrecord import DnsRecord, parse_dns_record
from slirpy.config.kinds import Choice, Function, Number, Object, Several, Switch
from slirpy.config.resolver import Resolver, parse_resolver
from slirpy.config.rows import Group, Option

__all__ = ["DNS_CACHE_MAX", "DNS_MODES", "ROWS"]

DNS_MODES = ("auto", "forward", "system")
DNS_REFUSALS = ("nxdomain", "refused")
DNS_CACHE_MAX = 1_000_000
DNS_GRACE_MAX = 7 * 86_400
DNS_NAME_RATE_MAX = 1_000_000

ROWS: tuple[Option, ...] = (
    Option(
        name="resolvers",
        group=Group.DNS,
        kind=Several(of=Object(made=Resolver, parse=parse_resolver, form="ADDR[:PORT]"), metavar="ADDR[:PORT]"),
        default=None,
        default_text="those in /etc/resolv.conf",
        help="Forward DNS queries to this server.",
        flag="--dns",
        item="resolver",
    ),
    Option(
        name="dns_records",
        group=Group.DNS,
        kind=Several(
            of=Object(
                made=DnsRecord,
                parse=parse_dns_record,
                form="NAME=ADDRESS, NAME=OTHERNAME or NAME [TTL] TYPE VALUE",
            ),
            metavar="RECORD",
        ),
        default=(),
        help="Answer a name: NAME=ADDRESS, NAME=OTHERNAME, or 'NAME [TTL] TYPE VALUE', where TYPE is A, AAAA, CNAME,"
        " TXT, PTR, MX, SRV, NS, CAA or HTTPS. *.NAME stands for every name below.",
        flag="--dns-record",
        item="DNS record",
    ),
    Option(
        name="dns_cache",
        group=Group.DNS,
        kind=Number(lowest=0, highest=DNS_CACHE_MAX, unit="answers", metavar="N"),
        default=1000,
        help="Number of DNS answers to cache; 0 turns the cache off.",
        flag="--dns-cache",
    ),
    Option(
        name="dns_mode",
        group=Group.DNS,
        kind=Choice(words=DNS_MODES),
        default="auto",
        help="How to resolve names: forward asks DNS servers; system asks the host's resolver library for addresses;"
        " auto does so only where no server is known.",
        flag="--dns-mode",
    ),
    Option(
        name="dns_mix_case",
        group=Group.DNS,
        kind=Switch(),
        default=False,
        help="Send names in a random mix of upper and lower case, which makes answers harder to forge.",
        more="An answer that does not repeat the mix is ignored.",
        flag="--dns-mix-case",
    ),
    Option(
        name="no_dns",
        group=Group.DNS,
        kind=Switch(),
        default=False,
        help="Answer no DNS queries: nothing listens at the DNS server's address.",
        flag="--no-dns",
    ),
    Option(
        name="dns_refused",
        group=Group.DNS,
        kind=Choice(words=DNS_REFUSALS),
        default="nxdomain",
        help="Answer for a name that no rule allows, under a policy with names: it does not exist, or a refusal.",
        flag="--dns-refused",
    ),
    Option(
        name="dns_grace",
        group=Group.DNS,
        kind=Number(lowest=0, highest=DNS_GRACE_MAX, unit="seconds", metavar="SECONDS"),
        default=3600,
        help="Time that an address still stands for a name in rules after the DNS answer has expired.",
        more="A new connection goes to what the name resolves to then.",
        flag="--dns-grace",
    ),
    Option(
        name="dns_name_rate",
        group=Group.DNS,
        kind=Number(lowest=0, highest=DNS_NAME_RATE_MAX, unit="names a minute", metavar="N"),
        default=120,
        help="Under a policy with names: new names a minute below one domain that a guest may ask for outside;"
        " 0: no limit.",
        more="More of them look like a tunnel.",
        flag="--dns-name-rate",
    ),
    Option(
        name="dns_answer",
        group=Group.DNS,
        kind=Function(takes="a DnsQuestion"),
        default=None,
        help="Called for each question before anything else is looked up.",
        flag=None,
    ),
)
