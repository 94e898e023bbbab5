"""Programs of others judge the manual pages, the completion of bash, the units, and the activation of sockets."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slirpy.cli.installed import files
from slirpy.cli.unit import unit_text
from tests.support.manager import Manager
from tests.support.repository import environment

pytestmark = pytest.mark.system
Need = Callable[..., None]
FILES = dict(files())
PAGES = [name for name in FILES if name.endswith(".1")]


def output(*argv: str, **more: str) -> str:
    """Run a program; returns its output and its errors."""
    done = subprocess.run(
        argv,
        env=os.environ | {"LC_ALL": "C.UTF-8", **more},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", PAGES)
def test_manual_pages_are_good_ones(need: Need, tmp_path: Path, name: str) -> None:
    need("man", "lexgrog", "mandoc")
    page = tmp_path / os.path.basename(name)
    page.write_text(FILES[name])
    assert output("lexgrog", str(page)).startswith(f'{page}: "{page.stem} - ')
    assert output("mandoc", "-Tlint", "-Wwarning", str(page)) == ""
    shown = subprocess.run(
        ["man", "--warnings=w", "-l", str(page)],
        env=os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert shown.stderr == ""
    assert "\nSYNOPSIS\n" in shown.stdout


def test_bash_completes(need: Need, tmp_path: Path) -> None:
    need("bash")
    script = tmp_path / "slirpy"
    script.write_text(FILES["share/bash-completion/completions/slirpy"])
    program = tmp_path / "bin" / "slirpy"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m slirpy "$@"\n')
    program.chmod(0o755)
    ask = f". {script}; COMP_WORDS=(slirpy sw); COMP_CWORD=1; _slirpy_completion {program}; echo ${{COMPREPLY[@]}}"
    assert output("bash", "-c", ask, **environment()) == "switch\n"


@pytest.mark.parametrize("user", [False, True])
def test_units_are_accepted_by_systemd(need: Need, tmp_path: Path, user: bool) -> None:
    need("systemd-analyze")
    for kind in ("service", "socket"):
        text = unit_text(kind, sys.executable, user=user).replace("Documentation=man:slirpy-listen(1)\n", "")
        (tmp_path / f"slirpy@.{kind}").write_text(text)
    for kind in ("service", "socket"):
        assert output("systemd-analyze", "verify", "--man=no", str(tmp_path / f"slirpy@.{kind}")) == ""


def test_systemd_s_own_program_passes_the_socket(need: Need, tmp_path: Path) -> None:
    """systemd-socket-activate starts the service at the first connection, with the number that exec gave it."""
    need("systemd-socket-activate")
    door = tmp_path / "net.sock"
    with Manager(tmp_path) as manager:
        process = subprocess.Popen(
            [shutil.which("systemd-socket-activate") or "", f"--listen={door}", "--fdname=guests",
             f"--setenv=PYTHONPATH={environment()['PYTHONPATH']}", f"--setenv=NOTIFY_SOCKET={manager.name}",
             sys.executable, "-m", "slirpy", "listen", "fd:guests"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        manager.process = process
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Listening on")
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(str(door))
            while not (status := manager.heard()["STATUS"]).startswith("1 guest;"):
                pass
            assert status == f"1 guest; listening at unix:{door}"
            process.send_signal(signal.SIGTERM)
            assert "STOPPING" in manager.expect("STOPPING")[0]
            assert process.wait(20) == -signal.SIGTERM
