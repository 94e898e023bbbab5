"""``slirpy qemu``: QEMU with slirpy in place of its user networks.

For each card, QEMU inherits one end of a socket pair as a descriptor. There is no path or port that others could
connect to, nothing to clean up, and each process notices at once when the other ends.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from slirpy.cli.confined import SelfSandbox, sandbox_option, tell_lacking
from slirpy.cli.flags import Command, flag
from slirpy.cli.main import fail
from slirpy.cli.options import CONTEXT, PLAIN_MTU, network_options, network_values, report_refused
from slirpy.cli.qemuline import CARD, REPLACEABLE, Network, Translation, translate
from slirpy.cli.reporting import LONGEST_WAIT, Reporting, report_options
from slirpy.cli.streams import tell
from slirpy.config import Config, Group
from slirpy.config.qemu import REPEATED, SWITCHES, read_qemu
from slirpy.errors import ConfigError
from slirpy.errortext import strerror

if TYPE_CHECKING:
    from slirpy import Slirp
    from slirpy.interfaces import Link
    from slirpy.links.stream import StreamLink

__all__ = ["qemu"]

LARGE_MTU = 65520
"""The largest multiple of 16 that fits into a frame of 64 KiB; similar programs use it too."""
_ONE_NETWORK = ("hostfwd", "lease_file", "audit", "learn", "ask")
"""Flags with a port or a file of the host, which only one network can have."""

EXAMPLES = """
\b
Examples:
  slirpy qemu -- qemu-system-x86_64 -m 1G -nographic disk.qcow2
  slirpy qemu -- qemu-system-x86_64 -nic user,hostfwd=tcp::2222-:22 disk.qcow2
  slirpy qemu --hostfwd tcp::2222-:22 -- qemu-system-x86_64 -m 1G disk.qcow2
  slirpy qemu --mtu 1500 -- qemu-system-aarch64 -M virt -cpu max disk.qcow2
  slirpy qemu --capture out.pcap --stats -- qemu-system-x86_64 disk.qcow2
  slirpy qemu --tftp /srv --bootfile boot.ipxe -- qemu-system-x86_64 -boot n
  slirpy qemu --card e1000 -- qemu-system-x86_64 old.qcow2
  slirpy qemu --replace tap -- qemu-system-x86_64 -nic tap disk.qcow2
  slirpy qemu -- qemu-system-x86_64 -device e1000,netdev=slirpy0 disk.qcow2
"""


@click.command(cls=Command, context_settings=CONTEXT, epilog=EXAMPLES)
@network_options(
    "the guest", defaults={"mtu": f"{LARGE_MTU}, or {PLAIN_MTU} with a card of your own or --bootfile"}
)
@flag("--mac", group=Group.NETWORK, metavar="MAC", help="The card's address.  [default: QEMU's choice]")
@flag(
    "--card",
    group=Group.NETWORK,
    metavar="MODEL",
    help="The card that slirpy adds: a name of QEMU's -device, or default, which is the machine's own."
    f"  [default: {CARD}, or default for a machine without PCI]",
)
@flag(
    "--replace",
    group=Group.NETWORK,
    multiple=True,
    type=click.Choice(REPLACEABLE),
    metavar="KIND",
    help=f"Replace the networks of this kind too: {', '.join(REPLACEABLE)}.  May be repeated.",
)
@flag("--verbose", "-v", group=Group.WATCHING, is_flag=True, help="Tell how QEMU's options were translated.")
@report_options()
@sandbox_option()
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] QEMU [ARG]...")
def qemu(
    mac: str | None,
    card: str | None,
    replace: Sequence[str],
    verbose: bool,
    reporting: Reporting,
    command: Sequence[str],
    sandbox: str,
    **network: Any,
) -> None:
    """Run QEMU with slirpy as its network.

    QEMU is started with your arguments; it needs QEMU 7.2 or newer. Each of its user networks (-netdev user, -nic
    user, -net user) becomes one of slirpy's with the same options and the same card. Options given here hold for all
    of them; one in QEMU's arguments takes precedence. If QEMU's arguments name no network, slirpy adds a virtio card.
    That card announces an MTU of 65520 to the guest: no cable limits frames here, and large ones cost the least. With
    --bootfile it does not, because boot ROMs cannot handle it. If one of your arguments uses the netdev slirpy0, that
    is the card, and no other is added. The exit status is QEMU's; 127 if QEMU is not found, 126 if it cannot be
    executed, 2 for a mistake in the options.
    """
    if mac is not None and (
        not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", mac) or int(mac[:2], 16) & 1
    ):
        fail(f'--mac "{mac}" is not the address of a card; write for example 52:54:00:12:34:57')
    try:
        translation = translate(command, replace)
    except ConfigError as error:
        fail(str(error))  # it names QEMU's option, which is not one of slirpy's
    own = translation.own_card or not translation.needs_card
    for option, value in (("--mac", mac), ("--card", card)):
        if value is not None and own:
            fail(f"{option} {value}: the card is one of your own; choose it there")
    model = None if card == "default" else card or translation.card
    # A boot ROM lacks memory for packets of 64 KiB: with such a card iPXE receives nothing.
    large = not own and model is not None and model.startswith("virtio-net") and not network["bootfile"]
    _check_shared(translation, network, reporting)
    configs = [_config(part, network, PLAIN_MTU) for part in translation.networks]
    if translation.needs_card or not configs:
        config = _config(None, network, LARGE_MTU if large else PLAIN_MTU)
        configs.append(config)
    if translation.needs_card:
        announced = large or (model is not None and model.startswith("virtio-net") and config.mtu != PLAIN_MTU)
        keys = [("host_mtu", str(config.mtu))] if announced and config.mtu != PLAIN_MTU else []
        translation.add_card(model, [*keys, *([("mac", mac)] if mac is not None else [])])
    if sys.platform == "win32":
        fail("qemu needs descriptors that a child inherits, which Windows has not; see `slirpy listen tcp:...`")
    if not translation.networks:
        tell("QEMU's arguments ask for no network, and slirpy connects nothing")
        translation.add("none")
    if verbose:
        _tell_translation(translation, command)
    raise SystemExit(_run(configs, translation, reporting, sandbox))


def _check_shared(translation: Translation, given: Mapping[str, Any], reporting: Reporting) -> None:
    """Check that no flag is for one network where there are several."""
    count = len(translation.networks) + translation.needs_card
    if count < 2:
        return
    for name in _ONE_NETWORK:
        if given.get(name):
            advice = "; write hostfwd= into the one that is meant" if name == "hostfwd" else ""
            fail(f"--{name.replace('_', '-')} is for one network, and QEMU's arguments have {count}{advice}")
    if reporting.top:
        fail(f"--top shows one network, and QEMU's arguments have {count}; use --stats")


def _config(network: Network | None, given: Mapping[str, Any], mtu: int) -> Config:
    """The configuration of a network: the flags, and what QEMU's option says, which takes precedence.

    Args:
        network: None: slirpy's own network.
        given: values of the flags.
        mtu: the MTU if no flag sets it.
    """
    values = network_values(given, mtu=mtu)
    if network is None:
        return Config(**values)
    text = network.options
    try:
        line = read_qemu(text)
        for key, name in REPEATED.items():
            for value in values.pop(name, ()):
                text += f",{key}={value.replace(',', ',,')}"
        for name in line.keys() & values.keys():
            _differ(network, name, line[name], values.pop(name))
        if len(network.sockets) > 1:
            values["hub"] = True
        if line.get("restrict"):
            values.setdefault("on_refused", report_refused())
        return Config.from_qemu(text, **values)
    except ConfigError as error:
        fail(f"{network.typed}: {error}")


def _differ(network: Network, name: str, kept: object, given: object) -> None:
    """Report a flag that QEMU's option overrides."""
    from slirpy.cli.flags import in_flags

    if str(kept) == str(given):
        return
    shown = (
        in_flags(f"{name}=").strip() if name not in SWITCHES.values() else f"--{'' if given else 'no-'}{name}"
    )
    if name == "restrict":
        fail(f"{network.typed}: restrict=off contradicts --restrict; leave one of them out")
    tell(f"{network.typed}: takes precedence over {shown}" + ("" if isinstance(given, bool) else f" {given}"))


def _tell_translation(translation: Translation, command: Sequence[str]) -> None:
    """Report what became of QEMU's options, and what was added to them."""
    for note in translation.notes:
        tell(note)
    for network in translation.networks:
        if network.typed:
            forwards = [value for value in network.options.split(",") if value.startswith("hostfwd=")]
            if any("::" in forward for forward in forwards):
                tell(
                    f"{network.name}: a hostfwd without a host address listens on 127.0.0.1, not on every address"
                )
    if translation.needs_card:
        count = 2 if translation.own_card or "-nic" in translation.words[-2:] else 4
        added = translation.arguments(["FD"] * translation.sockets, ["FD"] * len(translation.files))[-count:]
        tell(f"added: {' '.join(added)}")


def _run(configs: Sequence[Config], translation: Translation, reporting: Reporting, sandbox: str) -> int:
    """Run QEMU to its end and return its status as a shell does: 128 + n when signal n killed it."""
    from slirpy.cli import serving

    with ExitStack() as stack:
        # We inherit SIGCHLD as ignored from some parents, and QEMU's end would then go unnoticed.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Before creating anything that a signal would leave behind.
        signals = stack.enter_context(serving.CaughtSignals((*serving.ENDING, serving.SHOWING, "SIGCHLD")))
        confined = SelfSandbox(sandbox, configs[0], stack, configs[1:])
        machine = _Machine(configs, translation, reporting, stack)
        name, *names = translation.network_names()
        further = dict(zip(names, machine.nets[1:], strict=True))
        reporting.serve(machine.nets[0], stack, name=name, others=further)
        terminal = _terminal()
        process = machine.start()
        stack.callback(_end, process)
        serving.allow_descriptors()
        serving.keep_heap()
        for net in machine.nets:
            serving.tell_forwards(net)

        def woken(_: int) -> None:
            for number in signals.take():
                if number != signal.SIGCHLD:
                    process.send_signal(number)
            process.poll()  # here, since in the loop it would be a system call for each frame

        first, *others = machine.nets
        first.watch(signals.fileno(), woken)
        machine.attach()
        look = reporting.live(first, stack)
        tell_lacking(confined.enter(reporting, signals=(process.pid,)))

        def over() -> bool:
            return process.returncode is not None and not machine.goes_on(process.returncode)

        if not others:
            first.poll_until(over, look)
        while not over():
            _poll(first, others, LONGEST_WAIT if look is None else look())
        for net in machine.nets:
            serving.drain(net)
        for net in machine.nets:
            reporting.at_end(net)
        status = process.returncode
        if status >= 0:
            return status
        terminal()  # QEMU could not restore it itself
        return 128 - status


def _poll(first: Slirp, others: Sequence[Slirp], wait: float) -> None:
    """Poll all networks. The descriptor of each of the others is watched by the first."""
    for net in others:
        due = net.timeout()
        wait = wait if due is None else min(wait, due)
    first.poll(wait)
    for net in others:
        if net.timeout() == 0:
            net.poll(0)


def _work(net: Slirp, _: int) -> None:
    net.poll(0)


class _Machine:
    """QEMU, and the networks that its cards are on."""

    def __init__(
        self, configs: Sequence[Config], translation: Translation, reporting: Reporting, stack: ExitStack
    ) -> None:
        from slirpy import Slirp
        from slirpy.cli.capture import FrameLog
        from slirpy.links.stream import StreamLink

        self._translation = translation
        self.nets: list[Slirp] = []
        self._links: list[tuple[Slirp, Link]] = []
        self._theirs: list[socket.socket] = []
        self._connected: set[StreamLink] = set()
        log = FrameLog(reporting.capture, reporting.trace, stack, several=translation.sockets > 1)
        links = []
        for name in translation.names():
            ours, theirs = socket.socketpair()
            stack.callback(theirs.close)
            self._theirs.append(theirs)
            link = StreamLink(ours)
            self._note_end(link)
            links.append(log.wrap(link, name))
            stack.callback(links[-1].close)
        for network, config in zip(translation.networks, configs, strict=True):
            net = stack.enter_context(Slirp(config))
            self._links += [(net, links[number]) for number in network.sockets]
            self.nets.append(net)

    def _note_end(self, link: StreamLink) -> None:
        """Remember a link until QEMU has closed it."""
        self._connected.add(link)

        def changed(connected: bool) -> None:
            if not connected:
                self._connected.discard(link)

        link.on_state = changed

    def goes_on(self, status: int) -> bool:
        """Report whether the machine runs on after the process that was started has ended (``-daemonize``)."""
        return status == 0 and not self._translation.stays and bool(self._connected)

    def start(self) -> subprocess.Popen[bytes]:
        """Start QEMU with the other end of each link."""
        sockets = [end.fileno() for end in self._theirs]
        with ExitStack() as stack:
            files = []
            for text in self._translation.contents(sockets):
                file = stack.enter_context(tempfile.TemporaryFile())
                file.write(text.encode("utf-8", "surrogateescape"))
                file.seek(0)
                files.append(file.fileno())
            process = _start(self._translation.arguments(sockets, files), [*sockets, *files])
        for end in self._theirs:
            end.close()  # so that each side notices when the other ends
        return process

    def attach(self) -> None:
        """Attach the links, and let the first network watch the others."""
        first, *others = self.nets
        for net in others:
            descriptor = net.fileno()
            assert descriptor is not None  # on every system that has inherited descriptors
            first.watch(descriptor, partial(_work, net))
        for net, link in self._links:
            net.attach_link(link)


def _start(argv: Sequence[str], descriptors: Iterable[int]) -> subprocess.Popen[bytes]:
    """Start a program that inherits our end of nothing, these descriptors, and those that we inherited."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    try:
        # Ours are closed by the start itself. What we inherited may be meant for QEMU, such as for -add-fd.
        return subprocess.Popen(argv, close_fds=False, preexec_fn=_die_with_parent())  # noqa: PLW1509 - there is no other thread
    except OSError as error:
        missing = error.errno == errno.ENOENT or not argv[0]
        why = "not found" if missing else strerror(error.errno or 0).lower()
        fail(f"{argv[0] or repr('')}: {why}", 127 if missing else 126)


def _terminal() -> Callable[[], None]:
    """Save the terminal's settings. Returns a function that restores them."""
    import termios

    try:
        before = termios.tcgetattr(0)
    except termios.error:
        return lambda: None  # standard input is not a terminal

    def restore() -> None:
        # Without this, setting the terminal from the background would stop us.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        except termios.error:
            pass  # the terminal is gone
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return restore


def _die_with_parent() -> Callable[[], None] | None:
    """Make the child end when slirpy is killed, since a machine without a network is useless. Linux only."""
    if sys.platform != "linux":
        return None
    from slirpy.cli import linux

    parent = os.getpid()

    def ask() -> None:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)  # slirpy was killed before the request took effect

    return ask


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate QEMU after an error on our side."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
