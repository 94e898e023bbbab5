"""Values of a wrong type, or that make no sense, are refused at the call, with slirpy's own messages."""

# Nearly every call here has an argument of a wrong type: they are mistakes on purpose.
# mypy: disable-error-code="arg-type, dict-item, return-value"

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from pathlib import Path
from random import Random
from typing import Any

import pytest

from slirpy import (
    Action,
    Command,
    Config,
    ConfigError,
    DhcpAnswer,
    DnsRecord,
    FlowRequest,
    ForwardError,
    GuestForward,
    GuestRoute,
    HostForward,
    LinkFeatures,
    Outbound,
    Resolver,
    Rule,
    Slirp,
    SlirpyError,
    Stack,
    StateError,
    StaticLease,
    StreamFactory,
    TcpTarget,
    UnixTarget,
    Verdict,
)
from slirpy.config.boot import parse_bootfile
from slirpy.config.dhcp import parse_lease, parse_route
from slirpy.config.dhcpoption import parse_dhcp_option
from slirpy.config.dnsrecord import parse_dns_record
from slirpy.config.guestfwd import parse_guestfwd
from slirpy.config.hostfwd import parse_hostfwd
from slirpy.config.outbound import parse_outbound
from slirpy.config.policy import parse_rule
from slirpy.config.proxy import parse_no_proxy, parse_proxy
from slirpy.config.resolver import parse_resolver
from slirpy.interfaces import IPProtocol
from slirpy.links import CallbackLink, CaptureLink, DgramLink, StreamLink, parse_endpoint, parse_netdev, unix
from slirpy.testing import Echo, Guest, SimHost, VirtualNetwork
from tests.support.driven import Driven

MAC = bytes.fromhex("525400123456")
FAR = bytes([192, 0, 2, 7])


async def coroutine(*_: object) -> None:
    """Coroutine function that is never awaited."""


class AsyncCall:
    """Object whose call is a coroutine function."""

    async def __call__(self, *_: object) -> None: ...


# --------------------------------------------------------------------------------------------- Config

SWITCHES = (
    "hub",
    "tftp_write",
    "tftp_ignore_case",
    "tftp_single_port",
    "dns_mix_case",
    "host_loopback",
    "restrict",
)
LISTS = ("hostfwd", "guestfwd", "static_leases", "routes", "dns_records", "resolvers", "dnssearch", "policy")
FUNCTIONS = ("lease_policy", "dns_answer", "on_refused")
NUMBERS = ("mtu", "tcp_keepalive", "lease_time", "dns_cache")
NAMES = ("hostname", "domainname", "dnssearch")
TEXTS = (*NAMES, "bootfile", "tftp_server_name")
PATHS = ("smb", "tftp", "lease_file")
ADDRESSES = ("host", "dns", "dhcpstart", "smbserver")


def refused(name: str, value: Any) -> str:
    more: dict[str, Any] = {"smb": "/"} if name == "smbserver" else {}
    given = [value] if name == "dnssearch" and isinstance(value, str) else value
    with pytest.raises(SlirpyError) as caught:
        Config(**{**more, name: given})
    return str(caught.value)


@pytest.mark.parametrize("value", ["off", "on", "", 0, 1, None, [], 1.0])
@pytest.mark.parametrize("name", SWITCHES)
def test_switches_are_true_or_false(name: str, value: Any) -> None:
    assert refused(name, value) == f"{name} is True or False; given was {value!r}"


@pytest.mark.parametrize("value", [[3], [None], [("tcp", 8080, 80)], [b"x"], [[]], 5, "text", b"bytes"])
@pytest.mark.parametrize("name", LISTS)
def test_lists_have_text_or_objects(name: str, value: Any) -> None:
    if name == "dnssearch" and value == "text":
        value = 7.5  # the helper makes a list of text
    assert name in refused(name, value).replace("a rule is text", "policy")


@pytest.mark.parametrize("value", [5, "text", coroutine, AsyncCall(), partial(coroutine, 1), [], True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_can_be_called_and_are_no_coroutines(name: str, value: Any) -> None:
    assert refused(name, value).startswith(f"{name} is a ")


@pytest.mark.parametrize("name", ["bootfile", "tftp"])
def test_neither_are_those_that_may_be_something_else_too(name: str) -> None:
    assert refused(name, coroutine) == (
        f"{name} is a coroutine function, which nobody awaits; give an ordinary function, and let it start a task"
    )


@pytest.mark.parametrize("value", [True, False, 1500.0, "1500", None, float("nan")])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_whole(name: str, value: Any) -> None:
    assert refused(name, value).startswith(f"{name} {value!r} is not a number")


@pytest.mark.parametrize(
    "value", ["", " ", "a b", " a", "a\0b", "a\nb", "a\tb", "a\x7f", "bücher", "x" * 300, 5, b"x"]
)
@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_make_no_sense(name: str, value: Any) -> None:
    if name == "bootfile" and value in ("a b", " a"):
        assert Config(bootfile=value).bootfile == value  # files may be named so
        return
    if name == "dnssearch" and not isinstance(value, str):
        value = [value]
    assert name in refused(name, value)


@pytest.mark.parametrize(
    "value", [".", "a..b", ".a", "-a", "a-", "a.-b", "a,b", "a/b", "a;b", "x" * 64, "a" * 63 + "." + "b" * 64]
)
@pytest.mark.parametrize("name", NAMES)
def test_names_are_those_of_hosts(name: str, value: str) -> None:
    assert refused(name, value).startswith(f'{name} "{value}" is not a host name')


def test_names_of_every_allowed_length() -> None:
    longest = ".".join(["n" * 62] * 4)[:253]
    assert Config(hostname="x" * 63, domainname=longest).domainname == longest
    assert Config(domainname="example.test.", dnssearch=["a_b.test."]).dnssearch == ("a_b.test.",)
    assert "253 characters" in refused("hostname", ".".join(["n" * 62] * 4) + ".nn")
    assert "is not a host name" in refused("hostname", "guest.")


@pytest.mark.parametrize("value", ["", 5, b"/tmp", "a\0b", ["/tmp"], True])
@pytest.mark.parametrize("name", PATHS)
def test_paths(name: str, value: Any) -> None:
    assert refused(name, value).startswith(name)


@pytest.mark.parametrize("value", [5, b"\n\0\2\2", "x", "", ["10.0.2.2"], True, IPv6Address("::1"), 10.0])
@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses(name: str, value: Any) -> None:
    assert refused(name, value).startswith(f'{name} "')


@pytest.mark.parametrize("value", [5, b"\n\0\2\0", None, True, ("10.0.2.0", 24)])
def test_the_network(value: Any) -> None:
    assert "is not an IPv4 network" in refused("net", value)


def test_a_route_may_be_of_text() -> None:
    (route,) = Config(routes=[GuestRoute("192.0.2.0/24", "10.0.2.9")]).routes
    assert route == GuestRoute(IPv4Network("192.0.2.0/24"), IPv4Address("10.0.2.9"))


# ------------------------------------------------------------------------- objects that stand for rules

OBJECTS: dict[str, Callable[[], object]] = {
    "HostForward protocol": lambda: HostForward("sctp", IPv4Address("127.0.0.1"), 80, None, 80),
    "HostForward host": lambda: HostForward("tcp", 5, 80, None, 80),
    "HostForward guest": lambda: HostForward("tcp", IPv4Address("127.0.0.1"), 80, "x", 80),
    "HostForward ports": lambda: HostForward("tcp", IPv4Address("127.0.0.1"), 65536, None, 80),
    "HostForward port as text": lambda: HostForward("tcp", IPv4Address("127.0.0.1"), "80", None, 80),
    "HostForward count": lambda: HostForward("tcp", IPv4Address("127.0.0.1"), 80, None, 65535, count=2),
    "HostForward path": lambda: HostForward("tcp", IPv4Address("127.0.0.1"), 80, None, 80, "/a"),
    "HostForward no path": lambda: HostForward("unix", IPv4Address("127.0.0.1"), 0, None, 80),
    "GuestRoute": lambda: GuestRoute(5),
    "GuestRoute text": lambda: GuestRoute("x"),
    "GuestRoute gateway": lambda: GuestRoute("192.0.2.0/24", 5),
    "Resolver": lambda: Resolver("dns.example"),
    "Resolver scope": lambda: Resolver("fe80::1", scope=5),
    "Resolver port": lambda: Resolver(FAR, 0),
    "Resolver bytes": lambda: Resolver(b"\1"),
    "TcpTarget": lambda: TcpTarget("x", 80),
    "TcpTarget port": lambda: TcpTarget(FAR, 65536),
    "Outbound": lambda: Outbound("eth0"),
    "Outbound family": lambda: Outbound(address6=FAR),
    "Outbound other family": lambda: Outbound("2001:db8::1"),
    "Outbound interface": lambda: Outbound(interface=5),
    "StaticLease address": lambda: StaticLease("x", MAC),
    "StaticLease mac text": lambda: StaticLease("10.0.2.9", "52:54:00"),
    "StaticLease mac": lambda: StaticLease(IPv4Address("10.0.2.9"), b"x"),
    "StaticLease id": lambda: StaticLease(IPv4Address("10.0.2.9"), client_id="web"),
    "StaticLease hostname": lambda: StaticLease(IPv4Address("10.0.2.9"), MAC, hostname="a b"),
    "DhcpAnswer address": lambda: DhcpAnswer(address="x"),
    "DhcpAnswer refuse": lambda: DhcpAnswer(refuse="no"),
    "DhcpAnswer lease_time": lambda: DhcpAnswer(lease_time=True),
    "DhcpAnswer hostname": lambda: DhcpAnswer(hostname="a b"),
    "DhcpAnswer bootfile": lambda: DhcpAnswer(bootfile=5),
    "DhcpAnswer options": lambda: DhcpAnswer(options={43: "x"}),
    "DhcpAnswer no options": lambda: DhcpAnswer(options=[42]),
    "DhcpAnswer code": lambda: DhcpAnswer(options={"43": b"x"}),
    "DnsRecord name": lambda: DnsRecord(5, "A", "192.0.2.1"),
    "DnsRecord value": lambda: DnsRecord("a.test", "A", 5),
    "DnsRecord ttl": lambda: DnsRecord("a.test", "A", "192.0.2.1", True),
    "GuestForward server": lambda: GuestForward(5, 80, "cmd:cat"),
    "GuestForward port": lambda: GuestForward("10.0.2.9", True, "cmd:cat"),
    "GuestForward target": lambda: GuestForward("10.0.2.9", 80, 5),
    "Command": lambda: Command("cat"),
    "Command empty": lambda: Command(()),
    "Command part": lambda: Command(("cat", 5)),
    "Command switch": lambda: Command(("cat",), "no"),
    "UnixTarget": lambda: UnixTarget(5),
    "StreamFactory": lambda: StreamFactory(5),
    "StreamFactory coroutine": lambda: StreamFactory(coroutine),
    "Rule ports": lambda: Rule(Action.ALLOW, ports=(80,)),
    "Rule protocol": lambda: Rule(Action.ALLOW, protocol="tcp"),
    "Rule redirect": lambda: Rule(Action.ALLOW, redirect=("x", 80)),
    "Rule redirect alone": lambda: Rule(Action.ALLOW, redirect="192.0.2.7"),
}


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_objects_are_checked_when_they_are_made(make: Callable[[], object]) -> None:
    with pytest.raises(SlirpyError):
        make()


V4, V6 = "192.0.2.7", "2001:db8::7"
FORMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], object], tuple[str, ...]]] = {
    "TcpTarget": (lambda a: TcpTarget(a, 80), lambda made: made.address, (V4, V6)),
    "Resolver": (Resolver, lambda made: made.address, (V4, V6)),
    "Outbound": (Outbound, lambda made: made.address, (V4,)),
    "Outbound 6": (lambda a: Outbound(address6=a), lambda made: made.address6, (V6,)),
    "Verdict": (lambda a: Verdict(Action.ALLOW, (a, 80)), lambda made: made.redirect[0], (V4, V6)),
    "Rule": (lambda a: Rule(Action.ALLOW, redirect=(a, 80)), lambda made: made.redirect[0], (V4, V6)),
    "StaticLease": (lambda a: StaticLease(a, MAC), lambda made: made.address, (V4, V6)),
    "DhcpAnswer": (lambda a: DhcpAnswer(address=a).address, lambda made: made, (V4, V6)),
    "HostForward on": (lambda a: HostForward("tcp", a, 80, None, 80), lambda made: made.host_address, (V4, V6)),
    "HostForward to": (lambda a: HostForward("tcp", V4, 80, a, 80), lambda made: made.guest_address, (V4, V6)),
    "GuestForward": (lambda a: GuestForward(a, 80, "cmd:cat"), lambda made: made.server, (V4, V6)),
    "FlowRequest to": (lambda a: FlowRequest(6, FAR, 1, a, 2), lambda made: made.destination, (V4, V6)),
    "FlowRequest from": (lambda a: FlowRequest(6, a, 1, FAR, 2), lambda made: made.source, (V4, V6)),
}
"""Constructors that take an address in any form, bytes too, and how the address is read."""
OTHERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], object]]] = {
    "GuestRoute": (lambda a: GuestRoute("198.51.100.0/24", a), lambda made: made.gateway),
}
"""Further classes that take text and objects."""


@pytest.mark.parametrize(("make", "read", "addresses"), FORMS.values(), ids=FORMS)
def test_an_address_in_any_form(
    make: Callable[[Any], Any], read: Callable[[Any], object], addresses: tuple[str, ...]
) -> None:
    for text in addresses:
        address = ip_address(text)
        made = [make(form) for form in (text, address, address.packed, bytearray(address.packed))]
        assert made == [made[0]] * 4
        assert len(set(map(hash, made))) == 1
        assert [read(each) for each in made] == [address] * 4
        for wrong in ("192.0.2", "x", "", b"192.0.2.7", 3221225991, True, f"{text}/24", ip_network(text)):
            with pytest.raises(ConfigError):
                make(wrong)


@pytest.mark.parametrize(("make", "read"), OTHERS.values(), ids=OTHERS)
def test_an_address_as_text_or_object(make: Callable[[Any], Any], read: Callable[[Any], object]) -> None:
    assert make(V4) == make(IPv4Address(V4))
    assert read(make(V4)) == IPv4Address(V4)
    for wrong in ("192.0.2", "x", "", FAR, 3221225991, True, V6, IPv6Address(V6)):
        with pytest.raises(ConfigError):
            make(wrong)


@pytest.mark.parametrize("mac", ["52:54:00:12:34:56", "52-54-00-12-34-56", MAC])
def test_a_mac_address_is_read_as_text(mac: Any) -> None:
    assert StaticLease("10.0.2.9", mac).mac == "52:54:00:12:34:56"
    assert StaticLease("10.0.2.9", mac) == StaticLease(IPv4Address("10.0.2.9"), MAC)


def test_a_protocol_as_a_number() -> None:
    assert Rule(Action.ALLOW, protocol=6).protocol is IPProtocol.TCP


# ---------------------------------------------------------------------------------------------- Slirp


@pytest.mark.parametrize("config", ["user", {"net": "10.0.2.0/24"}, 5, Config])
def test_a_network_takes_a_config(config: Any) -> None:
    with pytest.raises(ConfigError, match=r"^config must be a slirpy\.Config"):
        Slirp(config)


CALLS: dict[str, Callable[[Slirp], object]] = {
    "random": lambda net: Slirp(random=5),
    "clock": lambda net: Slirp(clock=5),
    "attach None": lambda net: net.attach(None),
    "attach 5": lambda net: net.attach(5),
    "attach coroutine": lambda net: net.attach(coroutine),
    "attach object": lambda net: net.attach(AsyncCall()),
    "features": lambda net: net.attach(print, features=5),
    "wrap 5": lambda net: net.attach(print, wrap=5),
    "wrap None": lambda net: net.attach(print, wrap=lambda link: None),
    "wrap class": lambda net: net.attach(print, wrap=lambda link: CallbackLink),
    "attach_link None": lambda net: net.attach_link(None),
    "attach_link 5": lambda net: net.attach_link(5),
    "attach_link socket": lambda net: net.attach_link(socket.socket),
    "serve": lambda net: net.serve(None),
    "serve True": lambda net: net.serve(True),
    "serve limit": lambda net: net.serve("tcp:127.0.0.1:0", limit=0),
    "serve wrap": lambda net: net.serve("tcp:127.0.0.1:0", wrap=5),
    "add_hostfwd": lambda net: net.add_hostfwd(5),
    "remove_hostfwd": lambda net: net.remove_hostfwd(None),
    "add_guestfwd": lambda net: net.add_guestfwd(5),
    "remove_guestfwd": lambda net: net.remove_guestfwd(("10.0.2.9", 80)),
    "mount swapped": lambda net: net.mount("10.0.2.100", print),
    "mount server": lambda net: net.mount(print, "web"),
    "poll": lambda net: net.poll(timeout="x"),
    "unwatch": lambda net: net.unwatch("x"),
    "wall_clock": lambda net: Slirp(wall_clock=5),
    "loopback of a number": lambda net: net.reach_guest_loopback(5, print),
    "loopback": lambda net: net.reach_guest_loopback("10.0.2.15", 5),
    "send": lambda net: net.attach(print).send("x"),
    "send checksummed": lambda net: net.attach(print).send(bytes(60), checksummed="no"),
    "send gso_size": lambda net: net.attach(print).send(bytes(60), gso_size=-1),
    "send_many": lambda net: net.attach(print).send_many(bytes(60)),
    "send_many gso_size": lambda net: net.attach(print).send_many([bytes(60)], gso_size=65536),
    "Stack config": lambda net: Stack("10.0.2.0/24", SimHost(Random(1))),
    "Stack host": lambda net: Stack(Config(), 5),
    "Stack random": lambda net: Stack(Config(), SimHost(Random(1)), random=5),
    "Stack attach": lambda net: Stack(Config(), SimHost(Random(1))).attach(5, None),
    "Stack detach": lambda net: Stack(Config(), SimHost(Random(1))).detach(5),
    "Stack call_at": lambda net: Stack(Config(), SimHost(Random(1))).call_at(5, 5),
    "watch": lambda net: net.watch(0, 5),
    "watch True": lambda net: net.watch(True, print),
    "watch events": lambda net: net.watch(0, print, "r"),
}


CHECKED_BY_C = {"poll", "unwatch", "send checksummed", "Stack detach", "watch events"}
"""Calls of compiled functions, which raise TypeError for arguments of another type (docs/howto/compiled.md)."""
TYPED = pytest.mark.needs("interpreted", detail="compiled functions raise TypeError")


@pytest.mark.parametrize(
    "call",
    [pytest.param(call, id=name, marks=[TYPED] * (name in CHECKED_BY_C)) for name, call in CALLS.items()],
)
def test_calls_with_another_type(call: Callable[[Slirp], object]) -> None:
    with Slirp() as net, pytest.raises(ConfigError):
        call(net)


@pytest.mark.parametrize(
    "mac", ["", "x", b"x", b"", b"1234567", 5, None, "52:54:00:12:34", "52:54:00:12:34:5g", "525400123456",
            "52:54-00:12:34:56", b"\0" * 6, b"\xff" * 6, "01:00:5e:00:00:01", ["52"]],
)  # fmt: skip
def test_an_address_is_reserved_for_a_mac_address(mac: Any) -> None:
    with Slirp() as net, pytest.raises(ConfigError, match=r"^mac .* is not (a|the) MAC address"):
        net.reserve(mac)
    with pytest.raises(ConfigError, match=r"^mac .* is not (a|the) MAC address"):
        Guest(print, random=Random(1), mac=mac)


def test_text_and_bytes_are_the_same_mac(tmp_path: Path) -> None:
    with Slirp(Config(lease_file=tmp_path / "leases")) as net:
        address = net.reserve("52:54:00:12:34:56")
        assert {net.reserve(mac) for mac in ("52-54-00-12-34-56", MAC, bytearray(MAC))} == {address}
        assert [(lease.address, lease.mac) for lease in net.leases()] == [(address, MAC.hex(":"))]
        net.poll(0.01)


UNREADABLE = ["", "tcp", "tcp::80", "sctp::80-:80", "tcp:10.0.2:80-:80", "tcp::0-:99999"]
IMPOSSIBLE: dict[str, Callable[[Slirp | Stack], object]] = {
    "a guest outside": lambda net: net.add_hostfwd("tcp::0-192.0.2.7:80"),
    "a guest that is a server": lambda net: net.add_hostfwd("tcp::0-10.0.2.2:80"),
    "a port in use": lambda net: [net.add_hostfwd(f"udp::{net.add_hostfwd('udp::0-:80').host_port}-:80")],
    "no such hostfwd": lambda net: net.remove_hostfwd("tcp::80-:80"),
    "a server in use": lambda net: [net.add_guestfwd("tcp:10.0.2.9:7-tcp:127.0.0.1:7") for _ in range(2)],
    "a leased server": lambda net: net.add_guestfwd(f"tcp:{net.reserve(MAC)}:7-tcp:127.0.0.1:7"),
    "a server for all": lambda net: net.add_guestfwd("tcp:10.0.2.255:7-tcp:127.0.0.1:7"),
    "no program": lambda net: net.add_guestfwd("tcp:10.0.2.9:7-cmd:/nonexistent/program"),
    "no such guestfwd": lambda net: net.remove_guestfwd("tcp:10.0.2.9:7-cmd:cat"),
}
"""Forwards that can be read, but not set up or removed as things are."""


def each_network() -> Iterator[Slirp | Stack]:
    with Slirp() as net:
        yield net
    yield Stack(Config(), SimHost(Random(1)))


@pytest.mark.parametrize("rule", UNREADABLE)
def test_a_forward_that_cannot_be_read_is_a_mistake_in_its_text(rule: str) -> None:
    for read in (parse_hostfwd, parse_guestfwd):
        with pytest.raises(ConfigError):
            read(rule)
    for net in each_network():
        for call in (net.add_hostfwd, net.remove_hostfwd, net.add_guestfwd, net.remove_guestfwd):
            with pytest.raises(ConfigError):
                call(rule)
        assert (net.hostfwds(), net.guestfwds()) == ([], [])


@pytest.mark.parametrize("call", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_forward_that_cannot_be_set_up_is_no_mistake_in_its_text(
    call: Callable[[Slirp | Stack], object],
) -> None:
    for net in each_network():
        with pytest.raises(ForwardError, match=r"(hostfwd|guestfwd) .*: "):
            call(net)


def test_a_link_is_plugged_in_once() -> None:
    link = CallbackLink(print)
    with Slirp() as net:
        attachment = net.attach_link(link)
        with pytest.raises(StateError, match="is plugged in already"):
            net.attach_link(link)
        attachment.close()


CLOSED: dict[str, Callable[[Slirp], object]] = {
    "fileno": lambda net: net.fileno(),
    "timeout": lambda net: net.timeout(),
    "poll": lambda net: net.poll(),
    "start": lambda net: net.start(),
    "attach": lambda net: net.attach(print),
    "attach_link": lambda net: net.attach_link(CallbackLink(print)),
    "serve": lambda net: net.serve("tcp:127.0.0.1:0"),
    "reserve": lambda net: net.reserve(MAC),
    "add_hostfwd": lambda net: net.add_hostfwd("tcp::0-:80"),
    "remove_hostfwd": lambda net: net.remove_hostfwd("tcp::0-:80"),
    "add_guestfwd": lambda net: net.add_guestfwd("tcp:10.0.2.9:80-cmd:cat"),
    "remove_guestfwd": lambda net: net.remove_guestfwd("tcp:10.0.2.9:80-cmd:cat"),
    "watch": lambda net: net.watch(0, print),
}


@pytest.mark.parametrize("call", CLOSED.values(), ids=CLOSED)
def test_a_closed_network_says_so(call: Callable[[Slirp], object]) -> None:
    net = Slirp()
    net.close()
    with pytest.raises(StateError, match=r"^this network is closed; make another Slirp$"):
        call(net)


def test_state_is_readable_after_close() -> None:
    net = Slirp()
    attachment = net.attach(print)
    net.close()
    assert (net.flows(), net.closed_flows(), net.leases(), net.neighbors(), net.hostfwds(), net.guestfwds()) == (
        [], [], [], [], [], []
    )  # fmt: skip
    net.stop()
    net.unwatch(0)
    attachment.close()
    net.close()


# ---------------------------------------------------------------------------------------- the policy


@pytest.mark.parametrize(
    "given",
    [True, None, "allow", Action.ALLOW, (Action.ALLOW,), Verdict],
)
def test_a_policy_gives_a_verdict(given: Any) -> None:
    asked: list[FlowRequest] = []

    def policy(request: FlowRequest) -> Any:
        asked.append(request)
        return given

    net = VirtualNetwork(Config(policy=policy), seed=1)
    net.host.serve_tcp(None, None, Echo)
    net.boot()
    net.guest.connect("192.0.2.7", 80)
    with pytest.raises(ConfigError, match=r"^the policy gave .*; it must give a slirpy\.Verdict"):
        net.run(1_000_000_000)
    assert asked


VERDICTS: dict[str, Callable[[], object]] = {
    "action": lambda: Verdict(True),
    "action text": lambda: Verdict("allow"),
    "redirect text": lambda: Verdict(Action.ALLOW, "192.0.2.7"),
    "redirect number": lambda: Verdict(Action.ALLOW, 5),
    "redirect address": lambda: Verdict(Action.ALLOW, ("x", 80)),
    "redirect nowhere": lambda: Verdict(Action.ALLOW, ("0.0.0.0", 80)),
    "redirect group": lambda: Verdict(Action.ALLOW, ("ff02::1", 80)),
    "redirect without port": lambda: Verdict(Action.ALLOW, (FAR,)),
    "redirect port": lambda: Verdict(Action.ALLOW, (FAR, -1)),
    "redirect port text": lambda: Verdict(Action.ALLOW, (FAR, "80")),
    "redirect of a refusal": lambda: Verdict(Action.REJECT, (FAR, 80)),
    "reason": lambda: Verdict(Action.DROP, None, 5),
}


@pytest.mark.parametrize("make", VERDICTS.values(), ids=VERDICTS)
def test_a_verdict_is_checked_when_it_is_made(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match=r"^a verdict"):
        make()


REQUESTS: dict[str, Callable[[], object]] = {
    "protocol": lambda: FlowRequest("tcp", FAR, 1, FAR, 2),
    "protocol 256": lambda: FlowRequest(256, FAR, 1, FAR, 2),
    "protocol True": lambda: FlowRequest(True, FAR, 1, FAR, 2),
    "source": lambda: FlowRequest(6, "x", 1, FAR, 2),
    "source bytes": lambda: FlowRequest(6, b"12345", 1, FAR, 2),
    "destination": lambda: FlowRequest(6, FAR, 1, 5, 2),
    "source_port": lambda: FlowRequest(6, FAR, 65536, FAR, 2),
    "destination_port": lambda: FlowRequest(6, FAR, 1, FAR, None),
    "host": lambda: FlowRequest(6, FAR, 1, FAR, 2, 5),
}


@pytest.mark.parametrize(("name", "make"), REQUESTS.items(), ids=REQUESTS)
def test_a_request_is_checked_when_it_is_made(name: str, make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match=f"^{name.split()[0]} "):
        make()


def test_a_request_has_addresses_as_objects() -> None:
    request = FlowRequest(6, b"\x0a\0\2\x0f", 40000, "192.0.2.7", 80)
    assert request.destination == IPv4Address("192.0.2.7")
    assert request.destination in IPv4Network("192.0.2.0/24")
    assert str(request.source) == "10.0.2.15"
    assert (request.source_bytes, request.destination_bytes) == (b"\x0a\0\2\x0f", FAR)
    assert repr(request) == "<FlowRequest tcp 10.0.2.15:40000 -> 192.0.2.7:80>"
    same = FlowRequest(IPProtocol.TCP, IPv4Address("10.0.2.15"), 40000, IPv4Address("192.0.2.7"), 80)
    assert (request, hash(request)) == (same, hash(same))
    six = FlowRequest(17, "fd00::2", 1, IPv6Address("2001:db8::1"), 53, host=True)
    assert isinstance(six.destination, IPv6Address)
    assert repr(six) == "<FlowRequest udp [fd00::2]:1 -> [2001:db8::1]:53, the host's loopback>"
    assert repr(FlowRequest(132, FAR, 1, FAR, 2)) == "<FlowRequest 132 192.0.2.7:1 -> 192.0.2.7:2>"


@pytest.mark.parametrize("address", ["192.0.2.7", IPv4Address("192.0.2.7"), FAR])
def test_a_policy_may_write_its_target_in_any_form(address: Any) -> None:
    verdict = Verdict(Action.ALLOW, (address, 80))
    assert verdict.redirect == (IPv4Address("192.0.2.7"), 80)
    net = VirtualNetwork(Config(policy=lambda request: verdict), seed=1)
    net.host.serve_tcp("192.0.2.7", 80, Echo)
    net.boot()
    stream = net.guest.connect("198.51.100.1", 99)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")


# -------------------------------------------------------------------------------- the simulated world


@pytest.mark.parametrize("address", ["192.0.2.7", IPv4Address("192.0.2.7"), FAR, bytearray(FAR)])
def test_a_server_answers_at_an_address_in_any_form(address: Any) -> None:
    net = VirtualNetwork(seed=1)
    net.host.serve_tcp(address, 7, Echo)
    net.host.serve_udp(address, 7, lambda payload, source, port: payload)
    net.host.answer_ping(address)
    net.boot()
    stream = net.guest.connect("192.0.2.7", 7)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    ping = net.guest.ping("192.0.2.7")
    net.run_until(lambda: ping.rtt)


WORLD: dict[str, Callable[[SimHost, Any], object]] = {
    "serve_tcp": lambda host, address: host.serve_tcp(address, 7, Echo),
    "serve_udp": lambda host, address: host.serve_udp(address, 7),
    "connect": lambda host, address: host.connect(address, 7),
    "send_udp": lambda host, address: host.send_udp(b"x", address, 7),
    "answer_ping": lambda host, address: host.answer_ping(address),
    "path": lambda host, address: host.path(address),
    "hops": lambda host, address: host.path(None, [address]),
    "black_hole": lambda host, address: host.black_hole(address),
    "unreachable": lambda host, address: host.unreachable(address),
    "reachable": lambda host, address: host.reachable(address),
    "add_name": lambda host, address: host.add_name("web.test", address),
    "source of connect": lambda host, address: host.connect(FAR, 7, source=(address, 5555)),
    "source of send_udp": lambda host, address: host.send_udp(b"x", FAR, 7, source=(address, 5555)),
    "SimHost": lambda _, address: SimHost(Random(1), address=address),
    "SimHost, IPv6": lambda _, address: SimHost(Random(1), address6=address),
}


@pytest.mark.parametrize(
    "address", ["x", "192.0.2", 5, b"/run/x.sock", ["192.0.2.7"], True, IPv4Network("192.0.2.0/24")]
)
@pytest.mark.parametrize("name", WORLD)
def test_invalid_addresses_are_refused(name: str, address: Any) -> None:
    with pytest.raises(ConfigError, match="is not an IP address"):
        WORLD[name](SimHost(Random(1)), address)


@pytest.mark.parametrize("port", ["80", -1, 0, 65536, 7.0, True])
def test_invalid_ports_are_refused(port: Any) -> None:
    host = SimHost(Random(1))
    for call in (host.serve_tcp, host.serve_udp, host.connect, host.black_hole, host.unreachable):
        with pytest.raises(ConfigError, match=r"^port "):
            call(FAR, port)
    with pytest.raises(ConfigError, match=r"^program is a function or class"):
        host.serve_tcp(FAR, 7, 5)
    with pytest.raises(ConfigError, match=r"^answer is a function"):
        host.serve_udp(FAR, 7, b"x")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda host: host.connect(FAR, 7, source="192.0.2.7"), "source .* is not a pair of address and port"),
        (lambda host: host.connect(FAR, 7, source=("192.0.2.7",)), "source .* is not a pair"),
        (lambda host: host.connect(FAR, 7, source=("192.0.2.7", 0)), "port of source 0 is not"),
        (lambda host: host.connect(FAR, 7, source=("::1", 5)), "source ::1 and destination 192.0.2.7 must both be"),
        (lambda host: host.send_udp(b"x", "::1", 7, source=(FAR, 5)), "source 192.0.2.7 and destination ::1 must"),
        (lambda host: host.connect_unix(b"/run/x.sock"), "path .* is not the path of a unix socket"),
        (lambda host: host.connect_unix(""), "path '' is not the path of a unix socket"),
        (lambda host: host.path(None, "192.0.2.7"), "hops must be a list"),
        (lambda host: host.unreachable(error=0), "error 0 is not"),
        (lambda host: host.add_name("a b", FAR), 'name "a b" is not a host name'),
        (lambda host: host.fail_name(""), 'name "" is empty'),
        (lambda _: SimHost(Random(1), address="2001:db8::1"), "address '2001:db8::1' is not an IPv4 address"),
        (lambda _: SimHost(Random(1), address6="192.0.2.1"), "address6 '192.0.2.1' is not an IPv6 address"),
        (lambda _: SimHost(Random(1), buffer_bytes=0), "buffer_bytes 0 is not"),
    ],
)  # fmt: skip
def test_invalid_arguments_of_the_simulated_host_are_refused(
    call: Callable[[SimHost], object], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        call(SimHost(Random(1)))


GUEST: dict[str, Callable[[Guest, Any], object]] = {
    "ping": lambda guest, address: guest.ping(address),
    "connect": lambda guest, address: guest.connect(address, 80),
    "resolve": lambda guest, address: guest.resolve("a.test", server=address),
    "send": lambda guest, address: guest.udp().send(b"x", address, 80),
    "configure": lambda guest, address: guest.configure(address, 24),
    "gateway": lambda guest, address: guest.configure("10.0.2.15", 24, address or "x"),
}


@pytest.mark.parametrize(
    "address", ["x", "10.0.2", 5, b"10.0.2.2", True, ["10.0.2.2"], IPv4Network("10.0.2.0/24")]
)
@pytest.mark.parametrize("name", GUEST)
def test_a_guest_refuses_invalid_addresses(name: str, address: Any) -> None:
    guest = Guest(print, random=Random(1))
    guest.configure("10.0.2.15", 24, "10.0.2.2")
    with pytest.raises(ConfigError, match="is not an IP address"):
        GUEST[name](guest, address)


@pytest.mark.parametrize("address", ["10.0.2.2", IPv4Address("10.0.2.2"), bytes((10, 0, 2, 2))])
def test_a_guest_takes_addresses_in_any_form(address: Any) -> None:
    sent: list[bytes] = []
    guest = Guest(sent.append, random=Random(1))
    guest.configure("10.0.2.15", 24, address, address)
    guest.ping(address)
    guest.connect(address, 80)
    guest.udp().send(b"x", address, 80)
    guest.resolve("a.test", server=address)
    assert len(sent) == 1  # one ARP request for all of them
    assert sent[0].endswith(bytes((10, 0, 2, 2)))


@pytest.mark.parametrize("port", ["80", -1, 65536, 7.0, True])
def test_a_guest_refuses_invalid_ports(port: Any) -> None:
    guest = Guest(print, random=Random(1))
    guest.configure("10.0.2.15", 24, "10.0.2.2")
    socket = guest.udp()
    calls: list[Callable[[], object]] = [
        lambda: guest.connect("10.0.2.2", port),
        lambda: guest.listen(port),
        lambda: guest.udp(port),
        lambda: guest.resolve("a.test", server="10.0.2.2", port=port),
        lambda: socket.send(b"x", "10.0.2.2", port),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match=r"^port "):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda guest: guest.ping("10.0.2.2", ttl=0), "ttl 0 is not"),
        (lambda guest: guest.ping("10.0.2.2", ttl=256), "ttl 256 is not"),
        (lambda guest: guest.connect("10.0.2.2", 0), "port 0 is not"),
        (lambda guest: guest.listen(0), "port 0 is not"),
        (lambda guest: guest.configure("10.0.2.15", 33), "prefix 33 is not"),
        (lambda guest: guest.resolve("a.test", "NOPE", "10.0.2.2"), "cannot ask for 'a.test', NOPE"),
        (lambda guest: guest.resolve("x" * 64, server="10.0.2.2"), "cannot ask for 'x*', A"),
        (lambda guest: guest.resolve(5, server="10.0.2.2"), "name 5 is not text"),
        (lambda guest: guest.resolve("a.test", 1, "10.0.2.2"), "kind 1 is not text"),
    ],
)
def test_a_guest_refuses_invalid_arguments(call: Callable[[Any], object], message: str) -> None:
    guest = Guest(print, random=Random(1))
    guest.configure("10.0.2.15", 24, "10.0.2.2")
    with pytest.raises(ConfigError, match=f"^{message}"):
        call(guest)
    assert not guest.udp_host.open_ports  # nothing is left of what was refused
    assert not guest.tcp.listeners


def test_a_stream_does_not_take_numbers_for_data() -> None:
    net = VirtualNetwork(seed=1)
    net.boot()
    stream = net.guest.connect("192.0.2.7", 7)
    for data in (5, "text"):
        with pytest.raises(ConfigError, match=r"^data must be bytes"):
            stream.write(data)
    assert stream.unsent == 0


def test_nothing_is_left_open_by_a_refusal() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for config in ({"random": 5}, {"clock": 5}, {"config": "user"}):
        with pytest.raises(ConfigError):
            Slirp(**config)
    assert set(os.listdir("/proc/self/fd")) == before


def test_valid_arguments_still_work() -> None:
    with Slirp() as net:
        driven = Driven(net)
        ping = driven.guest.ping("10.0.2.2")
        driven.until(lambda: ping.rtt is not None)
        net.attach(print, features=LinkFeatures(mtu=1400))


# ------------------------------------------------------------------------------ what is read from text

READERS: dict[str, Callable[[Any], object]] = {
    "from_qemu": Config.from_qemu,
    "netdev": parse_netdev,
    "endpoint": parse_endpoint,
    "hostfwd": parse_hostfwd,
    "guestfwd": parse_guestfwd,
    "lease": parse_lease,
    "route": parse_route,
    "resolver": parse_resolver,
    "outbound": parse_outbound,
    "proxy": parse_proxy,
    "no_proxy": parse_no_proxy,
    "DNS record": parse_dns_record,
    "DHCP option": parse_dhcp_option,
    "bootfile": parse_bootfile,
    "rule": parse_rule,
}


@pytest.mark.parametrize("value", [None, 5, b"user", ["user"], {"type": "user"}])
@pytest.mark.parametrize("name", READERS)
def test_values_other_than_text_are_refused(name: str, value: Any) -> None:
    with pytest.raises(SlirpyError, match=r"is not text|is not an address"):
        READERS[name](value)


# ------------------------------------------------------------------------------------ links, only once


def make_links(tmp_path: Path) -> dict[str, Any]:
    inner = StreamLink.listen(unix(str(tmp_path / "inner")))
    return {
        "callback": CallbackLink(print),
        "stream": StreamLink.listen(unix(str(tmp_path / "stream"))),
        "dgram": DgramLink.open(unix(str(tmp_path / "dgram")), unix(str(tmp_path / "nobody"))),
        "capture": CaptureLink(inner),
    }


@pytest.mark.parametrize("kind", ["callback", "stream", "dgram", "capture"])
def test_a_link_has_one_network_and_one_life(kind: str, tmp_path: Path) -> None:
    links = make_links(tmp_path)
    link = links.pop(kind)
    with Slirp() as net, Slirp() as other:
        attachment = net.attach_link(link)
        for again in (net, other):
            with pytest.raises(StateError, match="is plugged in already"):
                again.attach_link(link)
            with pytest.raises(StateError, match="is plugged in already"):
                again.attach_link(CaptureLink(link))
        net.poll(0)
        other.poll(0)
        attachment.close()
        with pytest.raises(StateError, match="is closed; make another link"):
            net.attach_link(link)
        nics = [network.attach(print) for network in (net, other)]  # nothing is left of what was refused
        assert len(nics) == 2
        assert [len(network._stack.ports) for network in (net, other)] == [1, 1]
    for rest in links.values():
        rest.close()


@pytest.mark.parametrize("mtu", [0, 67, 65536, "1500", 1500.0, True])
def test_the_mtu_of_a_link(mtu: Any) -> None:
    with Slirp() as net:
        with pytest.raises(ConfigError, match=r"^the link's mtu"):
            net.attach(print, features=LinkFeatures(mtu=mtu))
        net.attach(print, features=LinkFeatures(mtu=68))
