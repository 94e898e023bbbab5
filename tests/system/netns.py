"""A network namespace with a TAP interface in it, for tests that carry its frames themselves."""

from __future__ import annotations

import ctypes
import subprocess
import threading

from slirpy.links import open_tap

SECONDS = 120
CLONE_NEWNET = 0x40000000
NO_OFFLOADS = ("tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off")


class NetworkNamespace:
    """One that lives until :meth:`close`.

    Attributes:
        fd: the descriptor of its interface tap0, for a link.
    """

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; read end"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self._path = f"/proc/{self._holder.pid}/ns/net"
        self.fd = self._open_tap()
        self.run("ip", "link", "set", "lo", "up")

    def _open_tap(self) -> int:
        """Open the interface in the namespace: a thread may live in another one than its process."""
        result: list[int] = []

        def inside() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(self._path) as namespace:
                assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0
            result.append(open_tap("tap0")[0])

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        return result[0]

    def set_up(self, address: str, mtu: int, offloads: bool) -> None:
        """Set the interface up; without ``offloads`` the kernel computes checksums and cuts segments itself."""
        self.run("ip", "link", "set", "tap0", "mtu", str(mtu))
        if not offloads:
            self.run("ethtool", "-K", "tap0", *NO_OFFLOADS)
        self.run("ip", "address", "add", f"{address}/24", "dev", "tap0")
        self.run("ip", "link", "set", "tap0", "up")

    def command(self, *argv: str) -> list[str]:
        """The command line of a program in the namespace."""
        return ["nsenter", f"--net={self._path}", *argv]

    def run(self, *argv: str) -> str:
        """The output of a command in the namespace, which must succeed."""
        done = subprocess.run(self.command(*argv), capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout

    def close(self) -> None:
        """The end of it, and of its interface once that is closed."""
        self._holder.communicate(b"\n")
