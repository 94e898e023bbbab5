"""Two machines in QEMU on one network, in one program: their output is shown, and finally their connections.

Give it the command line of a machine without a network card; it is started twice, each time with its own card:

    python examples/qemu_pair.py qemu-system-x86_64 -m 512 -nographic -snapshot disk.qcow2

The two get addresses, and reach each other, the host as 10.0.2.2, and the world. The program ends when both have
ended. It needs no privileges, and QEMU 7.2 or newer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from slirpy import Config, Slirp


class Machine:
    """A QEMU process with a card on the network; the network's loop reads its output."""

    def __init__(self, net: Slirp, command: Sequence[str], netdev: str, number: int) -> None:
        # QEMU gives every first card the same MAC address unless one is specified.
        card = f"virtio-net-pci,netdev=n,mac=52:54:00:00:00:{number:02x}"
        argv = [*command, "-netdev", netdev, "-device", card]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.running = True
        self._net = net
        self._number = number
        self._descriptor = self.process.stdout.fileno()
        self._rest = b""
        net.watch(self._descriptor, self._read)

    def _read(self, events: int) -> None:
        """Print each complete line with the machine's number."""
        data = os.read(self._descriptor, 65536)
        if not data:
            self._net.unwatch(self._descriptor)
            self.running = False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            print(f"{self._number}| {line.decode(errors='replace').strip()}", flush=True)

    def end(self) -> None:
        """End the machine, if it is still running."""
        self.process.terminate()
        self.process.communicate()


def main(command: Sequence[str]) -> None:
    """Start two machines and drive their network until they end."""
    with tempfile.TemporaryDirectory(prefix="slirpy-") as folder, Slirp(Config()) as net:
        door = net.serve(f"unix:{folder}/net.sock")
        netdev = f"stream,id=n,{door.address.qemu()}"
        machines = [Machine(net, command, netdev, number) for number in (1, 2)]
        try:
            while any(machine.running for machine in machines):
                net.poll(60)
        finally:
            for machine in machines:
                machine.end()
        for lease in net.leases():
            print("had an address:", lease.address)
        print("frames from one machine to the other:", net.stats.switch_forwarded)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1:])
    else:
        print(__doc__)
