"""``slirpy run``: a command in namespaces of its own, whose only network is slirpy."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import click

from slirpy.cli.main import fail
from slirpy.config import Config

__all__ = ["run"]

EXAMPLES = """
\b
Examples:
  slirpy run -- bash
  slirpy run curl http://10.0.2.2:8000/               a server on the host's 127.0.0.1
  slirpy run --hostfwd tcp::8080-:80 -- python3 -m http.server 80
  slirpy run --hostfwd tcp::0-:22 -- CMD              a free port, told on standard error
  slirpy run --net 192.168.7.0/24 --mtu 9000 -- ip addr
  slirpy run --dns 9.9.9.9 --dns 127.0.0.1:5353 -- getent hosts example.org
  slirpy run --capture out.pcap --stats -- curl -s http://example.org/
"""


@click.command(
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]}, epilog=EXAMPLES
)
@click.option("--net", metavar="CIDR", help="The virtual network.  [default: 10.0.2.0/24]")
@click.option("--host", metavar="ADDR", help="The gateway, alias of the host's 127.0.0.1.  [default: 10.0.2.2]")
@click.option("--mtu", type=int, metavar="N", help="Largest IP packet in bytes, 68 to 65521.  [default: 1500]")
@click.option(
    "--hostfwd",
    multiple=True,
    metavar="RULE",
    help="Lead a port of the host to CMD: [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport. An empty hostaddr"
    " is 127.0.0.1; hostport 0 takes a free port and tells it. May be repeated.",
)
@click.option(
    "--dns",
    multiple=True,
    metavar="ADDR[:PORT]",
    help="Forward DNS queries to this server.  [default: those of /etc/resolv.conf]  May be repeated.",
)
@click.option("--no-host-loopback", is_flag=True, help="Do not let the gateway lead to the host's 127.0.0.1.")
@click.option("--capture", metavar="FILE", help="Write all frames to FILE, in pcap format.")
@click.option("--stats", is_flag=True, help="Show flows and counters at the end, on standard error.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] [CMD [ARG]...]")
def run(
    net: str | None,
    host: str | None,
    mtu: int | None,
    hostfwd: Sequence[str],
    dns: Sequence[str],
    no_host_loopback: bool,
    capture: str | None,
    stats: bool,
    command: Sequence[str],
) -> None:
    """Run CMD with slirpy as its only network.

    CMD runs in new user, network, mount and process namespaces: no root is needed where the system allows user
    namespaces. It has the interface tap0 with address, default route and name server. The host's 127.0.0.1
    is the gateway, 10.0.2.2. Without CMD it is a shell. The exit status is CMD's; 127 if CMD is not found,
    126 if it cannot be executed, 2 for a mistake in the options or a system that does not allow it.
    """
    given = {"net": net, "host": host, "mtu": mtu, "hostfwd": hostfwd, "resolvers": dns or None}
    config = Config(
        host_loopback=not no_host_loopback,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    if sys.platform != "linux":
        fail("run needs the namespaces of Linux; on this system try `slirpy demo`, or use slirpy from Python")
    command = command or (os.environ.get("SHELL") or "/bin/sh",)
    from slirpy.cli.session import Session

    status, error = Session(config, command, capture=capture, stats=stats).run()
    if error:
        why = "not found" if error == errno.ENOENT else os.strerror(error).lower()
        fail(f"{command[0]}: {why}", 127 if error == errno.ENOENT else 126)
    raise SystemExit(status)
