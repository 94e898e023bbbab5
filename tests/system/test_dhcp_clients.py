"""Real DHCP clients in the namespace: they get address, router, name server and MTU, and renew."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import User

pytestmark = pytest.mark.system
Need = Callable[..., None]

# Called by the client at each event. The variables go to a file of the event's name, whole when it appears.
UDHCPC_SCRIPT = """#!/bin/sh
case $1 in
deconfig) ip link set $interface up ;;
bound|renew)
    ip addr replace $ip/$mask dev $interface
    ip route replace default via $router ;;
esac
env > $0.$1.part
mv $0.$1.part $0.$1
"""

DHCLIENT_SCRIPT = """#!/bin/sh
case $reason in
PREINIT) ip link set $interface up ;;
BOUND|REBOOT|RENEW|REBIND)
    ip addr replace $new_ip_address/24 dev $interface
    ip route replace default via $new_routers ;;
esac
env > $0.$reason.part
mv $0.$reason.part $0.$reason
"""

WAIT = 'wait_for() { n=0; until [ -e "$1" ]; do n=$((n + 1)); [ $n -lt 200 ] || exit 99; sleep 0.1; done; }\n'


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def event(path: Path, name: str) -> dict[str, str]:
    """The variables that the client's script was called with."""
    lines = path.with_name(f"{path.name}.{name}").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def counter(stderr: str, name: str) -> int:
    match = re.search(rf"^{name} +(\d+)", stderr, re.MULTILINE)
    return int(match[1]) if match else 0


@pytest.mark.client("udhcpc", "lease", "renewal", "MTU")
def test_udhcpc_leases_and_renews(user: User, need: Need, folder: Path) -> None:
    need("udhcpc", "ip")
    hook = script(folder, "udhcpc-script", UDHCPC_SCRIPT)
    commands = (
        "ip addr flush dev tap0; set -e\n"
        f"udhcpc -f -i tap0 -O mtu -s {hook} & client=$!\n"
        f"wait_for {hook}.bound; kill -USR1 $client; wait_for {hook}.renew; kill $client\n"
        "ping -c 1 -W 5 10.0.2.2"
    )
    result = user.run("run", "--mtu", "1400", "--stats", "--", "sh", "-c", WAIT + commands)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("bound", "renew"):
        seen = event(hook, name)
        assert seen["ip"] == "10.0.2.15"
        assert seen["mask"] == "24"
        assert seen["router"] == "10.0.2.2"
        assert seen["dns"] == "10.0.2.3"
        assert seen["mtu"] == "1400"
        assert seen["serverid"] == "10.0.2.2"
        assert seen["lease"] == "86400"
    assert counter(result.stderr, "dhcp_offer") >= 1, result.stderr
    assert counter(result.stderr, "dhcp_ack") >= 2, result.stderr
    assert counter(result.stderr, "dhcp_nak") == 0


@pytest.mark.client("dhclient", "lease", "renewal", "MTU", "same address after a restart")
def test_dhclient_leases_renews_and_comes_back(user: User, need: Need, folder: Path) -> None:
    need("dhclient", "ip")
    hook = script(folder, "dhclient-script", DHCLIENT_SCRIPT)
    config = folder / "dhclient.conf"
    config.write_text(
        "request subnet-mask, broadcast-address, routers, domain-name-servers, interface-mtu;\n"
        "supersede dhcp-renewal-time 2;\n"  # instead of half a day
    )
    program = shutil.which("dhclient", path=user.environment()["PATH"])
    client = f"{program} -1 -cf {config} -lf leases -pf pid -sf {hook} tap0"
    commands = (
        "ip addr flush dev tap0; set -e; touch leases\n"
        f"{client}\n"
        f"wait_for {hook}.BOUND; wait_for {hook}.RENEW; kill $(cat pid)\n"
        f"ip addr flush dev tap0; {client}; wait_for {hook}.REBOOT\n"
        "ping -c 1 -W 5 10.0.2.2"
    )
    result = user.run("run", "--mtu", "1400", "--stats", "--", "sh", "-c", WAIT + commands)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("BOUND", "RENEW", "REBOOT"):
        seen = event(hook, name)
        assert seen["new_ip_address"] == "10.0.2.15"
        assert seen["new_subnet_mask"] == "255.255.255.0"
        assert seen["new_broadcast_address"] == "10.0.2.255"
        assert seen["new_routers"] == "10.0.2.2"
        assert seen["new_domain_name_servers"] == "10.0.2.3"
        assert seen["new_interface_mtu"] == "1400"
        assert seen["new_dhcp_server_identifier"] == "10.0.2.2"
    assert counter(result.stderr, "dhcp_nak") == 0
