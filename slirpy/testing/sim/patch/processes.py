"""Processes and real waits, which programs of a network cannot have."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
from typing import Any, NoReturn

from slirpy.testing.sim.errors import escaped
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.switches import ALWAYS, Replacements

__all__ = ["refuse_processes"]

_INSTEAD = {
    "fork": "run the other program on a host, by host.run()",
    "forkpty": "run the other program on a host, by host.run()",
    "posix_spawn": "run the other program on a host, by host.run()",
    "posix_spawnp": "run the other program on a host, by host.run()",
    "system": "run it before or after the network",
    "popen": "run it before or after the network",
    "wait": "a program has no children",
    "waitpid": "a program has no children",
}


def refusal(name: str, instead: str) -> Any:
    """Return a function that raises the error about a call that leaves the network."""

    def call(host: Host, *args: Any, **kwargs: Any) -> NoReturn:
        raise escaped(f"{name}() by a program of host {host.name} is not simulated; {instead}")

    return call


def _no_wakeup(host: Host, fd: int, *, warn_on_full_buffer: bool = True) -> int:
    """Ignore a descriptor for signals, such as trio's: none arrive."""
    return -1


def refuse_processes(all_of_it: Replacements) -> None:
    """Let calls that start processes, or that wait for signals, raise an error in programs."""
    for name, instead in _INSTEAD.items():
        if hasattr(os, name):
            all_of_it.value(ALWAYS, getattr(os, name), refusal(f"os.{name}", instead))
    for name in ("alarm", "setitimer", "pause", "sigwait", "sigtimedwait", "sigwaitinfo"):
        if hasattr(signal, name):
            instead = "real time does not pass; use time.sleep() or a thread"
            all_of_it.value(ALWAYS, getattr(signal, name), refusal(f"signal.{name}", instead))
    all_of_it.value(ALWAYS, signal.set_wakeup_fd, _no_wakeup)
    instead = "run the other program on a host, by host.run(), or the process outside the network"
    all_of_it.method(ALWAYS, subprocess.Popen, "__init__", refusal("subprocess.Popen", instead))
    if os.name == "posix":  # how multiprocessing starts processes that are not forked
        fork_exec = importlib.import_module("_posixsubprocess").fork_exec
        all_of_it.value(ALWAYS, fork_exec, refusal("_posixsubprocess.fork_exec", instead))
