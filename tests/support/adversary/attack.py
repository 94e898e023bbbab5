"""One network with a policy, and all that its guests try."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv6Address, ip_address
from random import Random
from typing import Any

from dnslib import DNSRecord

from slirpy import Config
from slirpy.errors import SlirpyError
from slirpy.interfaces import Action, Decision, FlowRequest, Verdict
from slirpy.testing import Guest, GuestStream, UdpSocket, VirtualNetwork
from tests.support.adversary import packets, sayings
from tests.support.adversary.judge import Judge
from tests.support.adversary.lines import lines, policy
from tests.support.adversary.places import (
    DNS46,
    FORWARDED,
    HOSTFWD,
    MS,
    NAMES,
    NAT64,
    NAT64_OWN,
    OWN,
    PORTS,
    PROXIES,
    PROXY_PLACES,
    PUBLIC,
    PUBLIC6,
    RELAY,
    RESOLVER,
    SECOND,
    SPECIAL,
    SPECIAL6,
    forms,
)
from tests.support.adversary.resolver import Resolver
from tests.support.adversary.servers import Proxy, Server
from tests.support.harness import rfc1071

GOOD = ("a.good.example", "b.good.example", "good.example", "one.test")
"""Names for which the second guest asks."""
KEPT = 6
"""Connections that stay open."""
_INBOX = 9999


class Attack:
    """One network with a policy, two guests, and an adversary who also controls the resolver."""

    def __init__(self, seed: int) -> None:
        random = self.random = Random(seed)
        prefix = random.choice((None, None, NAT64, NAT64_OWN))
        self.pool = random.random() < 0.25
        self.isolated = random.random() < 0.4
        proxy = random.choice((None, None, *PROXIES))
        guarded = random.random() < 0.4
        options: dict[str, Any] = {"dns46": DNS46} if self.pool else {}
        if prefix is not None:
            options.update(nat64=True, nat64_prefix=prefix)
        forwards = random.random() < 0.5
        if forwards:
            options.update(hostfwd=HOSTFWD, guestfwd=["tcp:10.0.2.100:80-tcp:9.9.9.12:80"])
        rules = lines(random, proxies=True)
        self.net = VirtualNetwork(
            Config(
                resolvers=[RESOLVER],
                policy=policy(rules),
                dns_name_rate=0,
                isolate=self.isolated,
                source_guard=guarded,
                proxy=proxy,
                asker=self._ask,
                **options,
            ),
            seed=seed,
        )
        self.judge = Judge(
            self.net, rules, proxy=proxy, guarded=guarded, prefix=prefix, pool=self.pool, forwards=forwards
        )
        self.resolver = Resolver(random, self.judge)
        self._move_relay()
        host = self.net.host
        host.serve_udp(RESOLVER, 53, self.resolver)
        host.serve_udp(None, None, lambda payload, source, port: payload)
        if random.random() < 0.5:
            for port in (*PORTS, 2222, 2223):  # what listens at one loopback only
                host.unreachable("::1", port, errno.ECONNREFUSED)
        self.server = host.serve_tcp(None, None, lambda: Server(random, self.judge))
        self.proxies = [
            host.serve_tcp(address, port, lambda: Proxy(random, self.judge))
            for address, port in PROXY_PLACES.items()
        ]
        self.guests = [self.net.guest, self.net.add_guest()]
        for guest in self.guests:
            self._boot(guest, guarded)
        self.inboxes = [guest.udp(_INBOX) for guest in self.guests]
        self.sockets = [guest.udp(9) for guest in self.guests]
        self.streams: list[tuple[GuestStream, int, str, int]] = []
        self.watched: list[UdpSocket] = []
        self.unsure = 0
        """Time until which what a guest has given up may still reach the host."""
        self.decisions: list[tuple[Decision, FlowRequest, Verdict]] = []
        host.calls.clear()

    def _boot(self, guest: Guest, guarded: bool) -> None:
        self.net.boot(guest, ipv6=not guarded)
        if guarded:  # IPv6 addresses have leases, too
            guest.autoconfigure()
            client = guest.dhcp6()
            self.net.run_until(lambda: client.bound)

    # ----------------------------------------------------------------------------------- who is asked

    def _ask(self, request: FlowRequest, verdict: Verdict) -> Verdict | Decision:
        if self.random.random() < 0.5:
            decision = Decision()
            self.decisions.append((decision, request, verdict))
            return decision
        return self._answer(request, verdict)

    def _answer(self, request: FlowRequest, verdict: Verdict) -> Verdict:
        if request.destination_port in (443, 9):
            return Verdict(Action.REJECT)
        protocol = {1: "icmp", 6: "tcp", 17: "udp"}[request.protocol]
        for goal in (str(request.destination), *verdict.names):
            self.judge.granted[protocol, goal, request.destination_port] = self.net.now
            self.judge.ever_granted.add((protocol, goal, request.destination_port))
        return Verdict(Action.ALLOW)

    # ------------------------------------------------------------------------------------------ tricks

    def run(self, flows: int) -> list[str]:
        """Try that many things; returns what the judge has found."""
        tricks = (self.resolve, self.resolve, self.lie, *(4 * [self.tcp]), self.more, self.more, self.udp, self.udp,
                  self.again, self.ping, self.wait, self.fragments, self.spoof, self.odd_query, self.stream_query,
                  self.change, self.quic, self.quic, self.neighbor, self.own, self.own, self.forged, self.decide,
                  self.moved,
                  *(4 * [self.direct]))  # fmt: skip
        for _ in range(flows):
            self.random.choice(tricks)()
            self.net.run(20 * MS)
            self._look()
            if self.judge.faults:
                break
        return self.judge.faults

    def _look(self) -> None:
        judge, now = self.judge, self.net.now
        judge.look()
        for server in (self.server, *self.proxies):
            for program in server.connections:
                if isinstance(program, Server) and program.news and program.opened is not None:
                    program.news = False
                    judge.heard(program.goal, bytes(program.heard), program.opened, program.switched)
            server.connections = [each for each in server.connections if each.error is None and not each.ended]
        for number, inbox in enumerate(self.inboxes):
            if self.isolated and any(
                message.payload == f"from {1 - number}".encode() for message in inbox.received
            ):
                judge.fault(f"guest {number} heard the other")
            inbox.received.clear()
        for socket in self.watched:
            for message in socket.received:
                judge.answered(message.payload)
        self.watched.clear()
        for stream, number, address, port in self.streams:
            if stream.state.name == "SYN_SENT":  # it repeats its SYN for longer than the judge remembers
                self.tried("tcp", address, port, number)
        judge.granted = {goal: time for goal, time in judge.granted.items() if time > now - 40 * SECOND}
        self.net.transcript.clear()

    def act(self) -> tuple[int, Guest]:
        """One of the guests, which acts now."""
        number = self.random.randrange(2)
        held = self.decisions or self.net.now < self.unsure
        held = held or any(stream.state.name == "SYN_SENT" for stream, *_ in self.streams)
        self.judge.guest = None if held else number
        return number, self.guests[number]

    def tried(self, protocol: str, address: str, port: int, number: int) -> None:
        """Tell the judge."""
        guest = self.judge.guest
        self.judge.tried(protocol, str(ip_address(address)), port, number)
        self.judge.guest = guest

    def place(self) -> str:
        """An address worth trying."""
        random = self.random
        kind = random.random()
        if kind < 0.15:
            return random.choice(SPECIAL)
        if kind < 0.25:
            return random.choice(SPECIAL6)
        if kind < 0.4:
            return random.choice(forms(random.choice((*SPECIAL, *PUBLIC))))
        if kind < 0.45:
            return random.choice((*PROXY_PLACES, "9.9.9.9", "2620:fe::9", "9.9.9.12", "10.0.2.100"))
        return random.choice((*PUBLIC, *PUBLIC6, *self.resolver.places()))

    def port(self) -> int:
        """A port worth trying."""
        return self.random.choice((*PORTS, *PORTS, 2222, 2223, 5353, 8080, 3128, 1080, 53, 9))

    def name(self, number: int) -> str:
        """A name that a guest may ask for."""
        return self.random.choice(GOOD if number else NAMES)

    def lookup(self, number: int, name: str, kind: str) -> list[str]:
        """Ask for a name, and wait for the answer."""
        guest = self.guests[number]
        self.judge.asked[number].add(name)
        servers = [None, "fec0::3", "10.0.2.3"]
        found = guest.resolve(name, kind, self.random.choice(servers))
        self.net.run(30 * MS)
        # What an answer says about other names, or in records that were not asked for, counts for nobody.
        said = {each for said in self.judge.said if said.name == name for each in said.addresses}
        for address in found.answers:
            if kind in ("A", "AAAA"):
                place = self.judge.meant(str(ip_address(address))) or address
                if place in said:
                    self.judge.known[number][name, place] = self.net.now
        self.judge.answered(found.message)
        return found.answers if kind in ("A", "AAAA") else []

    def resolve(self) -> None:
        """Ask for a name."""
        number, _ = self.act()
        kind = self.random.choice(("A", "A", "A", "AAAA", "AAAA", "HTTPS", "TXT"))
        self.lookup(number, self.name(number), kind)

    def lie(self) -> None:
        """Change what the resolver answers."""
        self.resolver.change()
        if self.random.random() < 0.3:
            self._move_relay()

    def _move_relay(self) -> None:
        """Change what the host's resolver library answers about the target of a redirect."""
        all_places = (*PUBLIC, *PUBLIC, *PUBLIC6, *SPECIAL, *SPECIAL6, *OWN)
        places = self.random.choices(all_places, k=self.random.randrange(3))
        self.net.host.add_name(RELAY, *places)
        self.judge.relay_moved([str(ip_address(place)) for place in places])

    def tcp(self) -> None:
        """Connect, and say something, perhaps in pieces."""
        number, _ = self.act()
        self._connect(number, self.place(), self.random.choice(PORTS))

    def direct(self) -> None:
        """Use an answer at once, with the name that was asked for."""
        number, _ = self.act()
        name = self.name(number)
        for address in self.lookup(number, name, self.random.choice(("A", "AAAA")))[:2]:
            self._connect(number, address, self.random.choice((80, 443, 443)), name)

    def moved(self) -> None:
        """Use an address that a name had before."""
        number, _ = self.act()
        name = self.name(number)
        self.resolver.ttl = self.random.choice((0, 1))
        before = self.lookup(number, name, "A")
        self.resolver.zone[name] = self.random.choices(PUBLIC, k=2)
        self.net.run(self.random.choice((3 * SECOND, 90 * SECOND)))
        for address in before[:1]:
            self._connect(number, address, self.random.choice((80, 443)), name)

    def _connect(self, number: int, address: str, port: int, name: str | None = None) -> None:
        random = self.random
        try:
            stream = self.guests[number].connect(address, port)
        except SlirpyError:  # an address that guests themselves refuse
            return
        self.tried("tcp", address, port, number)
        self.net.run(random.choice((0, 10 * MS)))
        self._say(stream, name)
        if random.random() < 0.4 and not stream.closed:
            self.streams.append((stream, number, address, port))
            if len(self.streams) > KEPT:
                self._abort(self.streams.pop(0)[0])
        else:
            self.net.run(random.choice((10 * MS, SECOND)))
            self._abort(stream)

    def _abort(self, stream: GuestStream) -> None:
        if stream.state.name == "SYN_SENT":  # the network does not hear of it, and goes on connecting
            self.unsure = self.net.now + 35 * SECOND
        stream.abort()

    def _say(self, stream: GuestStream, name: str | None) -> None:
        random = self.random
        words = sayings.named(random, name) if name and random.random() < 0.6 else None
        if words is None:
            words = sayings.anything(random, name or random.choice(NAMES), random.choice(NAMES))
        cut = random.choice((1 << 16, 1 << 16, 7, 100))
        for at in range(0, len(words), cut):
            if stream.closed:
                return
            piece = words[at : at + cut] if at < 5 * cut else words[at:]
            stream.write(piece)
            if len(piece) != cut:
                break
            self.net.run(MS)

    def more(self) -> None:
        """Say more on a connection that is open."""
        if self.streams:
            stream, number, address, port = self.random.choice(self.streams)
            self.act()
            self.judge.guest = None if self.judge.guest is None else number
            self.tried("tcp", address, port, number)
            if stream.closed:
                self.streams = [each for each in self.streams if each[0] is not stream]
            else:
                self._say(stream, None)

    def udp(self) -> None:
        """Send a datagram from a new port."""
        number, guest = self.act()
        address, port = self.place(), self.port()
        self._send(guest.udp(), number, address, port, b"x" * self.random.randrange(100))

    def again(self) -> None:
        """Send datagrams from a port that has been in use for long, and that a forward leads to."""
        number, _ = self.act()
        if self.random.random() < 0.3 and self.net.stack.hostfwds():
            self.net.host.send_udp(b"from outside", "127.0.0.1", 5353)
            self.net.run(5 * MS)
        for _ in range(2):
            self._send(self.sockets[number], number, self.random.choice((*PUBLIC[:3], *PUBLIC6[:2])),
                       self.random.choice((53, 9)), b"again")  # fmt: skip

    def quic(self) -> None:
        """Send packets of QUIC."""
        number, guest = self.act()
        name, other = self.name(number), self.random.choice(NAMES)
        places = (
            self.lookup(number, name, self.random.choice(("A", "AAAA"))) if self.random.random() < 0.7 else []
        )
        socket, place = guest.udp(), places[0] if places else self.place()
        for payload, names in sayings.quic(self.random, name, other):
            self.judge.sayings[payload] = names
            self._send(socket, number, place, 443, payload)
            self.net.run(self.random.choice((0, 5 * MS)))

    def _send(self, socket: UdpSocket, number: int, address: str, port: int, payload: bytes) -> None:
        try:
            socket.send(payload, address, port)
        except SlirpyError:
            return
        self.tried("udp", address, port, number)

    def ping(self) -> None:
        """Ping a place."""
        number, guest = self.act()
        address = self.place()
        try:
            guest.ping(address)
        except SlirpyError:
            return
        self.tried("icmp", address, 0, number)

    def wait(self) -> None:
        """Let answers and pins end."""
        self.judge.guest = None
        self.net.run(self.random.choice((SECOND, SECOND, 61 * SECOND, 61 * SECOND, 3700 * SECOND)))

    # ----------------------------------------------------------------------------------------- packets

    def source(self, number: int, version: int) -> str:
        """The address of a guest."""
        guest = self.guests[number]
        return str(guest.address if version == 4 else guest.address6)

    def frame(self, guest: Guest, packet: bytes, mac: bytes | None = None) -> None:
        """Send a packet."""
        version = packet[0] >> 4
        guest.send_frame(mac or packets.GATEWAY_MAC[version], packets.ETHERTYPE[version], packet)
        self.net.run(MS)

    def fragments(self) -> None:
        """A datagram in two pieces, the second of which would change the port; or behind extension headers."""
        number, guest = self.act()
        address, port = self.place(), self.random.choice((443, 80, 22))
        version = ip_address(address).version
        source = self.source(number, version)
        for each in PORTS:
            self.tried("udp", address, each, number)
        data = packets.udp(source, address, (4000, port), b"fragment" * 3)
        if version == 4:
            self.frame(guest, packets.ipv4(source, address, data[:16], 0x2000))
            self.frame(guest, packets.ipv4(source, address, data[8:], 1))
            # A loose source route (RFC 791), which would lead on.
            route = b"\x83\x07\x04" + ip_address(self.random.choice(PUBLIC)).packed + b"\0"
            self.frame(guest, packets.ipv4(source, address, data, options=route))
        elif self.random.random() < 0.5:
            for packet in packets.fragments6(source, address, data, self.random.random() < 0.5):
                self.frame(guest, packet)
        else:
            first, payload = packets.extended(self.random, data, self.random.choice(PUBLIC6))
            self.frame(guest, packets.ipv6(source, address, payload, first))

    def spoof(self) -> None:
        """A datagram from the other guest's address, or from anywhere."""
        number, guest = self.act()
        address = self.place()
        version = ip_address(address).version
        other = self.source(1 - number, version)
        source = self.random.choice(
            (other, "203.0.113.7", "10.0.2.2", "10.0.2.99", "127.0.0.1")
            if version == 4
            else (other, "2001:db8:7::7", "fec0::2", "fec0::99", "::1", "fe80::99")
        )
        self.tried("udp", address, 443, number)
        if not self.judge.guarded:
            self.judge.guest = None
        payload = b"spoofed" if source != "fe80::99" else b"link-local"  # which needs no lease
        self.frame(guest, self._datagram(source, address, 443, payload))

    @staticmethod
    def _datagram(source: str, address: str, port: int, payload: bytes) -> bytes:
        data = packets.udp(source, address, (4001, port), payload)
        return (packets.ipv6 if ip_address(address).version == 6 else packets.ipv4)(source, address, data)

    def forged(self) -> None:
        """An advertisement that leads elsewhere, or a claim of another's address."""
        _, guest = self.act()
        target = ip_address(
            self.random.choice(("fec0::2", "fec0::3", "fe80::2", str(self.guests[0].address6)))
        ).packed
        body = self.random.choice(
            (
                struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0),
                struct.pack("!BBHI", 136, 0, 0, 0x60000000) + target + b"\2\1" + guest.mac,
                struct.pack("!BBHI", 137, 0, 0, 0) + target + ip_address("2001:db8:7::7").packed,
            )
        )
        source, group = "fe80::2", "ff02::1"
        pseudo = IPv6Address(source).packed + IPv6Address(group).packed + struct.pack("!II", len(body), 58)
        body = body[:2] + struct.pack("!H", rfc1071(pseudo + body)) + body[4:]
        packet = bytearray(packets.ipv6(source, group, body, 58))
        packet[7] = 255
        self.frame(guest, bytes(packet), bytes.fromhex("333300000001"))

    def neighbor(self) -> None:
        """Speak with the other guest, by any address."""
        number, guest = self.act()
        other = self.guests[1 - number]
        goals = [*map(str, other.addresses), "10.0.2.255", "255.255.255.255", "224.0.0.1", "ff02::1"]
        goal, payload = self.random.choice(goals), f"from {number}".encode()
        self.tried("udp", goal, _INBOX, number)
        if self.random.random() < 0.5:
            self._send(guest.udp(), number, goal, _INBOX, payload)
        else:
            version = ip_address(goal).version
            mac = self.random.choice((other.mac, b"\xff" * 6, bytes.fromhex("333300000001")))
            self.frame(guest, self._datagram(self.source(number, version), goal, _INBOX, payload), mac)

    def own(self) -> None:
        """Connect to what the network itself listens on, or to a service of the network."""
        number, guest = self.act()
        address = self.random.choice(("10.0.2.2", "fec0::2", "192.0.2.1", "fec0::2", "2001:db8::1",
                                      "64:ff9b::c000:201", "64:ff9b::a00:202", "10.0.2.255",
                                      FORWARDED[0]))  # fmt: skip
        port = FORWARDED[1] if address == FORWARDED[0] else self.random.choice((2222, 2223, 5353))
        self._send(guest.udp(), number, address, port, b"own")
        if address != "10.0.2.255":
            self._connect(number, address, port)

    # --------------------------------------------------------------------------------------------- DNS

    def odd_query(self) -> None:
        """A message to the DNS server that is no plain query."""
        number, guest = self.act()
        socket = guest.udp()
        socket.send(self._odd(number), self.random.choice(("10.0.2.3", "fec0::3")), 53)
        self.watched.append(socket)

    def _odd(self, number: int) -> bytes:
        random = self.random
        name = self.name(number)
        self.judge.asked[number].add(name)
        name = random.choice((name, name, name.upper(), "7.113.0.203.in-addr.arpa"))
        query = DNSRecord.question(name, random.choice(("A", "AXFR", "TXT", "ANY", "HTTPS", "SVCB", "PTR")))
        query.header.opcode = random.choice((0, 0, 0, 2, 4, 5))
        query.q.qclass = random.choice((1, 1, 1, 3, 255))
        return bytes(query.pack()) + random.choice((b"", b"", b"", bytes(700)))

    def stream_query(self) -> None:
        """Questions over TCP, several at once."""
        number, guest = self.act()
        name = self.name(number)
        self.judge.asked[number].add(name)
        plain = bytes(DNSRecord.question(name, self.random.choice(("A", "AAAA", "HTTPS"))).pack())
        stream = guest.connect(self.random.choice(("10.0.2.3", "fec0::3")), 53)
        stream.write(b"".join(struct.pack("!H", len(each)) + each for each in (plain, self._odd(number))))
        self.net.run(50 * MS)
        self.judge.answered(bytes(stream.received))
        stream.abort()

    # ------------------------------------------------------------------------------------------ policy

    def change(self) -> None:
        """Replace the policy."""
        if self.random.random() < 0.3:
            self.net.run(10 * MS)
            self._look()
            if self.judge.faults:
                return
            self.decisions.clear()
            self.judge.replace(lines(self.random, proxies=True))
            self.net.stack.policy = policy(self.judge.rules)

    def decide(self) -> None:
        """Answer what was asked."""
        self.judge.guest = None
        decisions, self.decisions = self.decisions, []
        for decision, request, verdict in decisions:
            decision.give(self._answer(request, verdict))
        self.net.run(10 * MS)
