"""``slirpy listen``: a network for guests that connect, such as those of QEMU."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from slirpy.cli.activation import inherited, place_of
from slirpy.cli.confined import SelfSandbox, sandbox_option, tell_lacking
from slirpy.cli.flags import Command, KeyedArgument, check_plain_name, read_again
from slirpy.cli.main import EndedBySignal
from slirpy.cli.options import CONTEXT, PLAIN_MTU, network_config, network_options, plain_values
from slirpy.cli.reporting import Reporting, report_options
from slirpy.cli.service import Reloader, Service, service_options
from slirpy.reprs import counted

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
  slirpy listen unix:/tmp/net.sock tcp:127.0.0.1:0    one network, two places
  slirpy listen --capture out.pcapng unix:/tmp/net.sock
\b
A guest:
  qemu-system-x86_64 ... -device virtio-net-pci,netdev=slirpy0 \\
    -netdev stream,id=slirpy0,addr.type=unix,addr.path=/tmp/net.sock
"""


@click.command(cls=Command, context_settings=CONTEXT, epilog=EXAMPLES)
@network_options("the first guest", several=True)
@report_options()
@sandbox_option()
@service_options()
@click.argument("addresses", cls=KeyedArgument, key="address", nargs=-1, metavar="ADDRESS...")
@click.pass_context
def listen(
    context: click.Context,
    /,
    reporting: Reporting,
    addresses: Sequence[str],
    sandbox: str,
    pid_file: str | None,
    **network: Any,
) -> None:
    """Serve guests that connect to ADDRESS: one network for all of them.

    ADDRESS is unix:PATH, tcp:HOST:PORT, where port 0 picks a free one, or fd:N, an inherited listening socket. It may
    be left out if systemd passes sockets (LISTEN_FDS); fd:NAME is one of these. QEMU's arguments for a guest are
    written to standard output, one line for each address. Anyone who can connect can use the network: keep TCP to
    127.0.0.1, or use a Unix socket in a private folder. A guest that reboots or reconnects keeps its address.

    SIGUSR1 shows flows, leases, neighbours, forwards and counters on standard error, as JSON unless that is a
    terminal. SIGHUP reads the files of --config and --policy again: policy, DNS records and forwards change at once.
    Without such files, SIGHUP ends it, as do Ctrl-C, SIGTERM and others. It then ends by that signal, which a shell
    shows as 128 plus its number. The exit status is 2 for a mistake in the options.
    """
    from slirpy.links.endpoint import parse_listen_address

    passed = inherited()
    if not addresses and not passed:
        raise click.UsageError("Missing argument 'ADDRESS...'; give unix:PATH or tcp:HOST:PORT")
    for address in addresses:
        check_plain_name("ADDRESS", address.removeprefix("unix:"))
    places = [place for address in addresses for place in place_of(address, passed)]
    endpoints = [parse_listen_address(place) for place in places or [f"fd:{number}" for number in passed]]
    with ExitStack() as stack:
        service = Service(pid_file, stack)
        config = network_config(network, reloads=service.reloads)
        raise EndedBySignal(_serve(config, endpoints, reporting, sandbox, service, context))


def qemu_arguments(endpoint: Endpoint, mtu: int) -> list[str]:
    """Arguments that connect a network card of QEMU to a listener.

    Args:
        endpoint: address of the listener.
        mtu: announced to the guest by the card, unless it is the default of 1500.
    """
    card = "virtio-net-pci,netdev=slirpy0" + (f",host_mtu={mtu}" if mtu != PLAIN_MTU else "")
    return ["-netdev", f"stream,id=slirpy0,{endpoint.qemu()}", "-device", card]


def _serve(
    config: Config,
    endpoints: Sequence[Endpoint | int],
    reporting: Reporting,
    sandbox: str,
    service: Service,
    context: click.Context,
) -> int:
    """Serve until a signal ends it. Returns the signal's number."""
    from slirpy import Config, Slirp
    from slirpy.cli import serving
    from slirpy.cli.capture import FrameLog

    net: Slirp
    reloader: Reloader
    with ExitStack() as stack:
        reload = (lambda: service.reload(reloader)) if service.reloads else None
        signals = stack.enter_context(serving.Ending(lambda: serving.dump(net), reload))
        if sys.platform != "win32":
            serving.allow_descriptors()
        serving.keep_heap()
        confined = SelfSandbox(sandbox, config, stack, reload=service.reloads)
        log = FrameLog(reporting.capture, reporting.trace, stack, several=True)
        net = stack.enter_context(Slirp(config))
        reporting.serve(net, stack)
        doors = [net.serve(endpoint, wrap=log.number) for endpoint in endpoints]
        for door in doors:
            print(shlex.join(qemu_arguments(door.address, config.mtu)), flush=True)
        serving.tell_forwards(net)
        reloader = Reloader(net, lambda: read_again(context, lambda given: Config(**plain_values(given))))
        places = ", ".join(str(door.address) for door in doors)
        service.status = lambda: (
            f"{counted(sum(door.guests for door in doors), 'guest')}; listening at {places}"
        )
        look = service.look(reporting.live(net, stack))
        tell_lacking(confined.enter(reporting, removed=service.files))
        net.watch(signals.fileno(), signals.read)
        service.ready()
        net.poll_until(lambda: signals.number is not None, look)
        service.notifier.stopping()
        reporting.at_end(net)
        return signals.number or 0
