"""A name server on both loopbacks of a namespace of its own, beside a program that asks it: QEMU, for libslirp.

Started as ``python -m tests.system.oracle_resolver FOLDER PROGRAM ARGUMENTS``, as the first process of new namespaces
for networks, mounts and processes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.system.resolver import Resolver

__all__: list[str] = []


def _main(folder: str, *argv: str) -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    file = Path(folder) / "resolv.conf"
    file.write_text("nameserver 127.0.0.1\nnameserver ::1\n")
    subprocess.run(["mount", "--bind", str(file), "/etc/resolv.conf"], check=True)
    servers = [Resolver(address, 53) for address in ("127.0.0.1", "::1")]
    status = subprocess.run(argv, check=False).returncode
    for server in servers:
        server.close()
    return status


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
