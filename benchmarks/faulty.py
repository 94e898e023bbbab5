"""A bad network for ``faults.py``: a process that carries frames between a namespace and slirpy, or two namespaces.

``faulty.py SEED PID`` makes a TAP interface in the network namespace of a process; behind it is slirpy. ``faulty.py
SEED PID PID`` makes one in each of two namespaces and joins them. In both cases the first TAP is wrapped in the same
:class:`~slirpy.links.faults.FaultLink`. It executes commands like ``endpoint.py``, one JSON object per line:
``faults``, ``counters``. ``--capture FILE`` writes the frames that passed the faults, as pcapng.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Any, Protocol

from slirpy import Config, LinkError, Slirp
from slirpy.drive.switched import PolledSwitch
from slirpy.interfaces import Link
from slirpy.links import CaptureLink, FaultLink, Faults, TapLink, open_tap
from slirpy.stats import Stats

CLONE_NEWNET = 0x40000000
GUEST, HOST = "10.0.2.15", "10.0.2.2"
GUEST_MAC, HOST_MAC = "52:54:00:12:34:56", "52:55:0a:00:02:02"
# Segments are lost, not 64 KiB: the kernel cuts before the link. Checksums may stay partial.
OFFLOADS = ("tso", "off", "gso", "off", "gro", "off")
SYSCTLS = (
    "net.ipv4.tcp_no_metrics_save=1",  # each connection learns for itself
    "net.ipv6.conf.all.disable_ipv6=1",
)


class Network(Protocol):
    """The common interface of slirpy and a switch."""

    @property
    def stats(self) -> Stats: ...

    def attach_link(self, link: Link) -> object: ...

    def watch(self, fd: int, ready: Callable[[int], None]) -> None: ...

    def poll(self, timeout: float) -> None: ...


def tap_in(pid: int, address: str, mac: str, peer: str, peer_mac: str) -> TapLink:
    """Make a TAP interface in the network namespace of a process, ready for use.

    It knows its peer's MAC address: a damaged ARP reply would divert all frames.

    Raises:
        OSError: the namespace cannot be entered.
        LinkError: there can be no TAP interface.
        subprocess.CalledProcessError: it cannot be set up.
    """
    namespace = f"/proc/{pid}/ns/net"
    found: list[TapLink | OSError | LinkError] = []

    def inside() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            with open(namespace) as file:
                if libc.setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            found.append(TapLink(open_tap("tap0")[0], 1500))
        except (OSError, LinkError) as error:
            found.append(error)

    thread = threading.Thread(target=inside)  # a thread may be in another namespace than its process
    thread.start()
    thread.join()
    link = found[0]
    if not isinstance(link, TapLink):
        raise link
    for argv in (
        ("sysctl", "-q", "-w", *SYSCTLS),
        ("ip", "link", "set", "lo", "up"),
        # A queue larger than any window: only the link loses frames.
        ("ip", "link", "set", "tap0", "address", mac, "mtu", "1500", "txqueuelen", "20000"),
        ("ethtool", "-K", "tap0", *OFFLOADS),
        ("ip", "address", "add", f"{address}/24", "dev", "tap0"),
        ("ip", "link", "set", "tap0", "up"),
        ("ip", "neighbor", "replace", peer, "lladdr", peer_mac, "dev", "tap0", "nud", "permanent"),
    ):
        subprocess.run(["nsenter", f"--net={namespace}", *argv], check=True, stdout=subprocess.DEVNULL)
    return link


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("pids", type=int, nargs="+")
    parser.add_argument("--capture", metavar="FILE")
    options = parser.parse_args()
    with ExitStack() as stack:
        network: Network = stack.enter_context(Slirp(Config())) if len(options.pids) == 1 else PolledSwitch()
        tap = tap_in(options.pids[0], GUEST, GUEST_MAC, HOST, HOST_MAC)
        bad = FaultLink(tap, Random(options.seed))
        link: Link = bad
        if options.capture is not None:
            link = CaptureLink(bad, stack.enter_context(open(options.capture, "wb")))
        network.attach_link(link)
        for pid in options.pids[1:]:
            network.attach_link(tap_in(pid, HOST, HOST_MAC, GUEST, GUEST_MAC))
        commands = _Commands(bad, network)
        network.watch(0, commands.read)
        print(json.dumps({"ready": True}), flush=True)
        while not commands.ended:
            network.poll(1.0)


class _Commands:
    """Reader of commands on standard input."""

    def __init__(self, link: FaultLink, network: Network) -> None:
        self._link = link
        self._network = network
        self._buffer = b""
        self.ended = False

    def read(self, mask: int) -> None:
        """Read the available commands."""
        data = os.read(0, 65536)
        self.ended = not data
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            print(json.dumps(getattr(self, command.pop("do"))(**command)), flush=True)

    def faults(self, **what: Any) -> dict[str, Any]:
        """Apply the same faults in both directions from now on."""
        self._link.to_guest = self._link.from_guest = Faults(**what)
        return {}

    def counters(self) -> dict[str, Any]:
        """Return the counters so far."""
        return {
            "to_guest": str(self._link.to_guest_counters),
            "from_guest": str(self._link.from_guest_counters),
            "stats": dict(self._network.stats.nonzero()),
        }


if __name__ == "__main__":
    try:
        main()
    except (OSError, LinkError, subprocess.CalledProcessError) as error:
        sys.exit(f"faulty.py: {error}")
