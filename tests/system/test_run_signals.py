"""``slirpy run``: signals and the terminal reach CMD, once; and no process outlives slirpy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.machine import processes_with
from tests.system.tty import SHELL, terminal
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]
Eventually = Callable[..., None]

LISTENER = """
import signal, time
def told(number, _):
    print(signal.Signals(number).name, flush=True)
for name in "SIGHUP SIGINT SIGQUIT SIGUSR1 SIGUSR2 SIGWINCH SIGCONT SIGTERM".split():
    signal.signal(getattr(signal, name), told)
print("listening", flush=True)
while True:
    time.sleep(60)
"""
"""A CMD that says which signals it gets."""


def test_the_command_begins_with_no_signal_blocked_or_ignored(slirpy: User) -> None:
    """But for what was so before: make, for one, starts programs with the C library's own signals ignored."""
    command = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    without = subprocess.run(command, capture_output=True, text=True, check=True)
    assert slirpy.run("run", *command).stdout == without.stdout


def test_an_ignored_signal_stays_ignored(slirpy: User) -> None:
    """Required by ``nohup``."""
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        result = slirpy.run("run", "sh", "-c", "kill -HUP $$; echo alive")
    finally:
        signal.signal(signal.SIGHUP, old)
    assert result.stdout == "alive\n"


def test_signals_sent_to_slirpy_reach_the_command_once(user: User) -> None:
    with user.start("run", "--", sys.executable, "-c", LISTENER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        for name in ["SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTERM"]:
            process.send_signal(signal.Signals[name])
            assert process.stdout.readline() == f"{name}\n"
        process.kill()
        assert process.stdout.read() == ""


def test_a_signal_that_ends_the_command_is_its_status(user: User) -> None:
    with user.start("run", "--", "sh", "-c", "echo ready; exec sleep 1000") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM


@pytest.mark.parametrize(("inside", "leaves"), [(True, False), (False, False), (False, True)])
def test_a_signal_to_the_group_reaches_the_command_once(slirpy: User, inside: bool, leaves: bool) -> None:
    """CMD has a group of its own, or has left that too. What it sends to its group stays inside."""
    program = (
        "import os, signal, time\n"
        f"if {leaves}: os.setsid()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('got', flush=True))\n"
        "signal.signal(signal.SIGUSR2, lambda *_: os._exit(5))\n"
        "print('ready', flush=True)\n"
        f"if {inside}: os.killpg(0, signal.SIGUSR1)\n"
        "while True: time.sleep(60)\n"
    )
    # In a group of its own, lest the tests get the signal.
    with slirpy.start("run", "--", sys.executable, "-c", program, group=0) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if not inside:
            os.killpg(process.pid, signal.SIGUSR1)
        assert process.stdout.readline() == "got\n"
        process.send_signal(signal.SIGUSR2)  # comes after whatever would have been forwarded
        assert process.stdout.read() == ""
        assert process.wait(10) == 5


@pytest.mark.parametrize("victim", ["slirpy", "init"])
def test_when_slirpy_or_its_init_is_killed_all_processes_end(
    user: User, eventually: Eventually, victim: str
) -> None:
    mark = f"slirpy-test-kill-{os.getpid()}"
    script = (
        "setsid sleep 1000 & trap '' TERM INT HUP; trap 'echo here' USR1; echo ready;"
        f" while :; do sleep 1000 & wait $!; done; : {mark}"
    )
    with user.start("run", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "here\n"  # so slirpy is in its loop
        assert len(processes_with(mark)) >= 3  # slirpy, init, the shell
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(process.pid if victim == "slirpy" else int(children[0]), signal.SIGKILL)
        # A child that nobody waits for keeps the pipe open: its end is the end of them all.
        assert process.stdout.read() == ""
        assert process.wait(5) == (-signal.SIGKILL if victim == "slirpy" else 128 + signal.SIGKILL)
    eventually(lambda: not processes_with(mark), "all processes are gone")


# --------------------------------------------------------------------------------- terminal


def test_a_shell_on_a_terminal(user: User, need: Need, eventually: Eventually) -> None:
    need("bash", "setsid", "stty")
    with terminal(user, *user.argv("run", "--", *SHELL)) as tty:
        tty.expect("prompt> ")
        tty.resize(33, 121)
        tty.type("stty size\n")
        tty.expect("33 121")
        tty.expect("prompt> ")
        tty.type("echo begun-$((1+1)); cat\n")
        tty.expect("begun-2")
        tty.type("echoed\n")
        tty.expect("echoed\r\nechoed\r\n")  # the terminal's echo, and cat's
        tty.type("\x03")
        tty.expect("prompt> ")
        tty.type("echo status $?\n")
        tty.expect("status 130")
        tty.expect("prompt> ")
        seconds = 100_000 + os.getpid()  # a number that only this sleep has
        tty.type(f"sleep {seconds}\n")
        eventually(lambda: processes_with(f"sleep\0{seconds}"), "sleep runs, so it takes signals as it should")
        tty.type("\x1a")
        tty.expect("Stopped")
        tty.expect("prompt> ")
        tty.type("kill %1; exit 9\n")
        tty.expect("exit")
        tty.type("exit 9\n")  # bash wants it twice while it has jobs
        assert tty.process.wait(10) == 9


def test_keys_of_the_terminal_reach_the_command_once(slirpy: User, need: Need) -> None:
    need("setsid")
    with terminal(slirpy, *slirpy.argv("run", "--", sys.executable, "-c", LISTENER)) as tty:
        tty.expect("listening")
        tty.type("\x03")
        tty.expect("SIGINT")
        tty.type("\x1c")
        assert "SIGINT" not in tty.expect("SIGQUIT")
        tty.resize(20, 40)
        assert "SIGQUIT" not in tty.expect("SIGWINCH")
        tty.process.send_signal(signal.SIGUSR1)  # by another way: comes last
        assert "SIGWINCH" not in tty.expect("SIGUSR1")
        tty.process.kill()


def stopped(pid: int) -> bool:
    """Report whether a process is stopped by a signal."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def test_stop_and_continue_as_any_job(slirpy: User, need: Need, eventually: Eventually) -> None:
    need("bash", "setsid")
    mark = f"slirpy-test-job-{os.getpid()}"
    with terminal(slirpy, *SHELL) as tty:
        tty.expect("prompt> ")
        inner = " ".join(f"'{part}'" for part in slirpy.argv("run", "--", "sh", "-c"))
        tty.type(f"{inner} 'echo re''ady; read x; echo \"got $x\"; : {mark}'\n")
        tty.expect("ready")
        tty.type("\x1a")
        tty.expect("Stopped")
        tty.expect("prompt> ")
        # slirpy and CMD; init never stops. Until CMD has, it might take what is typed next.
        eventually(lambda: sum(map(stopped, processes_with(mark))) == 2, "both are stopped")
        tty.type("fg\n")
        tty.expect("read x")
        tty.type("line\n")
        tty.expect("got line")
        tty.expect("prompt> ")


def test_the_terminal_is_given_back(slirpy: User, need: Need) -> None:
    """A shell inside takes the terminal for a group of its own; who reads next must not be stopped for it."""
    need("bash", "setsid")
    inner = " ".join(f"'{part}'" for part in slirpy.argv("run", "--", *SHELL))
    with terminal(slirpy, "sh", "-c", f'{inner}; read answer; echo "got $answer"') as tty:
        tty.expect("prompt> ")
        tty.type("exit\n")
        tty.expect("exit\r\n")
        tty.expect("exit\r\n")
        tty.type("line\n")
        tty.expect("got line")


def test_when_the_terminal_goes_the_command_gets_its_hangup(
    slirpy: User, need: Need, eventually: Eventually
) -> None:
    need("bash", "setsid")
    mark = f"slirpy-test-hangup-{os.getpid()}"
    with terminal(slirpy, *slirpy.argv("run", "--", *SHELL)) as tty:
        tty.expect("prompt> ")
        tty.type(f"sh -c 'trap \"touch {slirpy.folder}/hup; exit\" HUP; echo re''ady; sleep 1000; : {mark}'\n")
        tty.expect("ready")
        os.close(tty.master)
        tty.master = -1
        eventually(lambda: not processes_with(mark), "all processes are gone")
        assert tty.process.wait(10) in (129, 128 + signal.SIGKILL)
