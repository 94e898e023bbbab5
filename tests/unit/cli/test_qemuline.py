"""QEMU's command lines, from its documentation and from what people report, and what becomes of each."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from slirpy.cli.app import app
from slirpy.cli.qemuline import Translation, join, translate
from slirpy.config.optionstring import read_options
from slirpy.config.qemu import read_qemu
from slirpy.errors import ConfigError

posix = pytest.mark.skipif(sys.platform == "win32", reason="descriptors that a child inherits")
QEMU = "qemu-system-x86_64 -m 1G"
FDS = [10, 11, 12, 13]


def became(translation: Translation) -> str:
    return shlex.join(translation.arguments(FDS, FDS)).removeprefix(f"{QEMU} ")


def line(text: str, *replace: str) -> Translation:
    return translate(shlex.split(f"{QEMU} {text}"), replace)


# What was typed, what QEMU gets, and the options of each of slirpy's networks.
LINES = [
    # -netdev
    ("-netdev user,id=n0 -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0", ["user"]),
    ("-device e1000,netdev=n0,mac=52:54:00:12:34:57 -netdev user,id=n0",
     "-device e1000,netdev=n0,mac=52:54:00:12:34:57 -netdev stream,id=n0,addr.type=fd,addr.str=10", ["user"]),
    ("-netdev user,id=net0,hostfwd=tcp::2222-:22 -device virtio-net-pci,netdev=net0 disk.qcow2",
     "-netdev stream,id=net0,addr.type=fd,addr.str=10 -device virtio-net-pci,netdev=net0 disk.qcow2",
     ["user,hostfwd=tcp::2222-:22"]),
    ("-netdev user,hostfwd=tcp::2222-:22,id=n,hostfwd=tcp::8080-:80 -device virtio-net,netdev=n",
     "-netdev stream,id=n,addr.type=fd,addr.str=10 -device virtio-net,netdev=n",
     ["user,hostfwd=tcp::2222-:22,hostfwd=tcp::8080-:80"]),
    ("-netdev id=n0,type=user,restrict=on -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0", ["user,restrict=on"]),
    ("--netdev user,id=n0 --device rtl8139,netdev=n0",
     "--netdev stream,id=n0,addr.type=fd,addr.str=10 --device rtl8139,netdev=n0", ["user"]),
    ("-netdev user,id=n0,net=192.168.76.0/24,dhcpstart=192.168.76.9 -device virtio-net-pci,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device virtio-net-pci,netdev=n0",
     ["user,net=192.168.76.0/24,dhcpstart=192.168.76.9"]),
    ("-netdev user,id=n0,host=10.0.2.9,dns=10.0.2.8,hostname=guest,domainname=example.test -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,host=10.0.2.9,dns=10.0.2.8,hostname=guest,domainname=example.test"]),
    ("-netdev user,id=n0,dnssearch=one.test,dnssearch=two.test -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,dnssearch=one.test,dnssearch=two.test"]),
    ("-netdev user,id=n0,tftp=/srv/tftp,bootfile=/pxelinux.0,tftp-server-name=boot.test"
     " -device e1000,netdev=n0 -boot n",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0 -boot n",
     ["user,tftp=/srv/tftp,bootfile=/pxelinux.0,tftp-server-name=boot.test"]),
    ("-netdev user,id=n0,tftp=/srv/a,,b -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0", ["user,tftp=/srv/a,,b"]),
    ("-netdev user,id=n0,smb=/srv/share,smbserver=10.0.2.4 -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,smb=/srv/share,smbserver=10.0.2.4"]),
    ("-netdev user,id=n0,ipv6=off -device virtio-net-pci,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device virtio-net-pci,netdev=n0", ["user,ipv6=off"]),
    ("-netdev user,id=n0,noipv6 -device virtio-net-pci,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device virtio-net-pci,netdev=n0", ["user,noipv6"]),
    ("-netdev user,id=n0,ipv4=on,ipv6=on,ipv6-prefix=fd00::,ipv6-prefixlen=64,ipv6-host=fd00::2,ipv6-dns=fd00::3"
     " -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,ipv4=on,ipv6=on,ipv6-prefix=fd00::,ipv6-prefixlen=64,ipv6-host=fd00::2,ipv6-dns=fd00::3"]),
    ("-netdev user,id=n0,ipv6-net=fd00:5::/64 -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0", ["user,ipv6-net=fd00:5::/64"]),
    ("-netdev user,id=n0,hostfwd=tcp:[::1]:8080-[fec0::15]:80 -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,hostfwd=tcp:[::1]:8080-[fec0::15]:80"]),
    ("-netdev user,id=n0,hostfwd=unix:/tmp/ssh.sock-:22 -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,hostfwd=unix:/tmp/ssh.sock-:22"]),
    ("-netdev user,id=n0,guestfwd=tcp:10.0.2.100:80-cmd:'nc -q0 localhost 8080' -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,guestfwd=tcp:10.0.2.100:80-cmd:nc -q0 localhost 8080"]),
    ("-netdev user,id=n0,guestfwd=tcp:10.0.2.100:80-cmd:'sh -c \"a,,b\"' -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ['user,guestfwd=tcp:10.0.2.100:80-cmd:sh -c "a,,b"']),
    ("-netdev user,id=n0,guestfwd=tcp:10.0.2.100:80-tcp:127.0.0.1:8080 -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,guestfwd=tcp:10.0.2.100:80-tcp:127.0.0.1:8080"]),
    ("-chardev socket,id=c0,host=127.0.0.1,port=8080 -netdev user,id=n0,guestfwd=tcp:10.0.2.100:80-chardev:c0"
     " -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,guestfwd=tcp:10.0.2.100:80-tcp:127.0.0.1:8080"]),
    ("-netdev user,id=n0,guestfwd=tcp:10.0.2.100:80-chardev:c0 -chardev socket,id=c0,path=/run/x.sock,server=off"
     " -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0",
     ["user,guestfwd=tcp:10.0.2.100:80-unix:/run/x.sock"]),
    ("-chardev socket,id=c0,path=/x -serial chardev:c0 -nic user,guestfwd=tcp::80-chardev:c0",
     "-chardev socket,id=c0,path=/x -serial chardev:c0 -nic socket,fd=10", ["user,guestfwd=tcp::80-unix:/x"]),
    # JSON
    ("""-netdev '{"type":"user","id":"n0"}' -device e1000,netdev=n0""",
     """-netdev '{"type": "stream", "id": "n0", "addr": {"type": "fd", "str": "10"}}' -device e1000,netdev=n0""",
     ["user"]),
    ("""-netdev '{"id":"n0","type":"user","hostfwd":[{"str":"tcp::2222-:22"},{"str":"udp::53-:53"}],"ipv6":false}'""",
     """-netdev '{"type": "stream", "id": "n0", "addr": {"type": "fd", "str": "10"}}'""",
     ["user,hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,ipv6=off"]),
    # -nic
    ("-nic user", "-nic socket,fd=10", ["user"]),
    ("--nic user", "--nic socket,fd=10", ["user"]),
    ("-nic user,model=virtio-net-pci", "-nic socket,fd=10,model=virtio-net-pci", ["user"]),
    ("-nic user,hostfwd=tcp::2222-:22", "-nic socket,fd=10", ["user,hostfwd=tcp::2222-:22"]),
    ("-nic user,model=virtio,hostfwd=tcp:127.0.0.1:5555-:22,mac=52:54:00:12:34:57 -hda disk.img",
     "-nic socket,fd=10,model=virtio,mac=52:54:00:12:34:57 -hda disk.img", ["user,hostfwd=tcp:127.0.0.1:5555-:22"]),
    ("-nic user,id=lan,restrict=y", "-nic socket,fd=10,id=lan", ["user,restrict=y"]),
    ("-nic type=user,model=e1000e", "-nic socket,fd=10,model=e1000e", ["user"]),
    ("-nic model=e1000", "-nic socket,fd=10,model=e1000", ["user"]),
    ("-nic hostfwd=tcp::2222-:22", "-nic socket,fd=10", ["user,hostfwd=tcp::2222-:22"]),
    ("-nic user,tftp=/srv,bootfile=http://10.0.2.2/boot.ipxe", "-nic socket,fd=10",
     ["user,tftp=/srv,bootfile=http://10.0.2.2/boot.ipxe"]),
    ("-nic user -nic user,model=rtl8139", "-nic socket,fd=10 -nic socket,fd=11,model=rtl8139", ["user", "user"]),
    ("-nic tap,ifname=tap0 -nic user", "-nic tap,ifname=tap0 -nic socket,fd=10", ["user"]),
    ("-nic none -netdev user,id=a -device e1000,netdev=a",
     "-nic none -netdev stream,id=a,addr.type=fd,addr.str=10 -device e1000,netdev=a", ["user"]),
    # -net
    ("-net nic -net user", "-net nic -net socket,fd=10", ["user"]),
    ("-net user -net nic", "-net socket,fd=10 -net nic", ["user"]),
    ("-net nic,model=virtio,macaddr=52:54:00:00:00:01 -net user,hostfwd=tcp::2222-:22",
     "-net nic,model=virtio,macaddr=52:54:00:00:00:01 -net socket,fd=10", ["user,hostfwd=tcp::2222-:22"]),
    ("-net user,id=u,smb=/srv/share -net nic,model=rtl8139", "-net socket,fd=10,id=u -net nic,model=rtl8139",
     ["user,smb=/srv/share"]),
    ("-net nic -net user,net=10.9.0.0/24 -net nic -net user,id=b",
     "-net nic -net socket,fd=10 -net nic -net socket,fd=11,id=b", ["user,net=10.9.0.0/24", "user"]),
    # several
    ("-netdev user,id=a,net=10.1.0.0/24 -netdev user,id=b,net=10.2.0.0/24"
     " -device e1000,netdev=b -device e1000,netdev=a",
     "-netdev stream,id=a,addr.type=fd,addr.str=10 -netdev stream,id=b,addr.type=fd,addr.str=11"
     " -device e1000,netdev=b -device e1000,netdev=a", ["user,net=10.1.0.0/24", "user,net=10.2.0.0/24"]),
    ("-netdev user,id=u -netdev hubport,hubid=0,id=h0,netdev=u -nic hubport,hubid=0 -nic hubport,hubid=0",
     "-netdev stream,id=u,addr.type=fd,addr.str=10 -netdev hubport,hubid=0,id=h0,netdev=u -nic hubport,hubid=0"
     " -nic hubport,hubid=0", ["user"]),
    # the rest of a line
    ("-nodefaults -nographic -append 'root=/dev/vda -netdev user,id=x' -nic user -snapshot",
     "-nodefaults -nographic -append 'root=/dev/vda -netdev user,id=x' -nic socket,fd=10 -snapshot", ["user"]),
    ("-append -netdev -nic user", "-append -netdev -nic socket,fd=10", ["user"]),
    ("-name 'nic user' -enable-kvm -nic user -serial mon:stdio",
     "-name 'nic user' -enable-kvm -nic socket,fd=10 -serial mon:stdio", ["user"]),
    ("-netdev user,id=slirpy0 -device e1000,netdev=slirpy0",
     "-netdev stream,id=slirpy0,addr.type=fd,addr.str=10 -device e1000,netdev=slirpy0", ["user"]),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "expected", "options"), LINES, ids=[line[0] for line in LINES])
def test_user_networks_are_replaced_in_place(typed: str, expected: str, options: list[str]) -> None:
    translation = line(typed)
    assert became(translation) == expected
    assert [network.options for network in translation.networks] == options
    assert not translation.needs_card
    assert len(translation.notes) >= len(options)
    for text in options:
        read_qemu(text)


def test_the_table_is_long() -> None:
    assert len(LINES) >= 40


REPLACED = [
    ("tap", "-netdev tap,id=n0,ifname=tap0,script=no,vhost=on -device virtio-net-pci,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device virtio-net-pci,netdev=n0"),
    ("tap", "-nic tap,ifname=tap0,model=e1000 -nic user", "-nic socket,fd=10,model=e1000 -nic socket,fd=11"),
    ("bridge", "-nic bridge,br=br0,model=virtio-net-pci,mac=52:54:00:12:34:57",
     "-nic socket,fd=10,model=virtio-net-pci,mac=52:54:00:12:34:57"),
    ("socket", "-netdev socket,id=n0,listen=:1234 -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0"),
    ("socket", "-net nic -net socket,mcast=230.0.0.1:1234", "-net nic -net socket,fd=10"),
    ("stream", "-netdev stream,id=n0,addr.type=unix,addr.path=/x -device e1000,netdev=n0",
     "-netdev stream,id=n0,addr.type=fd,addr.str=10 -device e1000,netdev=n0"),
    ("dgram", """-netdev '{"type":"dgram","id":"n0","local":{"type":"unix","path":"/a"}}' -device e1000,netdev=n0""",
     """-netdev '{"type": "stream", "id": "n0", "addr": {"type": "fd", "str": "10"}}' -device e1000,netdev=n0"""),
    ("hubport", "-netdev hubport,hubid=3,id=a -netdev hubport,hubid=3,id=b"
     " -device e1000,netdev=a -device e1000,netdev=b",
     "-netdev stream,id=a,addr.type=fd,addr.str=10 -netdev stream,id=b,addr.type=fd,addr.str=11"
     " -device e1000,netdev=a -device e1000,netdev=b"),
    ("hubport", "-netdev user,id=u,net=10.7.0.0/24 -netdev hubport,hubid=0,id=h0,netdev=u -nic hubport,hubid=0"
     " -nic hubport,hubid=0,model=e1000",
     "-nic socket,fd=10 -nic socket,fd=11,model=e1000"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "typed", "expected"), REPLACED, ids=[line[1] for line in REPLACED])
def test_other_networks_are_replaced_on_request(kind: str, typed: str, expected: str) -> None:
    assert became(line(typed, kind)) == expected
    if " user" not in typed:
        assert became(line(typed)) == typed


def test_a_hub_is_one_network() -> None:
    first, second = "-nic hubport,hubid=0 -nic user -nic hubport,hubid=0", "-nic hubport,hubid=1"
    translation = line(f"{first} {second}", "hubport")
    assert [network.sockets for network in translation.networks] == [[0, 1], [2], [3]]
    assert translation.names() == ["hub0.0", "hub0.1", "hub1", "-nic user"]
    assert became(translation) == "-nic socket,fd=10 -nic socket,fd=13 -nic socket,fd=11 -nic socket,fd=12"


@pytest.mark.parametrize(
    ("typed", "card", "needs"),
    [
        ("qemu-system-x86_64 disk.img", "virtio-net-pci", True),
        ("qemu-system-x86_64 -nodefaults", "virtio-net-pci", True),
        ("qemu-system-x86_64 -M q35,accel=kvm", "virtio-net-pci", True),
        ("qemu-system-x86_64 -machine accel=kvm", "virtio-net-pci", True),
        ("qemu-system-x86_64 -machine type=pc-q35-7.2", "virtio-net-pci", True),
        ("/usr/bin/qemu-system-x86_64 -M microvm", "virtio-net-device", True),
        ("qemu-system-i386 -M isapc", None, True),
        ("qemu-system-aarch64 -M virt", "virtio-net-pci", True),
        ("qemu-system-aarch64 -M raspi3b", None, True),
        ("qemu-system-riscv64", None, True),
        ("qemu-system-riscv64 -M virt", "virtio-net-pci", True),
        ("qemu-system-s390x", None, True),
        ("qemu-system-sparc", None, True),
        ("qemu-system-ppc64", "virtio-net-pci", True),
        ("kvm disk.img", "virtio-net-pci", True),
        ("qemu-system-x86_64 -nic none", "virtio-net-pci", False),
        ("qemu-system-x86_64 -net none", "virtio-net-pci", False),
        ("qemu-system-x86_64 -netdev tap,id=n -device e1000,netdev=n", "virtio-net-pci", True),
        ("qemu-system-x86_64 -nic user -device e1000,netdev=slirpy0", "virtio-net-pci", True),
    ],
)
def test_a_card_of_slirpy_s(typed: str, card: str | None, needs: bool) -> None:
    translation = translate(shlex.split(typed))
    assert (translation.card, translation.needs_card) == (card, needs)


def test_the_card_is_added_last() -> None:
    translation = line("disk.img")
    translation.add_card("virtio-net-pci", [("host_mtu", "9000"), ("mac", "52:54:00:00:00:01")])
    assert became(translation) == (
        "disk.img -netdev stream,id=slirpy0,addr.type=fd,addr.str=10"
        " -device virtio-net-pci,netdev=slirpy0,host_mtu=9000,mac=52:54:00:00:00:01"
    )
    translation = line("disk.img")
    translation.add_card(None, [("mac", "52:54:00:00:00:01")])
    assert became(translation) == "disk.img -nic socket,id=slirpy0,fd=10,mac=52:54:00:00:00:01"
    for own in ("e1000,netdev=slirpy0", '{"driver": "e1000", "netdev": "slirpy0"}'):
        translation = translate(["qemu", "-device", own])
        assert translation.own_card
        translation.add_card("virtio-net-pci", [])
        assert translation.arguments(FDS)[3:] == ["-netdev", "stream,id=slirpy0,addr.type=fd,addr.str=10"]
    assert not translate(["qemu", "-device", "e1000,netdev=slirpy01", "-name", "netdev=n"]).own_card


# ------------------------------------------------------------------------------------------ -readconfig

CONFIG = """# a machine
[machine]
  type = "q35"

[netdev "n0"]
  # ssh
  type = "user"
  hostfwd = "tcp::2222-:22"
  hostfwd = "tcp::8080-:80"

[device "card"]
  driver = "e1000"
  netdev = "n0"

[nic]
  model = "rtl8139"
[netdev "t0"]
  type = "tap"
"""
REWRITTEN = """# a machine
[machine]
  type = "q35"

[netdev "n0"]
  type = "socket"
  fd = "10"
  # ssh

[device "card"]
  driver = "e1000"
  netdev = "n0"

[nic]
  type = "socket"
  fd = "11"
  model = "rtl8139"
[netdev "t0"]
  type = "tap"
"""


def test_a_file_of_readconfig_is_copied(tmp_path: Path) -> None:
    file = tmp_path / "machine.cfg"
    file.write_text(CONFIG)
    translation = line(f"-nodefaults -readconfig {file.as_posix()} -nic user")
    assert became(translation) == "-nodefaults -readconfig /dev/fd/10 -nic socket,fd=12"
    assert translation.contents(FDS) == [REWRITTEN]
    assert [network.options for network in translation.networks] == [
        "user,hostfwd=tcp::2222-:22,hostfwd=tcp::8080-:80", "user", "user",
    ]  # fmt: skip
    assert file.read_text() == CONFIG
    # Without -nodefaults or a network on the command line, QEMU adds its default network to those of a file.
    assert line(f"-readconfig {file.as_posix()}").needs_card
    assert not line(f"-nodefaults -readconfig {file.as_posix()}").needs_card


def test_a_file_without_networks_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "machine.cfg"
    file.write_text('[machine]\n  type = "q35"\n')
    typed = f"-readconfig {file.as_posix()}"
    assert became(line(f"{typed} -nic user")) == f"{typed} -nic socket,fd=10"


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("typed", "replace", "says"),
    [
        ("-net nic,vlan=0 -net user,vlan=0", "", "-net nic,vlan=0: QEMU has dropped vlan="),
        ("-net user,vlan=1", "", "-net user,vlan=1: QEMU has dropped vlan="),
        ("-redir tcp:2222::22", "", "-redir tcp:2222::22: QEMU has dropped this option; write -nic user,hostfwd="),
        ("-tftp /srv", "", "-tftp /srv: QEMU has dropped this option; write -nic user,tftp=FOLDER"),
        ("-nic user,guestfwd=tcp::80-chardev:c9", "", "there is no -chardev with id=c9"),
        ("-chardev pty,id=c -nic user,guestfwd=tcp::80-chardev:c", "", "-chardev pty,id=c is not a client's socket"),
        ("-chardev socket,id=c,path=/x,server -nic user,guestfwd=tcp::80-chardev:c", "", "is not a client's socket"),
        ("-chardev socket,id=c,port=1,server=on -nic user,guestfwd=tcp::80-chardev:c", "", "not a client's socket"),
        ("-netdev user,id=n0 -set netdev.n0.hostfwd=tcp::1-:2", "", "-set netdev.n0.hostfwd=tcp::1-:2: slirpy"),
        ("-readconfig /nonexistent/file", "", "-readconfig /nonexistent/file: no such file or directory"),
        ("-netdev tap,id=t -netdev hubport,hubid=0,id=h,netdev=t", "hubport", "t is no user network"),
        ("-netdev user,id=a -netdev user,id=b -netdev hubport,hubid=0,id=x,netdev=a"
         " -netdev hubport,hubid=0,id=y,netdev=b", "hubport", "hub 0 has two ways outside"),
    ],
)  # fmt: skip
def test_mistakes_are_quoted_as_typed(typed: str, replace: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        line(typed, *filter(None, [replace]))
    assert says in str(caught.value)
    assert str(caught.value).startswith("-")


def slirpy(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["qemu", *arguments], prog_name="slirpy")


@posix
@pytest.mark.parametrize(
    ("flags", "typed", "says"),
    [
        ("", "-nic user,hostfw=tcp::1-:2",
         '-nic user,hostfw=tcp::1-:2: "hostfw=tcp::1-:2": unknown option "hostfw"; did you mean hostfwd?'),
        ("", "-nic user,net=10.0.2.0/31", "-nic user,net=10.0.2.0/31: net "),
        ("", "-netdev user,id=n,ipv6=maybe",
         '-netdev user,id=n,ipv6=maybe: "ipv6=maybe": "maybe" is neither on nor off'),
        ("", "-netdev user,id=n,model=e1000", "model is an option of the guest's card"),
        ("", "-nic user,hostfwd=tcp:22", '-nic user,hostfwd=tcp:22: hostfwd "tcp:22": malformed'),
        ("", """-netdev '{"type":"user","id":"n","nett":"x"}'""", 'unknown option "nett"'),
        ("--mac 52:54:00:00:00:01", "-nic user", "--mac 52:54:00:00:00:01: the card is one of your own"),
        ("--card e1000", "-nic user", "--card e1000: the card is one of your own"),
        ("--restrict", "-nic user,restrict=off", "-nic user,restrict=off: restrict=off contradicts --restrict"),
        ("--hostfwd tcp::1-:2", "-nic user -nic user", "--hostfwd is for one network, and QEMU's arguments have 2"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(flags: str, typed: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    result = slirpy(*shlex.split(flags), "--", "true", *shlex.split(typed))
    said = result.stderr or str(result.exception)
    assert says in said
    assert result.exit_code == 2 or isinstance(result.exception, ConfigError)
    assert len(result.stderr.splitlines()) <= 1


def test_networks_have_names_for_control() -> None:
    def names(typed: str) -> list[str]:
        return line(typed).network_names()

    assert names("-netdev user,id=lan -nic user -nic user,id=dmz") == ["lan", "net0", "dmz"]
    assert names("-nic user -nic user -netdev user,id=net0") == ["net1", "net2", "net0"]


@posix
def test_qemu_s_option_takes_precedence(capfd: pytest.CaptureFixture[str]) -> None:
    result = slirpy(
        "--net", "10.5.0.0/24", "--no-ipv6", "--", "true", "-nic", "user,net=10.6.0.0/24,ipv6=on,ipv4=on"
    )
    assert result.exit_code == 0
    assert sorted(result.stderr.splitlines()) == [
        "slirpy: -nic user,net=10.6.0.0/24,ipv6=on,ipv4=on: takes precedence over --net 10.5.0.0/24",
        "slirpy: -nic user,net=10.6.0.0/24,ipv6=on,ipv4=on: takes precedence over --no-ipv6",
    ]


@posix
def test_verbose_lists_the_changes() -> None:
    result = slirpy(
        "-v", "--", "true", "-nic", "user,model=e1000,hostfwd=tcp::0-:22", "-device", "x,netdev=slirpy0"
    )
    assert result.exit_code == 0
    assert result.stderr.splitlines()[:3] == [
        "slirpy: -nic user,model=e1000,hostfwd=tcp::0-:22 -> -nic socket,fd=FD,model=e1000",
        "slirpy: -nic user,model=e1000,hostfwd=tcp::0-:22: a hostfwd without a host address listens on 127.0.0.1,"
        " not on every address",
        "slirpy: added: -netdev stream,id=slirpy0,addr.type=fd,addr.str=FD",
    ]


# ---------------------------------------------------------------------------------------------- property

WORDS = st.text("abcxyz019=,.:/-_ ", min_size=1, max_size=12)
OTHERS = st.sampled_from(
    [
        "m",
        "append",
        "drive",
        "device",
        "name",
        "smp",
        "cpu",
        "nographic",
        "S",
        "snapshot",
        "chardev",
        "object",
        "M",
        "fw_cfg",
    ]
)
REST = st.lists(
    st.one_of(
        st.tuples(OTHERS.map("-{}".format), WORDS.filter(lambda word: not word.startswith("-"))).map(list),
        WORDS.filter(lambda word: not word.startswith("-")).map(lambda word: [word]),
        st.sampled_from([["-nographic"], ["-nodefaults"], ["-net", "nic"], ["-nic", "tap,ifname=t"]]),
    ),
    max_size=6,
)  # fmt: skip
USERS = st.lists(
    st.sampled_from(
        [["-nic", "user"], ["-net", "user,id=x"], ["-netdev", "user,id=n0"], ["-nic", "model=e1000"]]
    ),
    max_size=3,
)


@given(st.data(), REST, USERS)
def test_only_user_networks_are_changed(
    data: st.DataObject, rest: list[list[str]], users: list[list[str]]
) -> None:
    groups = data.draw(st.permutations(rest + users))
    command = ["qemu-system-x86_64", *(word for group in groups for word in group)]
    translation = translate(command)
    arguments = translation.arguments([7] * 9)
    assert len(arguments) == len(command)
    changed = [at for at, (old, new) in enumerate(zip(command, arguments, strict=True)) if old != new]
    assert len(changed) == len(translation.networks) == len(users)
    for at in changed:
        assert "user" in command[at] or command[at] == "model=e1000"
        assert command[at - 1] in ("-nic", "-net", "-netdev")
        assert arguments[at].startswith(("socket,fd=7", "stream,"))


@given(st.lists(st.tuples(st.text("abc-", min_size=1), st.none() | st.text("a,=b", max_size=9)), max_size=5))
def test_joining_reverses_reading(pairs: list[tuple[str, str | None]]) -> None:
    assert read_options(join("user", pairs)) == [("user", None), *pairs]


def test_inherited_descriptors_reach_qemu() -> None:
    """A descriptor for ``-add-fd`` or a redirection of the shell is not slirpy's to close."""
    if sys.platform == "win32":
        pytest.skip("descriptors that a child inherits")
    from tests.unit.cli.test_qemu import SLIRPY, run

    read, write = os.pipe()
    try:
        code = f"import os; os.write({write}, b'here')"
        result = run(*SLIRPY, "qemu", "--", sys.executable, "-c", code, pass_fds=[write])
        assert (result.returncode, result.stderr) == (0, "")
        assert os.read(read, 9) == b"here"
    finally:
        os.close(read)
        os.close(write)
