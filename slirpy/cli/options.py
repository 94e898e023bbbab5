"""Options that several commands share: the virtual network, and what is told about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from slirpy.cli.dhcp import dhcp_options, dhcp_values
from slirpy.cli.dns import dns_options, dns_values
from slirpy.cli.flags import check_plain_name, names_flags
from slirpy.cli.guestfwd import guestfwd_options, guestfwd_values
from slirpy.cli.policy import RefusedFlows, policy_of, policy_options
from slirpy.config import CONGESTION, MTU_MAX, MTU_MIN, Config

__all__ = ["CONTEXT", "hub_option", "network_config", "network_options"]

_F = TypeVar("_F", bound=Callable[..., object])

CONTEXT: dict[str, Any] = {"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]}
"""Settings of a command that takes another command line: the options after its first word are not ours."""


def network_options(to: str, mtu: str = "[default: 1500]") -> Callable[[_F], _F]:
    """The options of the virtual network, for :func:`network_config`.

    Args:
        to: who is the guest, for the help text.
        mtu: the end of the help text of ``--mtu``.
    """
    options = (
        click.option("--net", metavar="CIDR", help="The virtual network.  [default: 10.0.2.0/24]"),
        click.option(
            "--host", metavar="ADDR", help="The gateway, alias of the host's 127.0.0.1.  [default: 10.0.2.2]"
        ),
        click.option("--dns-address", metavar="ADDR", help="The virtual DNS server.  [default: 10.0.2.3]"),
        click.option(
            "--mtu",
            type=int,
            metavar="N",
            help=f"Largest IP packet in bytes, {MTU_MIN} to {MTU_MAX}.  {mtu}",
        ),
        click.option(
            "--congestion",
            type=click.Choice(CONGESTION),
            help="Congestion control of TCP towards the guest.  [default: cubic]",
        ),
        click.option(
            "--tcp-keepalive",
            type=int,
            metavar="SECONDS",
            help="Ask after so long a silence whether the guest still has a TCP connection.  [default: never]",
        ),
        click.option(
            "--hostfwd",
            multiple=True,
            metavar="RULE",
            help=f"Lead a port of the host to {to}: [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport. An empty"
            " hostaddr is 127.0.0.1; hostport 0 takes a free port and tells it. May be repeated.",
        ),
        *guestfwd_options(),
        *dns_options(),
        click.option(
            "--tftp", metavar="DIR", help="Let guests read the files of DIR by TFTP from the gateway."
        ),
        click.option("--tftp-write", is_flag=True, help="Let them write there too."),
        click.option(
            "--tftp-ignore-case",
            is_flag=True,
            help="Find files for names in another case, as Windows boot asks.",
        ),
        click.option(
            "--tftp-single-port",
            is_flag=True,
            help="Answer TFTP from port 69 only, as QEMU does: for guests behind a firewall or NAT of their own.",
        ),
        *dhcp_options(),
        click.option(
            "--no-host-loopback", is_flag=True, help="Do not let the gateway lead to the host's 127.0.0.1."
        ),
        *policy_options(),
        click.option(
            "--restrict",
            is_flag=True,
            help="Shut the guest in: it reaches what is inside the network, and answers what --hostfwd lets in.",
        ),
        click.option(
            "--outbound",
            metavar="ADDR|IFNAME",
            help="Source address or interface of what goes outward; both with a comma.  [default: the system's]",
        ),
    )
    add = _all_of(*options)
    return lambda function: add(names_flags(function))


def hub_option() -> Callable[[_F], _F]:
    """``--hub``."""
    return click.option(
        "--hub", is_flag=True, help="Let every guest hear every frame, as QEMU's hub does, and learn nothing."
    )


def _all_of(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed(options):  # click lists them from the last that was added
            function = option(function)
        return function

    return decorate


def network_config(given: Mapping[str, Any], **defaults: Any) -> Config:
    """The network that the values of :func:`network_options` describe.

    Args:
        given: value of each option by its name.
        defaults: arguments of :class:`Config` for what was not given.

    Raises:
        ConfigError, ForwardError: a value that cannot be used.
    """
    for option in ("lease_file", "tftp", "smb"):
        if given[option] is not None:
            check_plain_name("--" + option.replace("_", "-"), given[option])
    values = {
        name: given[name]
        for name in ("net", "host", "mtu", "congestion", "tcp_keepalive", "hostfwd", "restrict", "outbound")
    }
    values |= {name: given[name] for name in ("tftp", "tftp_write", "tftp_ignore_case", "tftp_single_port")}
    values |= dhcp_values(given)
    values |= guestfwd_values(given)
    values |= dns_values(given)
    values["dns"] = given["dns_address"]
    values["policy"] = policy_of(given["rules"])
    if values["policy"] or given["restrict"] or given["no_host_loopback"]:
        values["on_refused"] = _tell_refused()
    values = defaults | {name: value for name, value in values.items() if value is not None}
    return Config(host_loopback=not given["no_host_loopback"], **values)


def _tell_refused() -> RefusedFlows:
    """Lines on standard error, until the command ends."""
    from slirpy.cli.streams import tell

    refused = RefusedFlows(lambda line: tell(line, patience=0))  # the network does not wait
    context = click.get_current_context(silent=True)
    if context is not None:
        context.call_on_close(refused.close)
    return refused
