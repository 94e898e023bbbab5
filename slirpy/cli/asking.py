"""``--ask``: a person at the terminal decides about destinations that no rule knows.

The question stands on the terminal that started slirpy, whatever standard input and output are. One key answers it,
and keys that were typed before do not. While it stands, slirpy is the terminal's foreground job, so that the shell or
program that was is not given the key; afterwards that one is in the foreground again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slirpy.audit.text import plain
from slirpy.config.policy.goal import goal_of
from slirpy.config.text import with_port
from slirpy.errors import ConfigError
from slirpy.interfaces import Action, Decision, FlowRequest, IPProtocol, Verdict
from slirpy.ownfile import create_new

if TYPE_CHECKING:
    from slirpy import Slirp

__all__ = ["Asker"]

QUESTIONS_MAX = 64
"""Maximum number of destinations that wait for an answer; flows to further ones are refused."""
REMEMBERED = 10_000
"""Maximum number of answers for ever."""
LOOK_EVERY = 0.5
"""Seconds between looks whether anybody still waits for an answer."""
_KEYS = {"y": "yes", "n": "no", "a": "always", "v": "never"}
_NO = Verdict(Action.REJECT, reason="refused at the terminal")
_BUSY = Verdict(Action.REJECT, reason="too many questions at once")
_GONE = Verdict(Action.REJECT, reason="no terminal to ask at")


class Asker:
    """Asks at the terminal; the function ``asker`` of a :class:`~slirpy.Config`.

    Args:
        save: the file to which answers for ever are written at the end, as a policy; None: none.

    Raises:
        ConfigError: there is no terminal.
        LinkError: the file has content, or cannot be written.
    """

    def __init__(self, save: Path | None = None) -> None:
        try:
            self._tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            raise ConfigError(
                "--ask needs the terminal from which slirpy was started, or --control; write rules, or a program that"
                " decides"
            ) from None
        self._file = None if save is None else create_new("--ask-save", save)
        self._answers: dict[str, Verdict] = {}
        self._rules: dict[str, str] = {}
        self._questions: OrderedDict[str, tuple[FlowRequest, Decision]] = OrderedDict()
        self._shown: str | None = None
        self._modes: list[Any] | None = None
        self._foreground: int | None = None
        self._net: Slirp | None = None

    def __call__(self, request: FlowRequest, verdict: Verdict) -> Verdict | Decision:
        """Decide about a flow, now or later."""
        goal = goal_of(request)
        known = self._answers.get(goal)
        if known is not None:
            return known
        waiting = self._questions.get(goal)
        if waiting is not None:
            return waiting[1]
        if self._net is None:
            return _GONE
        if len(self._questions) >= QUESTIONS_MAX:
            return _BUSY
        decision = Decision()
        self._questions[goal] = request, decision
        if self._shown is None:
            self._show()
        return decision

    @contextmanager
    def on(self, net: Slirp) -> Iterator[Asker]:
        """Answer for a network within the context."""
        self._net = net
        try:
            yield self
        finally:
            self._take_away("")
            self._net = None
            self._save()
            os.close(self._tty)
            self._tty = -1

    def look(self) -> float:
        """Drop questions for which no flow waits any more. Returns the seconds until the next look."""
        for goal in [goal for goal, (_, decision) in self._questions.items() if not decision.awaited]:
            if goal == self._shown:
                self._take_away("too late")
            self._questions.pop(goal, None)
        if self._shown is None:
            self._show()
        return LOOK_EVERY if self._questions else float("inf")

    # ---------------------------------------------------------------------------------- the terminal

    def _show(self) -> None:
        """Put the next question on the terminal."""
        if not self._questions or self._net is None:
            return
        goal, (request, _) = next(iter(self._questions.items()))
        self._shown = goal
        try:
            self._take_terminal()
            self._write(f"\r\nslirpy: allow {_described(request)}? [y]es, [n]o, [a]lways, ne[v]er: ")
            self._net.watch(self._tty, self._readable)
        except (OSError, ConfigError):  # it was closed
            self._answer(_GONE)

    def _readable(self, _: int = 0) -> None:
        try:
            with _unstopped():
                key = os.read(self._tty, 1).decode("latin-1").lower()
        except OSError:  # another job has the terminal now
            key = ""
        if self._shown is None or (key and key not in _KEYS):
            return
        if not key:
            self._answer(_GONE)
            return
        word, goal = _KEYS[key], self._shown
        request = self._questions[goal][0]
        verdict = _NO
        if word in ("yes", "always"):
            verdict = Verdict(Action.ALLOW, rule=f"asked: {word}", names=request.names, tls="sni-optional")
        if word in ("always", "never") and len(self._answers) < REMEMBERED:
            self._answers[goal] = verdict
            end = " tls=sni-optional" if word == "always" and request.names and not request.host else ""
            self._rules[goal] = f"{'allow' if word == 'always' else 'deny'} {goal}{end}"
        self._answer(verdict, word)

    def _answer(self, verdict: Verdict, word: str = "") -> None:
        """Answer the question that is shown, and show the next one."""
        goal = self._shown
        self._take_away(word)
        if goal is not None:
            _, decision = self._questions.pop(goal)
            decision.give(verdict)
        self._show()

    def _take_away(self, word: str) -> None:
        """Give the terminal back."""
        if self._shown is None:
            return
        self._shown = None
        with suppress(OSError):
            self._write(f"{word}\r\n")
        if self._net is not None:
            self._net.unwatch(self._tty)
        self._give_terminal()

    def _write(self, text: str) -> None:
        with _unstopped():
            os.write(self._tty, text.encode())

    def _take_terminal(self) -> None:
        """Become the foreground job; keys count at once, are not shown, and those typed before are dropped."""
        import termios

        with _unstopped():
            group = os.tcgetpgrp(self._tty)
            if group != os.getpgrp():
                os.tcsetpgrp(self._tty, os.getpgrp())
                self._foreground = group
            try:
                modes = termios.tcgetattr(self._tty)
                self._modes = list(modes)
                modes[3] &= ~(termios.ICANON | termios.ECHO)
                termios.tcsetattr(self._tty, termios.TCSADRAIN, modes)
                termios.tcflush(self._tty, termios.TCIFLUSH)
            except termios.error as error:
                raise OSError(*error.args) from None

    def _give_terminal(self) -> None:
        import termios

        modes, self._modes = self._modes, None
        group, self._foreground = self._foreground, None
        with _unstopped(), suppress(OSError, termios.error):
            if modes is not None:
                termios.tcsetattr(self._tty, termios.TCSADRAIN, modes)
            if group is not None and os.tcgetpgrp(self._tty) == os.getpgrp():
                os.tcsetpgrp(self._tty, group)

    # ------------------------------------------------------------------------------------- the answers

    def _save(self) -> None:
        fd, self._file = self._file, None
        if fd is None:
            return
        lines = ["# Answers that were given for ever; slirpy --ask asks about everything else.", "rules = ["]
        lines += [f'    "{rule}",' for rule in self._rules.values() if rule.isprintable() and '"' not in rule]
        lines += ["]", 'default = "ask"', ""]
        try:
            os.write(fd, "\n".join(lines).encode())
        except OSError as error:
            print(f"slirpy: --ask-save: cannot be written: {error.strerror}", file=sys.stderr)
        finally:
            os.close(fd)


def _described(request: FlowRequest) -> str:
    """A flow for a person; it may contain a guest's bytes."""
    where = str(request.destination)
    if request.protocol != IPProtocol.ICMP:
        where = with_port(where, request.destination_port)
    known = "the host's 127.0.0.1" if request.host else ", ".join(request.names[:3])
    guest = f"{request.source}" + (f" ({request.lease})" if request.lease else "")
    protocol = IPProtocol(request.protocol).name.lower()
    return plain(f"{protocol} {guest} -> {where}" + (f" ({known})" if known else ""))


@contextmanager
def _unstopped() -> Iterator[None]:
    """Use the terminal from the background, too, without being stopped for it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU, signal.SIGTTIN})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
