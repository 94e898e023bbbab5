"""``slirpy run``: a command in new namespaces, with slirpy as its only network."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from slirpy.cli.confined import sandbox_option
from slirpy.cli.flags import Command, flag
from slirpy.cli.main import fail
from slirpy.cli.options import CONTEXT, network_config, network_options
from slirpy.cli.reporting import Reporting, report_options
from slirpy.config import Group

__all__ = ["run"]

EXAMPLES = """
\b
Examples:
  slirpy run -- bash
  slirpy run curl http://10.0.2.2:8000/     a server on the host's 127.0.0.1
  slirpy run --hostfwd tcp::8080-:80 -- python3 -m http.server 80
  slirpy run --hostfwd tcp::0-:22 -- CMD    a free port, which is reported
  slirpy run --net 192.168.7.0/24 --mtu 9000 -- ip addr
  slirpy run --dns 9.9.9.9 --dns 127.0.0.1:5353 -- getent hosts example.org
  slirpy run --capture out.pcap --stats -- curl -s http://example.org/
  slirpy run --capture - -- bash | wireshark -k -i -
  slirpy run --trace - -- curl -s http://example.org/
"""


@click.command(cls=Command, context_settings=CONTEXT, epilog=EXAMPLES)
@network_options("CMD")
@report_options()
@sandbox_option()
@flag(
    "--hostfwd-loopback/--no-hostfwd-loopback",
    group=Group.SERVICES,
    default=None,
    help="Let --hostfwd reach services that listen on CMD's own loopback only; they see the loopback as the client."
    "  [default: yes, but no with --restrict, --allow, --deny or --policy]",
)
@flag(
    "--hide",
    group=Group.BORDER,
    multiple=True,
    metavar="PATH",
    help="Show CMD an empty folder or file in place of PATH.  May be repeated.",
)
@flag(
    "--no-hide/--auto-hide",
    group=Group.BORDER,
    default=None,
    help="Hide nothing but what --hide names. By default, with --restrict, --allow, --deny or --policy, CMD sees no"
    " sockets of the host's programs: /run, /tmp/.X11-unix, those of tmux, D-Bus, SSH agents and so on.",
)
@flag(
    "--keep",
    group=Group.BORDER,
    multiple=True,
    metavar="PATH",
    help="Leave PATH, which would be hidden, as it is.  May be repeated.",
)
@flag(
    "--keep-fd",
    group=Group.BORDER,
    multiple=True,
    type=click.IntRange(3),
    metavar="N",
    help="Let CMD inherit descriptor N. All others are closed, except 0, 1 and 2.  May be repeated.",
)
@flag(
    "--keep-env",
    group=Group.BORDER,
    multiple=True,
    metavar="NAME",
    help="Leave CMD the environment variable NAME, which would be hidden; * leaves it all that --profile agent hides."
    "  May be repeated.",
)
@flag(
    "--uid",
    group=Group.BORDER,
    metavar="USER[:GROUP]",
    help="Run CMD as this user, by number. As root this is the border that counts: without it, CMD owns root's files."
    " Other users see themselves as this user, and stay themselves.",
)
@flag(
    "--privileged",
    group=Group.BORDER,
    is_flag=True,
    help="Leave CMD all capabilities in its namespaces, for tcpdump, tc, nft or apt. It can then undo what else is"
    " described here.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] [CMD [ARG]...]")
def run(
    reporting: Reporting,
    command: Sequence[str],
    sandbox: str,
    hostfwd_loopback: bool | None,
    hide: Sequence[str],
    no_hide: bool | None,
    keep: Sequence[str],
    keep_fd: Sequence[int],
    keep_env: Sequence[str],
    uid: str | None,
    privileged: bool,
    **network: Any,
) -> None:
    """Run CMD with slirpy as its only network.

    CMD runs in new user, network, mount and process namespaces: no root is needed where the system allows user
    namespaces, without capabilities. CMD gets the interface tap0 with address, default route and name server. The
    host's 127.0.0.1 is reachable at the gateway, 10.0.2.2. The default CMD is a shell. The exit status is CMD's; 127
    if CMD is not found, 126 if it cannot be executed, 2 for a mistake in the options or a system that does not allow
    it.
    """
    config = network_config(network)
    if sys.platform != "linux":
        fail("run needs the namespaces of Linux; on this system try `slirpy demo`, or use slirpy from Python")
    command = command or (os.environ.get("SHELL") or "/bin/sh",)
    from slirpy.cli.border import Border, check_descriptors, check_variables, parse_user, root_notice
    from slirpy.cli.policy import AGENT
    from slirpy.cli.session import Session
    from slirpy.cli.streams import tell

    has_policy = config.restrict or config.policy is not None
    if hostfwd_loopback is None:
        hostfwd_loopback = not has_policy
    check_descriptors(keep_fd)
    check_variables(keep_env)
    border = Border(
        privileged=privileged,
        closed=has_policy and not no_hide,
        hide=hide,
        keep=keep,
        descriptors=keep_fd,
        user=None if uid is None else parse_user(uid),
        strict=sandbox == "on",
        clean=AGENT in network["rules"] and "*" not in keep_env,
        variables_kept=keep_env,
    )
    if privileged and uid is not None:
        fail("--uid and --privileged exclude each other: only user 0 has capabilities")
    if has_policy and sys.stderr.isatty() and (notice := root_notice(border)):
        tell(notice)
    session = Session(config, command, reporting, loopback=hostfwd_loopback)
    session.border, session.sandbox = border, sandbox
    status, error = session.run()
    if error:
        why = "not found" if error == errno.ENOENT else os.strerror(error).lower()
        fail(f"{command[0] or repr('')}: {why}", 127 if error == errno.ENOENT else 126)
    raise SystemExit(status)
