"""Host ports that lead to guests by IPv6."""

from __future__ import annotations

import pytest

from slirpy import Config, ForwardError
from slirpy.testing import VirtualNetwork
from slirpy.units import SECOND

MAC_BASED = "fec0::5054:ff:fe12:3456"


def network(*rules: str, ipv4: bool = True) -> VirtualNetwork:
    """A network with forwards, whose guest is up."""
    net = VirtualNetwork(Config(hostfwd=rules, ipv4=ipv4), seed=1)
    net.boot(ipv6=True)
    return net


@pytest.mark.parametrize("host", ["::1", "::", "2001:db8::1"])
@pytest.mark.parametrize("client", ["::1", "2001:db8:9::9"])
def test_a_host_port_of_ipv6(host: str, client: str) -> None:
    net = network(f"tcp:[{host}]:8080-[{MAC_BASED}]:80", f"udp:[{host}]:5353-[{MAC_BASED}]:53")
    listener, socket = net.guest.listen(80), net.guest.udp(53)
    to = "::1" if host == "::" else host
    remote = net.host.connect(to, 8080, source=(client, 7777))
    net.run_until(lambda: listener.accepted)
    seen = "fec0::2" if client == "::1" else client
    stream = listener.accepted[0]
    assert (str(stream.address), stream.port) == (seen, 7777)
    remote.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    stream.write(b"world")
    net.run_until(lambda: remote.received == b"world")
    net.host.send_udp(b"question", to, 5353, source=(client, 8888))
    net.run_until(lambda: socket.received)
    [message] = socket.received
    assert (message.payload, str(message.address), message.port) == (b"question", seen, 8888)
    answers = net.host.serve_udp(client, 8888)
    socket.send(b"answer", message.address, message.port)
    net.run_until(lambda: answers.received)
    assert answers.received[0].payload == b"answer"
    assert (str(answers.received[0].source[0]), answers.received[0].source[1]) == (to, 5353)


def test_a_known_ipv6_only_guest_gets_the_connections() -> None:
    net = network("tcp:[::1]:8080-:80", ipv4=False)
    net.guest.ping("fec0::2")
    net.run(SECOND)
    listener = net.guest.listen(80)
    net.host.connect("::1", 8080)
    net.run_until(lambda: listener.accepted)


def test_an_ipv6_only_guest_of_which_nothing_is_known() -> None:
    net = VirtualNetwork(Config(hostfwd=["tcp:[::1]:8080-:80"], ipv4=False), seed=1)
    net.guest.configure("fec0::15", 64, "fec0::2")
    listener = net.guest.listen(80)
    net.host.connect("::1", 8080)
    net.run_until(lambda: listener.accepted)


def test_a_guest_with_a_link_local_address_alone_comes_last() -> None:
    net = VirtualNetwork(Config(hostfwd=["tcp:[::1]:8080-:80"], ipv4=False), seed=1)
    first, second = net.guest, net.add_guest()
    first.configure("fe80::15", 64, "fe80::2")
    ping = first.ping("fe80::2")
    net.run_until(lambda: ping.reply)
    listeners = [guest.listen(80) for guest in (first, second)]
    net.host.connect("::1", 8080, source=("::1", 7777))
    net.run_until(lambda: listeners[0].accepted)
    net.boot(second)
    ping = second.ping("fec0::2")
    net.run_until(lambda: ping.reply)
    net.host.connect("::1", 8080, source=("::1", 7778))
    net.run_until(lambda: listeners[1].accepted)
    # Each sees the gateway's address that it can answer.
    assert [str(listener.accepted[0].address) for listener in listeners] == ["fe80::2", "fec0::2"]


def test_an_ipv4_rule_does_not_lead_to_a_known_ipv6_address() -> None:
    net = VirtualNetwork(Config(hostfwd=["tcp::8080-:80"]), seed=1)
    net.boot(ipv4=False, ipv6=True)
    ping = net.guest.ping("fec0::2")
    net.run_until(lambda: ping.reply)
    net.guest.configure("10.0.2.15", 24)
    listener = net.guest.listen(80)
    net.host.connect("127.0.0.1", 8080, source=("127.0.0.1", 7777))
    net.run_until(lambda: listener.accepted)
    assert str(listener.accepted[0].address) == "10.0.2.2"


@pytest.mark.parametrize(
    ("guest", "more", "text"),
    [
        ("2001:db8::15", {}, r"is not one of fec0::/64; choose one from fec0::1 to fec0::ffff:ffff:ffff:ffff"),
        ("fec0::", {}, r"is not one of fec0::/64"),
        ("fec0::3", {}, "is one of the virtual servers"),
        ("fe80::2", {}, "is one of the virtual servers"),
        ("fec0::15", {"ipv6": False}, "this network has no IPv6"),
    ],
)
def test_addresses_that_no_guest_can_have(guest: str, more: dict[str, bool], text: str) -> None:
    with pytest.raises(
        ForwardError, match=rf'hostfwd "tcp:\[::1\]:80-\[{guest}\]:80": guest address {guest}.*{text}'
    ):
        VirtualNetwork(Config(hostfwd=[f"tcp:[::1]:80-[{guest}]:80"], **more))  # type: ignore[arg-type] # each value fits its argument


def test_no_ipv4_guest_on_a_network_without_ipv4() -> None:
    with pytest.raises(ForwardError, match=r"guest address 10\.0\.2\.15: this network has no IPv4"):
        VirtualNetwork(Config(hostfwd=["tcp::80-10.0.2.15:80"], ipv4=False))


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (
            "[2001:db8::99]",
            r"cannot listen on \[2001:db8::99\]:80: .*; that is no address of this host; use \[::1\] or",
        ),
        ("[fe80::1%no0]", r"cannot listen on \[fe80::1%no0\]:80: .*; there is no such interface"),
    ],
)
def test_impossible_host_addresses_are_refused(host: str, text: str) -> None:
    with pytest.raises(ForwardError, match=text):
        VirtualNetwork(Config(hostfwd=[f"tcp:{host}:80-:80"]))


@pytest.mark.parametrize(
    ("host", "guest", "client", "gateway"),
    [
        ("127.0.0.1", f"[{MAC_BASED}]", "127.0.0.1", "fec0::2"),
        ("0.0.0.0", f"[{MAC_BASED}]", "192.0.2.99", "fec0::2"),
        ("[::1]", "10.0.2.15", "::1", "10.0.2.2"),
        ("[::]", "10.0.2.15", "2001:db8:9::9", "10.0.2.2"),
        ("[::1]", "", "::1", "10.0.2.2"),
    ],
)
def test_a_host_port_of_one_family_leads_to_a_guest_of_the_other(
    host: str, guest: str, client: str, gateway: str
) -> None:
    net = network(f"tcp:{host}:8080-{guest}:80", f"udp:{host}:5353-{guest}:53")
    listener, socket = net.guest.listen(80), net.guest.udp(53)
    to = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
    remotes = [net.host.connect(to, 8080, source=(client, 7777)), net.host.connect(to, 8080)]
    net.run_until(lambda: len(listener.accepted) == 2)
    assert {str(stream.address) for stream in listener.accepted} == {gateway}
    for stream in listener.accepted:
        stream.write(b"hello")
    net.run_until(lambda: all(remote.received == b"hello" for remote in remotes))
    answers = net.host.serve_udp(client, 8888)
    net.host.send_udp(b"question", to, 5353, source=(client, 8888))
    net.run_until(lambda: socket.received)
    [message] = socket.received
    assert (str(message.address), message.port) == (gateway, 8888)
    socket.send(b"answer", message.address, message.port)
    net.run_until(lambda: answers.received)
    assert answers.received[0].payload == b"answer"
