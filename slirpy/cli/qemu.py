"""``slirpy qemu``: QEMU with its network card already connected to slirpy.

QEMU inherits one end of a socket pair as a descriptor. There is no path or port that others could connect to,
nothing to clean up, and each process notices at once when the other ends.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from slirpy.cli.confined import SelfSandbox, sandbox_option, tell_lacking
from slirpy.cli.flags import Command, flag
from slirpy.cli.main import fail
from slirpy.cli.options import CONTEXT, PLAIN_MTU, network_config, network_options
from slirpy.cli.reporting import Reporting, report_options
from slirpy.cli.streams import tell
from slirpy.config import Group
from slirpy.config.optionstring import Pairs, read_options, take_carrier
from slirpy.errors import ConfigError

if TYPE_CHECKING:
    from slirpy.config import Config

__all__ = ["card_arguments", "has_own_card", "own_networks", "qemu"]

LARGE_MTU = 65520
"""The largest multiple of 16 that fits into a frame of 64 KiB; similar programs use it too."""
NETDEV = "slirpy0"
_DEFAULT = {"nic": "user"}
"""The kind of network that a QEMU option stands for if it names none."""

EXAMPLES = """
\b
Examples:
  slirpy qemu -- qemu-system-x86_64 -m 1G -nographic disk.qcow2
  slirpy qemu --hostfwd tcp::2222-:22 -- qemu-system-x86_64 -m 1G disk.qcow2
  slirpy qemu --mtu 1500 -- qemu-system-aarch64 -M virt -cpu max disk.qcow2
  slirpy qemu --capture out.pcap --stats -- qemu-system-x86_64 disk.qcow2
  slirpy qemu --tftp /srv/tftp --bootfile boot.ipxe -- qemu-system-x86_64 -boot n
  slirpy qemu -- qemu-system-x86_64 -device e1000,netdev=slirpy0 disk.qcow2    a card of your choice
"""


@click.command(cls=Command, context_settings=CONTEXT, epilog=EXAMPLES)
@network_options(
    "the guest", defaults={"mtu": f"{LARGE_MTU}, or {PLAIN_MTU} with a card of your own or --bootfile"}
)
@flag("--mac", group=Group.NETWORK, metavar="MAC", help="The card's address.  [default: QEMU's choice]")
@report_options()
@sandbox_option()
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] QEMU [ARG]...")
def qemu(
    mac: str | None,
    reporting: Reporting,
    command: Sequence[str],
    sandbox: str,
    **network: Any,
) -> None:
    """Run QEMU with slirpy as its network.

    QEMU is started with your arguments and a virtio card that is connected to slirpy; it needs QEMU 7.2 or newer. The
    card announces an MTU of 65520 to the guest: no cable limits frames here, and large ones cost the least. With
    --bootfile it does not, because boot ROMs cannot handle it. If one of your arguments uses the netdev slirpy0, that
    is the card, and no other is added. The exit status is QEMU's; 127 if QEMU is not found, 126 if it cannot be
    executed, 2 for a mistake in the options.
    """
    own = has_own_card(command)
    # A boot ROM lacks memory for packets of 64 KiB: with such a card iPXE receives nothing.
    config = network_config(network, mtu=PLAIN_MTU if own or network["bootfile"] else LARGE_MTU)
    if mac is not None:
        if own:
            fail(f"--mac {mac}: the card is one of your own; give it mac={mac} there")
        if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", mac) or int(mac[:2], 16) & 1:
            fail(f'--mac "{mac}" is not the address of a card; write for example 52:54:00:12:34:57')
    if sys.platform == "win32":
        fail("qemu needs descriptors that a child inherits, which Windows has not; see `slirpy listen tcp:...`")
    if others := own_networks(command):
        tell(
            f"{', '.join(others)}: QEMU's own network, beside slirpy's and not replaced by it; leave it out, and give"
            " its options to slirpy"
        )
    raise SystemExit(_run(config, command, mac, reporting, sandbox))


def has_own_card(command: Sequence[str]) -> bool:
    """Report whether the command line already contains a card for our netdev."""
    return any(("netdev", NETDEV) in _pairs(argument) for argument in command)


def own_networks(command: Sequence[str]) -> list[str]:
    """The options in QEMU's command line that add one of QEMU's user networks, as written."""
    found = []
    for option, value in pairwise(command):
        name = re.fullmatch("--?(netdev|nic|net)", option)
        if name is not None and (take_carrier(_pairs(value)) or _DEFAULT.get(name[1])) == "user":
            found.append(f"{option} {value}")
    return found


def _pairs(option: str) -> Pairs:
    """The keys and values of a QEMU option; empty if it cannot be read."""
    try:
        return read_options(option)
    except ConfigError:
        return []


def card_arguments(command: Sequence[str], descriptor: int, mtu: int, mac: str | None = None) -> list[str]:
    """QEMU's command line with the card added.

    Args:
        command: QEMU and its arguments.
        descriptor: a connected stream socket that QEMU inherits.
        mtu: announced to the guest by the card, unless it is the default of 1500.
        mac: address of the card; None: chosen by QEMU.
    """
    # Placed last. The order does not matter to QEMU: a device may precede its netdev.
    netdev = f"stream,id={NETDEV},addr.type=fd,addr.str={descriptor}"
    arguments = [*command, "-netdev", netdev]
    if not has_own_card(command):
        card = f"virtio-net-pci,netdev={NETDEV}"
        if mtu != PLAIN_MTU:
            card += f",host_mtu={mtu}"
        if mac is not None:
            card += f",mac={mac}"
        arguments += ["-device", card]
    return arguments


def _run(config: Config, command: Sequence[str], mac: str | None, reporting: Reporting, sandbox: str) -> int:
    """Run QEMU to its end and return its status as a shell does: 128 + n when signal n killed it."""
    from slirpy import Slirp
    from slirpy.cli import serving
    from slirpy.cli.capture import FrameLog
    from slirpy.links.stream import StreamLink

    with ExitStack() as stack:
        # We inherit SIGCHLD as ignored from some parents, and QEMU's end would then go unnoticed.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Before creating anything that a signal would leave behind.
        signals = stack.enter_context(serving.CaughtSignals((*serving.ENDING, serving.SHOWING, "SIGCHLD")))
        confined = SelfSandbox(sandbox, config, stack)
        ours, theirs = socket.socketpair()
        stack.callback(theirs.close)
        link = FrameLog(reporting.capture, reporting.trace, stack).wrap(StreamLink(ours), NETDEV)
        stack.callback(link.close)
        net = stack.enter_context(Slirp(config))
        terminal = _terminal()
        process = _start(card_arguments(command, theirs.fileno(), config.mtu, mac), theirs.fileno())
        stack.callback(_end, process)
        theirs.close()  # so that each side notices when the other ends
        serving.allow_descriptors()
        serving.keep_heap()
        serving.tell_forwards(net)

        def woken(_: int) -> None:
            for number in signals.take():
                if number != signal.SIGCHLD:
                    process.send_signal(number)
            process.poll()  # here, since in the loop it would be a system call for each frame

        net.watch(signals.fileno(), woken)
        net.attach_link(link)
        look = reporting.live(net, stack)
        tell_lacking(confined.enter(reporting, signals=(process.pid,)))
        while process.returncode is None:
            net.poll(look())
        serving.drain(net)
        reporting.at_end(net)
        status = process.returncode
        if status >= 0:
            return status
        terminal()  # QEMU could not restore it itself
        return 128 - status


def _start(argv: Sequence[str], descriptor: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(argv, pass_fds=(descriptor,), preexec_fn=_die_with_parent())  # noqa: PLW1509 - there is no other thread
    except OSError as error:
        missing = error.errno == errno.ENOENT or not argv[0]
        why = "not found" if missing else os.strerror(error.errno or 0).lower()
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
    """Make the child end when slirpy is killed, since a machine without a network is of no use. Linux only."""
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
