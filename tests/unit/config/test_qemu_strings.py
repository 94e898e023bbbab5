"""Option strings that QEMU takes are taken, in the sense that they have there; what is not built is named."""

from __future__ import annotations

import errno
import json
import socket
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random
from typing import Any

import pytest

from slirpy import (
    Command,
    Config,
    ConfigError,
    GuestForward,
    HostTarget,
    LinkError,
    TcpTarget,
    UnixTarget,
)
from slirpy.config.guestfwd import parse_guestfwd
from slirpy.config.optionstring import carrier_of, read_options
from slirpy.links import Endpoint, abstract, inet, parse_netdev
from slirpy.links.options import Options
from slirpy.services.namedstream import NamedStream
from slirpy.testing import Echo, SimHost, VirtualNetwork

A = IPv4Address
ON, OFF = ("on", "yes", "true", "y"), ("off", "no", "false", "n")

# --------------------------------------------------------------------------------------------- user


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("word", ON + OFF)
def test_a_family_is_switched(family: str, word: str) -> None:
    config = Config.from_qemu(f"user,ipv4=on,ipv6=on,{family}={word}")
    assert (config.ipv4, config.ipv6) == (word in ON or family != "ipv4", word in ON or family != "ipv6")


@pytest.mark.parametrize(
    ("options", "restrict"),
    [("restrict", True), ("user,restrict", True), ("norestrict", False), ("user,norestrict,id=a", False)]
    + [(f"user,restrict={word}", word in ON) for word in ON + OFF],
)
def test_a_switch_may_stand_alone(options: str, restrict: bool) -> None:
    assert Config.from_qemu(options).restrict is restrict


@pytest.mark.parametrize(
    "options",
    ["user,ipv4,ipv6", "user,ipv6,ipv4=on", "type=user", "type=user,id=n0", "user,id=a", "user,", ",user"],
)
def test_options_equal_to_the_defaults(options: str) -> None:
    assert Config.from_qemu(options) == Config()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            "user,noipv4,noipv6",
            "both ipv4 and ipv6 are off: a network carries at least one of them; leave one on",
        ),
        ("user,ipv6=6", '"ipv6=6": "6" is neither on nor off'),
        ("user,ipv6-prefix", '"ipv6-prefix" has no value; write ipv6-prefix=VALUE'),
        ("user,ipv6-prefixlen=x", 'ipv6-net "fec0::/x" is not an IPv6 network; write for example fec0::/64'),
        (
            "user,ipv6-host=fd00::2",
            "ipv6-host fd00::2 is not an address of fec0::/64; choose one from fec0::1 to fec0::ffff:ffff:ffff:ffff",
        ),
        ("user,hostname", '"hostname" has no value; write hostname=VALUE'),
        ("user,hostfwd", '"hostfwd" has no value; write hostfwd=VALUE'),
        ("user,ipv6-net", '"ipv6-net" has no value; write ipv6-net=VALUE'),
        ("user,restrict=ON", '"restrict=ON": "ON" is neither on nor off'),
        ("user,restrict=", '"restrict=": "" is neither on nor off'),
        (
            "user,model=e1000",
            '"model=e1000": model is an option of the guest\'s card (-nic, -device), not of its network',
        ),
        ("type=tap", '"type=tap": this is about another kind of network; only "user" is read here'),
        ("user,norestict", '"norestict": unknown option "norestict"; did you mean restrict?'),
        ("user,tftp-server-name=", 'tftp-server-name "" is empty; leave it out instead'),
        ("user,tftp-server-name=a b", 'tftp-server-name "a b" has a space in it; give one name or address'),
        ("user,hostname=", 'hostname "" is empty; leave it out instead'),
        ("user,bootfile=", 'bootfile "" is empty; leave it out instead'),
    ],
)  # fmt: skip
def test_mistakes_are_quoted_as_written(options: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_qemu(options)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("net", "read", "host"),
    [
        ("10.0.3.0", "10.0.0.0/8", "10.0.2.2"),
        ("10.0.2.0", "10.0.0.0/8", "10.0.2.2"),
        ("172.16.5.0", "172.16.0.0/12", "172.16.2.2"),
        ("172.40.0.0", "172.40.0.0/16", "172.40.2.2"),
        ("192.168.76.0", "192.168.0.0/16", "192.168.2.2"),
        ("198.18.0.0", "198.18.0.0/15", "198.18.2.2"),
        ("192.0.2.0", "192.0.2.0/24", "192.0.2.2"),
        ("203.0.113.9", "203.0.113.0/24", "203.0.113.2"),
        ("10.0.0.0/8", "10.0.0.0/8", "10.0.2.2"),
        ("192.168.0.0/16", "192.168.0.0/16", "192.168.2.2"),
        ("10.0.2.0/255.255.255.0", "10.0.2.0/24", "10.0.2.2"),
        ("10.0.0.0/22", "10.0.0.0/22", "10.0.2.2"),
        ("10.0.2.0/23", "10.0.2.0/23", "10.0.2.2"),
        ("10.0.4.0/23", "10.0.4.0/23", "10.0.4.2"),
        ("10.0.2.128/25", "10.0.2.128/25", "10.0.2.130"),
    ],
)
def test_a_network_without_a_mask_has_that_of_its_class(net: str, read: str, host: str) -> None:
    config = Config.from_qemu(f"user,net={net}")
    assert (config.net, config.host) == (IPv4Network(read), A(host))
    assert (int(config.dns) - int(config.host), int(config.dhcpstart) - int(config.host)) == (1, 13)


def test_the_addresses_of_a_large_network() -> None:
    config = Config.from_qemu("user,net=10.0.0.0/8,smb=/tmp")
    assert (config.smbserver, config.dns) == (A("10.0.2.4"), A("10.0.2.3"))
    config = Config.from_qemu("user,net=192.168.76.0,dhcpstart=192.168.76.9,host=192.168.2.3")
    assert (config.host, config.dhcpstart) == (A("192.168.2.3"), A("192.168.76.9"))
    assert config.dns == A("192.168.0.3")  # the one of QEMU's is taken
    assert Config.from_qemu("user,net=10.0.0.0/8", host="10.9.9.9").host == A("10.9.9.9")
    assert Config(net="10.0.0.0/8").host == A("10.0.0.2")  # in Python the second address


def test_an_old_word_for_the_network() -> None:
    assert Config.from_qemu("user,ip=192.168.5.0").net == IPv4Network("192.168.5.0/24")
    for options in ("user,ip=192.168.5.0,net=10.9.0.0/16", "user,net=10.9.0.0/16,ip=192.168.5.0"):
        assert Config.from_qemu(options).net == IPv4Network("10.9.0.0/16")


# ---------------------------------------------------------------------------------------- guestfwd


@pytest.mark.parametrize(
    ("rule", "target"),
    [
        ("tcp:10.0.2.100:80-tcp:localhost:8080", TcpTarget("127.0.0.1", 8080)),
        ("tcp:10.0.2.100:80-tcp:localhost.localdomain:80", HostTarget("localhost.localdomain", 80)),
        ("tcp:10.0.2.100:80-tcp:web.example.org:1", HostTarget("web.example.org", 1)),
        ("tcp:10.0.2.100:1234-tcp:10.10.1.1:4321", TcpTarget("10.10.1.1", 4321)),
        ("tcp:10.0.2.100:1234-tcp:10.10.1.1:4321,,server=off,,nodelay=on", TcpTarget("10.10.1.1", 4321)),
        ("tcp:10.0.2.100:1234-tcp:web:4321,,nodelay,,reconnect=5", HostTarget("web", 4321)),
        ("tcp:10.0.2.100:1234-unix:/run/s,,server=no", UnixTarget("/run/s")),
        ("tcp:10.0.2.100:1234-unix:/run/a,,b", UnixTarget("/run/a,b")),
        ("tcp:10.0.2.100:1234-cmd:netcat 10.10.1.1 4321", Command(("netcat", "10.10.1.1", "4321"))),
    ],
)
def test_targets(rule: str, target: Any) -> None:
    (read,) = Config.from_qemu(f"user,guestfwd={rule}").guestfwd
    assert read.target == target
    assert parse_guestfwd(str(read)) == read


@pytest.mark.parametrize(
    ("target", "says"),
    [
        *(
            (target, f'target "{target}" is a character device of QEMU\'s')
            for target in (
                "chardev:foo",
                "stdio",
                "pty",
                "file:/tmp/x",
                "udp:127.0.0.1:5",
                "/dev/ttyS0",
                "telnet:a:1",
            )
        ),
        ("tcp:127.0.0.1:80,server=on", "with server=on QEMU waits there"),
        ("tcp:127.0.0.1:80,server,nowait", "with server=on QEMU waits there"),
        ("unix:/run/s,server=yes,wait=off", "with server=on QEMU waits there"),
        ("tcp:10.0.2.300:80", '"10.0.2.300:80" is not host:port with an IP address or a name as host'),
        ("tcp:a b:80", "is not host:port with an IP address or a name"),
        ("tcp::80", "is not host:port"),
        ("tcp:web:http", 'port "http" of the target'),
        ("tcp:-web-:80", "is not host:port with an IP address or a name"),
    ],
)
def test_targets_that_cannot_be(target: str, says: str) -> None:
    for read in (
        Config.from_qemu,
        lambda options: Config(guestfwd=[options.partition("=")[2].replace(",,", ",")]),
    ):
        doubled = target.replace(",", ",,")
        with pytest.raises(ConfigError) as caught:
            read(f"guestfwd=tcp:10.0.2.100:80-{doubled}")
        assert says in str(caught.value)
        assert str(caught.value).startswith("guestfwd ")


@pytest.mark.parametrize("server", ["", "0.0.0.0"])
@pytest.mark.parametrize(("net", "address"), [("10.0.2.0/24", "10.0.2.4"), ("10.0.0.0/8", "10.0.2.4")])
def test_a_guestfwd_without_a_server(server: str, net: str, address: str) -> None:
    (rule,) = Config.from_qemu(f"user,guestfwd=tcp:{server}:80-cmd:cat,net={net}").guestfwd
    assert (rule.server, rule.port) == (A(address), 80)


def names(found: Any) -> VirtualNetwork:
    net = VirtualNetwork(Config(guestfwd=["tcp:10.0.2.100:80-tcp:web.test:8080"]), seed=1)
    if found is None:
        net.host.fail_name("web.test")
    else:
        net.host.add_name("web.test", *found)
    net.boot()
    return net


FIRST, SECOND = bytes([192, 0, 2, 7]), bytes([192, 0, 2, 8])


@pytest.mark.parametrize("found", [[SECOND], [FIRST, SECOND], [bytes(15) + b"\1", FIRST, SECOND]])
def test_a_name_is_looked_up_for_each_connection_and_its_addresses_are_tried(found: list[bytes]) -> None:
    net = names(found)
    net.host.serve_tcp(SECOND, 8080, Echo)
    stream = net.guest.connect("10.0.2.100", 80)
    stream.write(b"x" * 300_000)
    net.run_until(lambda: stream.count == 300_000)
    stream.shutdown()
    net.run_until(lambda: stream.eof)
    net.run_until(lambda: stream.closed)
    net.host.add_name("web.test", FIRST)  # it has moved
    net.host.serve_tcp(FIRST, 8080, Echo)
    again = net.guest.connect("10.0.2.100", 80)
    again.write(b"there")
    net.run_until(lambda: again.received == b"there")
    assert net.stack.stats.guestfwd_failed == 0


@pytest.mark.parametrize("found", [None, [], [FIRST], [FIRST, SECOND]])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_name_that_leads_nowhere(found: Any, at_once: bool) -> None:
    net = names(found)
    net.host.unreachable(None, None, errno.ECONNREFUSED, at_once)
    stream = net.guest.connect("10.0.2.100", 80)
    net.run_until(lambda: stream.error)
    assert net.stack.stats.guestfwd_failed == 1


class Owner:
    """Stand-in for a stream that records its arguments."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def connected(self) -> None:
        self.told.append("connected")

    def readable(self) -> None: ...

    def writable(self) -> None: ...

    def failed(self, error: int) -> None:
        self.told.append(errno.errorcode[error])


@pytest.mark.parametrize("end", ["abort", "close"])
def test_a_guest_that_goes_while_the_name_is_looked_up(end: str) -> None:
    host, owner = SimHost(Random(1)), Owner()
    host.add_name("web.test", FIRST)
    host.serve_tcp(FIRST, 8080, Echo)
    stream = NamedStream(host, "web.test", 8080, owner)
    assert (stream.send((b"x",)), stream.recv(1)) == (0, None)
    stream.shutdown()
    getattr(stream, end)()
    host.advance(5_000_000_000)
    assert [call.name for call in host.calls] == ["lookup"]
    assert owner.told == []


@pytest.mark.parametrize("end", ["abort", "close"])
def test_the_end_is_passed_on(end: str) -> None:
    host, owner = SimHost(Random(1)), Owner()
    host.add_name("web.test", FIRST)
    host.serve_tcp(FIRST, 8080, Echo)
    stream = NamedStream(host, "web.test", 8080, owner)
    host.advance(1_000_000_000)
    assert owner.told == ["connected"]
    getattr(stream, end)()
    getattr(stream, end)()
    assert host.calls[-1].name == end


def test_too_many_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    host, owner = SimHost(Random(1)), Owner()
    monkeypatch.setattr(host, "lookup", lambda name, done: False)
    NamedStream(host, "web.test", 8080, owner)
    assert owner.told == ["EAGAIN"]


def test_a_host_target_is_a_name() -> None:
    for name in ("", "a b", "127.0.0.1", "10.0.2", 5):
        with pytest.raises(ConfigError):
            HostTarget(name, 80)  # type: ignore[arg-type] # the mistake
    with pytest.raises(ConfigError):
        HostTarget("web", 0)
    assert str(GuestForward("10.0.2.9", 80, HostTarget("web", 80))) == "tcp:10.0.2.9:80-tcp:web:80"


# -------------------------------------------------------------------------------------------- JSON


def test_json_is_read_as_the_string_is() -> None:
    given = {
        "type": "user",
        "id": "n",
        "net": "192.168.7.0/24",
        "restrict": True,
        "ipv6": False,
        "hostname": "a",
        "dnssearch": [{"str": "a.example"}, {"str": "b.example"}],
        "hostfwd": [{"str": "tcp::2222-:22"}, {"str": "udp::53-:53"}],
        "guestfwd": [{"str": "tcp:192.168.7.100:80-cmd:cat a,b"}],
    }
    written = (
        "user,id=n,net=192.168.7.0/24,restrict=on,ipv6=off,hostname=a,dnssearch=a.example,dnssearch=b.example,"
        "hostfwd=tcp::2222-:22,hostfwd=udp::53-:53,guestfwd=tcp:192.168.7.100:80-cmd:cat a,,b"
    )
    for text in (
        json.dumps(given),
        json.dumps(given, indent=2),
        repr(given).replace("True", "true").replace("False", "false"),
    ):
        assert Config.from_qemu(text) == Config.from_qemu(written)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ('{"type": "user",}', "is not JSON"),
        ('{"type": "user", "hostfwd": [5]}', 'hostfwd: 5 is not of the form {"str": "..."}'),
        ('{"type": "user", "hostfwd": [{"st": "x"}]}', 'hostfwd: {"st": "x"} is not of the form'),
        ('{"type": "user", "hostname": null}', "hostname: null is no value of an option"),
        ('{"type": "user", "hostname": 1.5}', "hostname: 1.5 is no value of an option"),
        ('{"type": "user", "hostnme": "x"}', 'unknown option "hostnme"; did you mean hostname?'),
        ('{"type": "tap", "ifname": "x"}', "this is about another kind of network"),
        ('{"type": "user", "ipv6": 6}', '"ipv6=6": "6" is neither on nor off'),
    ],
)
def test_json_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_qemu(text)
    assert says in str(caught.value)


def test_quotes() -> None:
    assert read_options("""{'a': 'x"y', "b": "it's", 'c': 'it\\'s'}""") == [
        ("a", 'x"y'),
        ("b", "it's"),
        ("c", "it's"),
    ]
    assert read_options("a=x,,y,b") == [("a", "x,y"), ("b", None)]


@pytest.mark.parametrize(
    ("text", "carrier"),
    [("user", "user"), ("user,id=a", "user"), ("type=user,id=a", "user"), ("id=a,type=tap", "tap"), ("", ""),
     ('{"id": "a", "type": "user"}', "user"), ("{", ""), ("id=a", "")],
)  # fmt: skip
def test_which_carrier_it_is(text: str, carrier: str) -> None:
    assert carrier_of(text) == carrier


# ------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize(
    "text",
    [
        *(f"stream,server={word},addr.type=inet,addr.host=127.0.0.1,addr.port=0" for word in ON),
        *(
            f"stream,server={word},reconnect-ms=100,addr.type=inet,addr.host=127.0.0.1,addr.port=1"
            for word in OFF
        ),
        "stream,id=n,server=on,addr.type=inet,addr.host=localhost,addr.port=0,addr.ipv4=on,addr.ipv6=off",
        "stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=0,addr.keep-alive=on,addr.numeric=yes",
        "stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=0,addr.keep-alive=off,addr.mptcp=off",
        "stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=0,addr.keep-alive=on,addr.keep-alive-idle=5",
        "stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=0,addr.to=0",
        "stream,server=on,addr.type=unix,addr.path={tmp}/s,addr.abstract=off,addr.tight=on",
        "stream,server=on,addr.type=unix,addr.path={tmp}/s,addr.abstract=on",
        "stream,server=on,addr.type=unix,addr.path={tmp}/s,addr.abstract=y,addr.tight=n",
        "dgram,local.type=inet,local.host=127.0.0.1,local.port=0,local.ipv4=on,remote.type=inet,remote.host=localhost,"
        "remote.port=1235,remote.ipv6=off",
        "dgram,local.type=unix,local.path={tmp}/a,local.abstract=on,remote.type=unix,remote.path={tmp}/b,remote.abstract=on",
        "dgram,remote.type=inet,remote.host=239.255.77.3,remote.port=45454,local.type=inet,local.host=127.0.0.1,local.ipv4=on",
        "type=socket,id=n,listen=127.0.0.1:0",
        '{{"type": "stream", "id": "n", "server": true, "addr": {{"type": "unix", "path": "{tmp}/a,b"}}}}',
        '{{"type": "stream", "server": true,'
        ' "addr": {{"type": "inet", "host": "127.0.0.1", "port": "0", "ipv4": true}}}}',
        '{{"type": "dgram", "local": {{"type": "inet", "host": "127.0.0.1", "port": "0"}},'
        ' "remote": {{"type": "inet", "host": "127.0.0.1", "port": "9"}}}}',
        '{{"type": "socket", "listen": "127.0.0.1:0"}}',
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_links_that_open(text: str, tmp_path: Path) -> None:
    link = parse_netdev(text.format(tmp=tmp_path)).open()
    if "abstract=o" in text or "abstract=y" in text:
        assert ("abstract=off" in text) == bool(list(tmp_path.iterdir()))
    link.close()
    assert list(tmp_path.iterdir()) == []


TAP: list[str] = [
    *(f"tap,ifname=slirpytest0,script=no,downscript=no,vhost={word}" for word in ON + OFF),
    "tap,ifname=slirpytest0,vhost=on,vhostforce=on,queues=1,sndbuf=0,poll-us=50,script=,downscript=no,vnet_hdr=yes",
    "tap,id=n,ifname=slirpytest0,vhost,novnet_hdr,script=no",
    '{"type": "tap", "ifname": "slirpytest0", "vhost": true, "script": "no", "queues": 1}',
]


@pytest.mark.parametrize("text", TAP)
def test_taps_that_are_read(text: str) -> None:
    assert parse_netdev(text).carrier == "tap"  # opening takes privileges


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "stream,addr.type=inet,addr.port=1,addr.ipv4=off,addr.ipv6=off",
            "addr.ipv4 and addr.ipv6 cannot both be off",
        ),
        ("stream,addr.type=inet,addr.port=5,addr.to=4", "addr.to=4 is less than addr.port=5"),
        (
            "stream,addr.type=inet,addr.host=localhost,addr.port=5,addr.numeric=on",
            "addr.host=localhost is not numeric",
        ),
        ("stream,addr.type=inet,addr.port=5,addr.mptcp=on", "addr.mptcp=on is not supported"),
        ("stream,addr.type=inet,addr.port=5,addr.ipv4=maybe", "addr.ipv4=maybe is not one of on, off"),
        (
            "stream,addr.type=inet,addr.port=5,addr.abstract=on",
            "addr.abstract=on cannot be combined with the other options",
        ),
        (
            "stream,addr.type=unix,addr.path=/x,addr.ipv4=on",
            "addr.ipv4=on cannot be combined with the other options",
        ),
        ("tap,ifname=t,queues=4", "only queues=1 is supported"),
        ("tap,ifname=t,br=br0", "br is for a helper of QEMU's"),
        ("tap,ifname=t,helper=/usr/lib/qemu/qemu-bridge-helper", "helper is a program of QEMU's"),
        ("tap,fds=3:4", "fds are several queues of one interface"),
        ("tap,ifname=t,vhostfd=5", "vhostfd belongs to QEMU's vhost-net"),
        ("tap,ifname=t,vhost=maybe", "vhost=maybe is not one of on, off"),
        ("tap,ifname", '"ifname" has no value; write KEY=VALUE'),
        ("vde,sock=/x", "QEMU's vde is not supported; use one of stream, dgram, socket, tap"),
        ("bridge,br=br0", "QEMU's bridge is not supported"),
        ('{"type": "stream", "servr": true}', 'unknown option "servr=on"; did you mean server?'),
    ],
)
def test_links_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_netdev(text)
    assert says in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
@pytest.mark.parametrize("tight", [True, False])
def test_an_abstract_name(tight: bool) -> None:
    place = abstract(f"slirpy-test-{tight}", tight)
    with place.bind(socket.SOCK_STREAM) as listening, place.open(socket.SOCK_STREAM) as other:
        assert other.connect_ex(place.address) == 0
        listening.accept()[0].close()
        assert len(listening.getsockname()) == (len(place.address) if tight else 108)
    assert str(place) == f"unix:@slirpy-test-{tight}"
    read = Options(f"stream,{place.qemu()}")
    assert read.endpoint("addr", socket.SOCK_STREAM) == place
    for name in ("", "x" * 108, "a\0b"):
        with pytest.raises(LinkError):
            abstract(name)


def test_the_first_port_that_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        if port > 65000:
            pytest.skip("the system gave one of the last ports")
        place = inet("127.0.0.1", port, last_port=port + 50)
        with place.bind(socket.SOCK_STREAM) as found:
            assert port < found.getsockname()[1] <= port + 50
        with pytest.raises(LinkError, match="in use"):
            inet("127.0.0.1", port, last_port=port).bind(socket.SOCK_STREAM)
        with pytest.raises(LinkError, match="does not have the address"):
            inet("192.0.2.77", port, last_port=port + 1).bind(socket.SOCK_STREAM)


def test_a_family_may_be_requested() -> None:
    def read(more: str) -> Endpoint:
        place = Options(f"stream,addr.type=inet,addr.port=1{more}").endpoint("addr", socket.SOCK_STREAM)
        assert isinstance(place, Endpoint)
        return place

    assert (
        read("")
        == read(",addr.ipv4=on")
        == read(",addr.ipv6=off")
        == Endpoint(socket.AF_INET, ("127.0.0.1", 1))
    )
    assert read(",addr.ipv6=on").family == read(",addr.ipv4=off").family == socket.AF_INET6
    assert read(",addr.ipv4=on,addr.ipv6=on").family == socket.AF_INET


# -------------------------------------------------------------- the examples of QEMU's own manual

MANUAL = [
    "user,id=mynet0,net=192.168.76.0/24,dhcpstart=192.168.76.9",
    "user,id=n1,dnssearch=mgmt.example.org,dnssearch=example.org",
    "user,id=n1,hostfwd=tcp:127.0.0.1:6001-:6000",
    "user,id=n1,hostfwd=tcp::5555-:23",
    "user,id=n1,hostfwd=tcp::60022-:22,hostfwd=udp::60022-:22,restrict=off",
    "user,id=n1,guestfwd=tcp:10.0.2.100:1234-tcp:10.10.1.1:4321",
    "user,id=n1,guestfwd=tcp:10.0.2.100:1234-cmd:netcat 10.10.1.1 4321",
    "user,id=n1,tftp=/,bootfile=/pxelinux.0",
    "user,id=n1,tftp=/,bootfile=http://boot.netboot.xyz/ipxe/netboot.xyz.lkrn,tftp-server-name=boot.example",
    "user,id=n1,smb=/,smbserver=10.0.2.4",
    "user,id=n1,hostfwd=unix:/tmp/slirpy-test-sock-:22",
]


@pytest.mark.parametrize("text", MANUAL)
def test_the_manuals_examples(text: str) -> None:
    assert Config.from_qemu(text) != Config()


def test_host_names_in_hostfwd_are_refused() -> None:
    with pytest.raises(ConfigError, match="is not an IPv4 address"):
        Config.from_qemu("user,hostfwd=tcp:localhost:8080-:80")
