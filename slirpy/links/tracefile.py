"""Output of trace lines: a file, or a pipe that is never waited for."""

from __future__ import annotations

import os
import re

from slirpy.checks import descriptor
from slirpy.config.values import path as path_of
from slirpy.links.outputs import NamedFile, Pipe, Written, is_fifo

__all__ = ["TraceFile"]

_LINE = rb"(\d\d:\d\d:\d\d|\d+)\.\d{6} (.{0,256} )?(in |out) "


class TraceFile(Written):
    """A file for one or several :class:`~slirpy.links.trace.TraceLink`; it behaves like the file of a capture.

    An existing trace written by slirpy is replaced; a file with any other content is not. A pipe is never waited
    for: lines are dropped when it is full, or when a named pipe has no reader.

    Args:
        target: a file's name, also that of a named pipe; or the descriptor of a pipe, which is taken over.

    Attributes:
        error: the error that ended it early, or None.
        dropped: number of lines not written, because a pipe was full or had no reader.

    Raises:
        ConfigError: neither a path nor a descriptor.
        LinkError: the file cannot be written, or has content that slirpy did not write.
    """

    def __init__(self, target: str | os.PathLike[str] | int) -> None:
        super().__init__()
        if not isinstance(target, str | os.PathLike):
            descriptor("target", target)
            self._output = Pipe(bytes, self._fail, fd=target, what="trace")
            return
        path = path_of("target", target)
        if is_fifo(path):
            self._output = Pipe(bytes, self._fail, path=path, what="trace")
        else:
            self._output = NamedFile(bytes, path, _is_ours, what="trace")

    def write(self, lines: list[str]) -> None:
        """Write lines, without their line ends.

        Raises:
            OSError: the trace has ended, for example because the disk is full.
        """
        if self._output is None:
            raise self.error or OSError("the trace was closed")
        try:
            dropped = self._output.write([line.encode(errors="backslashreplace") + b"\n" for line in lines])
        except OSError as error:
            self._fail(error)
            raise
        self._drop(dropped)
        if self.error is not None:
            raise self.error


def _is_ours(head: bytes) -> bool:
    return re.match(_LINE, head) is not None
