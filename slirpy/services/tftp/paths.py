"""The way from a name that a guest sends to a place inside the folder, and never to one outside it.

Where the system can open files relative to a descriptor (Linux, macOS), the name is walked part by part. Each folder
is opened by its descriptor, and the system follows no symbolic link: we read the link and walk its parts too. So a
link that stays inside is followed, and one that leads out is refused, even if someone changes the folder at the same
time. Elsewhere (Windows) the real path is compared with that of the folder, which is safe as long as nobody changes
the folder at that moment.

A name that begins with a slash is relative to the folder, as with QEMU and with servers in a chroot. A backslash
counts as a slash, because names with backslashes are built into the boot loaders of Windows; the parts are checked
after that. Drives and device names, which are special on Windows, are refused on all systems.

On Unix the bytes of a name are taken as those of the file name, whatever their encoding.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from slirpy.errortext import strerror
from slirpy.records import NamedTuple
from slirpy.wire.tftp import Code, RefusalError

__all__ = ["PARTIAL", "Place", "refusal", "resolve"]

MAX_NAME = 512
LINKS_MAX = 40
STEPS_MAX = 256
"""Parts of a name and of the links on its way, each of which takes a few microseconds."""
ENTRIES_MAX = 4000
"""Entries of folders that are compared, for one request, in search of names in another case: 1.5 ms."""
PARTIAL = ".slirpy-tftp-"
"""Prefix of the names of incomplete files."""
BY_DESCRIPTOR = {os.open, os.stat, os.readlink, os.rename, os.unlink} <= os.supports_dir_fd
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0)
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Place(NamedTuple):
    """The place of a file that exists or will exist."""

    folder: int | None
    """Descriptor of the folder, which the caller closes; None: the path is complete by itself."""
    path: str
    """Name in that folder. It may be missing, but it is not a link."""

    def close(self) -> None:
        """Release the descriptor."""
        if self.folder is not None:
            os.close(self.folder)


def refusal(problem: OSError) -> RefusalError:
    """The error that a guest receives for a failed system call."""
    if problem.errno in (errno.ENOENT, errno.ENOTDIR):
        return RefusalError(Code.NOT_FOUND, "file not found")
    if problem.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return RefusalError(Code.FULL, "disk full")
    if problem.errno in (errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM):
        return RefusalError(Code.UNDEFINED, strerror(problem.errno).lower())
    return RefusalError(Code.ACCESS, "access violation")


def _parts(name: str) -> list[str]:
    """The parts of a name.

    Raises:
        RefusalError: the name is not allowed.
    """
    if len(name) > MAX_NAME:
        raise RefusalError(Code.ACCESS, f"a name has at most {MAX_NAME} characters")
    name = name.replace("\\", "/")
    if _CONTROL.search(name) or _DRIVE.match(name.lstrip("/")):
        raise RefusalError(Code.ACCESS, "the name has characters that may not be")
    if os.name == "posix":
        name = os.fsdecode(name.encode("utf-8", "surrogateescape"))
    parts = [part for part in name.split("/") if part not in ("", ".")]
    for part in parts:
        # Windows removes dots and spaces at the end of a name, so ".. " would mean ".." there.
        if not part.rstrip(" .") or _DEVICE.fullmatch(part) or part.casefold().startswith(PARTIAL):
            raise RefusalError(Code.ACCESS, "access violation")
        if os.name == "nt" and ":" in part:
            raise RefusalError(Code.ACCESS, "access violation")
    if not parts:
        raise RefusalError(Code.ACCESS, "the name is that of a folder")
    return parts


def resolve(root: Path, name: str, ignore_case: bool = False) -> Place:
    """The place of a name in a folder; the folders on the way exist.

    Args:
        root: the folder.
        name: the name as the guest sent it.
        ignore_case: whether each part that is missing may match a name that differs only in case.

    Raises:
        RefusalError: the place is not inside the folder, or a folder on the way is missing.
    """
    parts = _parts(name)
    try:
        return _walk(root, parts, ignore_case) if BY_DESCRIPTOR else _compare(root, parts, ignore_case)
    except OSError as problem:
        raise refusal(problem) from None


def _in_other_case(folder: str | int, part: str, looks: Iterator[int]) -> str | None:
    """The entry of a folder whose name differs from ``part`` only in case; of several, the first in order.

    Each entry takes one of ``looks``, which all folders on the way share.
    """
    wanted = part.casefold()
    with os.scandir(folder) as entries:
        names = [
            entry.name for _, entry in zip(looks, entries, strict=False) if entry.name.casefold() == wanted
        ]
    return min(names, default=None)


def _walk(root: Path, parts: list[str], ignore_case: bool) -> Place:
    folders = [os.open(root, _FOLDER)]
    todo = parts[::-1]
    links = 0
    steps = STEPS_MAX
    looks = iter(range(ENTRIES_MAX))
    try:
        while todo:
            part = todo.pop()
            steps -= 1
            if steps < 0:
                raise RefusalError(Code.ACCESS, "access violation")
            if part == "..":  # from a link
                if len(folders) == 1:
                    raise RefusalError(Code.ACCESS, "access violation")
                os.close(folders.pop())
                continue
            here = folders[-1]
            try:
                mode = os.stat(part, dir_fd=here, follow_symlinks=False).st_mode
            except FileNotFoundError:
                other = _beside(here, part, looks) if ignore_case else None
                if other is not None:
                    part = other
                    mode = os.stat(part, dir_fd=here, follow_symlinks=False).st_mode
                elif todo:
                    raise
                else:
                    mode = 0
            if stat.S_ISLNK(mode):
                links += 1
                target = os.readlink(part, dir_fd=here)
                if links > LINKS_MAX:
                    raise RefusalError(Code.ACCESS, "access violation")
                if os.path.isabs(target):
                    target = _inside(root, target)
                    while len(folders) > 1:
                        os.close(folders.pop())
                todo += [step for step in reversed(target.split("/")) if step not in ("", ".")]
            elif todo:
                folders.append(os.open(part, _FOLDER, dir_fd=here))
            else:
                return Place(folders.pop(), part)
        raise RefusalError(Code.ACCESS, "the name is that of a folder")  # through a link
    finally:
        for folder in folders:
            os.close(folder)


def _beside(folder: int, part: str, looks: Iterator[int]) -> str | None:
    """:func:`_in_other_case` for a descriptor that may allow nothing but lookups."""
    try:
        listed = os.open(".", os.O_RDONLY | getattr(os, "O_DIRECTORY", 0), dir_fd=folder)
    except PermissionError:
        return None
    try:
        return _in_other_case(listed, part, looks)
    finally:
        os.close(listed)


def _inside(root: Path, target: str) -> str:
    """The target of an absolute link as a path relative to ``root``."""
    for base in (str(root), os.path.realpath(root)):
        if target.startswith(base.rstrip("/") + "/"):
            return target[len(base.rstrip("/")) :]
    raise RefusalError(Code.ACCESS, "access violation")


def _compare(root: Path, parts: list[str], ignore_case: bool) -> Place:
    base = os.path.realpath(root)
    path = base
    looks = iter(range(ENTRIES_MAX))
    for part in parts:
        # No folder is listed before it is known to be inside.
        if ignore_case and _is_inside(base, path) and not os.path.lexists(os.path.join(path, part)):
            part = _in_other_case(path, part, looks) or part
        path = os.path.join(path, part)
    path = os.path.realpath(path)
    if not _is_inside(base, path):
        raise RefusalError(Code.ACCESS, "access violation")
    if not os.path.isdir(os.path.dirname(path)):
        raise RefusalError(Code.NOT_FOUND, "file not found")
    return Place(None, path)


def _is_inside(base: str, path: str) -> bool:
    try:
        return os.path.commonpath((base, os.path.realpath(path))) == base
    except ValueError:  # on another drive
        return False
