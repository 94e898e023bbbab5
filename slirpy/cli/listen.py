"""``slirpy listen``: a network for guests that connect, such as those of QEMU."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from slirpy.cli.confined import SelfSandbox, sandbox_option, tell_lacking
from slirpy.cli.flags import Command, check_plain_name
from slirpy.cli.options import CONTEXT, PLAIN_MTU, network_config, network_options
from slirpy.cli.reporting import Reporting, report_options

if TYPE_CHECKING:
    from slirpy import Config
    from slirpy.links.endpoint import Endpoint

__all__ = ["listen", "qemu_arguments"]

EXAMPLES = """
\b
Examples:
  slirpy listen unix:/tmp/net.sock
  slirpy listen tcp:127.0.0.1:1234
  slirpy listen --hostfwd tcp::2222-:22 --mtu 65520 unix:/tmp/net.sock
  slirpy listen unix:/tmp/net.sock tcp:127.0.0.1:0      two entrances to one network; reports the port
  slirpy listen --capture out.pcapng unix:/tmp/net.sock    frames of all guests, each an interface
\b
  qemu-system-x86_64 ... -netdev stream,id=slirpy0,addr.type=unix,addr.path=/tmp/net.sock \\
    -device virtio-net-pci,netdev=slirpy0
"""


@click.command(cls=Command, context_settings=CONTEXT, epilog=EXAMPLES)
@network_options("the first guest", several=True)
@report_options()
@sandbox_option()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
def listen(
    reporting: Reporting,
    addresses: Sequence[str],
    sandbox: str,
    **network: Any,
) -> None:
    """Serve guests that connect to ADDRESS: one network for all of them.

    ADDRESS is unix:PATH, tcp:HOST:PORT, where port 0 picks a free one, or fd:N, an inherited listening socket.
    QEMU's arguments for a guest are written to standard output, one line for each address. Anyone who can connect
    can use the network: keep TCP to 127.0.0.1, or use a Unix socket in a private folder. A guest that reboots or
    reconnects keeps its address. SIGUSR1 shows flows and counters on standard error. Ctrl-C, SIGTERM or another
    signal ends it; the exit status is then 128 plus the signal's number. It is 2 for a mistake in the options.
    """
    from slirpy.links.endpoint import parse_listen_address

    for address in addresses:
        check_plain_name("ADDRESS", address.removeprefix("unix:"))
    config = network_config(network)
    endpoints = [parse_listen_address(address) for address in addresses]
    raise SystemExit(_serve(config, endpoints, reporting, sandbox))


def qemu_arguments(endpoint: Endpoint, mtu: int) -> list[str]:
    """Arguments that connect a network card of QEMU to a listener.

    Args:
        endpoint: address of the listener.
        mtu: announced to the guest by the card, unless it is the default of 1500.
    """
    card = "virtio-net-pci,netdev=slirpy0" + (f",host_mtu={mtu}" if mtu != PLAIN_MTU else "")
    return ["-netdev", f"stream,id=slirpy0,{endpoint.qemu()}", "-device", card]


def _serve(config: Config, endpoints: Sequence[Endpoint | int], reporting: Reporting, sandbox: str) -> int:
    """Serve until a signal ends it. Returns the exit status."""
    from slirpy import Slirp
    from slirpy.cli import serving
    from slirpy.cli.capture import FrameLog

    with ExitStack() as stack:
        signals = stack.enter_context(
            serving.Ending(lambda: serving.report([*net.closed_flows(), *net.flows()], net.stats))
        )
        if sys.platform != "win32":
            serving.allow_descriptors()
        serving.keep_heap()
        confined = SelfSandbox(sandbox, config, stack)
        log = FrameLog(reporting.capture, reporting.trace, stack, several=True)
        net = stack.enter_context(Slirp(config))
        reporting.serve(net, stack)
        net.watch(signals.fileno(), signals.read)
        for endpoint in endpoints:
            door = net.serve(endpoint, wrap=log.number)
            print(shlex.join(qemu_arguments(door.address, config.mtu)), flush=True)
        serving.tell_forwards(net)
        look = reporting.live(net, stack)
        tell_lacking(confined.enter(reporting))
        while signals.status is None:
            net.poll(look())
        reporting.at_end(net)
        return signals.status
