"""The sandbox of a process that carries guests' traffic: what it gives up once everything is set up."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable

from slirpy.errors import ConfigError, SlirpyError
from slirpy.sandbox import capabilities, landlock, seccomp
from slirpy.sandbox.arguments import numbers, paths, switch
from slirpy.sandbox.root import PrivateRoot
from slirpy.sandbox.syscalls import machine

__all__ = ["ConfinementError", "confine"]

_SYSTEM_FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf",
                 "/etc/services", "/etc/protocols", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom",
                 "/dev/random")  # fmt: skip
_SYSTEM_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo")
_PACKAGES = ("site-packages", "dist-packages", "lib-dynload")


class ConfinementError(SlirpyError):
    """A part of the sandbox is missing on this system."""


def confine(
    *,
    read: Iterable[str] = (),
    write: Iterable[str] = (),
    write_files: Iterable[str] = (),
    remove: Iterable[str] = (),
    bind: Iterable[str] = (),
    families: Iterable[int] = (socket.AF_INET, socket.AF_INET6),
    signals: Iterable[int] = (),
    low_ports: bool = False,
    root: PrivateRoot | None = None,
    strict: bool = False,
) -> tuple[str, ...]:
    """Confine this process for good. Call it after imports, binds and forks, and before threads start.

    From then on the process has no capabilities, cannot start programs or processes, cannot trace or signal others,
    and opens only the files given here and the interpreter's own, and only these families of sockets. Descriptors
    that are open stay usable. Connections to other hosts are not restricted: they are the purpose of a network.

    Args:
        read: files, and folders with all that is in them, to read.
        write: folders in which to create, replace and remove files too.
        write_files: files to write to.
        remove: folders from which to remove files.
        bind: folders in which to create Unix sockets, and from which to remove files.
        families: of sockets that can be opened, ``AF_...``; pairs of Unix sockets always can.
        signals: processes that can still be signalled, by number; 0 is its own group.
        low_ports: keep the capability to bind ports below 1024, if the process has it.
        root: a root folder to enter, which contains the files and folders given here. None: the present one stays.
        strict: raise an exception if a part is missing.

    A path that does not exist is left out.

    Returns:
        The parts that this system lacks, each with the reason; empty if all are in force.

    Raises:
        ConfigError: an argument of another type; nothing is in force then.
        ConfinementError: with ``strict``, if a part is missing. The others are in force.
    """
    switch("low_ports", low_ports)
    switch("strict", strict)
    if not isinstance(root, PrivateRoot | None):
        raise ConfigError(f"root must be a PrivateRoot or None; given was {root!r}")
    missing = _shut(
        dict.fromkeys((*paths("read", read), *_own_files()), landlock.READ)
        | dict.fromkeys(paths("remove", remove), landlock.REMOVE)
        | dict.fromkeys(paths("bind", bind), landlock.BIND)
        | dict.fromkeys((*paths("write_files", write_files), os.devnull), landlock.WRITE_FILE)
        | dict.fromkeys(paths("write", write), landlock.WRITE),
        numbers("families", families, "AF_INET"),
        numbers("signals", signals, "os.getppid()"),
        low_ports,
        root,
    )
    if missing and strict:
        raise ConfinementError(f"the sandbox lacks {'; '.join(missing)}")
    return missing


def _shut(
    rules: dict[str, int],
    families: tuple[int, ...],
    signals: tuple[int, ...],
    low_ports: bool,
    root: PrivateRoot | None,
) -> tuple[str, ...]:
    if sys.platform != "linux":
        return ("everything: it needs Linux",)
    missing = []

    def take(what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except OSError as error:
            missing.append(f"{what} ({(error.strerror or str(error)).lower()})")

    if threads := _threads() - 1:
        missing.append(f"Landlock and capabilities of {threads} threads that have started already")
    name = machine()
    if root is not None:
        readable = [path for path, rights in rules.items() if rights == landlock.READ]
        writable = [path for path, rights in rules.items() if rights != landlock.READ]
        take("a root folder of its own", lambda: root.enter(readable, writable))
    take("no_new_privs", capabilities.no_new_privileges)
    take("Landlock", lambda: landlock.restrict(rules, signals=bool(signals)))
    capabilities.drop_bounding_set()
    kept = capabilities.NET_BIND_SERVICE if low_ports else None
    take("capabilities", lambda: capabilities.drop_capabilities(kept))
    take("dumpable", capabilities.not_dumpable)
    if name is None:
        missing.append(f"seccomp (the system calls of {os.uname().machine} are unknown)")
    else:
        take("seccomp", lambda: seccomp.install(seccomp.self_filter(name, families, signals)))
    return tuple(missing)


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:  # in another sandbox
        return threading.active_count()


def _own_files() -> list[str]:
    """Files of the interpreter and its packages, from which modules may be imported later, and of the C library."""
    folders = {os.path.dirname(os.__file__)}
    folders |= {path for path in sys.path if os.path.basename(path) in _PACKAGES}
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [*folders, package, *_SYSTEM_FOLDERS, *_SYSTEM_FILES]
