"""IPv6 multicast between guests goes where it is wanted, and neighbour discovery works whatever guests report."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from slirpy.core.snooping import (
    LAST_LISTENER,
    LISTENER_INTERVAL,
    PORT_GROUPS_MAX,
    QUERIER_PRESENT,
    QUERY_INTERVAL,
)
from slirpy.core.switch import HOLD
from slirpy.core.switchnet import SwitchNetwork
from slirpy.interfaces import LinkFeatures
from tests.support.frames6 import (
    ALL_NODES,
    ALL_ROUTERS,
    ICMPV6,
    ROUTER,
    ROUTER_MAC,
    UNSPECIFIED,
    checked,
    fragment,
    ip6,
    ipv6,
    mac_of,
    neighbor_solicitation,
    solicited,
    udp6,
)
from tests.support.harness import SECOND, Net, NoPoller, Wire, config, eth

REPORTS = ip6("ff02::16")
GROUP, OTHER, MDNS = ip6("ff15::1234"), ip6("ff15::9"), ip6("ff02::fb")
ALERT = bytes((ICMPV6, 0, 5, 2, 0, 0, 1, 0))
IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK = range(1, 7)
MACS = [bytes.fromhex(f"5254000000{number:02x}") for number in (10, 11, 12)]
LOCALS = [ip6(f"fe80::{number:x}") for number in (10, 11, 12)]


def mld(
    body: bytes,
    kind: int,
    *,
    source: bytes,
    destination: bytes,
    mac: bytes,
    before: bytes = ALERT,
    hop_limit: int = 1,
    wrong: int = 0,
) -> bytes:
    """An MLD message, after a hop-by-hop header with a Router Alert."""
    message = checked(ICMPV6, bytes((kind, 0, 0, 0)) + body, 2, source, destination, wrong)
    first = 0 if before else ICMPV6
    return ipv6(first, before + message, source=source, destination=destination, mac=mac, hop_limit=hop_limit)


def records(*changes: tuple[int, bytes], sources: int = 0) -> bytes:
    """The body of a report of version 2."""
    return struct.pack("!HH", 0, len(changes)) + b"".join(
        struct.pack("!BBH", kind, 0, sources) + group + bytes(16 * sources) for kind, group in changes
    )


class World:
    """Guests on a switch, by number."""

    def __init__(self, count: int = 3, **given: Any) -> None:
        self.net = Net(config(**given))
        self.wires = [self.net.wire, *(self.net.attach() for _ in range(count - 1))]
        self.received: list[list[bytes]] = [[] for _ in self.wires]

    def send(self, number: int, frame: bytes) -> list[bool]:
        """Send a frame to a group; which guests received it."""
        self.take()
        self.net.send(frame, wire=self.wires[number])
        return [any(frame[:12] == data[:12] for data in frames) for frames in self.take()]

    def take(self) -> list[list[bytes]]:
        """Frames that each guest received since the last call."""
        frames = [self.net.raw(wire) for wire in self.wires]
        for number, more in enumerate(frames):
            self.received[number] += more
        return frames

    def report(self, number: int, *changes: tuple[int, bytes], **more: Any) -> list[bool]:
        """Send a report."""
        sources = more.pop("sources", 0)
        more = {"source": LOCALS[number], "destination": REPORTS, "mac": MACS[number], **more}
        return self.send(number, mld(records(*changes, sources=sources), 143, **more))

    def join_all(self) -> None:
        """Let every guest report its solicited-node group."""
        for number, address in enumerate(LOCALS[: len(self.wires)]):
            self.report(number, (TO_EX, solicited(address)))

    def multicast(self, number: int, group: bytes) -> list[bool]:
        """Send a datagram to a group; which guests received it."""
        return self.send(number, udp6(b"x", source=LOCALS[number], destination=group, mac=MACS[number]))

    def queries(self, number: int) -> list[bytes]:
        """The groups that the gateway asked a guest about since the last call."""
        self.take()
        frames, self.received[number] = self.received[number], []
        queries = [frame for frame in frames if frame[6:12] == ROUTER_MAC and frame[62] == 130]
        for frame in queries:
            check_query(frame)
        return [frame[70:86] for frame in queries]


def check_query(frame: bytes) -> None:
    """Check one of our queries against RFC 3810, section 5.1."""
    packet = frame[14:]
    group = packet[56:72]
    destination = ALL_NODES if group == UNSPECIFIED else group
    assert frame[:12] == mac_of(destination) + ROUTER_MAC
    assert packet[7] == 1
    assert (packet[8:24], packet[24:40]) == (ROUTER, destination)
    assert packet[40:48] == ALERT
    code, reserved = struct.unpack("!HH", packet[52:56])
    assert (code, reserved) == (10_000 if group == UNSPECIFIED else 1000, 0)
    assert packet[72:] == struct.pack("!BBH", 2, 125, 0)


# ------------------------------------------------------------------------------------------- where it goes


def test_a_group_goes_to_its_listeners() -> None:
    world = World()
    world.join_all()
    world.report(1, (TO_EX, GROUP))
    assert world.multicast(0, GROUP) == [False, True, False]
    assert world.multicast(1, GROUP) == [False, False, False]
    assert world.multicast(2, GROUP) == [False, True, False]
    assert world.multicast(0, OTHER) == [False, False, False]
    assert world.net.stats.switch_selected == 4
    assert world.net.stats.mld_reports == 4


def test_all_nodes_are_always_flooded() -> None:
    world = World()
    world.join_all()
    world.report(1, (TO_EX, ALL_NODES))
    assert world.multicast(0, ALL_NODES) == [False, True, True]


@pytest.mark.parametrize(
    "group",
    [MDNS, solicited(ip6("fe80::99")), ip6("ff01::5"), ip6("ff12::5")],
    ids=("mDNS", "solicited node", "interface-local", "transient"),
)
def test_unreported_link_scope_groups_are_flooded(group: bytes) -> None:
    world = World()
    world.join_all()
    assert world.multicast(0, group) == [False, True, True]
    world.report(2, (TO_EX, group))
    assert world.multicast(0, group) == [False, False, True]


@pytest.mark.parametrize("group", ["ff03::5", "ff05::5", "ff08::5", "ff0e::5", "ff15::5", "ff1e::5"])
def test_unreported_groups_of_a_wider_scope_go_nowhere(group: str) -> None:
    world = World()
    world.join_all()
    assert world.multicast(0, ip6(group)) == [False, False, False]


def test_a_guest_without_mld_gets_everything() -> None:
    """The guest sends packets, but no report. The others are queried nevertheless."""
    world = World()
    world.report(0, (TO_EX, solicited(LOCALS[0])))
    world.report(1, (TO_EX, solicited(LOCALS[1])))
    world.send(2, neighbor_solicitation(LOCALS[0], source=LOCALS[2], mac=MACS[2]))
    assert world.multicast(0, solicited(LOCALS[1])) == [False, True, True]
    assert world.multicast(0, GROUP) == [False, False, True]


def test_one_silent_guest_behind_a_port_is_enough() -> None:
    world = World()
    world.join_all()
    assert world.multicast(0, GROUP) == [False, False, False]
    silent = bytes.fromhex("525400000099")
    world.send(1, neighbor_solicitation(LOCALS[0], source=ip6("fe80::99"), mac=silent))
    assert world.multicast(0, GROUP) == [False, True, False]
    world.report(1, (TO_EX, OTHER), mac=silent, source=ip6("fe80::99"))
    assert world.multicast(0, GROUP) == [False, False, False]


def test_the_reports_of_one_that_has_moved_do_not_count_for_another() -> None:
    """Behind the second port, the one that reported has gone, and one that does not has come."""
    world = Alone()
    world.join_all()
    world.now += HOLD + 1
    world.report(2, (TO_EX, OTHER), mac=MACS[1])
    silent = neighbor_solicitation(LOCALS[0], source=ip6("fe80::99"), mac=bytes.fromhex("525400000099"))
    world.send(1, silent)
    world.send(2, query(ip6("fe80::2"), MACS[2]))
    assert world.multicast(0, GROUP) == [False, True, True]


def test_neighbour_discovery_between_guests() -> None:
    world = World()
    world.join_all()
    question = neighbor_solicitation(LOCALS[2], source=LOCALS[0], mac=MACS[0])
    assert world.send(0, question) == [False, False, True]


@pytest.mark.parametrize(("change", "sources", "joins"), [
    (IS_EX, 0, True), (TO_EX, 0, True), (TO_EX, 2, True), (ALLOW, 1, True), (IS_IN, 1, True), (TO_IN, 1, True),
    (IS_IN, 0, False), (TO_IN, 0, False), (BLOCK, 1, False),
])  # fmt: skip
def test_records(change: int, sources: int, joins: bool) -> None:
    world = World()
    world.join_all()
    world.report(1, (change, GROUP), sources=sources)
    assert world.multicast(0, GROUP)[1] == joins


def test_version_1_joins_and_leaves() -> None:
    world = World()
    world.join_all()
    about = bytes(4) + GROUP
    more: dict[str, Any] = {"source": LOCALS[1], "mac": MACS[1]}
    assert world.send(1, mld(about, 131, destination=GROUP, **more)) == [False, False, False]
    assert world.multicast(0, GROUP)[1]
    world.send(1, mld(about, 132, destination=ALL_ROUTERS, **more))
    world.net.run(3)
    assert not world.multicast(0, GROUP)[1]


def test_a_host_without_an_address_may_report() -> None:
    world = World()
    world.join_all()
    world.report(1, (TO_EX, GROUP), source=UNSPECIFIED)
    assert world.multicast(0, GROUP)[1]


def test_reports_are_kept_from_other_guests() -> None:
    """Otherwise hosts with version 1 would keep their own to themselves."""
    world = World()
    assert world.report(0, (TO_EX, GROUP)) == [False, False, False]
    assert world.net.stats.drop_ipv6_group == 0


# --------------------------------------------------------------------------------------------- the querier


def test_no_report_no_query() -> None:
    world = World()
    world.multicast(0, GROUP)
    world.net.run(300)
    assert world.net.stats.mld_queries == 0


def test_one_port_needs_no_querier() -> None:
    world = World(1)
    world.report(0, (TO_EX, GROUP))
    world.net.run(300)
    assert world.net.stats.mld_queries == 0
    assert world.net.stack.deadline() is None


def test_queries_come_at_the_rate_of_the_rfc_and_end() -> None:
    world = World(2)
    world.report(0, (TO_EX, GROUP))
    times = []
    for second in range(700):
        times += [second for _ in world.queries(1)]
        world.net.run(1)
    assert times == [0, 32, 157]  # then the only report has lapsed
    assert world.multicast(1, GROUP) == [True, False]  # as before the first one


def test_an_answer_keeps_a_group() -> None:
    world = World()
    world.join_all()
    world.report(1, (TO_EX, GROUP))
    for _ in range(5):
        world.net.run(124)
        for number, address in enumerate(LOCALS):
            world.report(number, (IS_EX, solicited(address)))
        world.report(1, (IS_EX, solicited(LOCALS[1])), (IS_EX, GROUP))
    assert world.multicast(0, GROUP) == [False, True, False]
    world.net.run(LISTENER_INTERVAL / SECOND - 100)
    for number, address in enumerate(LOCALS):
        world.report(number, (IS_EX, solicited(address)))
    assert world.multicast(0, GROUP) == [False, True, False]
    world.net.run(101)
    assert world.multicast(0, GROUP) == [False, False, False]


def test_a_guest_that_stops_reporting_gets_everything() -> None:
    """The guest may have started another system."""
    world = World()
    world.join_all()
    world.net.run(LISTENER_INTERVAL / SECOND - 1)
    world.report(0, (IS_EX, solicited(LOCALS[0])))
    world.report(1, (IS_EX, solicited(LOCALS[1])))
    assert world.multicast(0, GROUP) == [False, False, False]
    world.net.run(2)
    assert world.multicast(0, GROUP) == [False, False, True]


def test_a_leave_causes_a_query_to_the_port() -> None:
    world = World()
    world.join_all()
    world.report(1, (TO_EX, GROUP))
    world.queries(1)
    world.queries(2)
    world.report(1, (TO_IN, GROUP))
    assert world.queries(1) == [GROUP]
    assert world.queries(2) == []
    world.report(1, (TO_IN, GROUP))  # the host says it twice
    assert world.queries(1) == []
    world.net.run(LAST_LISTENER / SECOND - 0.1)
    assert world.queries(1) == [GROUP]
    assert world.multicast(0, GROUP) == [False, True, False]
    world.net.run(0.2)
    assert world.multicast(0, GROUP) == [False, False, False]
    world.net.run(5)
    assert world.queries(1) == []


def test_the_answer_of_another_keeps_the_group() -> None:
    world = World()
    world.join_all()
    world.report(1, (TO_EX, GROUP))
    world.report(1, (TO_IN, GROUP))
    world.net.run(1)
    world.report(1, (IS_EX, GROUP), mac=bytes.fromhex("525400000099"), source=ip6("fe80::99"))
    world.net.run(5)
    assert world.multicast(0, GROUP) == [False, True, False]


def test_a_port_that_is_taken_out() -> None:
    world = World()
    world.join_all()
    world.report(1, (TO_EX, GROUP))
    world.report(1, (TO_IN, GROUP))
    world.net.stack.detach(world.net.stack.ports[1])
    world.net.run(2)
    del world.wires[1]
    assert world.multicast(0, GROUP) == [False, False]
    assert world.net.stats.drop_link_dead == 0


def test_without_ipv6_multicast_is_flooded() -> None:
    world = World(ipv6=False)
    world.join_all()
    world.report(1, (TO_EX, GROUP))
    assert world.multicast(0, GROUP) == [False, True, True]
    assert world.net.stats.mld_queries == 0


def test_a_hub_floods() -> None:
    world = World(hub=True)
    world.join_all()
    assert world.multicast(0, GROUP) == [False, True, True]
    assert world.net.stats.mld_reports == 0


# ----------------------------------------------------------------------------------------- other queriers


def query(source: bytes, mac: bytes, wrong: int = 0) -> bytes:
    body = struct.pack("!HH", 1000, 0) + UNSPECIFIED + struct.pack("!BBH", 2, 125, 0)
    return mld(body, 130, source=source, destination=ALL_NODES, mac=mac, wrong=wrong)


def test_a_guest_is_no_querier() -> None:
    world = World()
    assert world.send(0, query(LOCALS[0], MACS[0])) == [False, False, False]
    assert world.net.stats.drop_guard_router == 1


@pytest.mark.parametrize(
    ("source", "silent"),
    [(ip6("fe80::1"), True), (ROUTER, False), (ip6("fe80::3"), False)],
    ids=("lower", "equal", "higher"),
)
def test_the_lower_address_queries(source: bytes, silent: bool) -> None:
    world = World(guard=False)
    world.join_all()
    assert world.send(0, query(source, MACS[0])) == [False, True, True]
    world.queries(1)
    for _ in range(3):
        world.net.run(124)
        world.join_all()
        world.send(0, query(source, MACS[0]))
    assert [group == UNSPECIFIED for group in world.queries(1)] == [True] * (0 if silent else 3)
    assert world.multicast(1, GROUP) == [True, False, False]  # multicast routers get everything
    assert world.report(1, (TO_EX, GROUP)) == [True, False, False]  # and the reports
    before = world.net.stats.mld_queries
    world.report(1, (TO_IN, GROUP))
    assert world.net.stats.mld_queries - before == (not silent)
    world.net.run(5)
    assert world.multicast(2, GROUP) == [True, silent, False]


class Alone(World):
    """A switch without a stack."""

    def __init__(self, count: int = 3) -> None:
        self.now = 1000 * SECOND
        self.network = SwitchNetwork(now=self.now)
        self.net = self  # type: ignore[assignment] # the bench is its own network
        self.wires = []
        for _ in range(count):
            wire = Wire()
            self.network.attach(wire, NoPoller())
            self.wires.append(wire)

    def send(self, number: int, frame: bytes, wire: Wire | None = None) -> list[bool]:
        for each in self.wires:
            each.sent.clear()
        sink = self.wires[number].sink
        assert sink is not None
        self.network.tick(self.now)
        sink.input(frame)
        self.network.flush(self.now)
        return [bool(each.sent) for each in self.wires]


def test_a_switch_alone_floods_until_there_is_a_querier() -> None:
    world = Alone()
    assert world.report(0, (TO_EX, solicited(LOCALS[0]))) == [False, True, True]
    assert world.report(1, (TO_EX, GROUP)) == [True, False, True]
    assert world.multicast(0, OTHER) == [False, True, True]
    assert world.send(2, query(ip6("fe80::2"), MACS[2])) == [True, True, False]
    assert world.multicast(0, OTHER) == [False, False, True]
    assert world.multicast(2, GROUP) == [False, True, False]
    assert world.report(0, (TO_EX, GROUP)) == [False, False, True]
    world.now += QUERIER_PRESENT
    assert world.multicast(0, OTHER) == [False, True, True]


def test_leaving_without_a_querier_here() -> None:
    """The others are not queried, so the group stays until the report expires."""
    world = Alone()
    world.join_all()
    world.send(2, query(ip6("fe80::2"), MACS[2]))
    world.report(1, (TO_EX, GROUP))
    world.report(1, (TO_IN, GROUP))
    world.now += 5 * SECOND
    assert world.multicast(2, GROUP) == [False, True, False]


# --------------------------------------------------------------------------------------- bounds, bad input


def test_groups_are_bounded() -> None:
    world = World()
    world.join_all()
    for number in range(PORT_GROUPS_MAX // 32):
        world.report(1, *((TO_EX, GROUP[:13] + bytes((number, 1, each))) for each in range(32)))
    assert world.net.stats.mld_groups_full == 1
    world.report(1, (TO_EX, GROUP[:13] + b"\xff\1\1"), (TO_EX, GROUP[:13] + b"\xff\1\2"))
    assert world.net.stats.mld_groups_full == 3
    assert world.multicast(0, OTHER) == [False, True, False]  # no group is lost by that
    snooping = world.net.stack.switch.snooping
    assert [len(listeners.groups) for listeners in snooping._ports.values()] == [1, PORT_GROUPS_MAX, 1]
    world.net.run(LISTENER_INTERVAL / SECOND + 1)
    world.join_all()
    world.report(1, (TO_EX, OTHER))
    assert world.multicast(0, GROUP) == [False, False, False]
    assert [len(listeners.groups) for listeners in snooping._ports.values()] == [1, 2, 1]


def test_reporters_are_bounded() -> None:
    world = World()
    for number in range(3000):
        world.net.now += SECOND // 1000
        world.report(0, (TO_EX, GROUP), mac=b"\x52\x54\0\0" + number.to_bytes(2, "big"))
    (listeners, *_) = world.net.stack.switch.snooping._ports.values()
    assert len(listeners.reporters) <= 1024 + 1


@pytest.mark.parametrize(
    "more",
    [
        {"hop_limit": 2},
        {"hop_limit": 255},
        {"before": b""},
        {"before": bytes((ICMPV6, 0, 1, 4, 0, 0, 0, 0))},
        {"before": bytes((ICMPV6, 0, 5, 2, 0, 1, 1, 0))},
        {"source": ip6("fec0::15")},
        {"source": ip6("2001:db8::1")},
        {"wrong": 1},
    ],
    ids=(
        "hop limit 2",
        "hop limit 255",
        "no option",
        "another option",
        "no MLD",
        "site-local source",
        "global source",
        "sum",
    ),
)
def test_bad_reports_count(more: dict[str, Any]) -> None:
    world = World()
    world.join_all()
    for count in (1, 2):
        assert world.report(1, (TO_EX, GROUP), **more) == [False, False, False]
        assert world.net.stats.drop_mld_malformed == count
    assert not any(world.multicast(0, GROUP))


def test_a_report_that_is_cut_short() -> None:
    world = World()
    world.join_all()
    body = records((TO_EX, GROUP))[:-1]
    world.send(1, mld(body, 143, source=LOCALS[1], destination=REPORTS, mac=MACS[1]))
    assert world.net.stats.drop_mld_malformed == 1
    assert not any(world.multicast(0, GROUP))


def test_malformed_queries_count() -> None:
    world = World(guard=False)
    world.send(1, query(ip6("fec0::1"), MACS[1]))
    assert world.net.stats.drop_mld_malformed == 1


def test_a_query_with_a_wrong_checksum_is_none() -> None:
    world = Alone()
    world.join_all()
    assert world.send(2, query(ip6("fe80::2"), MACS[2], wrong=1)) == [False, False, False]
    assert world.network.stats.drop_mld_malformed == 1
    assert world.multicast(0, OTHER) == [False, True, True]


at_the_end = pytest.mark.parametrize(("early", "counts"), [(1, True), (0, False)])


@at_the_end
def test_the_last_moment_of_a_report(early: int, counts: bool) -> None:
    """The group of a report is known until its time is over, and no longer."""
    world = Alone()
    world.join_all()
    world.report(1, (TO_EX, GROUP))
    world.now += LISTENER_INTERVAL - early
    world.join_all()
    world.send(2, query(ip6("fe80::2"), MACS[2]))
    assert world.multicast(0, GROUP) == [False, counts, True]


@at_the_end
def test_the_last_moment_of_a_querier(early: int, counts: bool) -> None:
    """Reports, and all multicast, go to its port until its time is over."""
    world = Alone()
    world.join_all()
    world.send(2, query(ip6("fe80::2"), MACS[2]))
    world.now += SECOND
    world.send(0, query(ip6("fe80::3"), MACS[0]))
    world.now += QUERIER_PRESENT - SECOND - early
    world.join_all()
    assert world.report(1, (TO_EX, GROUP)) == [True, False, counts]
    assert world.multicast(1, OTHER) == [True, False, counts]


@at_the_end
def test_the_last_moment_of_the_only_querier(early: int, counts: bool) -> None:
    """Afterwards reports are flooded, since they may lead another one to start."""
    world = Alone()
    world.join_all()
    world.send(2, query(ip6("fe80::2"), MACS[2]))
    world.now += QUERIER_PRESENT - early
    assert world.report(1, (TO_EX, GROUP)) == [not counts, False, True]


@at_the_end
def test_the_last_moment_of_a_surplus_of_groups(early: int, counts: bool) -> None:
    world = Alone()
    groups = [GROUP[:13] + bytes((number >> 8, number & 255, 1)) for number in range(PORT_GROUPS_MAX + 1)]
    for group in groups:
        world.report(1, (TO_EX, group))
    assert world.network.stats.mld_groups_full == 1
    world.now += LISTENER_INTERVAL - early
    world.join_all()
    world.send(2, query(ip6("fe80::2"), MACS[2]))
    assert world.multicast(0, OTHER) == [False, counts, True]


@at_the_end
def test_the_last_moment_of_the_groups_that_leave_no_room(early: int, counts: bool) -> None:
    world = Alone()
    for number in range(PORT_GROUPS_MAX):
        world.report(1, (TO_EX, GROUP[:13] + bytes((number >> 8, number & 255, 1))))
    world.now += LISTENER_INTERVAL - early
    world.report(1, (TO_EX, GROUP))
    assert world.network.stats.mld_groups_full == counts


@at_the_end
def test_the_last_moment_of_a_reporter(early: int, counts: bool) -> None:
    """Afterwards its port gets everything."""
    world = Alone()
    world.join_all()
    world.now += LISTENER_INTERVAL - early
    for number in (0, 2):
        world.report(number, (TO_EX, solicited(LOCALS[number])))
    world.send(2, query(ip6("fe80::2"), MACS[2]))
    assert world.multicast(0, OTHER) == [False, not counts, True]


@at_the_end
def test_the_last_moment_at_which_a_report_keeps_the_querier_at_work(early: int, counts: bool) -> None:
    world = World(2)
    world.report(0, (TO_EX, GROUP))
    third = QUERY_INTERVAL // 4 + 2 * QUERY_INTERVAL
    world.net.now += third - LISTENER_INTERVAL + early
    world.report(0, (TO_EX, GROUP))
    world.net.run(1000)
    assert len(world.queries(1)) == 3 + counts


@at_the_end
def test_the_last_moment_of_another_querier(early: int, counts: bool) -> None:
    """The one here is silent until then."""
    world = World(guard=False)
    start = world.net.now
    world.join_all()
    third = start + QUERY_INTERVAL // 4 + 2 * QUERY_INTERVAL
    world.net.now = third - QUERIER_PRESENT + early
    world.send(0, query(ip6("fe80::1"), MACS[0]))
    world.queries(1)
    world.net.run((third - 1 - world.net.now) / SECOND)
    world.join_all()
    world.queries(1)
    world.net.run(1)
    assert world.queries(1) == ([] if counts else [UNSPECIFIED])


def test_which_of_several_queriers_counts() -> None:
    """The lowest address, as long as it is heard."""
    world = Alone()
    snooping = world.network.switch.snooping
    low, middle, high, highest = (ip6(f"fe80::{number}") for number in (2, 3, 5, 9))
    world.send(2, query(low, MACS[2]))
    assert [snooping.yields_to_other(address, world.now) for address in (low, middle)] == [False, True]
    world.now += QUERIER_PRESENT - 1
    world.send(0, query(high, MACS[0]))
    assert snooping.yields_to_other(middle, world.now)
    world.now += 1
    world.send(0, query(high, MACS[0]))
    world.now += 1
    assert not snooping.yields_to_other(middle, world.now)
    assert snooping.yields_to_other(highest, world.now)


@at_the_end
def test_a_leave_shortly_before_the_end_causes_no_query(early: int, counts: bool) -> None:
    """The group lives no longer than it would after a query."""
    world = World()
    world.join_all()
    world.report(1, (TO_EX, GROUP))
    start = world.net.now
    world.net.run(LISTENER_INTERVAL / SECOND - 10)
    world.join_all()
    world.queries(1)
    world.net.now = start + LISTENER_INTERVAL - LAST_LISTENER - early
    world.report(1, (TO_IN, GROUP))
    assert (GROUP in world.queries(1)) == counts


def test_a_link_that_is_too_narrow_for_ipv6_is_not_queried() -> None:
    world = World(count=2)
    world.wires.append(world.net.attach(LinkFeatures(mtu=1279)))
    world.received.append([])
    world.report(0, (TO_EX, GROUP))
    world.net.run(1)
    assert [bool(world.queries(number)) for number in range(3)] == [True, True, False]


@pytest.mark.parametrize("frame", [
    eth(b"", destination=mac_of(GROUP), kind=0x86DD),
    eth(bytes(40), destination=mac_of(GROUP), kind=0x86DD),
    ipv6(0, bytes((ICMPV6, 9)), destination=GROUP),
    ipv6(0, ALERT + b"\x8f\0", destination=GROUP),
    fragment(0, b"\x8f" + bytes(31), more=True, protocol=ICMPV6, destination=GROUP),
    udp6(b"\x8f" * 20, destination=GROUP),
    eth(bytes(40), destination=mac_of(GROUP), kind=0x88B5),
    ipv6(0, b"\x11" + ALERT[1:] + b"\x8f" * 20, destination=GROUP),
    fragment(
        0, b"\x8f" + bytes(31), more=True, protocol=ICMPV6, destination=GROUP, first=0, before=b"\x2c" + ALERT[1:]
    ),
], ids=(
    "empty", "zeros", "header beyond", "cut short", "fragment", "UDP", "another type", "UDP after an alert",
    "fragment after an alert",
))  # fmt: skip
def test_frames_that_are_no_report_are_ordinary_multicast(frame: bytes) -> None:
    world = World(guard=False)
    assert world.send(1, frame) == [True, False, True]
    assert world.net.stats.drop_mld_malformed == world.net.stats.mld_reports == 0


def test_a_report_of_which_the_end_is_missing_is_ordinary_multicast() -> None:
    """Wherever it ends."""
    report = mld(records((TO_EX, GROUP)), 143, source=LOCALS[1], destination=REPORTS, mac=MACS[1])
    for length in range(14, len(report)):
        world = Alone()
        assert world.send(1, report[:length]) == [True, False, True]
        assert world.network.stats.drop_mld_malformed == world.network.stats.mld_reports == 0


def test_padding_before_the_router_alert_is_skipped() -> None:
    world = World()
    world.join_all()
    padded = bytes((ICMPV6, 1, 0, 1, 3, 0, 0, 0)) + bytes((5, 2, 0, 0, 1, 2, 0, 0))
    world.report(1, (TO_EX, GROUP), before=padded)
    assert world.multicast(0, GROUP)[1]
