"""Real DHCP and BOOTP clients in the namespace: the parameters that they get, and their leases."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.dhcp_events import WAIT, counter, dhcpcd_files, event, script
from tests.system.machine import missing
from tests.system.qemu import QEMU, Guest, MissingError, machine
from tests.system.user import User

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
    result = user.run("run", "--privileged", "--mtu", "1400", "--stats", "--", "sh", "-c", WAIT + commands)
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


@pytest.mark.long
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
    result = user.run("run", "--privileged", "--mtu", "1400", "--stats", "--", "sh", "-c", WAIT + commands)
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


# ------------------------------------------------------------------------- everything that a client can do

# Options of the server. A lease of five seconds is renewed after two, and rebinding begins after four.
SERVER = (
    "--stats", "--dns", "127.0.0.1:9", "--lease-time", "5", "--mtu", "1400",
    "--hostname", "guest", "--domain", "example.test", "--dns-search", "eng.example.test", "--dns-search",
    "example.test", "--route", "192.0.2.0/24=10.0.2.9", "--bootfile", "pxelinux.0",
    "--tftp-server-name", "boot.example.test",
)  # fmt: skip

# Unicast to the gateway gets lost from now on: renewals get no answer, so that the client rebinds by broadcast.
DEAF = "ip neigh replace 10.0.2.2 lladdr 02:00:00:00:00:99 nud permanent dev tap0\n"
HEARS = "ip neigh replace 10.0.2.2 lladdr 52:55:0a:00:02:02 nud permanent dev tap0\n"


@pytest.mark.client("udhcpc", "renewal", "release", "host name and domain", "search list", "classless routes")
@pytest.mark.client("udhcpc", "boot file and TFTP server", "client identifier", "static lease")
def test_udhcpc_does_it_all(slirpy: User, need: Need, folder: Path) -> None:
    need("udhcpc", "ip")
    hook = script(folder, "udhcpc-script", UDHCPC_SCRIPT)
    wanted = " ".join(f"-O {name}" for name in ("search", "staticroutes", "tftp", "bootfile", "mtu"))
    commands = (
        "ip addr flush dev tap0; set -e\n"
        f"udhcpc -f -i tap0 {wanted} -C -x 0x3d:ff00ab -s {hook} & client=$!\n"
        f"wait_for {hook}.bound; rm -f {hook}.deconfig; kill -USR1 $client; wait_for {hook}.renew\n"
        f"kill -USR2 $client; wait_for {hook}.deconfig; kill $client"
    )
    rule = "id:ff:00:ab=10.0.2.50,web"
    result = slirpy.run("run", "--privileged", *SERVER, "--lease", rule, "--", "sh", "-c", WAIT + commands)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("bound", "renew"):
        seen = event(hook, name)
        assert (seen["ip"], seen["lease"], seen["mtu"]) == ("10.0.2.50", "5", "1400")
        assert (seen["hostname"], seen["domain"]) == ("web", "example.test")
        assert seen["search"] == "eng.example.test example.test"
        assert seen["staticroutes"] == "0.0.0.0/0 10.0.2.2 192.0.2.0/24 10.0.2.9"
        assert (seen["boot_file"], seen["tftp"]) == ("pxelinux.0", "boot.example.test")
        assert (seen["siaddr"], seen["sname"]) == ("10.0.2.2", "boot.example.test")
    assert counter(result.stderr, "dhcp_release") == 1
    assert counter(result.stderr, "dhcp_nak") == 0


@pytest.mark.long
@pytest.mark.client("udhcpc", "decline")
@pytest.mark.client("bootpc", "lease", "host name and domain", "boot file and TFTP server", service="DHCP")
def test_bootpc_uses_bootp_and_udhcpc_declines_an_address_in_use(
    slirpy: User, need: Need, folder: Path
) -> None:
    need("bootpc", "udhcpc", "ip")
    hook = script(folder, "udhcpc-script", UDHCPC_SCRIPT)
    commands = (
        "ip addr flush dev tap0; set -e; ip route add default dev tap0\n"
        f"setsid -w bootpc --dev tap0 --serverbcast --timeoutwait 3 --waitformore 0 --returniffail > {folder}/bootp\n"
        # A second machine on the wire has the next address already, without having asked for it. It has no route, so
        # slirpy does not hear of it, and the client finds out.
        "ip route flush table main\n"
        "ip link add br0 type bridge; ip link set tap0 master br0; ip link set br0 address 52:54:00:00:00:77 up\n"
        "ip link add veth0 type veth peer name veth1; ip link set veth0 master br0 up; ip link set veth1 up\n"
        "ip addr add 10.0.2.16/32 dev veth1\n"
        f"udhcpc -f -q -a -t 10 -T 1 -A 1 -i br0 -s {hook}"
    )
    result = slirpy.run("run", "--privileged", *SERVER, "--", "sh", "-c", commands)
    assert result.returncode == 0, result.stdout + result.stderr
    told = (folder / "bootp").read_text()
    for line in (
        "IPADDR='10.0.2.15'", "SERVER='10.0.2.2'", "BOOTFILE='pxelinux.0'", "NETMASK='255.255.255.0'",
        "GATEWAYS='10.0.2.2'", "DNSSRVS='10.0.2.3'", "HOSTNAME='guest'", "DOMAIN='example.test'",
    ):  # fmt: skip
        assert line in told.splitlines(), told
    assert event(hook, "bound")["ip"] == "10.0.2.17"
    assert counter(result.stderr, "dhcp_bootp") >= 1
    assert counter(result.stderr, "dhcp_decline") == 1


# It waits about a second between its tries, so that one falls into the two seconds between rebinding and the end.
DHCLIENT_CONF = """
option classless-routes code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, domain-name-servers, interface-mtu, host-name, domain-name,
    domain-search, classless-routes, tftp-server-name, bootfile-name;
send dhcp-client-identifier "web-1";
initial-interval 1;
backoff-cutoff 1;
supersede dhcp-rebinding-time 3;
"""


@pytest.mark.long
@pytest.mark.client(
    "dhclient", "rebinding", "release", "host name and domain", "search list", "classless routes"
)
@pytest.mark.client("dhclient", "renewal", "boot file and TFTP server", "client identifier", "static lease")
def test_dhclient_does_it_all(slirpy: User, need: Need, folder: Path) -> None:
    need("dhclient", "ip")
    hook = script(folder, "dhclient-script", DHCLIENT_SCRIPT)
    config = folder / "dhclient.conf"
    config.write_text(DHCLIENT_CONF)
    client = f"-cf {config} -lf leases -pf pid -sf {hook} tap0"
    commands = (
        "ip addr flush dev tap0; set -e; touch leases\n"
        f"dhclient -1 {client}; wait_for {hook}.BOUND; wait_for {hook}.RENEW\n"
        f"{DEAF} rm {hook}.RENEW; wait_for {hook}.RENEW\n"  # it has no other word for it
        f"{HEARS} dhclient -r {client}; wait_for {hook}.RELEASE"
    )
    result = slirpy.run(
        "run", "--privileged", *SERVER, "--lease", "id:web-1=10.0.2.50,web", "--", "sh", "-c", WAIT + commands
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("BOUND", "RENEW"):
        seen = event(hook, name)
        assert (seen["new_ip_address"], seen["new_dhcp_lease_time"]) == ("10.0.2.50", "5")
        assert seen["new_dhcp_renewal_time"] == "2"
        assert (seen["new_host_name"], seen["new_domain_name"]) == ("web", "example.test")
        assert seen["new_domain_search"] == "eng.example.test. example.test."
        assert seen["new_classless_routes"] == "0 10 0 2 2 24 192 0 2 10 0 2 9"
        assert (seen["new_bootfile_name"], seen["new_tftp_server_name"]) == ("pxelinux.0", "boot.example.test")
        assert (seen["new_filename"], seen["new_next_server"]) == ("pxelinux.0", "10.0.2.2")
    assert counter(result.stderr, "drop_ethernet_destination") >= 1  # so the last one was no answer to unicast
    assert counter(result.stderr, "dhcp_release") == 1
    assert counter(result.stderr, "dhcp_nak") == 0


DHCPCD_CONF = """
clientid ff:00:ab
option interface_mtu, host_name, domain_name, domain_search, classless_static_routes
option tftp_server_name, bootfile_name
noarp
"""


@pytest.mark.long
@pytest.mark.client(
    "dhcpcd", "lease", "renewal", "rebinding", "release", "inform", "MTU", "host name and domain"
)
@pytest.mark.client(
    "dhcpcd", "search list", "classless routes", "boot file and TFTP server", "client identifier"
)
@pytest.mark.client("dhcpcd", "static lease")
def test_dhcpcd_does_it_all(slirpy: User, need: Need, folder: Path) -> None:
    need("dhcpcd", "ip")
    hook, config = dhcpcd_files(slirpy, folder, DHCPCD_CONF)
    client = f"dhcpcd -4 -f {config} -c {hook}"
    commands = (
        "set -e; for f in /run /var/lib/dhcpcd; do mount -t tmpfs tmpfs $f; done\n"  # where it keeps things
        f"ip addr flush dev tap0; {client} tap0; wait_for {hook}.BOUND; wait_for {hook}.RENEW\n"
        f"{DEAF} wait_for {hook}.REBIND; {HEARS} dhcpcd -4 -f {config} -k tap0; wait_for {hook}.STOPPED\n"
        "ip addr add 10.0.2.77/24 dev tap0\n"
        f"{client} -s 10.0.2.77/24 tap0; wait_for {hook}.INFORM"
    )
    result = slirpy.run(
        "run",
        "--privileged",
        *SERVER,
        "--lease",
        "id:ff:00:ab=10.0.2.50,web",
        "--",
        "sh",
        "-c",
        WAIT + commands,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("BOUND", "RENEW", "REBIND", "INFORM"):
        seen = event(hook, name)
        assert seen["new_ip_address"] == ("10.0.2.50" if name != "INFORM" else "10.0.2.77")
        assert seen["new_interface_mtu"] == "1400"
        assert (seen["new_host_name"], seen["new_domain_name"]) == ("web", "example.test")
        assert seen["new_domain_search"] == "eng.example.test example.test"
        assert seen["new_classless_static_routes"] == "0.0.0.0/0 10.0.2.2 192.0.2.0/24 10.0.2.9"
        assert (seen["new_bootfile_name"], seen["new_tftp_server_name"]) == ("pxelinux.0", "boot.example.test")
    assert counter(result.stderr, "dhcp_release") == 1
    assert counter(result.stderr, "dhcp_inform") >= 1
    assert counter(result.stderr, "dhcp_nak") == 0


# In the guest; the kernel's command line has room for no more.
GUEST_SCRIPT = r"""
cat > /hook <<'X'
#!/bin/sh
[ $1 = deconfig ] && ip link set $interface up || ip addr replace $ip/$mask dev $interface
echo "EV $1 $ip $lease $hostname $domain $search $staticroutes $boot_file $tftp $mtu"
X
chmod +x /hook; touch /log
until_seen() { n=0; until [ $(grep -c "EV $1" /log) -ge $2 ] || [ $((n += 1)) -gt 100 ]; do sleep 0.1; done; }
udhcpc -s /hook -i eth0 -f -t 20 -T 1 -O search -O staticroutes -O bootfile -O tftp -O mtu > /log 2>&1 & c=$!
until_seen bound 1; kill -USR1 $c; until_seen renew 1; kill -USR2 $c; until_seen deconfig 2; kill $c; cat /log
"""


@pytest.mark.long
@pytest.mark.client("udhcpc in a Linux guest", "lease", "renewal", "release", "MTU", "host name and domain")
@pytest.mark.client("udhcpc in a Linux guest", "search list", "classless routes", "boot file and TFTP server")
@pytest.mark.client("udhcpc in a Linux guest", "static lease")
def test_a_linux_guest_does_it_all(slirpy: User, folder: Path) -> None:
    try:
        command = [QEMU, *machine(GUEST_SCRIPT)]
    except MissingError as error:
        missing(str(error))
    file = folder / "leases.json"
    options = ("--lease", "52:54:00:12:34:56=10.0.2.44,pc", "--lease-file", str(file))
    argv = slirpy.argv("qemu", *SERVER, *options, "--", *command)
    with Guest(argv, environment=slirpy.environment()) as guest:
        output = guest.finish().output
    told = (
        "10.0.2.44 5 pc example.test eng.example.test example.test 0.0.0.0/0 10.0.2.2 192.0.2.0/24 10.0.2.9"
        " pxelinux.0 boot.example.test 1400"
    )
    events = [line.strip().removeprefix("EV ") for line in output.splitlines() if line.startswith("EV ")]
    assert [event.split()[0] for event in events] == ["deconfig", "bound", "renew", "deconfig"], output
    assert events[1:3] == [f"bound {told}", f"renew {told}"], output
    (lease,) = json.loads(file.read_text())["leases"]
    assert (lease["address"], lease["hostname"], lease["state"]) == ("10.0.2.44", "pc", "released")


def test_leases_are_kept_in_a_file(user: User, need: Need, folder: Path) -> None:
    need("ip")
    file = folder / "leases.json"
    entry = {
        "address": "10.0.2.99", "mac": "52:54:00:12:34:56", "client_id": None, "hostname": "kept", "state": "bound",
        "expires": "2020-01-01T00:00:00Z", "seconds": 60, "firmware": False,
    }  # fmt: skip
    file.write_text(json.dumps({"format": 1, "leases": [entry]}))
    file.chmod(0o644)
    result = user.run("run", "--lease-file", str(file), "--", "ip", "-o", "-4", "addr", "show", "dev", "tap0")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "inet 10.0.2.99/24" in result.stdout
    (kept,) = json.loads(file.read_text())["leases"]
    assert (kept["address"], kept["hostname"]) == ("10.0.2.99", "kept")
    assert kept["expires"] > entry["expires"]
    assert [path.name for path in folder.iterdir() if path.name.startswith("leases")] == ["leases.json"]


def test_an_impossible_lease_file_is_refused(slirpy: User) -> None:
    result = slirpy.run("run", "--lease-file", "/nowhere/leases", "--", "true")
    assert result.returncode == 2
    assert '--lease-file "/nowhere/leases"' in result.stderr
    assert "No such file or directory" in result.stderr
