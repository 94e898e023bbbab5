"""Real DHCPv6 clients in the namespace: the parameters that they get, and their leases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.dhcp_events import WAIT, counter, dhcpcd_files, event, script
from tests.system.machine import missing
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]

DHCLIENT_SCRIPT = """#!/bin/sh
case $reason in
PREINIT6) ip link set $interface up ;;
BOUND6|RENEW6|REBIND6) [ -z "$new_ip6_address" ] || ip -6 addr replace $new_ip6_address/128 dev $interface ;;
RELEASE6) ip -6 addr del $old_ip6_address/128 dev $interface ;;
esac
env > $0.$reason.part
mv $0.$reason.part $0.$reason
"""

DHCLIENT_CONF = "request dhcp6.name-servers, dhcp6.domain-search, dhcp6.bootfile-url, dhcp6.fqdn;\n"

# Options of the server. A lease of eight seconds is renewed after three.
SERVER = (
    "--stats", "--dns", "127.0.0.1:9", "--lease-time", "8", "--domain", "example.test",
    "--dns-search", "eng.example.test", "--dns-search", "example.test", "--bootfile", "grubx64.efi",
)  # fmt: skip

# slirpy run has set an address, which is for the client to get here. A client needs a link-local address, which the
# kernel may check for duplicates first.
START = (
    WAIT + "set -e; ip -6 addr del fec0::15/64 dev tap0; ip -6 route add fec0::/64 dev tap0\n"
    "n=0; while ip -6 addr show dev tap0 | grep -q tentative || ! ip -6 addr show dev tap0 | grep -q fe80; do\n"
    "    n=$((n + 1)); [ $n -lt 200 ] || exit 98; sleep 0.1; done\n"
)
DUID = "00:03:00:01:52:54:00:12:34:56"
"""Made of the MAC address, as dhclient does with -D LL."""


@pytest.mark.client("dhclient", "information only", "search list", "boot file", service="DHCPv6")
def test_dhclient_asks_for_information(slirpy: User, need: Need, folder: Path) -> None:
    need("dhclient", "ip")
    hook = script(folder, "dhclient-script", DHCLIENT_SCRIPT)
    config = folder / "dhclient.conf"
    config.write_text(DHCLIENT_CONF)
    command = f"touch leases; dhclient -6 -S -1 -cf {config} -lf leases -pf pid -sf {hook} tap0\n"
    command += f"wait_for {hook}.RENEW6; dhclient -6 -S -x -cf {config} -lf leases -pf pid -sf {hook} tap0"
    result = slirpy.run("run", "--privileged", *SERVER, "--", "sh", "-c", START + command)
    assert result.returncode == 0, result.stdout + result.stderr
    seen = event(hook, "RENEW6")
    assert seen["new_dhcp6_name_servers"] == "fec0::3"
    assert seen["new_dhcp6_domain_search"] == "eng.example.test. example.test."
    assert seen["new_dhcp6_bootfile_url"] == "tftp://[fec0::2]/grubx64.efi"
    assert "new_ip6_address" not in seen
    assert counter(result.stderr, "dhcp6_inform") >= 1
    assert counter(result.stderr, "dhcp6_solicit") == 0


@pytest.mark.long
@pytest.mark.client("dhclient", "lease", "renewal", "rebinding", "confirm", "release", service="DHCPv6")
@pytest.mark.client("dhclient", "static lease", service="DHCPv6")
def test_dhclient_does_it_all(slirpy: User, need: Need, folder: Path) -> None:
    need("dhclient", "ip", "tc")
    hook = script(folder, "dhclient-script", DHCLIENT_SCRIPT)
    config = folder / "dhclient.conf"
    config.write_text(DHCLIENT_CONF)
    client = f"-6 -D LL -cf {config} -lf leases -pf pid -sf {hook} tap0"
    commands = (
        f"touch leases; dhclient -1 {client}; wait_for {hook}.BOUND6; wait_for {hook}.RENEW6\n"
        "ping -6 -c 1 -W 5 -I fec0::50 fec0::2\n"
        f"kill $(cat pid); rm {hook}.BOUND6; dhclient -d -v {client} 2> log & wait_for {hook}.BOUND6\n"
        # One renewal gets lost, so that the client asks any server.
        "tc qdisc replace dev tap0 root blackhole; renewals() { grep -c 'XMT: Renew on' log || true; }\n"
        "before=$(renewals); n=0; until [ $(renewals) -gt $before ]; do\n"
        "    n=$((n + 1)); [ $n -lt 200 ] || exit 96; sleep 0.1; done\n"
        f"tc qdisc del dev tap0 root; wait_for {hook}.REBIND6\n"
        f"dhclient -d -r {client}; wait_for {hook}.RELEASE6"  # -d: it ends when the server has answered
    )
    file = folder / "leases.json"
    options = (*SERVER, "--lease", f"id:{DUID}=fec0::50,web", "--lease-file", str(file))
    result = slirpy.run("run", "--privileged", *options, "--", "sh", "-c", START + commands)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("BOUND6", "RENEW6", "REBIND6"):
        seen = event(hook, name)
        assert (seen["new_ip6_address"], seen["new_max_life"], seen["new_preferred_life"]) == (
            "fec0::50",
            "8",
            "6",
        )
        assert (seen["new_renew"], seen["new_rebind"]) == ("3", "4")
        assert seen["new_dhcp6_name_servers"] == "fec0::3"
        assert seen["new_dhcp6_domain_search"] == "eng.example.test. example.test."
        assert seen["new_dhcp6_client_id"].lower().replace(":0", ":") == "0:3:0:1:52:54:0:12:34:56".replace(
            ":0", ":"
        )
    assert counter(result.stderr, "dhcp6_confirm") >= 1
    assert counter(result.stderr, "dhcp6_release") == 1
    assert counter(result.stderr, "drop_dhcp6_ignored") == 0
    kept = [lease for lease in json.loads(file.read_text())["leases"] if ":" in lease["address"]]
    assert [(lease["address"], lease["client_id"], lease["state"]) for lease in kept] == [
        ("fec0::50", DUID, "released")
    ]


DHCPCD_CONF = """
duid ll
ipv6rs
option dhcp6_name_servers, dhcp6_domain_search, dhcp6_bootfile_url
interface tap0
  ia_na 1
"""


@pytest.mark.long
@pytest.mark.client("dhcpcd", "lease", "renewal", "release", "search list", service="DHCPv6")
@pytest.mark.client("dhcpcd", "boot file", "static lease", service="DHCPv6")
def test_dhcpcd_does_it_all(slirpy: User, need: Need, folder: Path) -> None:
    need("dhcpcd", "ip")
    hook, config = dhcpcd_files(slirpy, folder, DHCPCD_CONF)
    client = f"dhcpcd -6 -f {config} -c {hook}"
    commands = (
        "for f in /run /var/lib/dhcpcd; do mount -t tmpfs tmpfs $f; done\n"  # where it keeps things
        f"{client} tap0; wait_for {hook}.BOUND6; {client} -N tap0; wait_for {hook}.RENEW6\n"
        f"{client} -k tap0; wait_for {hook}.RELEASE6"
    )
    result = slirpy.run(
        "run", "--privileged", *SERVER, "--lease", f"id:{DUID}=fec0::50", "--", "sh", "-c", START + commands
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("BOUND6", "RENEW6"):
        seen = event(hook, name)
        assert seen["new_dhcp6_ia_na1_ia_addr1"] == "fec0::50"
        assert (seen["new_dhcp6_ia_na1_t1"], seen["new_dhcp6_ia_na1_t2"]) == ("3", "4")
        assert seen["new_dhcp6_name_servers"] == "fec0::3"
        assert seen["new_dhcp6_domain_search"] == "eng.example.test example.test"
        assert seen["new_dhcp6_bootfile_url"] == "tftp://[fec0::2]/grubx64.efi"
    assert counter(result.stderr, "dhcp6_release") == 1
    assert counter(result.stderr, "drop_dhcp6_ignored") == 0


NETWORKD = Path("/lib/systemd/systemd-networkd")
NETWORKD_CONF = """
[Match]
Name=tap0
[Network]
DHCP=ipv6
[IPv6AcceptRA]
DHCPv6Client=always
[DHCPv6]
UseDomains=yes
"""


@pytest.mark.client("systemd-networkd", "lease", "rapid commit", "search list", service="DHCPv6")
def test_networkd_is_content_with_two_messages(slirpy: User, need: Need, folder: Path) -> None:
    need("ip", "timeout")
    if not NETWORKD.exists():
        missing(f"needs {NETWORKD}")
    if slirpy.name != "root":
        pytest.skip(
            "systemd-networkd gives up its privileges to a user of its own, which there is for root only"
        )
    network = folder / "tap.network"
    network.write_text(NETWORKD_CONF)
    commands = (
        # Without udev, it believes in a link only where /sys is read-only, as in a container.
        "mount -t sysfs -o ro sysfs /sys; mount -t tmpfs tmpfs /run\n"
        "mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases\n"
        f"cp {network} /run/systemd/network/; chmod -R a+rwX /run/systemd\n"
        f"timeout 60 {NETWORKD} > {folder}/log 2>&1 & server=$!\n"
        # The router advertises the name server, too; the address comes with the lease.
        "n=0; until grep -qs '^DOMAINS=eng' /run/systemd/netif/links/* &&\n"
        "    ip -6 addr show dev tap0 | grep -q fec0::15; do\n"
        "    n=$((n + 1)); [ $n -lt 300 ] || exit 97; sleep 0.1; done\n"
        f"ip -6 addr show dev tap0; cat /run/systemd/netif/links/*; kill $server"
    )
    result = slirpy.run("run", "--privileged", *SERVER[:3], *SERVER[5:], "--", "sh", "-c", START + commands)
    log = (folder / "log").read_text() if (folder / "log").exists() else ""
    assert result.returncode == 0, result.stdout + result.stderr + log
    assert "inet6 fec0::15/128" in result.stdout
    assert "DOMAINS=eng.example.test example.test" in result.stdout
    assert counter(result.stderr, "dhcp6_solicit") >= 1
    assert counter(result.stderr, "dhcp6_advertise") == 0
    assert counter(result.stderr, "dhcp6_request") == 0
