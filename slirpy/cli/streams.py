"""Standard streams of the command line: closed, full, or without a reader, they cause one line of output at most."""

from __future__ import annotations

import errno
import os
import select
import sys
from contextlib import suppress
from io import BufferedWriter, FileIO, TextIOWrapper, UnsupportedOperation
from typing import TYPE_CHECKING, Any, TextIO

from slirpy import logs as library
from slirpy.audit.text import plain
from slirpy.cli import logs
from slirpy.errortext import strerror

if TYPE_CHECKING:
    import logging

__all__ = ["StandardOutput", "exhausted", "flush_errors", "relay_library", "tell", "write_line"]

_HINTS = {
    errno.EMFILE: "allow more with `ulimit -n`",
    errno.ENFILE: "the whole system has no more",
    errno.ENOMEM: "see `ulimit -v`",
    errno.EAGAIN: "see `ulimit -u`",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EFBIG: "see `ulimit -f`",
    errno.EIO: "the device has failed",
}
"""Errors that mean that a system resource is exhausted, whatever the operation, with advice for each."""


PIECE = 1024
"""Characters that are at most 4096 bytes."""
PATIENCE = 1.0
"""Time in seconds that the reader of standard error has to make room for a line."""


class _Recorded(FileIO):
    """A file that remembers why writing to it failed."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """See :meth:`io.RawIOBase.write`."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


class StandardOutput:
    """``sys.stdout`` for the lifetime of the command, which records write failures.

    Descriptors 0, 1 and 2 are open from now on. Otherwise the first file or socket that is
    opened takes the number of a closed one, and receives the output. Children see it closed, as they would
    without slirpy, and writing to standard output fails as on a closed one.
    """

    def __init__(self) -> None:
        for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, flags)  # the lowest number that is free, which is this one
        if sys.stderr is None:
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open
        before: TextIO | None = sys.stdout
        self._file = _Recorded(1, "w", closefd=False)
        sys.stdout = TextIOWrapper(
            BufferedWriter(self._file),
            encoding="utf-8" if before is None else before.encoding,
            errors=None if before is None else before.errors,
            line_buffering=os.isatty(1),
        )

    @property
    def failed(self) -> bool:
        """True if any write has failed."""
        return self._file.error is not None

    def finish(self) -> str | None:
        """Write what is left. Returns the reason if something could not be written; empty if the reader has gone."""
        flush_errors(sys.stdout)
        if self._file.error is None:
            return None
        number = self._file.error.errno or errno.EIO
        return "" if number == errno.EPIPE else strerror(number)


def flush_errors(stream: TextIO) -> None:
    """Flush a stream, and discard what it cannot take; otherwise the interpreter would complain on exit."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno(), inheritable=False)
            os.close(null)
            stream.flush()


def tell(text: str, patience: float = PATIENCE, *, level: str = "info") -> bool:
    """Write a message from slirpy to standard error, as one line in the style of ``--log-format``.

    Args:
        text: the message.
        patience: see :func:`write_line`.
        level: one of :data:`~slirpy.cli.logs.LEVELS`.

    Returns:
        False if it could not be written; True also if ``--log-level`` leaves it out.
    """
    if not logs.style.says(level):
        return True
    return write_line(logs.style.line(level, plain(text), prefix="slirpy: "), patience)


def write_line(line: str, patience: float = PATIENCE) -> bool:
    """Write a line to standard error. Returns whether it could be written.

    A missing or slow reader must not stop anything: CMD's end, or an interrupt, would wait for it.

    Args:
        line: any length; a pipe that is ready takes pieces of up to 4096 bytes at once.
        patience: seconds that a reader has to make room for each piece.
    """
    text = plain(line) + "\n"
    try:
        for start in range(0, len(text), PIECE):
            if not _ready(patience):
                return False
            print(text[start : start + PIECE], end="", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return False
    return True


def relay_library() -> None:
    """Write what the library logs as :func:`tell` does, unless the program that calls this command handles it."""
    library.prepare = _relay


def _relay(logger: logging.Logger) -> None:
    """Add the handler that calls :func:`tell`, if there is none."""
    import logging

    class Relay(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            severe = (
                name for name in reversed(logs.LEVELS) if record.levelno >= getattr(logging, name.upper())
            )
            tell(record.getMessage().removeprefix("slirpy: "), level=next(severe, logs.LEVELS[0]))

    if not logger.hasHandlers():
        logger.addHandler(Relay())
        logger.propagate = False


def _ready(patience: float) -> bool:
    """Report whether standard error can be written without waiting for a reader, as far as the system can tell."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    try:
        poll.register(sys.stderr.fileno(), select.POLLOUT)
    except UnsupportedOperation:
        return True  # not a file
    return bool(poll.poll(patience * 1000))


def _memory_is_limited() -> bool:
    """Report whether ``ulimit -v`` is set. Python then reports some failures to get memory as other errors."""
    try:
        import resource

        return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    except ModuleNotFoundError:
        return False
    except (ImportError, MemoryError, SystemError):
        return True


def exhausted(error: BaseException) -> str | None:
    """One line about an error that means that a system resource is exhausted; None for any other error."""
    if isinstance(error, MemoryError) or (
        isinstance(error, SystemError | SyntaxError) and _memory_is_limited()
    ):
        return f"{strerror(errno.ENOMEM)}; {_HINTS[errno.ENOMEM]}"
    if isinstance(error, OSError) and error.errno in _HINTS:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return f"{where}{strerror(error.errno)}; {_HINTS[error.errno]}"
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):
        return f"{error}; see `ulimit -a`"
    return None
