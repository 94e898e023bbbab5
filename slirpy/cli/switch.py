"""``slirpy switch``: QEMU's emulated hub and its networks between machines, without QEMU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from slirpy.cli.confined import SelfSandbox, sandbox_option, tell_lacking
from slirpy.cli.flags import Command, read_again
from slirpy.cli.main import EndedBySignal
from slirpy.cli.options import option_flag
from slirpy.cli.reporting import LONGEST_WAIT, Reporting, report_options
from slirpy.cli.service import Reloader, Service, service_options
from slirpy.cli.streams import tell

if TYPE_CHECKING:
    from slirpy import Config, Slirp
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
  slirpy switch -netdev ... -netdev socket,listen=192.0.2.1:4000
  slirpy switch -netdev ... -netdev socket,connect=192.0.2.1:4000
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
@service_options()
@click.pass_context
def switch(
    context: click.Context,
    /,
    ports: Sequence[str],
    mtu: int,
    reporting: Reporting,
    sandbox: str,
    pid_file: str | None,
    **how: bool,
) -> None:
    """Join ports to one network: guests of QEMU, TAP interfaces, other switches, and slirpy's own (user).

    A frame goes to where its destination was last heard, and to all ports if that is not known. At most one port
    is user: the gateway, DHCP, DNS and the way to the outside.

    SIGUSR1 shows flows and counters on standard error, as JSON unless that is a terminal. SIGHUP reads the file of
    --config again: forwards change at once. Without that file SIGHUP ends it, as do Ctrl-C, SIGTERM and others. It
    then ends by that signal, which a shell shows as 128 plus its number. The exit status is 2 for a mistake in the
    options.
    """
    from slirpy.cli.capture import FrameLog
    from slirpy.links.table import parse_netdev

    if how["hub"] and (how["isolate"] or how["source_guard"]):
        raise click.UsageError(
            "--hub excludes --isolate and --source-guard: every guest gets every frame of a hub"
        )
    users = _users(ports)
    if len(users) > 1:
        raise click.UsageError("only one port may be user; a second gateway belongs on a second switch")
    if not users and (how["isolate"] or how["source_guard"]):
        raise click.UsageError("--isolate and --source-guard need a port that is user, slirpy's own")
    if len(ports) < 2:
        raise click.UsageError("a switch takes two ports or more; repeat -netdev")
    links = [parse_netdev(text) for text in ports if text not in users]
    with ExitStack() as stack:
        service = Service(pid_file, stack)
        log = FrameLog(reporting.capture, reporting.trace, stack, several=True)
        network = _Network(users[0] if users else None, mtu, how, context)
        raise EndedBySignal(_serve(network, links, log, reporting, sandbox, service))


def _users(ports: Sequence[str]) -> list[str]:
    """The ports that are user."""
    from slirpy.config.optionstring import carrier_of

    return [text for text in ports if carrier_of(text) == "user"]


@dataclass
class _Network:
    """The network that is joined: the port that is user, if there is one, and options of the switch."""

    user: str | None
    mtu: int
    how: Mapping[str, bool]
    context: click.Context

    def config(self) -> Config | None:
        """The configuration of the port that is user."""
        from slirpy import Config

        return None if self.user is None else Config.from_qemu(self.user, mtu=self.mtu, **self.how)

    def again(self) -> Config:
        """Read the configuration again."""
        return read_again(self.context, self._from)

    def _from(self, found: Mapping[str, Any]) -> Config:
        users = _users(found["ports"])
        if len(users) != 1:
            raise click.UsageError("there is not one port that is user, as before")
        how = {name: found[name] for name in self.how}
        again = _Network(users[0], found["mtu"], how, self.context).config()
        assert again is not None
        return again


def _serve(
    ports: _Network,
    links: Sequence[LinkOptions],
    log: FrameLog,
    reporting: Reporting,
    sandbox: str,
    service: Service,
) -> int:
    """Relay frames until a signal ends it. Returns the signal's number."""
    from slirpy.cli import serving
    from slirpy.drive.switched import PolledSwitch

    with ExitStack() as stack:
        reload = (lambda: service.reload(reloader)) if service.reloads else None
        signals = stack.enter_context(serving.Ending(lambda: serving.dump(network), reload))
        if sys.platform != "win32":
            serving.allow_descriptors()
        serving.keep_heap()
        network: Slirp | PolledSwitch
        reloader: Callable[[], object] = _read_nothing
        config = ports.config()
        confined = SelfSandbox(sandbox, config, stack, reload=service.reloads)
        if config is None:
            network = PolledSwitch(ports.mtu, ports.how["hub"])
        else:
            from slirpy import Slirp

            network = Slirp(config)
        stack.callback(network.close)
        reporting.serve(network, stack)
        for number, options in enumerate(links):
            name = options.name or f"{options.carrier}{number}"
            network.attach_link(log.wrap(options.open(), name))
        if not isinstance(network, PolledSwitch):
            serving.tell_forwards(network)
            reloader = Reloader(network, ports.again)
        tell_lacking(confined.enter(reporting, names=True, removed=service.files))
        network.watch(signals.fileno(), signals.read)
        joined = f"{len(links) + (config is not None)} ports are joined"
        tell(joined)
        service.status = lambda: joined
        service.ready()
        look = service.look(None)
        while signals.number is None:
            network.poll(LONGEST_WAIT if look is None else min(LONGEST_WAIT, look()))
        service.notifier.stopping()
        if reporting.stats:
            flows = [] if isinstance(network, PolledSwitch) else [*network.closed_flows(), *network.flows()]
            serving.report(flows, network.stats)
        return signals.number


def _read_nothing() -> None:
    """Read no settings again: without a network of slirpy's, a switch has none that can change."""
