"""The command lines of passt and pasta: which options there are, and how they are read.

They are read by the rules of getopt_long(3), as the originals do: short options in one word, values in the same word
or the next, long options shortened as far as they stay unique. The first word that is neither an option nor a value
begins the rest of the command line.
"""

from __future__ import annotations

import getopt
from collections.abc import Sequence

from slirpy.config.text import hint
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple

__all__ = ["OPTIONS", "Given", "OptionRow", "read_arguments"]

BOTH, PASTA, PASST = "passt pasta", "pasta", "passt"


class OptionRow(NamedTuple):
    """One option."""

    long: str
    short: str = ""
    value: str = ""
    """Name of the value in ``--help``; empty: it takes none."""
    help: str = ""
    programs: str = BOTH


OPTIONS = (
    OptionRow("config-net", "", "", "Configure addresses, routes and MTU in the namespace", PASTA),
    OptionRow("interface", "i", "NAME", "Interface whose addresses and routes are used"),
    OptionRow("address", "a", "ADDR", "Address of the guest; once for each family"),
    OptionRow("netmask", "n", "MASK", "Netmask, as bits or dotted"),
    OptionRow("gateway", "g", "ADDR", "Default gateway; once for each family"),
    OptionRow("mac-addr", "M", "MAC", "MAC address of the gateway"),
    OptionRow("mtu", "m", "MTU", "MTU; 0 assigns none"),
    OptionRow("ns-ifname", "I", "NAME", "Name of the interface in the namespace", PASTA),
    OptionRow("ns-mac-addr", "", "MAC", "MAC address of the interface in the namespace", PASTA),
    OptionRow("no-copy-routes", "", "", "Only a default route, in place of the host's routes", PASTA),
    OptionRow("no-copy-addrs", "", "", "Only one address of each family, in place of all", PASTA),
    OptionRow("ipv4-only", "4", "", "No IPv6"),
    OptionRow("ipv6-only", "6", "", "No IPv4"),
    OptionRow("dns", "D", "ADDR", "DNS server; none: no servers"),
    OptionRow("dns-forward", "", "ADDR", "Answer DNS at this address; once for each family"),
    OptionRow("dns-host", "", "ADDR", "DNS server that --dns-forward asks"),
    OptionRow("search", "S", "DOMAINS", "Search domains; none: no domains"),
    OptionRow("dhcp-dns", "", "", "Announce the DNS servers by DHCP", PASTA),
    OptionRow("no-dhcp-dns", "", "", "Announce no DNS servers"),
    OptionRow("dhcp-search", "", "", "Announce the search domains by DHCP", PASTA),
    OptionRow("no-dhcp-search", "", "", "Announce no search domains"),
    OptionRow("hostname", "H", "NAME", "Host name that DHCP announces"),
    OptionRow("fqdn", "", "NAME", "Full name that DHCP announces"),
    OptionRow("map-gw", "", "", "The gateway's address leads to the host's loopback (default)"),
    OptionRow("no-map-gw", "", "", "The gateway's address leads to the gateway"),
    OptionRow("map-host-loopback", "", "ADDR", "This address leads to the host's loopback; none"),
    OptionRow("map-guest-addr", "", "ADDR", "This address leads to the host, at the guest's own address; none"),
    OptionRow("outbound", "o", "ADDR", "Source address of outgoing traffic; once for each family"),
    OptionRow("outbound-if4", "", "NAME", "Interface of outgoing traffic"),
    OptionRow("outbound-if6", "", "NAME", "Interface of outgoing traffic"),
    OptionRow("tcp-ports", "t", "SPEC", "TCP ports of the host that lead to the guest"),
    OptionRow("udp-ports", "u", "SPEC", "UDP ports of the host that lead to the guest"),
    OptionRow("tcp-ns", "T", "SPEC", "TCP ports of the namespace that lead to the host", PASTA),
    OptionRow("udp-ns", "U", "SPEC", "UDP ports of the namespace that lead to the host", PASTA),
    OptionRow(
        "host-lo-to-ns-lo", "", "", "Clients on the host's loopback reach the namespace's (default)", PASTA
    ),
    OptionRow("no-splice", "", "", "Clients on the host's loopback reach the guest's address instead", PASTA),
    OptionRow("no-tcp", "", "", "Drop TCP"),
    OptionRow("no-udp", "", "", "Drop UDP"),
    OptionRow("no-icmp", "", "", "Drop ping"),
    OptionRow("no-dhcp", "", "", "No DHCP"),
    OptionRow("no-dhcpv6", "", "", "No DHCPv6"),
    OptionRow("no-ndp", "", "", "No Neighbor Discovery"),
    OptionRow("no-ra", "", "", "No router advertisements"),
    OptionRow("netns", "", "PATH|NAME", "Namespace to join", PASTA),
    OptionRow("userns", "", "PATH", "User namespace to join", PASTA),
    OptionRow("netns-only", "", "", "Join or make no user namespace", PASTA),
    OptionRow("no-netns-quit", "", "", "Stay when the file of the namespace is deleted", PASTA),
    OptionRow("socket", "s", "PATH", "Socket to listen on", PASST),
    OptionRow("fd", "F", "FD", "Connected socket, or TAP descriptor for pasta"),
    OptionRow("vhost-user", "", "", "Share memory with the guest", PASST),
    OptionRow("repair-path", "", "PATH", "Socket of passt-repair", PASST),
    OptionRow("one-off", "1", "", "End with the first client", PASST),
    OptionRow("foreground", "f", "", "Stay in the foreground"),
    OptionRow("pid", "P", "FILE", "Write the process id to FILE"),
    OptionRow("runas", "", "USER", "User to become, if started as root: UID, UID:GID, LOGIN or LOGIN:GROUP"),
    OptionRow("pcap", "p", "FILE", "Capture frames to FILE"),
    OptionRow("quiet", "q", "", "No messages but errors"),
    OptionRow("debug", "d", "", "Flows and counters at the end"),
    OptionRow("trace", "", "", "Each frame, on standard error"),
    OptionRow("stderr", "e", "", "Messages to standard error (default)"),
    OptionRow("log-file", "l", "FILE", "Messages to FILE"),
    OptionRow("log-size", "", "BYTES", "Largest size of that file"),
    OptionRow("stats", "", "SECONDS", "Counters at intervals"),
    OptionRow("help", "h", "", "This text"),
    OptionRow("version", "", "", "The version"),
)


class Given(NamedTuple):
    """A command line, taken apart."""

    values: dict[str, list[tuple[str, str]]]
    """By the long name of each option that was given: the option as typed, and its value, for each time."""
    rest: list[str]
    """The words after the options."""

    def has(self, name: str) -> bool:
        """Report whether an option was given."""
        return name in self.values

    def last(self, name: str) -> tuple[str, str] | None:
        """The last option of a name as typed, and its value; None if it was not given."""
        return self.values[name][-1] if name in self.values else None

    def text(self, name: str) -> str | None:
        """The last value of an option; None if it was not given."""
        last = self.last(name)
        return None if last is None else last[1]


def read_arguments(program: str, arguments: Sequence[str]) -> Given:
    """Read a command line.

    Args:
        program: ``"passt"`` or ``"pasta"``.
        arguments: the words after the program's name.

    Raises:
        ConfigError: an option that does not exist or is the other program's, or a value missing or too many.
    """
    rows = [row for row in OPTIONS if program in row.programs.split()]
    short = "".join(row.short + (":" if row.value else "") for row in rows if row.short)
    long = [row.long + ("=" if row.value else "") for row in rows]
    try:
        found, rest = getopt.getopt(list(arguments), short, long)
    except getopt.GetoptError as error:
        raise ConfigError(_explain(program, error)) from None
    names = {f"-{row.short}": row.long for row in rows if row.short} | {
        f"--{row.long}": row.long for row in rows
    }
    values: dict[str, list[tuple[str, str]]] = {}
    for typed, value in found:
        values.setdefault(names[typed], []).append((typed, value))
    return Given(values, rest)


def _explain(program: str, error: getopt.GetoptError) -> str:
    typed = f"-{error.opt}" if len(error.opt) == 1 else f"--{error.opt}"
    if "not recognized" not in error.msg:
        return f"{typed}: {error.msg.partition(' ')[2].partition(' ')[2] or error.msg}; see slirpy-{program} --help"
    for row in OPTIONS:
        if typed in (f"--{row.long}", f"-{row.short}"):
            return f"{typed} is an option of {row.programs}, not of {program}"
    known = [f"--{row.long}" for row in OPTIONS if program in row.programs.split()]
    return f"there is no option {typed}; {hint(typed, known, f'see slirpy-{program} --help')}"
