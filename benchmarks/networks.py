"""Guests: network namespaces whose only network is slirpy, or one of its peers."""

from __future__ import annotations

import os
import select
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from processes import ENDPOINT, START_SECONDS, BenchmarkError, Endpoint, Process

__all__ = ["NETWORKS", "Network", "missing", "relay", "slirpy"]

NOBODY = "65534"
SYSTEM_PYTHON = "/usr/bin/python3"

# pasta refuses to run as root. As root, run it as nobody, in a private mount namespace with a /dev/net/tun that
# everyone may open. Nothing of this is visible outside.
_AS_NOBODY = f"""
set -e
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "$@"
"""


class Network:
    """A guest with its network.

    Attributes:
        name: ``slirpy``, ``slirp4netns``, ``pasta``, or ``relay`` (``relay.py``).
        guest: the program inside.
        pid: the process that carries the traffic.
    """

    def __init__(self, name: str, guest: Endpoint, carrier: Process) -> None:
        self.name = name
        self.guest = guest
        self.pid = carrier.pid
        self._carrier = carrier

    def close(self) -> None:
        """End both."""
        self.guest.close()
        if self._carrier is not self.guest.process:
            self._carrier.stop()

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def slirpy(mtu: int, *options: str) -> Network:
    """Start slirpy, with more of its options if any are given."""
    argv = [sys.executable, "-m", "slirpy", "run", "--mtu", str(mtu), *options, "--"]
    process = Process([*argv, sys.executable, "-c", ENDPOINT])
    return Network("slirpy", Endpoint(process), process)


def _slirp4netns(mtu: int) -> Network:
    root = os.geteuid() == 0
    unshare = ["unshare", "-n"] if root else ["unshare", "-r", "-n"]
    guest = Endpoint(Process([*unshare, sys.executable, "-c", ENDPOINT]))  # unshare becomes it: one pid
    pid = guest.process.pid
    ready, told = os.pipe()
    try:
        argv = ["slirp4netns", "--configure", f"--mtu={mtu}", f"--ready-fd={told}"]
        if not root:
            argv.append(f"--userns-path=/proc/{pid}/ns/user")
        try:
            carrier = Process([*argv, str(pid), "tap0"], pass_fds=[told])
        except BenchmarkError:
            guest.close()
            raise
        os.close(told)
        told = -1
        network = Network("slirp4netns", guest, carrier)
        if not select.select([ready], [], [], START_SECONDS)[0] or not os.read(ready, 1):
            why = carrier.complaints()
            network.close()
            raise BenchmarkError(f"slirp4netns did not start: {why}")
        return network
    finally:
        os.close(ready)
        if told >= 0:
            os.close(told)


def _pasta(mtu: int) -> Network:
    options = "-q -f -4 -a 10.0.2.15 -n 24 -g 10.0.2.2 -I tap0 --config-net -t none -u none -T none -U none"
    argv = ["pasta", *options.split(), "-m", str(mtu), "--", SYSTEM_PYTHON, "-c", ENDPOINT]
    if os.geteuid() == 0:
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _AS_NOBODY, "sh", *argv]
    process = Process(argv)
    return Network("pasta", Endpoint(process), process)


def relay(mtu: int) -> Network:
    """Start the yardstick of ``relay.py``, whose MTU is 1500 whatever ``mtu`` says."""
    guest = Endpoint(Process(["unshare", "-n", sys.executable, "-c", ENDPOINT]))
    carrier = Process([sys.executable, str(Path(__file__).with_name("relay.py")), str(guest.process.pid)])
    network = Network("relay", guest, carrier)
    try:
        carrier.line(START_SECONDS)
    except BenchmarkError:
        network.close()
        raise
    return network


NETWORKS: dict[str, Callable[[int], Network]] = {
    "slirpy": slirpy,
    "slirp4netns": _slirp4netns,
    "pasta": _pasta,
}
"""Starts a :class:`Network` with the given MTU of the guest, by name."""


TOOLS = {
    "slirpy": (),
    "slirp4netns": ("unshare", "slirp4netns"),
    "pasta": ("pasta", "setpriv"),
    "relay": ("unshare", "ip"),
}
"""Programs that a network needs, by its name."""


def missing(name: str) -> str | None:
    """Return the reason why a network is not available on this machine, or None."""
    if sys.platform != "linux":
        return "needs Linux"
    for tool in {
        "slirpy": (),
        "slirp4netns": ("unshare", "slirp4netns"),
        "pasta": ("pasta", "setpriv"),
        "relay": ("unshare", "ip"),
    }[name]:
        if shutil.which(tool) is None:
            return f"needs {tool}"
    if name == "relay" and os.geteuid() != 0:
        return "needs root"
    if name == "pasta" and not Path(SYSTEM_PYTHON).exists():
        return f"needs {SYSTEM_PYTHON}, for a user who may not read ours"
    return None
