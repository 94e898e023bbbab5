"""The ``/etc/resolv.conf`` of ``slirpy run``: the virtual server, and the host's search domains and options."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from slirpy.cli import linux

__all__ = ["PATH", "add_file", "read_host", "resolv_conf"]

PATH = "/etc/resolv.conf"
_SIZE_MAX = 32_768
_KEPT = (b"search", b"domain", b"options", b"sortlist")
_SEARCH = (b"search", b"domain")


def read_host() -> bytes:
    """Read the host's file. Returns an empty text if there is none."""
    try:
        with open(PATH, "rb") as file:
            return file.read(_SIZE_MAX)
    except OSError:
        return b""


def resolv_conf(dns: str, search: Sequence[str], host: bytes) -> bytes:
    """The text of the file.

    Args:
        dns: address of the only name server.
        search: search domains for names; if empty, those of the host apply.
        host: the host's file. Its lines are kept as they are, however the C library reads them.
    """
    lines = [f"nameserver {dns}".encode()]
    if search:
        lines.append(f"search {' '.join(search)}".encode())
    for line in host.splitlines():
        keyword = next(iter(line.split()), b"")
        if keyword in _KEPT and not (search and keyword in _SEARCH):
            lines.append(line)
    return b"\n".join([*lines, b""])


def add_file(path: str, content: bytes) -> None:
    """Create a file where there is none, or a dangling symbolic link; visible in this mount namespace only.

    A file can only be mounted over another file. So a new folder is mounted over its folder, with every entry of the
    old one mounted in its place. The new folder lives in memory: new entries in it disappear at the end.

    Raises:
        OSError: a mount was refused; everything is as before.
    """
    folder, added = os.path.split(path)
    old = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = os.listdir(folder)
        linux.mount("tmpfs", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
        try:
            for name in names:
                if name != added:
                    _put_back(old, name, f"{folder}/{name}")
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, 0o644)
        except OSError:
            linux.unmount(folder, linux.MNT_DETACH)
            raise
    finally:
        os.close(old)


def _put_back(folder: int, name: str, path: str) -> None:
    """Restore an entry of the old folder in the new one."""
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=folder), path)
        return
    if stat.S_ISDIR(mode):
        os.mkdir(path)
    else:
        with open(path, "x"):
            pass
    linux.mount(f"/proc/self/fd/{folder}/{name}", path, flags=linux.MS_BIND | linux.MS_REC)
