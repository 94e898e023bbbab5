"""Names on hosts that are not like others: behind a user-mode network, with search domains, without a resolv.conf.

Each host is a network and mount namespace that the test makes, with a DNS server in it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.user import User

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="needs root, for a host of its own"
    ),
]
Need = Callable[..., None]
SERVER = str(Path(__file__).with_name("dns_server.py"))

# $1 is the host's resolv.conf, or "none", or "dangling"; the rest is the command.
_HOST = r"""
set -e
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 up
ip link set v1 up
ip address add 10.0.2.15/24 dev v0
ip address add 10.0.2.3/24 dev v0
ip address add fe80::53/64 dev v0 nodad
case $1 in
none|dangling)
    mount -t tmpfs tmpfs /mnt
    cp -a /etc/. /mnt
    rm -f /mnt/resolv.conf
    [ $1 = none ] || ln -s ../run/slirpy-nowhere/stub-resolv.conf /mnt/resolv.conf
    mount --rbind /mnt /etc
    ;;
*)
    mount --bind "$1" /etc/resolv.conf
esac
shift
exec "$@"
"""


def on_host(user: User, resolv: str, servers: list[str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a host with such a resolv.conf and DNS servers at these addresses."""
    if resolv not in ("none", "dangling"):
        path = user.folder / "resolv.conf"
        path.write_text(resolv)
        resolv = str(path)
    outside = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _HOST, "sh", resolv]
    return subprocess.run(
        [*outside, sys.executable, SERVER, *servers, "--", *command],
        cwd=user.folder,
        env=user.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def statuses(result: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"status: (\w+)", result.stdout)


DIG = "".join(f"dig +time=5 +tries=1 {what};" for what in ("web.test A", "web.test TXT", "+tcp a.web.test"))
SCRIPT = DIG + "getent hosts web.test"


@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["--dns", "10.0.2.3"], marks=pytest.mark.long),
        pytest.param(["--dns-mode", "forward"], marks=pytest.mark.long),
    ],
)
def test_a_nameserver_of_the_host_with_the_address_of_ours(
    slirpy: User, need: Need, options: list[str]
) -> None:
    need("dig", "getent", "ip", "unshare")
    command = slirpy.argv("run", *options, "--", "sh", "-c", SCRIPT)
    result = on_host(slirpy, "nameserver 10.0.2.3\n", ["10.0.2.3"], *command)
    assert statuses(result) == ["NOERROR"] * 3, result
    assert result.stdout.split()[-2:] == ["192.0.2.77", "web.test"]


@pytest.mark.long
def test_a_run_inside_a_run(slirpy: User, need: Need) -> None:
    """The outer one's server has the address of the inner one's."""
    need("dig", "getent", "ip", "unshare")
    inner = [sys.executable, "-m", "slirpy", "run", "--", "sh", "-c", SCRIPT]
    outer = slirpy.argv("run", "--privileged", "--", *inner)
    result = on_host(slirpy, "nameserver 10.0.2.3\n", ["10.0.2.3"], *outer)
    assert statuses(result) == ["NOERROR"] * 3, result


@pytest.mark.parametrize("named", ["resolv.conf", pytest.param("--dns", marks=pytest.mark.long)])
def test_a_link_local_server_with_its_interface(slirpy: User, need: Need, named: str) -> None:
    need("dig", "getent", "ip", "unshare")
    options = ["--dns", "fe80::53%v0"] if named == "--dns" else []
    resolv = "nameserver fe80::53%v0\n" if named == "resolv.conf" else "nameserver 192.0.2.1\n"
    command = slirpy.argv("run", *options, "--", "sh", "-c", SCRIPT)
    result = on_host(slirpy, resolv, ["fe80::53%v0"], *command)
    assert statuses(result) == ["NOERROR"] * 3, result


@pytest.mark.parametrize("kind", ["dangling", pytest.param("none", marks=pytest.mark.long), "# nobody\n"])
def test_a_host_without_a_named_server(user: User, need: Need, kind: str) -> None:
    need("dig", "getent", "ip", "unshare")
    script = SCRIPT + "; grep -c . /etc/resolv.conf; test -s /etc/passwd; ls -d /etc/ssl"
    result = on_host(user, kind, ["127.0.0.1"], *user.argv("run", "--", "sh", "-c", script))
    assert statuses(result) == ["NOERROR"] * 3, result
    assert result.stdout.split()[-4:] == ["192.0.2.77", "web.test", "1", "/etc/ssl"]
    assert result.stderr == ""


def test_search_domains_and_options_of_the_host(slirpy: User, need: Need) -> None:
    need("getent", "ip", "unshare")
    resolv = "search corp.web.test\noptions ndots:2 use-vc timeout:3\nnameserver 127.0.0.1\n"
    script = "getent hosts wiki; getent hosts wiki.lab; cat /etc/resolv.conf"
    result = on_host(slirpy, resolv, ["127.0.0.1"], *slirpy.argv("run", "--", "sh", "-c", script))
    assert result.stdout.splitlines() == [
        "192.0.2.77      wiki.corp.web.test", "192.0.2.77      wiki.lab.corp.web.test",
        "nameserver 10.0.2.3", "search corp.web.test", "options ndots:2 use-vc timeout:3",
    ], result  # fmt: skip
    own = slirpy.argv(
        "run", "--dns-search", "own.web.test", "--", "sh", "-c", "getent hosts wiki; cat /etc/resolv.conf"
    )
    result = on_host(slirpy, resolv, ["127.0.0.1"], *own)
    assert result.stdout.splitlines() == [
        "192.0.2.77      wiki.own.web.test",
        "nameserver 10.0.2.3", "search own.web.test", "options ndots:2 use-vc timeout:3",
    ], result  # fmt: skip
