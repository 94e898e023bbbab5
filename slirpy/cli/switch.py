"""``slirpy switch``: QEMU's emulated hub and its networks between machines, without QEMU."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from slirpy.cli.confined import SelfSandbox, sandbox_option, tell_lacking
from slirpy.cli.flags import Command
from slirpy.cli.options import option_flag
from slirpy.cli.reporting import LONGEST_WAIT, Reporting, report_options
from slirpy.cli.streams import tell

if TYPE_CHECKING:
    from slirpy import Slirp
    from slirpy.cli.capture import FrameLog
    from slirpy.drive.switched import PolledSwitch
    from slirpy.links.table import LinkOptions

__all__ = ["switch"]

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


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.option(
    "-netdev",
    "--netdev",
    "ports",
    multiple=True,
    required=True,
    metavar="PORT",
    help="A port, in QEMU's words: user, stream, dgram, socket or tap, with their options. Repeat it.",
)
@option_flag("hub")
@option_flag("guard")
@option_flag("isolate")
@option_flag("source_guard")
@option_flag("mtu")
@report_options(top=False)
@sandbox_option()
def switch(ports: Sequence[str], mtu: int, reporting: Reporting, sandbox: str, **how: bool) -> None:
    """Join ports to one network: guests of QEMU, TAP interfaces, other switches, and slirpy's own (user).

    A frame goes to where its destination was last heard, and to all ports if that is not known. At most one port
    is user: the gateway, DHCP, DNS and the way to the outside. SIGUSR1 shows flows and counters on standard error.
    Ctrl-C, SIGTERM or another signal ends it; the exit status is then 128 plus the signal's number. It is 2 for a
    mistake in the options.
    """
    from slirpy.cli.capture import FrameLog
    from slirpy.config.optionstring import carrier_of
    from slirpy.links.table import parse_netdev

    if how["hub"] and (how["isolate"] or how["source_guard"]):
        raise click.UsageError(
            "--hub excludes --isolate and --source-guard: every guest gets every frame of a hub"
        )
    users = [text for text in ports if carrier_of(text) == "user"]
    if len(users) > 1:
        raise click.UsageError("only one port may be user; a second gateway belongs on a second switch")
    if not users and (how["isolate"] or how["source_guard"]):
        raise click.UsageError("--isolate and --source-guard need a port that is user, slirpy's own")
    if len(ports) < 2:
        raise click.UsageError("a switch takes two ports or more; repeat -netdev")
    links = [parse_netdev(text) for text in ports if text not in users]
    with ExitStack() as stack:
        log = FrameLog(reporting.capture, reporting.trace, stack, several=True)
        raise SystemExit(_serve(users[0] if users else None, links, how, mtu, log, reporting, sandbox))


def _serve(
    user: str | None,
    links: Sequence[LinkOptions],
    how: Mapping[str, bool],
    mtu: int,
    log: FrameLog,
    reporting: Reporting,
    sandbox: str,
) -> int:
    """Relay frames until a signal ends it. Returns the exit status."""
    from slirpy.cli import serving
    from slirpy.drive.switched import PolledSwitch

    with ExitStack() as stack:
        signals = stack.enter_context(serving.Ending(lambda: _report(network)))
        if sys.platform != "win32":
            serving.allow_descriptors()
        serving.keep_heap()
        network: Slirp | PolledSwitch
        if user is None:
            confined = SelfSandbox(sandbox, None, stack)
            network = PolledSwitch(mtu, how["hub"])
        else:
            from slirpy import Config, Slirp

            config = Config.from_qemu(user, mtu=mtu, **how)
            confined = SelfSandbox(sandbox, config, stack)
            network = Slirp(config)
        stack.callback(network.close)
        reporting.serve(network, stack)
        for number, options in enumerate(links):
            name = options.name or f"{options.carrier}{number}"
            network.attach_link(log.wrap(options.open(), name))
        network.watch(signals.fileno(), signals.read)
        if not isinstance(network, PolledSwitch):
            serving.tell_forwards(network)
        tell_lacking(confined.enter(reporting, names=True))
        tell(f"{len(links) + (user is not None)} ports are joined")
        while signals.status is None:
            network.poll(LONGEST_WAIT)
        if reporting.stats:
            _report(network)
        return signals.status


def _report(network: Slirp | PolledSwitch) -> None:
    """Show flows, if slirpy has a port, and counters."""
    from slirpy.cli.serving import report
    from slirpy.drive.switched import PolledSwitch

    flows = [] if isinstance(network, PolledSwitch) else [*network.closed_flows(), *network.flows()]
    report(flows, network.stats)
