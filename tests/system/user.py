"""Users who run slirpy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.repository import REPOSITORY, environment
from tests.system.machine import PATH

TIMEOUT = 60.0

# As root, in a mount namespace of its own: a /dev/net/tun that everybody may open; and where a folder that is
# needed lies inside one that others may not enter (such as /root), a stand-in for that, which holds it alone.
# Nothing of this is seen outside, and it ends with the process.
_AS_NOBODY = r"""
set -e
here=$PWD
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
mount -t tmpfs tmpfs /mnt
: > /mnt/covered
number=0
while [ "$1" != -- ]; do
    closed=$1; needed=$2; shift 2
    number=$((number + 1))
    mkdir /mnt/$number
    mount --bind "$needed" /mnt/$number
    if ! grep -qxF "$closed" /mnt/covered; then
        mount -t tmpfs -o mode=755 tmpfs "$closed"
        echo "$closed" >> /mnt/covered
    fi
    mkdir -p "$needed"
    mount --bind /mnt/$number "$needed"
done
shift
umount -l /mnt
cd "$here"
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
"""


def _closed_ancestor(path: Path) -> Path | None:
    """The topmost folder above ``path`` that others may not enter."""
    for folder in [*reversed(path.parents), path]:
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


@dataclass(frozen=True)
class User:
    """Runs ``slirpy run`` as somebody."""

    name: str
    folder: Path
    """A folder that this user may write to, and root too."""

    def prefix(self) -> list[str]:
        """The command that makes this user of root, and starts another."""
        if self.name == "root" or os.geteuid() != 0:
            return []
        pairs = []
        for needed in {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), REPOSITORY}:
            closed = _closed_ancestor(needed)
            if closed is not None:
                pairs += [str(closed), str(needed)]
        script = ["sh", "-c", _AS_NOBODY, "sh", *pairs, "--"]
        return ["unshare", "--mount", "--propagation", "private", *script]

    def argv(self, *arguments: str) -> list[str]:
        """The command line of ``slirpy`` with arguments. Its process is the one that is started."""
        return [*self.prefix(), sys.executable, "-m", "slirpy", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """Environment variables, with ``more`` added."""
        return environment() | {
            "PATH": PATH,
            "HOME": str(self.folder),
            **more,
        }

    def run(
        self, *arguments: str, timeout: float = TIMEOUT, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``slirpy`` to its end."""
        return subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @contextmanager
    def start(self, *arguments: str, group: int | None = None) -> Iterator[subprocess.Popen[str]]:
        """Start ``slirpy``; it is killed at the end, should it still run. Its pid is slirpy's own.

        With ``group`` 0 it is in a process group of its own.
        """
        process = subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            process_group=group,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()
