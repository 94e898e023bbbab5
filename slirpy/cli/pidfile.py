"""Files that contain the number of a running process, for those who supervise it (``--pid-file``)."""

from __future__ import annotations

import errno
import os
import re
import sys
from functools import partial
from types import TracebackType
from typing import Self

from slirpy.cli.flags import check_plain_name
from slirpy.errors import LinkError
from slirpy.ownfile import open_own

__all__ = ["PidFile"]

_NUMBER = re.compile(rb"[0-9]{1,10}\n?")


class PidFile:
    """A file with a process number, which is removed at the end.

    It is opened and locked at once, so that a mistake shows before anything else has started, and so that a second
    instance finds out. It is empty until :meth:`write`, and everybody may read it. A file that another instance left
    behind is replaced. One with other content is left alone, and so is one with the number of a running process,
    whoever wrote it. In a forked child, :meth:`close` leaves the file to the parent, unless the child has written it.

    Args:
        option: the name of the option, for messages.
        path: the file.

    Raises:
        ConfigError: ``path`` ends in an option, which there is none of.
        LinkError: the file belongs to a running instance, has other content, or cannot be written.
    """

    def __init__(self, option: str, path: str) -> None:
        check_plain_name(option, path)
        self._option = option
        self._owner = os.getpid()
        self.path = os.path.abspath(path)
        """The file, as an absolute path: the current folder may change."""
        try:
            self._descriptor = open_own(
                path, lambda head: _NUMBER.fullmatch(head) is not None, lock=partial(_lock, path)
            )
        except BlockingIOError:
            raise LinkError(
                f'{option} "{path}": it names process {_holder(path)}, which still runs; end it, or name another file'
            ) from None
        except FileExistsError as error:
            raise LinkError(
                f'{option} "{path}": {error.strerror}, and it is left alone; name another file, or remove this one'
            ) from None
        except (OSError, ValueError) as error:
            why = str(error.strerror if isinstance(error, OSError) else error).lower()
            raise LinkError(
                f'{option} "{path}": cannot be written: {why}; name a file in a folder of yours'
            ) from None

    def write(self, number: int | None = None) -> None:
        """Write the number of a process, followed by a newline.

        Args:
            number: of the process; None: of this one, which removes the file from now on.

        Raises:
            LinkError: the disk is full, or the like.
        """
        if number is None:
            self._owner = number = os.getpid()
        text = f"{number}\n".encode()
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(self._descriptor, 0o644)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text, 0) if hasattr(os, "pwrite") else os.write(self._descriptor, text)
        except OSError as error:
            why = os.strerror(error.errno or errno.EIO).lower()
            raise LinkError(f'{self._option} "{self.path}": cannot be written: {why}') from None

    def close(self) -> None:
        """Remove the file, if it still is the one that was opened. Harmless when repeated.

        Where this process may not remove it, having become another user, it is emptied.
        """
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            if os.getpid() == self._owner and os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                try:
                    os.unlink(self.path)  # before the lock ends with the descriptor
                except PermissionError:
                    os.ftruncate(descriptor, 0)
        except OSError:
            pass  # somebody has removed it, or its folder
        os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lock(path: str, descriptor: int) -> None:
    """Lock the file for as long as any process has it open.

    Raises:
        BlockingIOError: another process holds the lock, or the file names one that runs.
    """
    if sys.platform == "win32":
        return  # there, an open file can be neither replaced nor removed
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # this file system has no locks
    if _runs(_holder(path)):
        raise BlockingIOError


def _runs(number: str) -> bool:
    """Report whether a process runs, other than this one."""
    if not number or int(number) in (0, os.getpid()):
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it belongs to somebody else
    return True


def _holder(path: str) -> str:
    """The number in a file; empty: there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(16).strip().decode("ascii", "replace")
    except OSError:
        return ""
