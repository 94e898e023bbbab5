"""Hidden paths of ``slirpy run``: empty folders and files are mounted over them, in the command's mount namespace.

With a policy these are the sockets of the host's programs. A program of the host that does something for whoever
connects to its socket, such as tmux, D-Bus, Docker or an SSH agent, is a way around any network.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence

from slirpy.cli import linux
from slirpy.cli.border import Border

__all__ = ["hidden_paths", "hide", "protect_kernel"]

_FOLDERS = ("/run", "/tmp/.X11-unix", "/tmp/.ICE-unix", "/tmp/tmux-*", "/tmp/ssh-*", "/tmp/uscreens", "/tmp/screens",
            "/var/lib/sss/pipes")  # fmt: skip
_RUNTIME = "XDG_RUNTIME_DIR"
_KEPT = ("/run/current-system", "/run/booted-system", "/run/wrappers", "/run/opengl-driver")
"""Programs and libraries of NixOS."""
_SOCKETS_MAX = 4096
_SIZE = "size=1m,mode=755"
_READ_ONLY_REMOUNT = (
    linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
)
_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "kcore", "timer_list", "mtrr")
"""Files in /proc that root may write to, or learns too much from, whatever its capabilities."""


def hidden_paths(border: Border, sockets: Iterable[str]) -> list[str]:
    """The paths to hide.

    Args:
        border: options of the border.
        sockets: lines of ``/proc/net/unix`` of the host, which lists its sockets.
    """
    paths = list(border.hide)
    if border.closed:
        import glob

        paths += [path for pattern in _FOLDERS for path in glob.glob(pattern)]
        paths += filter(os.path.isabs, [border.environment.get(_RUNTIME, "")])
        paths += _bound(sockets)
    kept = [os.path.realpath(path) for path in border.keep]
    found = dict.fromkeys(os.path.realpath(path) for path in paths)
    return [path for path in found if path != "/" and path not in kept]


def _bound(sockets: Iterable[str]) -> Iterator[str]:
    """Paths of the sockets that programs are bound to, if they are visible here."""
    for number, line in enumerate(sockets):
        fields = line.rstrip("\n").split(None, 7)
        if number >= _SOCKETS_MAX:
            return
        if len(fields) == 8 and fields[7].startswith("/"):
            try:
                if stat.S_ISSOCK(os.lstat(fields[7]).st_mode):
                    yield fields[7]
            except (OSError, ValueError):
                continue


def hide(paths: Sequence[str], keep: Sequence[str], files: Mapping[str, bytes]) -> list[str]:
    """Mount an empty folder over each folder. Returns the paths that are files, outside of these folders.

    Args:
        paths: as :func:`hidden_paths` returns them.
        keep: paths in these folders that stay as they are.
        files: contents of files to create in these folders.

    Raises:
        OSError: a mount was refused.
    """
    folders: list[str] = []
    for path in sorted(filter(os.path.isdir, paths)):
        if not _beneath(path, folders):
            folders.append(path)
    kept = [os.path.realpath(path) for path in (*keep, *_KEPT) if os.path.exists(path)]
    places = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in kept if _beneath(path, folders)}
    for folder in folders:
        linux.mount("tmpfs", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, _SIZE)
    for path, place in sorted(places.items()):
        _create(path, folder=stat.S_ISDIR(os.fstat(place).st_mode))
        linux.mount(f"/proc/self/fd/{place}", path, flags=linux.MS_BIND | linux.MS_REC)
        os.close(place)
    for path, content in files.items():
        if _beneath(path, folders):
            _create(path, folder=False)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, 0o644)
    return [path for path in paths if os.path.lexists(path) and not _beneath(path, folders)]


def _beneath(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _create(path: str, *, folder: bool) -> None:
    """Create an empty file or folder to mount over, unless it is there."""
    os.makedirs(path if folder else os.path.dirname(path), mode=0o755, exist_ok=True)
    if not folder and not os.path.lexists(path):
        with open(path, "x"):
            pass


def protect_kernel() -> None:
    """Make the kernel's settings read-only. The kernel lets user 0 change many of them without any capability.

    Raises:
        OSError: a mount was refused.
    """
    for path in ("/sys", *(f"/proc/{name}" for name in _READ_ONLY)):
        if os.path.exists(path):
            linux.mount(path, path, flags=linux.MS_BIND | linux.MS_REC)
            try:
                linux.set_mount_flags(path, read_only=True)
            except OSError as error:
                if error.errno != errno.ENOSYS:
                    raise
                for mounted in _mounts_from(path):
                    linux.mount("none", mounted, flags=_READ_ONLY_REMOUNT)


def _mounts_from(path: str) -> list[str]:
    """The mounts at a path and below it."""
    with open("/proc/self/mounts") as file:
        places = dict.fromkeys(line.split()[1] for line in file)
    return [place for place in places if _beneath(place, [path])]
