"""Capture recorder: pcap or pcapng, into a file, files in rotation, a file object, a pipe."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from io import IOBase
from typing import BinaryIO, TypeAlias

from slirpy.checks import amount, descriptor, moment, switch
from slirpy.config.values import as_text, function
from slirpy.config.values import path as path_of
from slirpy.errors import ConfigError
from slirpy.interfaces import Buffer
from slirpy.links.memory import Memory
from slirpy.links.outputs import FileOutput, NamedFile, Pipe, Written, is_fifo
from slirpy.records import Protocol
from slirpy.reprs import counted
from slirpy.wire import pcap, pcapng

__all__ = ["FORMATS", "Recorder", "Target"]

Target: TypeAlias = str | os.PathLike[str] | int | BinaryIO | IOBase | Memory
"""A file's name, the descriptor of a pipe, a file object, or memory."""


class _Format(Protocol):
    def header(self, interfaces: Sequence[str]) -> bytes: ...

    def interface(self, name: str) -> bytes: ...

    def record(self, time: int, parts: Sequence[Buffer], inbound: bool, interface: int) -> bytes: ...


FORMATS: dict[str, _Format] = {"pcap": pcap, "pcapng": pcapng}


def _is_ours(head: bytes) -> bool:
    """Report whether a file begins like those that a :class:`Recorder` writes."""
    return any(head.startswith(form.header(())) for form in FORMATS.values())


class Recorder(Written):
    """Writes frames to ``target`` in a capture format.

    An existing capture written by slirpy is replaced, unless ``overwrite`` is False; a file with any other content is
    not.

    If writing fails (a full disk, a reader that exited), the recording ends, and :attr:`error` contains the reason.

    Args:
        target: a file's name, also that of a named pipe, which may have no reader yet; or the descriptor of a pipe,
            which is taken over; or a file object in binary mode, which remains the caller's and may block; or a
            :class:`~slirpy.links.memory.RecordQueue` or :class:`~slirpy.links.memory.RecordRing`.
        file_format: ``"pcap"`` or ``"pcapng"``; None: pcapng if the name ends in ``.pcapng``, else pcap.
        max_bytes: with a file's name: begin another file when this one would exceed this size.
        max_files: number of files to keep, with ``max_bytes``: ``out.pcap`` is the newest, ``out.1.pcap`` the one
            before.
        overwrite: replace earlier captures; False: none of the files may exist.
        clock: returns the time of a frame, in nanoseconds since 1970.

    Attributes:
        error: the error that ended it early, or None.
        frames: number of frames written.
        dropped: number of frames not written, because a pipe was full or had no reader.

    Raises:
        ConfigError: an argument that cannot be used.
        LinkError: the file cannot be written, or has content that slirpy did not write.
        OSError: the file object cannot be written.
    """

    def __init__(
        self,
        target: Target,
        *,
        file_format: str | None = None,
        max_bytes: int | None = None,
        max_files: int = 2,
        overwrite: bool = True,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        path = path_of("target", target) if isinstance(target, str | os.PathLike) else None
        switch("overwrite", overwrite)
        if path is None and not callable(getattr(target, "write", None)):
            descriptor("target", target)
        if file_format is None:
            file_format = "pcapng" if path is not None and path.suffix == ".pcapng" else "pcap"
        if as_text("file_format", file_format) not in FORMATS:
            raise ConfigError(f'capture format "{file_format}": unknown; the formats are {", ".join(FORMATS)}')
        if max_bytes is not None and path is None:
            raise ConfigError("max_bytes is only for a file with a name; pass a name instead of an open file")
        if max_bytes is not None:
            amount("max_bytes", max_bytes, 1, "; use for example 10000000")
        amount("max_files", max_files, 1, "; use for example 5")
        function("clock", clock, " that gives nanoseconds, such as time.time_ns")
        super().__init__()
        self.frames = 0
        self._format = FORMATS[file_format]
        self._clock = clock
        self._interfaces: list[str] = []
        if path is not None:
            if is_fifo(path):
                self._output = Pipe(self._header, self._fail, path=path)
            else:
                self._output = NamedFile(
                    self._header, path, _is_ours, max_bytes, max_files, overwrite=overwrite
                )
        elif isinstance(target, Memory):
            target.begin(self._header)
            self._output = target
        elif isinstance(target, int):
            pipe = Pipe(self._header, self._fail, fd=target)
            self._output = pipe if self.error is None else None
        else:
            assert not isinstance(target, str | os.PathLike)
            self._output = FileOutput(self._header, target)

    def _written(self) -> str:
        return f", {counted(self.frames, 'frame')}"

    def _header(self) -> bytes:
        return self._format.header(self._interfaces)

    def interface(self, name: str = "slirpy") -> int:
        """Return the number of an interface for :meth:`record`; a new name adds one.

        pcapng stores the interface of each frame, with its name. pcap cannot.

        Raises:
            ConfigError: ``name`` is not text.
        """
        as_text("name", name)
        if name not in self._interfaces:
            block = self._format.interface(name)
            if self._output is not None and block:
                try:
                    self._output.describe(block)
                except OSError as error:
                    self._fail(error)
            self._interfaces.append(name)
        return self._interfaces.index(name)

    def record(self, frames: Iterable[Sequence[Buffer]], inbound: bool, interface: int = 0) -> None:
        """Write frames, each given in pieces.

        Args:
            frames: in order.
            inbound: whether they came from the guest.
            interface: number returned by :meth:`interface`.
        """
        output = self._output
        if output is None:
            return
        if not self._interfaces:
            self.interface()
        now, record = moment("clock() =", self._clock(), "time.time"), self._format.record
        records = [record(now, parts, inbound, interface) for parts in frames]
        try:
            dropped = output.write(records)
        except OSError as error:
            self._fail(error)
            return
        if self.error is None:
            self.frames += len(records) - dropped
        self._drop(dropped)
