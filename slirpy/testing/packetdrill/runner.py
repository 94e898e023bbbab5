"""Runner of scripts: feeds the connection at the times of the script, and compares everything that it sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slirpy.checks import amount, switch, whole
from slirpy.config.values import as_text
from slirpy.config.values import path as path_of
from slirpy.errors import ConfigError, SlirpyError
from slirpy.errortext import errno_name
from slirpy.tcp.seq import MASK
from slirpy.testing.packetdrill.calls import Sockets
from slirpy.testing.packetdrill.checks import check
from slirpy.testing.packetdrill.compare import Clock, compare, encode, take
from slirpy.testing.packetdrill.host import FailureError, Host
from slirpy.testing.packetdrill.language import ELSEWHERE
from slirpy.testing.packetdrill.messages import trouble_of
from slirpy.testing.packetdrill.parser import parse
from slirpy.testing.packetdrill.report import Result, draw, notation
from slirpy.testing.packetdrill.script import (
    Call,
    Code,
    Command,
    Event,
    Icmp,
    Lack,
    Packet,
    Script,
    ScriptError,
    UnsupportedError,
    When,
)
from slirpy.testing.packetdrill.setup import Setup, read_setup
from slirpy.testing.packetdrill.systems import SYSTEMS
from slirpy.testing.packetdrill.user import User
from slirpy.units import SECOND
from slirpy.wire.tcp import ACK

__all__ = ["run", "run_file", "run_text"]

DEFAULT_ISS = 0xFFFF_FC00
"""Sequence numbers wrap after a thousand bytes, and so do the peer's: this exposes errors in their arithmetic."""
DEFAULT_IRS = 0xFFFF_FE00
_TS_OFFSET = 0xFFFF_0000
_SAME_ERRORS = {"EWOULDBLOCK": "EAGAIN", "EDEADLOCK": "EDEADLK", "ENOTSUP": "EOPNOTSUPP"}
_LONGEST_WAIT = 3600 * SECOND


def run_file(
    path: Path | str,
    *,
    settings: dict[str, str] | None = None,
    tolerance_usecs: int | None = None,
    silence: bool = True,
    system: str = "slirpy",
    defines: Mapping[str, str] | None = None,
    iss: int = DEFAULT_ISS,
    irs: int = DEFAULT_IRS,
) -> Result:
    """Run the script in a file.

    Args:
        path: path of the file.
        settings: fields of :class:`~slirpy.tcp.Settings`, as in lines ``--name=value``, which they override.
        tolerance_usecs: permitted difference of times if the script gives none; default 4000.
        silence: whether output after the last ``>`` of the script makes it fail; packetdrill ignores such output.
        system: whose defaults apply, and how strict the comparison is: ``slirpy``, ``linux``, ``freebsd``. A line
            ``--linux`` or ``--freebsd`` of the script takes precedence.
        defines: words for ``#ifdef``, and their replacements in calls; in addition to those of the system.
        iss: initial sequence number of the connection.
        irs: added to the peer's sequence numbers.

    Raises:
        ConfigError: an argument of another type, or out of range.
        ScriptError: the file cannot be read or understood.
    """
    try:
        text = path_of("path", path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ScriptError(f"{path}: cannot be read: {why}; name a script of packetdrill") from None
    return run_text(
        text,
        str(path),
        settings=settings,
        tolerance_usecs=tolerance_usecs,
        silence=silence,
        system=system,
        defines=defines,
        iss=iss,
        irs=irs,
    )


def run_text(
    text: str,
    name: str = "script",
    *,
    settings: dict[str, str] | None = None,
    tolerance_usecs: int | None = None,
    silence: bool = True,
    system: str = "slirpy",
    defines: Mapping[str, str] | None = None,
    iss: int = DEFAULT_ISS,
    irs: int = DEFAULT_IRS,
) -> Result:
    """Run a script; arguments and errors as for :func:`run_file`.

    Args:
        text: the script.
        name: its name in messages.
    """
    as_text("text", text)
    as_text("name", name)
    if tolerance_usecs is not None:
        amount("tolerance_usecs", tolerance_usecs, 0, " of microseconds")
    switch("silence", silence)
    as_text("system", system)
    for what, words in (("settings", settings), ("defines", defines)):
        if words is not None and not (
            isinstance(words, Mapping) and all(isinstance(word, str) for pair in words.items() for word in pair)
        ):
            raise ConfigError(f"{what} {words!r} are not texts by their names")
    whole("iss", iss, 0, MASK)
    whole("irs", irs, 0, MASK)
    try:
        return run(
            parse(text, name, _words(text, system, defines)),
            settings=settings,
            tolerance_usecs=tolerance_usecs,
            silence=silence,
            system=system,
            iss=iss,
            irs=irs,
        )
    except UnsupportedError as why:
        return Result(name, "unsupported", why.line, f"{why}{_features(text, str(why))}")


def _features(text: str, why: str) -> str:
    """List all unsupported features that a script uses: the first reason may not be the important one."""
    # Only words with an underscore: others may belong to a remark.
    words = {word for line in text.splitlines() for word in re.findall(r"\w+_\w+", line.partition("//")[0])}
    found = [name for name, asking in ELSEWHERE.items() if words & set(asking) and name not in why]
    return f"; it needs {', '.join(found)}" if found else ""


def _words(text: str, system: str, defines: Mapping[str, str] | None) -> dict[str, str]:
    """Return the words that are defined when a script is read."""
    own = re.search(r"^--(linux|freebsd)\b", text, re.MULTILINE)
    known = SYSTEMS.get(own[1] if own else system, SYSTEMS["slirpy"]).defines
    return {**dict.fromkeys(known, "1"), **(defines or {})}


def run(
    script: Script,
    *,
    settings: dict[str, str] | None = None,
    tolerance_usecs: int | None = None,
    silence: bool = True,
    system: str = "slirpy",
    iss: int = DEFAULT_ISS,
    irs: int = DEFAULT_IRS,
) -> Result:
    """Run a script that was read by :func:`parse`; arguments and errors as for :func:`run_file`."""
    try:
        setup = read_setup(script, settings or {}, tolerance_usecs, system)
    except UnsupportedError as why:
        return Result(script.name, "unsupported", why.line, str(why))
    runner = _Runner(script, setup, iss, irs, silence and setup.system.silence)
    try:
        runner.run()
    except ScriptError as why:
        raise ScriptError(f"{script.name}: {why}") from None
    except (FailureError, SlirpyError) as why:
        reason = str(why)
    except UnsupportedError as why:
        return Result(script.name, "unsupported", why.line, str(why))
    except AssertionError as why:  # an invariant of the engine itself
        reason = f"the engine contradicts itself: {why}"
    else:
        return Result(script.name, "pass")
    for line, lack in runner.lacks:
        if not lack.counter or getattr(runner.host.stats, lack.counter):
            told = f"{lack.text}; without it line {runner.line} fails: {reason}"
            return Result(script.name, "unsupported", line, told)
    drawing = draw(runner.host, runner.host.transcript)
    return Result(script.name, "fail", runner.line, reason, drawing)


class _Runner:
    def __init__(self, script: Script, setup: Setup, iss: int, irs: int, silence: bool) -> None:
        self._script = script
        self._setup = setup
        self.host = Host(setup.settings, iss, irs, _TS_OFFSET, setup.system, setup.segment_size, setup.family)
        self.host.on_flush = self._flushed
        self._user = User(self.host)
        self._sockets = Sockets(self.host, self._user)
        self._clock = Clock(setup.check_timestamps, setup.tolerance)
        self.line = script.events[0].line if script.events else 1
        self._variables: dict[str, Any] = {}
        self._strict = silence
        self._pause = setup.system.pause if setup.tolerance else 0
        self._paused = 0
        """Total delay caused by the pauses, compared with the script."""
        self.lacks: list[tuple[int, Lack]] = []
        """Line and name of each variable that cannot be set to the script's value."""
        self._blocked: tuple[Call, int, int] | None = None
        """A call that has not returned, and the times between which it should."""

    def run(self) -> None:
        """Run all events; raises an exception for the first deviation."""
        if self._setup.open == "passive":
            self.host.listen()
        elif self._setup.open == "active":
            self.host.connect()
        for index, event in enumerate(self._script.events):
            self.line = event.line
            if isinstance(event, Packet) and not event.inbound:
                self._expect(event)
            else:
                self._act(event, self._script.events[index + 1 :])
        self._finish_call()
        if self._strict:
            self._silence()

    # ----------------------------------------------------------------------------------------- time

    def _window(self, when: When) -> tuple[int, int]:
        """Return the times between which an event may happen, without tolerance."""
        base = self.host.now if when.relative else 0
        return base + when.start, base + when.end

    def _tolerance(self, when: When) -> int:
        """Return the permitted difference for the time of a segment."""
        since = when.end if when.relative else max(when.end - self.host.now, 0)
        return max(self._setup.tolerance, int(since * self._setup.tolerance_percent / 100)) + self._paused

    def _act(self, event: Event, rest: tuple[Event, ...]) -> None:
        """Advance to an action of the script, and perform it."""
        at = self._window(event.when)[0]
        if at < self.host.now - self._setup.tolerance - self._paused:
            raise FailureError(f"this was due at {at / SECOND:g} s, and it is {self.host.now / SECOND:g} s")
        if isinstance(event, Command):
            at += round(event.seconds * SECOND)
        self.host.advance(at)
        if isinstance(event, Command):
            if event.changes:
                self._redefine(event)
            self.lacks += [(event.line, lack) for lack in event.lacks]
        self._overdue(rest)
        if isinstance(event, Packet):
            self.host.advance(self.host.now + self._pause)
            self._paused += self._pause
            self._inject(event)
        elif isinstance(event, Icmp):
            self.host.refused(trouble_of(event, self.host.family), event.seq, event.length)
        elif isinstance(event, Call):
            self._call(event)
        elif isinstance(event, Code):
            check(event, self.host, self._variables)

    def _redefine(self, command: Command) -> None:
        """Apply variables of the system."""
        changes = dict(command.changes)
        shown = changes.pop("shown_rcvbuf", None)
        if isinstance(shown, int) and self.host.shown_rcvbuf:
            self.host.shown_rcvbuf = shown
        self.host.redefine(changes)

    # -------------------------------------------------------------------------------------- packets

    def _inject(self, packet: Packet) -> None:
        host = self.host
        assert packet.seq is not None
        options = encode(packet.options or (), self._clock, host.iss, acknowledges=bool(packet.flags & ACK))
        host.arrive(
            host.segment(
                packet.seq,
                packet.ack or 0,
                packet.flags,
                packet.win or 0,
                options,
                packet.length,
                packet.urg or 0,
            )
        )

    def _expect(self, packet: Packet) -> None:
        """Check that the connection sends this segment, next and in time."""
        host, tolerance = self.host, self._tolerance(packet.when)
        first, last = self._window(packet.when)
        latest = host.now + _LONGEST_WAIT if packet.when.anytime else last + tolerance
        while not host.sent and host.step(latest):
            pass
        if not host.sent:
            state = host.conn.state.value
            raise FailureError(
                f"nothing was sent by {host.now / SECOND:.6f} s; the connection is {state}: {packet.text}"
            )
        system = self._setup.system
        sent = take(host.sent, 0 if self._setup.strict_segments else packet.length, push=system.push)
        if differences := compare(packet, sent, self._clock, host, system):
            found = notation(sent, host.iss, host.irs)
            raise FailureError(f"{'; '.join(differences)}: {packet.text}; sent was: {found}")
        if not packet.when.anytime and not first - tolerance <= sent.time <= last + tolerance:
            wanted = f"{first / SECOND:.6f}" + (f" to {last / SECOND:.6f}" if last > first else "")
            raise FailureError(f"expected at {wanted} s, sent at {sent.time / SECOND:.6f} s: {packet.text}")

    def _overdue(self, rest: tuple[Event, ...]) -> None:
        """Report whether a segment was sent before this moment that no later line can match."""
        waiting = self.host.sent
        if not waiting or waiting[0].time >= self.host.now - self._setup.tolerance:
            return
        for event in rest:
            if isinstance(event, Packet) and not event.inbound:
                if event.when.anytime or not event.when.relative or event.when.end > event.when.start:
                    return
                break
        else:
            if not self._strict:
                return
        self._silence()

    def _silence(self) -> None:
        """Check that nothing else was sent."""
        if self.host.sent:
            found = "; ".join(notation(sent, self.host.iss, self.host.irs) for sent in list(self.host.sent)[:3])
            more = f"; and {len(self.host.sent) - 3} more" if len(self.host.sent) > 3 else ""
            raise FailureError(f"sent, but not in the script: {found}{more}")

    # ---------------------------------------------------------------------------------------- calls

    def _call(self, call: Call) -> None:
        self._finish_call()
        if self._setup.open is not None:
            self._returned(call, self._user.act(call))
            return
        self._user.blocked_at = self.host.now
        begin, finish = self._window(call.until) if call.until is not None else (0, 0)
        if call.until is not None and call.until.relative:
            # Relative to the event before, as the beginning is, and not to the call itself.
            begin, finish = begin - call.when.start, finish - call.when.start
        result = self._sockets.attempt(call)
        if result is None:
            if call.until is None:
                raise FailureError(f"{call.name}() blocks; write +0...0.5 for a call that does")
            self._blocked = call, begin, finish
            return
        self._in_time(call, begin, finish)
        self._returned(call, result)

    def _flushed(self) -> None:
        """Note a change of state."""
        self._sockets.observe()
        self._unblock()

    def _unblock(self) -> None:
        """Retry the blocked call."""
        if self._blocked is None:
            return
        call, begin, finish = self._blocked
        self._blocked = None  # its effects may flush
        result = self._sockets.attempt(call)
        if result is None:
            self._blocked = call, begin, finish
            return
        line, self.line = self.line, call.line
        self._in_time(call, begin, finish)
        self._returned(call, result)
        self.line = line

    def _finish_call(self) -> None:
        """Wait for a blocked call, within its time."""
        if self._blocked is None:
            return
        call, _, finish = self._blocked
        latest = finish + self._setup.tolerance
        while self._blocked is not None and self.host.step(latest):
            pass
        self._unblock()
        if self._blocked is not None:
            self.line = call.line
            raise FailureError(f"{call.name}() has not returned by {latest / SECOND:.6f} s")

    def _in_time(self, call: Call, begin: int, finish: int) -> None:
        tolerance, now = self._setup.tolerance, self.host.now
        if call.until is not None and not begin - tolerance <= now <= finish + tolerance:
            raise FailureError(
                f"{call.name}() should return at {finish / SECOND:.6f} s, and does at {now / SECOND:.6f} s"
            )

    def _returned(self, call: Call, result: int | None) -> None:
        if call.result is None:
            return
        found = "nothing" if result is None else str(result)
        if result is not None and result < 0:
            found = f"-1 {errno_name(-result)}"
        error = _SAME_ERRORS.get(call.error, call.error)
        wanted = f"{call.result} {error}".strip()
        if found != wanted and not (wanted == "-1" and found.startswith("-1 ")):
            raise FailureError(f"{call.name}() returns {found}, not {wanted}")
