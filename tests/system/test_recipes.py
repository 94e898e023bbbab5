"""Recipes of the documentation: the commands are read from the pages and run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.machine import missing
from tests.system.ownspace import CONTAINERS, IMAGE, blocks, own_space
from tests.system.user import User

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network of its own"),
]
Need = Callable[..., None]

SECONDS = 60
ATTACH = "howto/attach.md"
LOOK = "ip -brief address show tap0; curl -sS http://10.0.2.2:8000/; exit\n"


def block(page: str, text: str, language: str = "sh") -> str:
    """The only block of a page that contains a text."""
    (found,) = (each for each in blocks(page, language) if text in each)
    return found


def test_a_shell_that_unshare_has_made(user: User, need: Need) -> None:
    need("unshare", "ip", "curl")
    inside, outside = block(ATTACH, "echo $$").splitlines()
    assert outside.startswith("slirpy attach PID ")
    outside = outside.partition("#")[0]
    script = f"mkfifo told; read -r pid <told && {outside.replace('PID', '$pid')} & {inside}\nwait $!; echo $?"
    with own_space(user, script) as process:
        wait = "until ip route get 10.0.2.2 >/dev/null 2>&1; do sleep 0.1; done; "
        out, error = process.communicate(f"echo $$ >told; {wait}{LOOK}", SECONDS)
    assert "10.0.2.15/24" in out, error
    assert out.endswith("\nhello\n0\n"), error  # slirpy ends with the namespace
    assert error == ""


def test_a_namespace_of_ip(slirpy: User, need: Need) -> None:
    need("ip", "curl")
    script = block(ATTACH, "ip netns exec") + "kill $!; wait $! || echo $?; ip netns exec blue ip -brief link"
    with own_space(slirpy, script) as process:
        out, error = process.communicate(timeout=SECONDS)
    first, status, *links = out.splitlines()
    assert (first, status, error) == ("hello", "143", "")
    assert [line.split()[0] for line in links] == ["lo"]


def test_a_program_in_bubblewrap(user: User, need: Need) -> None:
    need("bwrap", "ip", "curl")
    script = block(ATTACH, "bwrap") + "wait $!; echo $?"
    with own_space(user, script) as process:
        out, error = process.communicate(LOOK, SECONDS)
    assert "10.0.2.15/24" in out, error
    assert out.endswith("\nhello\n0\n"), error
    assert error == ""


# ---------------------------------------------------------------------------------------- containers

PODMAN = "howto/podman.md"
# Debian 12's podman wants systemd and a journal unless it is configured otherwise.
_ENGINE = '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
_FILE = "mkdir -p .config/containers; cat >.config/containers/containers.conf <<END\n{}END\n"
_FETCH = "until curl -s http://127.0.0.1:8080/name; do sleep 0.1; done; "


def test_podman_with_its_file(folder: Path, need: Need) -> None:
    """The file of the page, with the program's path here."""
    need("podman", "runc", "busybox", "newuidmap", "curl")
    settings = block(PODMAN, "network_cmd_path", "toml").replace("/usr/local/bin", str(folder / "bin"))
    write = _FILE.format(settings.replace("[engine]\n", _ENGINE))
    run = "podman run --network slirp4netns:allow_host_loopback=true,cidr=10.9.0.0/24,mtu=9000 test sh -c '{}'"
    inside = "wget -q -O - http://10.9.0.2:8000/; ip link show tap0"
    script = write + IMAGE + CONTAINERS + run.format(inside)
    with own_space(User("nobody", folder), script) as process:
        out, error = process.communicate(timeout=SECONDS)
    assert out.startswith("hello\n"), error
    assert "mtu 9000" in out


def test_podman_with_an_option(folder: Path, need: Need) -> None:
    need("podman", "runc", "busybox", "newuidmap", "curl")
    command = (
        block(PODMAN, "podman --network-cmd-path").rstrip().replace("IMAGE", "test httpd -f -p 80 -h /etc")
    )
    script = _FILE.format(_ENGINE) + IMAGE + CONTAINERS + command + f" &\n{_FETCH}"
    with own_space(User("nobody", folder), script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"


def test_rootlesskit(folder: Path, need: Need) -> None:
    need("rootlesskit", "busybox", "newuidmap", "curl", "ip")
    command = block(PODMAN, "rootlesskit --net")
    script = f"({_FETCH}) &\n{IMAGE}export XDG_RUNTIME_DIR=$PWD/run\n{command}"
    with own_space(User("nobody", folder), script) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("ip -brief address show tap0; busybox httpd -p 80 -h image/etc\n")
        assert "10.0.2.100/24" in process.stdout.readline()
        assert process.stdout.readline() == "works\n"


@pytest.mark.long
def test_buildah(folder: Path, need: Need) -> None:
    """A step of a build fetches a page of the host."""
    need("buildah", "podman", "runc", "busybox", "newuidmap", "curl")
    *link, build = block(PODMAN, "buildah build").replace("IMAGE", "built").splitlines()
    steps = "FROM test\nRUN wget -q -O - http://10.0.2.2:8000/\nRUN ip route\n"
    link.append(f"cat >Containerfile <<END\n{steps}END\n")
    # It waits one second for the network, which can be too short beside other tests.
    script = IMAGE + CONTAINERS + "\n".join(link) + " || ".join([build] * 12)
    with own_space(User("nobody", folder), script) as process:
        out, error = process.communicate(timeout=SECONDS)
    assert "\nhello\n" in out, error
    assert "src 10.0.2.100" in out


# systemd is the first process of namespaces. The only units that it knows are the two of the page, and empty ones in
# place of those that others depend on, so that it changes nothing on this machine.
_SYSTEMD = r"""
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/units
cp "$UNITS"/* /run/units
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
exec env -i SYSTEMD_UNIT_PATH=/run/units PATH="$PATH" container=test "$SYSTEMD" --unit=test.target --show-status=0
"""
_EMPTY = ("-.slice", "system.slice", "basic.target", "sysinit.target", "shutdown.target", "test.target")


def test_services_of_systemd(folder: Path, need: Need, eventually: Callable[..., None]) -> None:
    """The two units of the page: one gives the other its network, and takes it away."""
    need("ip", "curl", "systemctl", "unshare", "nsenter")
    systemd = next(filter(os.path.exists, ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")), None)
    above = _cgroups()
    if systemd is None or above is None:
        missing("needs systemd, and a cgroup2 that can be written")
    assert systemd is not None
    assert above is not None
    program = str(Path(sys.executable).with_name("slirpy"))
    units = folder / "units"
    units.mkdir()
    for name in _EMPTY:
        (units / name).write_text("[Unit]\nDefaultDependencies=no\n")
    for text in blocks(ATTACH, "ini"):
        title = re.match("# /etc/systemd/system/(.*)\n", text)
        assert title is not None
        (units / title[1]).write_text(text.replace("/usr/local/bin/slirpy", program))
    group = above / f"slirpy-test-{os.getpid()}"
    group.mkdir()
    spaces = ["unshare", "--mount", "--net", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc"]
    manager = subprocess.Popen(
        ["sh", "-c", 'echo $$ >"$0/cgroup.procs"; exec "$@"', str(group), *spaces, "sh", "-c", _SYSTEMD],
        env=os.environ | {"UNITS": str(units), "SYSTEMD": systemd},
    )
    try:

        def run(*command: str) -> str:
            children = Path(f"/proc/{manager.pid}/task/{manager.pid}/children").read_text().split()
            if not children:
                return "not yet"
            spaces = ["nsenter", f"--target={children[0]}", "--mount", "--net", "--pid", "--cgroup"]
            done = subprocess.run([*spaces, *command], capture_output=True, text=True, timeout=30, check=False)
            return done.stdout + done.stderr

        eventually(
            lambda: run("systemctl", "is-active", "test.target") == "active\n", "systemd has started", 30
        )
        assert run("systemctl", "start", "blue.service") == ""
        eventually(lambda: "Directory listing" in run("curl", "-sS", "http://127.0.0.1:8080/"), "it serves")
        assert run("systemctl", "stop", "blue-network.service") == ""
        assert run("systemctl", "--failed", "--quiet") == ""
        assert run("systemctl", "is-active", "blue.service", "blue-network.service") == "inactive\ninactive\n"
        assert run("ls", "/run/netns") == ""
    finally:
        manager.kill()
        manager.wait()
        eventually(lambda: _remove(group), "its cgroups are empty")


def _cgroups() -> Path | None:
    """The folder of version 2 of the cgroups."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and options.startswith("rw"):
            return Path(place)
    return None


def _remove(group: Path) -> bool:
    """Remove a cgroup with those in it. Returns whether that was possible yet."""
    try:
        for folder, *_ in os.walk(group, topdown=False):
            os.rmdir(folder)
    except OSError:
        return False
    return True
