"""``--capture`` and ``--trace``: parsing of their values, and the recorders and links that they need."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, TextIO

from slirpy.cli.flags import KEY_AND_VALUE, names_flags
from slirpy.cli.streams import PATIENCE, tell
from slirpy.config.text import hint
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple

if TYPE_CHECKING:
    from slirpy.interfaces import Link
    from slirpy.links.recorder import Recorder
    from slirpy.links.tracefile import TraceFile

__all__ = [
    "STANDARD",
    "CaptureOption",
    "FrameLog",
    "open_recorder",
    "own_standard_output",
    "parse_capture",
]

STANDARD = "-"
_KEYS = ("format", "max", "files")
_SUFFIXES = (".pcap", ".pcapng")
_BARE_KEY = rf",({'|'.join(_KEYS)})(?=,|$)"
_SIZE = r"([1-9][0-9]{0,17})([kMG]?)"
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


class CaptureOption(NamedTuple):
    """The parts of ``FILE[,format=pcap|pcapng][,max=SIZE][,files=N]``."""

    name: str
    file_format: str | None = None
    max_bytes: int | None = None
    max_files: int = 2


def parse_capture(text: str) -> CaptureOption:
    """Read the value of ``--capture``. A comma is part of the name unless KEY=VALUE follows it.

    KEY=VALUE with an unknown key is an error, unless it ends like the name of a capture file.

    Raises:
        ConfigError: a value that cannot be used, a key without a value, or keys that need others.
    """
    if bare := re.search(_BARE_KEY, text):
        raise ConfigError(f'capture "{text}": {bare[1]} has no value; write {bare[1]}=VALUE')
    start = len(text)
    for match in re.finditer(KEY_AND_VALUE, text):
        if match[1] in _KEYS or not match[2].endswith(_SUFFIXES):
            start = match.start()
            break
    option = CaptureOption(text[:start])
    given = set()
    rest = text[start:]
    while found := re.match(KEY_AND_VALUE, rest):
        key, value = found.groups()
        rest = rest[found.end() :]
        given.add(key)
        if key not in _KEYS:
            advice = hint(key, _KEYS, f"it must be one of {', '.join(_KEYS)}")
            raise ConfigError(f'capture "{text}": unknown option "{key}={value}"; {advice}')
        if key == "format":
            option = option._replace(file_format=value)
        elif key == "max" and (size := re.fullmatch(_SIZE, value)):
            option = option._replace(max_bytes=int(size[1]) * _UNITS[size[2]])
        elif key == "files" and (size := re.fullmatch(_SIZE, value)) and not size[2]:
            option = option._replace(max_files=int(value))
        else:
            raise ConfigError(f'capture "{text}": {key}={value}: must be a number such as 5, or 10M for max')
    if "files" in given and option.max_bytes is None:
        raise ConfigError(
            f'capture "{text}": files needs max, the size at which the next file begins; add max=10M'
        )
    if option.max_bytes is not None and option.name == STANDARD:
        raise ConfigError(f'capture "{text}": max is for a file, which - is not; leave it out')
    if rest or not option.name:
        raise ConfigError(f'capture "{text}": must be FILE[,format=pcap|pcapng][,max=SIZE][,files=N]')
    return option


def own_standard_output() -> int:
    """Reserve standard output for slirpy. From now on, output of other programs goes to standard error.

    Raises:
        ConfigError: standard output is a terminal, or closed.
    """
    if os.isatty(1):
        raise ConfigError(
            "capture -: standard output is a terminal; pipe it into a program, such as | wireshark -k -i -"
        )
    if sys.__stdout__ is None:  # and descriptor 1 may be anything by now
        raise ConfigError(
            "capture -: standard output is closed; redirect it to a file, or pipe it into a program"
        )
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def open_recorder(text: str, output: int | None = None) -> Recorder:
    """Open the recorder for a capture.

    Args:
        text: as :func:`parse_capture` reads it; the name ``-`` means standard output.
        output: the result of :func:`own_standard_output`, if it was called already.

    Raises:
        SlirpyError: a value that cannot be used, or the file cannot be written.
    """
    from slirpy.links.recorder import Recorder

    option = parse_capture(text)
    target: str | int = option.name
    if option.name == STANDARD:
        target = own_standard_output() if output is None else output
    return Recorder(
        target, file_format=option.file_format, max_bytes=option.max_bytes, max_files=option.max_files
    )


def open_trace(name: str) -> TraceFile | TextIO:
    """Open the file of a trace. ``-`` is standard error; if that is a pipe, writing to it never blocks.

    Raises:
        LinkError: the file cannot be written.
    """
    from slirpy.links.tracefile import TraceFile

    if name != STANDARD:
        return TraceFile(name)
    try:
        if stat.S_ISFIFO(os.fstat(2).st_mode):
            # Reopened, so that other programs that write to the same pipe, such as CMD, still block on it.
            return TraceFile(os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        pass  # no /proc here, or a pipe of another user
    return sys.stderr


class FrameLog:
    """Capture and trace of a command, around each of its links.

    All links write to the same file. Each is a named interface in pcapng, and a name in the trace.

    Args:
        capture: value of ``--capture``, or None.
        trace: name of a file, ``-``, or None.
        stack: closes the files when it ends.
        several: whether there may be several links, so that each line of the trace has to name its link.
        output: the result of :func:`own_standard_output`, if it was called already.

    Raises:
        SlirpyError: a value that cannot be used, or a file cannot be written.
    """

    @names_flags
    def __init__(
        self,
        capture: str | None,
        trace: str | None,
        stack: ExitStack,
        *,
        several: bool = False,
        output: int | None = None,
    ) -> None:
        self._several = several
        self._numbers: set[int] = set()
        self._recorder: Recorder | None = None
        self._trace: TraceFile | TextIO | None = None
        if capture is not None:
            self._recorder = open_recorder(capture, output)
            stack.callback(_watched("--capture", capture, self._recorder, "frames"))
            stack.callback(self._recorder.close)
        if trace is not None:
            from slirpy.links.tracefile import TraceFile

            self._trace = open_trace(trace)
            if isinstance(self._trace, TraceFile):
                stack.callback(_watched("--trace", trace, self._trace, "lines"))
                stack.callback(self._trace.close)

    def wrap(self, link: Link, name: str) -> Link:
        """Wrap a link so that all its frames are recorded, under a name."""
        if self._recorder is not None:
            from slirpy.links.capture import CaptureLink

            link = CaptureLink(link, self._recorder, name=name)
        if self._trace is not None:
            from slirpy.links.trace import TraceLink

            link = TraceLink(link, self._trace, name=name if self._several else "")
        return link

    def number(self, link: Link) -> Link:
        """Wrap the link of a guest that may come and go. Names are guest1, guest2, and so on; the first free one."""
        from slirpy.links.middleware import Middleware

        if self._recorder is None and self._trace is None:
            return link
        numbers = self._numbers
        number = next(n for n in count(1) if n not in numbers)
        numbers.add(number)

        class Numbered(Middleware):
            def close(self) -> None:
                super().close()
                numbers.discard(number)

        return Numbered(self.wrap(link, f"guest{number}"))


def _watched(option: str, text: str, file: Recorder | TraceFile, what: str) -> Callable[[], None]:
    """Report an error when it occurs: a session may last for days, and its recording is missing from now on.

    Returns:
        A function for the end, which reports what is missing and was not reported.
    """
    told = False

    def say(error: OSError, patience: float = 0) -> None:  # the network does not wait
        nonlocal told
        told = told or tell(f'{option} "{text}": ended early: {error.strerror}', patience)

    def end() -> None:
        if file.error is not None:
            say(file.error, PATIENCE)
        elif file.dropped:
            tell(f'{option} "{text}": {file.dropped} {what} are not in it: its reader was away, or too slow')

    file.on_error = say
    if file.error is not None:
        say(file.error)
    return end
