"""Port specifications of passt and pasta: the examples of passt(1), and mistakes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.cli.passt import ports
from slirpy.cli.passt.ports import ALL_ADDRESSES, PortMap, check_together, host_forwards, parse_port_spec
from slirpy.errors import ConfigError


@pytest.fixture(autouse=True)
def usual_ephemeral_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "ephemeral_ports", lambda: (32768, 60999))


@pytest.mark.parametrize(
    ("text", "mode", "maps"),
    [
        ("none", "none", ""),
        ("auto", "auto", ""),
        ("all", "all", "1-32767 61000-65535"),
        ("22", "ports", "22"),
        ("22:23", "ports", "22:23"),
        ("22,25", "ports", "22 25"),
        ("25,22", "ports", "22 25"),
        ("22-80", "ports", "22-80"),
        ("22-80:32-90", "ports", "22-80:32-90"),
        ("192.0.2.1/22", "ports", "22"),
        ("192.0.2.1%eth0/22", "ports", "22"),
        ("%eth0/22", "ports", "22"),
        ("2001:db8::1/22", "ports", "22"),
        ("[2001:db8::1]/22:23", "ports", "22:23"),
        ("2000-5000,~3000-3010", "ports", "2000-2999 3011-5000"),
        ("~3000-3010,2000-5000", "ports", "2000-2999 3011-5000"),
        ("5-25,~10-20", "ports", "5-9 21-25"),
        ("192.0.2.1/20-30,~25", "ports", "20-24 26-30"),
        ("20-30:120-130,~20,~25,~30", "ports", "21-24:121-124 26-29:126-129"),
        ("20-30,~22-26,~25-28", "ports", "20-21 29-30"),
        ("22,~80", "ports", "22"),
        ("~20000-20010", "all", "1-19999 20011-32767 61000-65535"),
        ("all,~25", "all", "1-24 26-32767 61000-65535"),
        ("192.0.2.1/all", "all", "1-32767 61000-65535"),
        ("auto,~25", "auto", ""),
        ("65535", "ports", "65535"),
    ],
)
def test_examples_of_the_manual(text: str, mode: str, maps: str) -> None:
    spec = parse_port_spec("-t", text)
    assert (spec.mode, " ".join(map(str, spec.maps))) == (mode, maps)


def test_the_place_is_kept() -> None:
    spec = parse_port_spec("-t", "192.0.2.1%eth0/22")
    assert (spec.address, spec.interface) == (IPv4Address("192.0.2.1"), "eth0")
    spec = parse_port_spec("-u", "::1/22")
    assert (spec.address, spec.interface) == (IPv6Address("::1"), "")
    assert parse_port_spec("-t", "auto,~20-25").excludes(22)
    assert not parse_port_spec("-t", "auto,~20-25").excludes(26)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", 'port "" is not a number from 1 to 65535'),
        ("0", 'port "0" is not a number from 1 to 65535'),
        ("65536", 'port "65536" is not a number from 1 to 65535'),
        ("ssh", 'port "ssh" is not a number'),
        ("22,", 'port "" is not a number'),
        ("80-22", "ports 80-22 end before they begin"),
        ("22-80:90", "59 ports cannot lead to 1"),
        ("22:23-24", "1 ports cannot lead to 2"),
        ("22,22", "22 and 22 overlap"),
        ("20-30,25:99", "20-30 and 25:99 overlap"),
        ("22,~22", "the exclusions leave no port"),
        ("~1-65535", "the exclusions leave no port"),
        ("none,22", "none cannot follow or precede ports"),
        ("22,all", "all cannot follow or precede ports"),
        ("all,22", "only exclusions such as ~22 can follow all"),
        ("/22", "there is no address before the slash"),
        ("localhost/22", '"localhost" is not an IP address'),
        ("127.0.0.1%/22", '"" is not the name of an interface'),
        ("127.0.0.1%averyveryverylongname/22", "is not the name of an interface"),
        ("127.0.0.1/none", "none takes no address"),
        ("127.0.0.1/auto", "auto takes no address"),
        ("22~25", 'port "22~25" is not a number'),
        ("-22", 'port "" is not a number'),
        ("²²", "is not a number"),
    ],
)
def test_mistakes_name_the_option(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_port_spec("--tcp-ports", text)
    assert str(caught.value).startswith(f'--tcp-ports "{text}": ')
    assert says in str(caught.value)


def test_a_machine_has_no_auto() -> None:
    with pytest.raises(ConfigError, match="auto is for namespaces"):
        parse_port_spec("-t", "auto", auto=False)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["22", "80"], ""),
        (["127.0.0.1/22", "127.0.0.2/22"], ""),
        (["127.0.0.1/22", "::1/22"], ""),
        (["%eth0/22", "%eth1/22"], ""),
        (["22", "20-30"], '-t "20-30": 20-30 overlaps 22 of -t "22"'),
        (["22", "127.0.0.1/22"], "overlaps"),
        (["%eth0/22", "22:23"], "overlaps"),
        (["none", "22"], '-t "none" stands alone'),
        (["22", "all"], '-t "all" stands alone'),
    ],
)
def test_several_of_one_option(texts: list[str], says: str) -> None:
    specs = [(text, parse_port_spec("-t", text)) for text in texts]
    if not says:
        check_together("-t", specs)
        return
    with pytest.raises(ConfigError) as caught:
        check_together("-t", specs)
    assert says in str(caught.value)


def test_rules_of_the_network() -> None:
    spec = parse_port_spec("-t", "80-82:8080-8082,22")
    assert [str(rule) for rule in host_forwards("tcp", spec, ALL_ADDRESSES)] == [
        "tcp:0.0.0.0:22-:22", "tcp:0.0.0.0:80-82-:8080-8082", "tcp:[::]:22-:22", "tcp:[::]:80-82-:8080-8082",
    ]  # fmt: skip
    spec = parse_port_spec("-u", "::1/53")
    assert [str(rule) for rule in host_forwards("udp", spec, ALL_ADDRESSES, IPv4Address("192.0.2.9"))] == [
        "udp:[::1]:53-192.0.2.9:53"
    ]
    assert not [*host_forwards("tcp", parse_port_spec("-t", "none"), ALL_ADDRESSES)]


PORTS = st.integers(1, 65535)


@given(
    st.lists(st.tuples(PORTS, PORTS).map(sorted), min_size=1, max_size=6),
    st.lists(st.tuples(PORTS, PORTS).map(sorted)),
)
def test_ranges_hold_the_written_ports_less_the_exclusions(kept: list[list[int]], cut: list[list[int]]) -> None:
    entries = [f"{first}-{last}" for first, last in kept] + [f"~{first}-{last}" for first, last in cut]
    meant = {port for first, last in kept for port in range(first, last + 1)}
    overlap = len(meant) < sum(last - first + 1 for first, last in kept)
    meant -= {port for first, last in cut for port in range(first, last + 1)}
    if overlap or not meant:
        with pytest.raises(ConfigError):
            parse_port_spec("-t", ",".join(entries))
        return
    spec = parse_port_spec("-t", ",".join(entries))
    assert {port for one in spec.maps for port in range(one.first, one.last + 1)} == meant
    assert all(isinstance(one, PortMap) and one.target == one.first for one in spec.maps)
