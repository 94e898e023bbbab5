"""Guests that try to pass a policy by every trick, and a judge who watches the simulated host.

The judge shares no code with the package: it reads the calls that reach the host, evaluates the rules by
:mod:`ipaddress`, and knows what the resolver, which the adversary controls, has answered and when.
"""

from __future__ import annotations

import ssl
import struct
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address, ip_network
from random import Random

from dnslib import CNAME, QTYPE, RR, A, DNSRecord

from slirpy import Config, RulePolicy
from slirpy.testing import Guest, VirtualNetwork
from tests.support.harness import rfc1071

MS, SECOND = 1_000_000, 1_000_000_000
RESOLVER = "192.0.2.53"
NAMES = (
    "a.good.example",
    "b.good.example",
    "good.example",
    "evil.example",
    "x.evil.example",
    "one.test",
    "two.test",
)
PUBLIC = ("203.0.113.7", "203.0.113.8", "203.0.113.66", "198.51.100.1", "198.51.100.2", "8.8.8.8")
SPECIAL = ("10.1.2.3", "192.168.1.1", "172.16.5.5", "100.64.0.9", "127.0.0.1", "127.9.9.9", "169.254.169.254",
           "169.254.3.3", "192.0.2.1", "224.0.0.5", "255.255.255.255", "0.0.0.0", "10.0.2.2", "10.0.2.255",
           "168.63.129.16", "100.100.100.200")  # fmt: skip
"""Addresses that no answer from outside may open; 192.0.2.1 is the simulated host's own."""
CLOSED = tuple(map(ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "198.18.0.0/15", "224.0.0.0/3", "192.0.2.1/32", "168.63.129.16/32",
)))  # fmt: skip
PORTS = (22, 80, 443)
DELAY = 12 * SECOND
"""Time that may pass between an answer and the flow that it opens: the resolver's and the guest's patience."""


@cache
def hello(name: str) -> bytes:
    """The first flight of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@dataclass(frozen=True)
class Line:
    """One rule, as the judge reads it."""

    allow: bool
    what: str
    port: int

    def __str__(self) -> str:
        return f"{'allow' if self.allow else 'deny'} {self.what}" + (f":{self.port}" if self.port else "")

    def fits(self, address: str, name: str | None, port: int) -> bool:
        """Report whether the rule is about an address, or about the name that led there."""
        if self.port and port != self.port:
            return False
        if self.what[0].isdigit():
            return ip_address(address) in ip_network(self.what)
        if name is None:
            return False
        return name.endswith(self.what[1:]) if self.what.startswith("*.") else name == self.what

    @property
    def by_name(self) -> bool:
        """True for a rule by name."""
        return not self.what[0].isdigit()


@dataclass
class Said:
    """An answer of the resolver."""

    name: str
    addresses: frozenset[str]
    time: int
    ttl: int


@dataclass
class Judge:
    """Watches the host."""

    net: VirtualNetwork
    rules: list[Line] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    flows: int = 0

    def permits(
        self, address: str, port: int, time: int, names: tuple[str, ...] | None = None
    ) -> set[str | None]:
        """Return the names under which a flow may reach an address now; None among them: without a name."""
        special = any(ip_address(address) in network for network in CLOSED)
        live = {
            said.name
            for said in self.said
            if address in said.addresses and said.time - SECOND <= time <= said.time + said.ttl * SECOND + DELAY
        }
        found: set[str | None] = set()
        for name in (None, *live):
            rule = next((rule for rule in self.rules if rule.fits(address, name, port)), None)
            if rule is not None and rule.allow and not (rule.by_name and special):
                found.add(name)
        return found

    def look(self) -> None:
        """Judge what has reached the host since the last look."""
        for call in self.net.host.calls:
            if call.name not in ("connect_tcp", "send_udp", "send_ping"):
                continue
            address = str(ip_address(call.address))
            port = 0 if call.name == "send_ping" else call.port
            if (call.name, address, call.port) == ("send_udp", RESOLVER, 53):
                self._query(bytes(call.detail) if isinstance(call.detail, bytes) else b"")
                continue
            if (call.name, address, call.port) == ("connect_tcp", RESOLVER, 53):
                continue
            self.flows += 1
            if not self.permits(address, port, call.time):
                self.faults.append(f"{call.name} {address}:{port} under {[str(rule) for rule in self.rules]}")
        self.net.host.calls.clear()

    def _query(self, message: bytes) -> None:
        try:
            query = DNSRecord.parse(message)
            name = str(query.q.qname).rstrip(".").lower()
            odd = bool(
                query.header.opcode
                or len(query.questions) != 1
                or query.q.qclass != 1
                or query.rr
                or query.auth
            )
            odd = odd or query.q.qtype in (251, 252) or any(record.rtype != 41 for record in query.ar)
            odd = odd or len(query.pack()) > 600
        except Exception:  # whatever it is, it should not have been sent
            self.faults.append("a message to the resolver that is no query")
            return
        if odd:
            self.faults.append(f"an odd query for {name}")
        if any(rule.by_name for rule in self.rules):
            rules = (rule for rule in self.rules if rule.by_name and rule.fits("0.0.0.0", name, rule.port))
            verdict = next((rule for rule in rules if rule.allow or not rule.port), None)
            if verdict is None or not verdict.allow:
                self.faults.append(f"a query for {name} under {[str(rule) for rule in self.rules]}")


class Attack:
    """One network with a policy, two guests, and an adversary who also controls the resolver."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        rules = self._rules()
        policy = RulePolicy([str(rule) for rule in rules])
        self.net = VirtualNetwork(Config(resolvers=[RESOLVER], policy=policy, dns_name_rate=0), seed=seed)
        self.judge = Judge(self.net, rules)
        self.zone = {name: self.random.choices(PUBLIC, k=2) for name in NAMES}
        self.aliases: dict[str, str] = {}
        self.extra: list[tuple[str, str]] = []
        self.ttl = 60
        self.net.host.serve_udp(RESOLVER, 53, self._answer)
        self.server = self.net.host.serve_tcp(None, None)  # it keeps what it hears
        self.net.host.serve_udp(None, None, lambda payload, source, port: payload)
        self.net.boot()
        second = self.net.add_guest()
        self.net.boot(second)
        self.guests = [self.net.guest, second]
        self.net.host.calls.clear()

    def _rules(self) -> list[Line]:
        random = self.random
        pool = [
            *NAMES,
            "*.good.example",
            "*.example",
            "*.test",
            "203.0.113.0/29",
            "203.0.113.66",
            "198.51.100.0/24",
        ]
        if random.random() < 0.2:  # an address of a name is shut
            return [
                Line(False, random.choice(("203.0.113.0/24", "198.51.100.0/24")), 0),
                Line(True, "*.example", 0),
            ]
        return [
            Line(random.random() < 0.7, random.choice(pool), random.choice((0, 0, 22, 80, 443)))
            for _ in range(random.randrange(1, 6))
        ]

    def _answer(self, payload: bytes, address: object, port: int) -> bytes | None:
        try:
            query = DNSRecord.parse(payload)
        except Exception:  # the judge speaks about it
            return None
        asked = name = str(query.q.qname).rstrip(".").lower()
        reply = query.reply()
        chain = {name}
        for _ in range(5):
            if name not in self.aliases:
                break
            reply.add_answer(RR(name, QTYPE.CNAME, ttl=self.ttl, rdata=CNAME(self.aliases[name])))
            name = self.aliases[name]
            chain.add(name)
        addresses = self.zone.get(name, []) if query.q.qtype == QTYPE.A else []
        for text in addresses:
            reply.add_answer(RR(name, QTYPE.A, ttl=self.ttl, rdata=A(text)))
        for owner, text in self.extra:  # lies about names that nobody asked for
            reply.add_answer(RR(owner, QTYPE.A, ttl=86400, rdata=A(text)))
        self.judge.said.append(Said(asked, frozenset(addresses), self.net.now, self.ttl))
        lies = frozenset(text for owner, text in self.extra if owner in chain)
        self.judge.said.append(Said(asked, lies, self.net.now, 86400))
        return bytes(reply.pack())

    # ------------------------------------------------------------------------------------------ tricks

    def run(self, flows: int) -> list[str]:
        """Try that many things; returns what the judge has found."""
        tricks = (self.resolve, self.resolve, self.lie, self.tcp, self.tcp, self.tcp, self.udp, self.ping, self.wait,
                  self.fragments, self.spoof, self.odd_query, self.change, *(3 * [self.direct]))  # fmt: skip
        for _ in range(flows):
            self.random.choice(tricks)()
            self.net.run(20 * MS)
            self.judge.look()
            self._listen()
            if self.judge.faults:
                break
        return self.judge.faults

    def _listen(self) -> None:
        """Check that servers have heard hellos with names that rules allow, where no addresses are allowed."""
        for program in self.server.connections:
            heard = bytes(program.received)
            program.received.clear()
            if heard.startswith(b"\x16\x03"):
                said = {name for name in NAMES if b"\0" + bytes([len(name)]) + name.encode() in heard}
                allowed = {rule.what for rule in self.judge.rules if rule.allow}
                nets = [what for what in allowed if what[0].isdigit()]
                if (
                    said
                    and not nets
                    and not any(
                        Line(True, what, 0).fits("0.0.0.0", name, 0) for what in allowed for name in said
                    )
                ):
                    self.judge.faults.append(
                        f"a server heard {said} under {[str(rule) for rule in self.judge.rules]}"
                    )
        self.server.connections.clear()

    def guest(self) -> Guest:
        """One of the guests."""
        return self.random.choice(self.guests)

    def place(self) -> str:
        """An address worth trying."""
        known = [text for addresses in self.zone.values() for text in addresses]
        return self.random.choice((*PUBLIC, *SPECIAL) if self.random.random() < 0.4 else (*PUBLIC, *known))

    def resolve(self) -> None:
        """Ask for a name."""
        self.guest().resolve(self.random.choice(NAMES))
        self.net.run(50 * MS)

    def lie(self) -> None:
        """Change what the resolver answers."""
        random = self.random
        self.ttl = random.choice((0, 1, 60, 86400))
        self.zone[random.choice(NAMES)] = random.choices(
            random.choice((PUBLIC, PUBLIC, SPECIAL)), k=random.randrange(1, 4)
        )
        self.aliases = {} if random.random() < 0.6 else {random.choice(NAMES): random.choice(NAMES)}
        self.extra = [] if random.random() < 0.7 else [(random.choice(NAMES), random.choice(PUBLIC))]

    def tcp(self) -> None:
        """Connect, and say something, perhaps in pieces."""
        random = self.random
        stream = self.guest().connect(self.place(), random.choice(PORTS))
        name = random.choice(NAMES)
        say = random.choice(
            (b"", b"SSH-2.0-x\r\n", hello(name), f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        )
        cut = random.choice((1 << 16, 7, 100))
        for at in range(0, len(say), cut):
            if stream.closed:
                break
            stream.write(say[at : at + cut])
            if cut < 1 << 16 and at < 5 * cut:
                self.net.run(MS)
        self.net.run(random.choice((20 * MS, SECOND)))
        stream.abort()

    def direct(self) -> None:
        """Use an answer at once, with the name that was asked for."""
        name = self.random.choice(NAMES)
        guest = self.guest()
        lookup = guest.resolve(name)
        self.net.run(50 * MS)
        for address in lookup.answers[:2]:
            stream = guest.connect(address, 443)
            if not stream.closed:
                stream.write(hello(name))
            self.net.run(50 * MS)
            stream.abort()

    def udp(self) -> None:
        """Send a datagram."""
        self.guest().udp().send(
            b"x" * self.random.randrange(100), self.place(), self.random.choice((53, 80, 443, 9))
        )

    def ping(self) -> None:
        """Ping a place."""
        try:
            self.guest().ping(self.place())
        except Exception:  # an address that guests themselves refuse
            return

    def wait(self) -> None:
        """Let answers and pins end."""
        self.net.run(self.random.choice((SECOND, SECOND, 61 * SECOND, 61 * SECOND, 3700 * SECOND)))

    def packet(self, guest: Guest, source: str, payload: bytes, more: int = 0) -> None:
        """Send a packet of one's own making."""
        destination = ip_address(self.place()).packed
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, more, 64, 17, 0)
        header += ip_address(source).packed + destination
        header = header[:10] + struct.pack("!H", rfc1071(header)) + header[12:]
        guest.send_frame(bytes.fromhex("52550a000202"), 0x0800, header + payload)
        self.net.run(MS)

    def fragments(self) -> None:
        """A datagram in two pieces, the second of which would change the port."""
        guest = self.guest()
        data = struct.pack("!HHHH", 4000, self.random.choice((443, 80)), 24, 0) + bytes(16)
        self.packet(guest, "10.0.2.15", data[:16], 0x2000)
        self.packet(guest, "10.0.2.15", data[8:], 1)

    def spoof(self) -> None:
        """A datagram from the other guest's address, or from anywhere."""
        source = self.random.choice(("10.0.2.15", "10.0.2.16", "203.0.113.7", "10.0.2.2", "127.0.0.1"))
        self.packet(self.guest(), source, struct.pack("!HHHH", 4001, 443, 12, 0) + b"abcd")

    def odd_query(self) -> None:
        """A message to the DNS server that is no plain query."""
        random = self.random
        query = DNSRecord.question(random.choice(NAMES), random.choice(("A", "AXFR", "TXT", "ANY")))
        query.header.opcode = random.choice((0, 0, 2, 4, 5))
        query.q.qclass = random.choice((1, 1, 3, 255))
        message = query.pack() + random.choice((b"", b"", bytes(700)))
        self.guest().udp().send(message, "10.0.2.3", 53)

    def change(self) -> None:
        """Replace the policy."""
        if self.random.random() < 0.3:
            self.judge.look()
            self.judge.rules = self._rules()
            self.net.stack.policy = RulePolicy([str(rule) for rule in self.judge.rules])
