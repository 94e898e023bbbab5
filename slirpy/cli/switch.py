"""``slirpy switch``: QEMU's emulated hub and its networks between machines, without QEMU."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from random import SystemRandom
from typing import TYPE_CHECKING

import click

from slirpy.cli.options import hub_option, report_options

if TYPE_CHECKING:
    from slirpy.assembly import Stack
    from slirpy.cli.capture import FrameLog
    from slirpy.core.switchnet import SwitchNetwork
    from slirpy.host.poller import SelectorPoller
    from slirpy.links.table import LinkOptions

__all__ = ["switch"]

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
_SECOND = 1_000_000_000
_LONGEST = 60.0  # seconds of one wait

EXAMPLES = """
\b
Examples:
  slirpy switch -netdev user,hostfwd=tcp::2222-:22 \\
                -netdev stream,server=on,addr.type=unix,addr.path=/tmp/one.sock \\
                -netdev stream,server=on,addr.type=unix,addr.path=/tmp/two.sock
  slirpy switch -netdev tap,ifname=tap0 -netdev socket,listen=127.0.0.1:1234
\b
Two switches joined, each with its guests:
  slirpy switch -netdev ... -netdev stream,server=on,addr.type=inet,addr.host=192.0.2.1,addr.port=4000
  slirpy switch -netdev ... -netdev stream,addr.type=inet,addr.host=192.0.2.1,addr.port=4000,reconnect=1
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.option(
    "-netdev",
    "--netdev",
    "ports",
    multiple=True,
    required=True,
    metavar="PORT",
    help="A port, in QEMU's words: user, stream, dgram, socket or tap, with their options. Repeat it.",
)
@hub_option()
@click.option(
    "--mtu", type=click.IntRange(68, 65521), default=1500, show_default=True, metavar="N",
    help="Largest IP packet in bytes that guests take.",
)  # fmt: skip
@report_options()
def switch(
    ports: Sequence[str], hub: bool, mtu: int, capture: str | None, trace: str | None, stats: bool
) -> None:
    """Join ports to one network: guests of QEMU, TAP interfaces, other switches, and slirpy's own (user).

    A frame goes to where its destination was last heard, and to all ports if that is not known. At most one port
    is user: the gateway, DHCP, DNS and the way to the outside. It ends with Ctrl-C, or SIGTERM; the exit status
    is 128 and the signal's number, or 2 for a mistake in the options.
    """
    from slirpy.cli.capture import FrameLog
    from slirpy.links.table import parse_netdev

    users = [text for text in ports if text.partition(",")[0] == "user"]
    if len(users) > 1:
        raise click.UsageError("only one port may be user; a second gateway belongs on a second switch")
    if len(ports) < 2:
        raise click.UsageError("a switch takes two ports or more; repeat -netdev")
    links = [parse_netdev(text) for text in ports if text not in users]
    with ExitStack() as stack:
        log = FrameLog(capture, trace, stack, several=True)
        raise SystemExit(_serve(users[0] if users else None, links, hub, mtu, log, stats))


def _serve(
    user: str | None, links: Sequence[LinkOptions], hub: bool, mtu: int, log: FrameLog, stats: bool
) -> int:
    """Carry frames until a signal ends it; returns the exit status."""
    from slirpy.cli import serving
    from slirpy.cli.report import print_report
    from slirpy.host.poller import SelectorPoller
    from slirpy.interfaces import READ

    with ExitStack() as stack:
        signals = stack.enter_context(
            serving.CaughtSignals(getattr(signal, name) for name in ENDING if hasattr(signal, name))
        )
        if sys.platform != "win32":
            serving.allow_descriptors()
        serving.keep_heap()
        poller = SelectorPoller()
        stack.callback(poller.close)
        network = _network(user, poller, mtu, hub, stack)
        for number, options in enumerate(links):
            name = options.name or f"{options.carrier}{number}"
            network.attach(log.wrap(options.open(), name), poller)
        ended: list[int] = []
        poller.register(signals.fileno(), READ, lambda _: ended.extend(signals.take()))
        stack.callback(poller.unregister, signals.fileno())
        serving.tell(f"{len(links) + (user is not None)} ports are joined")
        clock = time.monotonic_ns
        while not ended:
            deadline = network.deadline()
            wait = _LONGEST if deadline is None else max(deadline - clock(), 0) / _SECOND
            poller.poll(min(wait, _LONGEST), before=lambda: network.tick(clock()))
            network.flush(clock())
        if stats:
            print_report(network.flows(), network.stats, sys.stderr)
        return 128 + ended[0]


def _network(
    user: str | None, poller: SelectorPoller, mtu: int, hub: bool, stack: ExitStack
) -> Stack | SwitchNetwork:
    """What the ports are attached to: a whole stack, or a switch alone. It ends with ``stack``."""
    now = time.monotonic_ns()
    if user is None:
        from slirpy.core.switchnet import SwitchNetwork

        alone = SwitchNetwork(mtu=mtu, hub=hub, now=now)
        stack.callback(alone.close)
        return alone
    from slirpy.assembly import Stack
    from slirpy.cli.serving import tell
    from slirpy.config import Config
    from slirpy.host.sockets import SocketHost

    config = Config.from_qemu(user, mtu=mtu, hub=hub)
    host = SocketHost(poller)
    stack.callback(host.close)
    made = Stack(config, host, random=SystemRandom(), now=now)

    def detach() -> None:
        for port in list(made.ports):
            made.detach(port)

    stack.callback(detach)
    stack.callback(made.close)  # before that: it sends
    for forward in made.forwards.active():
        tell(f"hostfwd {forward}")
    return made
