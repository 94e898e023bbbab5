"""Network namespaces that exist, by process, path or name, and the user namespaces that give rights in them."""

from __future__ import annotations

import errno
import fcntl
import os

from slirpy.cli import linux
from slirpy.config.text import hint
from slirpy.errors import LinkError
from slirpy.records import NamedTuple

__all__ = ["NAMED", "Namespaces", "find_namespaces", "same_namespace"]

NAMED = "/run/netns"
"""Folder in which ``ip netns`` keeps its namespaces."""
# <linux/nsfs.h>
_NS_GET_USERNS, _NS_GET_NSTYPE = 0xB701, 0xB703
_KINDS = {linux.CLONE_NEWNET: ("net", "network"), linux.CLONE_NEWUSER: ("user", "user")}


class Namespaces(NamedTuple):
    """Descriptors of namespaces to enter. Close them with :meth:`close`."""

    net: int
    """The network namespace."""
    user: int | None
    """The user namespace to enter before; None: the rights of this process must do."""
    process: int | None
    """Process id by which they were named."""

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.net)
        if self.user is not None:
            os.close(self.user)


def find_namespaces(target: str, *, userns_path: str | None = None, netns_only: bool = False) -> Namespaces:
    """Open the namespaces of a target.

    Args:
        target: a process id; a path, which contains a slash; or a name of ``ip netns``.
        userns_path: the user namespace to enter; None: the one that owns the network namespace, if it is another
            than ours.
        netns_only: enter no user namespace.

    Raises:
        LinkError: there is no such namespace, or this user may not look at it.
    """
    process = int(target) if target.isascii() and target.isdigit() else None
    net = _open(*_path_of(target, process), linux.CLONE_NEWNET)
    user = None
    try:
        if userns_path is not None:
            user = _open(userns_path, f'user namespace "{userns_path}"', linux.CLONE_NEWUSER)
        elif not netns_only:
            user = _owner(net)
        if user is not None and same_namespace(user, "user"):
            os.close(user)
            user = None
    except BaseException:
        os.close(net)
        raise
    return Namespaces(net, user, process)


def same_namespace(descriptor: int, kind: str) -> bool:
    """Report whether a descriptor is that of the namespace in which this process is.

    Args:
        descriptor: of a namespace.
        kind: as in ``/proc/self/ns``, such as ``"net"``.
    """
    return os.path.samestat(os.fstat(descriptor), os.stat(f"/proc/self/ns/{kind}"))


def _path_of(target: str, process: int | None) -> tuple[str, str]:
    """The path of a target's network namespace, and the target's name in messages."""
    if process is not None:
        return f"/proc/{process}/ns/net", f"process {process}"
    if "/" in target:
        return target, f'network namespace "{target}"'
    return f"{NAMED}/{target}", f'network namespace "{target}"'


def _open(path: str, name: str, kind: int) -> int:
    """Open a namespace of a kind.

    Raises:
        LinkError: it is absent, closed to us, or something else.
    """
    short, long = _KINDS[kind]
    try:
        # Not to wait for the writer of a named pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise LinkError(_explain(path, name, error)) from None
    except ValueError:
        raise LinkError(f"{name}: no path contains a zero byte; give a process, a path or a name") from None
    try:
        found = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError:
        found = 0
    if found != kind:
        os.close(descriptor)
        raise LinkError(f"{name}: {path} is not a {long} namespace; give one like /proc/PID/ns/{short}")
    return descriptor


def _explain(path: str, name: str, error: OSError) -> str:
    """Explain in one line why a namespace cannot be opened."""
    why = os.strerror(error.errno or 0).lower()
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{name}: {path}: {why}; run slirpy as the user who owns it, or as root"
    if error.errno not in (errno.ENOENT, errno.ESRCH, errno.ENOTDIR):
        return f"{name}: {path}: {why}"
    if path.startswith("/proc/"):
        return f"{name}: there is no such process, or it has ended"
    if path.startswith(f"{NAMED}/") and path.count("/") == NAMED.count("/") + 1:
        try:
            known = sorted(os.listdir(NAMED))
        except OSError:
            known = []
        advice = (
            f"known are {', '.join(known)}" if known else "`ip netns add` makes one, and a path has a slash"
        )
        return f"{name}: nothing of this name in {NAMED}; {hint(path.rpartition('/')[2], known, advice)}"
    return f"{name}: {path}: {why}"


def _owner(net: int) -> int | None:
    """The user namespace that owns a network namespace; None if it lies outside ours."""
    try:
        return fcntl.ioctl(net, _NS_GET_USERNS)
    except OSError:
        return None
