"""The judge: decides whether what reached the simulated host was allowed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network

from dnslib import DNSRecord

from slirpy.testing import Remote, VirtualNetwork
from tests.support.adversary.hearing import Heard, hear
from tests.support.adversary.lines import DEFAULT, Line
from tests.support.adversary.places import (
    BACKEND,
    DNS46,
    FORWARDED,
    GATEWAYS,
    OWN,
    OWN_PORTS,
    PROXIES,
    PROXY_PLACES,
    RELAY,
    RESOLVER,
    SECOND,
    TARGETS,
    Address,
    is_special,
    parse,
)

DELAY = 12 * SECOND
"""Time that may pass between an answer and the flow that it opens: the resolver's and the guest's patience."""
LIFE = 245 * SECOND
"""Time for which a flow of UDP or ICMP may idle, and still use the address that it had."""
RECENT = 40 * SECOND
"""Time that may pass between a guest's packet and its arrival at the host, if somebody is asked."""
_PROTOCOLS = {"connect_tcp": "tcp", "send_udp": "udp", "send_ping": "icmp"}
_WEB = (80, 443)
_FOR_EVER = 1 << 62


@dataclass
class Said:
    """An answer of the resolver."""

    name: str
    addresses: frozenset[str]
    time: int
    ttl: int


@dataclass
class Tried:
    """Packet from a guest, with the address as the guest sees it."""

    protocol: str
    address: str
    port: int
    guest: int
    time: int = field(compare=False)


@dataclass
class Opened:
    """A connection that reached the host, and the names that its address had then, or when rules changed later."""

    time: int
    guest: int | None
    names: frozenset[str]
    address: str = ""
    """Empty: a proxy resolves the name."""


class Listener(Remote):
    """A server of the outside world that keeps what it hears, and its own address."""

    @property
    def place(self) -> tuple[str, int]:
        """Address and port."""
        assert self.stream is not None
        return str(ip_address(self.stream.local[0])), self.stream.local[1]


@dataclass
class Judge:
    """Watches the host."""

    net: VirtualNetwork
    rules: list[Line] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    flows: int = 0
    proxy: str | None = None
    guarded: bool = False
    """True if a source address belongs to a lease."""
    prefix: str | None = None
    """Prefix of NAT64."""
    pool: bool = False
    """True if IPv4 addresses may stand for IPv6 hosts."""
    forwards: bool = False
    """True if the network listens on the host, at ``OWN_PORTS``."""
    guest: int | None = None
    """The guest that acts; None: unknown."""
    asked: list[set[str]] = field(default_factory=lambda: [set(), set()])
    """Names for which each guest has asked."""
    known: list[dict[tuple[str, str], int]] = field(default_factory=lambda: [{}, {}])
    """Names and addresses, as the host knows them, that each guest has heard, and when."""
    granted: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """Flows that somebody who was asked has allowed, by address or name, and when."""
    ever_granted: set[tuple[str, str, int]] = field(default_factory=set)
    relays: dict[str, int] = field(default_factory=dict)
    """Addresses that the name of a target has had, and until when new connections may go there."""
    changed: int = 0
    """Time of the latest change of the rules."""
    tries: list[Tried] = field(default_factory=list)
    lives: dict[tuple[str, str, int], tuple[int, frozenset[str], bool]] = field(default_factory=dict)
    opened: dict[tuple[str, int, int], Opened] = field(default_factory=dict)
    """By address, port, and time of the connection."""
    lasting: list[Opened] = field(default_factory=list)
    """Connections that may still be open."""
    sayings: dict[bytes, tuple[str, ...]] = field(default_factory=dict)
    """Names in datagrams."""

    def fault(self, text: str) -> None:
        """Note a violation."""
        self.faults.append(f"{text} under {[str(rule) for rule in self.rules]} at {self.net.now / SECOND:.3f}")

    def tried(self, protocol: str, address: str, port: int, guest: int) -> None:
        """Note what a guest does."""
        now = self.net.now
        self.guest = guest
        new = Tried(protocol, address, 0 if protocol == "icmp" else port, guest, now)
        self.tries = [each for each in self.tries if each.time > now - RECENT and each != new][-400:]
        self.tries.append(new)

    # -------------------------------------------------------------------------------------- names

    def live(self, address: str, time: int, guest: int | None) -> frozenset[str]:
        """The names that an address has now, for a guest or for any."""
        found = frozenset(
            said.name
            for said in self.said
            if address in said.addresses and said.time - SECOND <= time <= said.time + said.ttl * SECOND + DELAY
        )
        return found & self._asked(guest)

    def _pinned(self, address: str) -> frozenset[str]:
        """The names that an address has ever had for the guest, since clients may say them for long."""
        return frozenset(said.name for said in self.said if address in said.addresses) & self._asked(self.guest)

    def first(self, protocol: str, address: str, port: int, name: str | None) -> Line | None:
        """The rule that decides about a flow under a name."""
        where = parse(address)
        return next((rule for rule in self.rules if rule.fits(protocol, where, port, name)), None)

    def permits(
        self, protocol: str, address: str, port: int, names: Iterable[str], asked: bool = False
    ) -> dict[str | None, Line]:
        """Return the names under which a flow may reach an address, and the rules; None: without a name.

        Args:
            asked: somebody has been asked about this flow before.
        """
        found: dict[str | None, Line] = {}
        # A guest whose packet nobody hears at ::1 is led to 127.0.0.1.
        places = (address, "::1") if address == "127.0.0.1" else (address,)
        for place, name in ((place, name) for place in places for name in (None, *names)):
            rule = self.first(protocol, place, port, name)
            if rule is None or rule.refuses or rule.target is not None:
                continue
            if rule.by_name and is_special(parse(address)):
                continue
            if rule.verb == "ask" and not asked and not self._granted(protocol, address, port, name):
                continue
            found[name if place == address else f"{name} at {place}"] = rule
        return found

    def _granted(self, protocol: str, address: str, port: int, name: str | None, ever: bool = False) -> bool:
        places = map(str, GATEWAYS.values()) if parse(address).is_loopback else (address,)
        granted = self.ever_granted if ever else self.granted
        return any((protocol, each, port) in granted for each in (*places, name))

    # --------------------------------------------------------------------------------------- calls

    def look(self) -> None:
        """Judge what has reached the host since the last look."""
        for call in self.net.host.calls:
            protocol = _PROTOCOLS.get(call.name)
            if protocol is None:
                continue
            address = str(ip_address(call.address))
            port = 0 if protocol == "icmp" else call.port
            detail = bytes(call.detail) if isinstance(call.detail, bytes) else b""
            if (address, port) == (RESOLVER, 53) and protocol != "icmp":
                if protocol == "udp":
                    self._query(detail)
                continue
            self.flows += 1
            self._reached(protocol, address, port, call.time, detail)
        self.net.host.calls.clear()

    def _reached(self, protocol: str, address: str, port: int, time: int, detail: bytes) -> None:
        text = f"{protocol} {address}:{port} by {self.guest}"
        own = parse(address).is_loopback or address in OWN
        if self.forwards and (protocol, address, port) in OWN_PORTS:
            self.fault(f"{text} reached a forward of the network's own")
        if self.guarded and b"spoofed" in detail:
            self.fault(f"{text} came from another's address")
        if protocol == "tcp" and (address, port) in PROXY_PLACES.items():
            return  # it is judged by what the proxy hears
        if protocol == "tcp" and (address, port) == BACKEND and self._tried("tcp", FORWARDED, time):
            return
        places = (*self.relays, *(target for target, _ in TARGETS))
        if address in places and self._is_redirected(protocol, address, port):
            return
        key = protocol, address, port
        before, had, asked = self.lives.get(key, (-LIFE, frozenset(), False))
        lasts = protocol != "tcp" and time - before < LIFE
        live = self.live(address, time, self.guest)
        if lasts:
            live |= had
        allowed = self.permits(protocol, address, port, live, lasts and asked)
        if not allowed:
            self.fault(text)
        proxied = self.proxy is not None and not own
        if allowed and all(rule.proxy if rule.proxy is not None else proxied for rule in allowed.values()):
            self.fault(f"{text} passed the proxy by")
        self.lives[key] = time, live, True
        if protocol == "tcp":
            opened = Opened(time, self.guest, live | self._pinned(address), address)
            self.opened[address, port, time] = self._kept(opened)
        if protocol == "udp" and detail in self.sayings and allowed:
            names = self.sayings[detail]
            allowed = self.permits(protocol, address, port, live | self._pinned(address), True)
            self._said(text, allowed.items(), Heard("quic", [*filter(None, names)], unnamed="" in names), port)

    def _tried(self, protocol: str, place: tuple[str, int], time: int) -> bool:
        return any((each.protocol, each.address, each.port) == (protocol, *place) for each in self.tries)

    def _leads(self, rule: Line | None, protocol: str, wanted: int, address: str, port: int) -> bool:
        """Report whether a rule leads flows to a port to this place."""
        if rule is None or rule.target is None:
            return False
        target, number = rule.target
        if port not in (0, number or wanted):
            return False
        if target != RELAY:
            return address == target
        where = parse(address)
        special = is_special(where) or where.is_loopback or address in OWN
        if self.relays.get(address, 0) < self.net.now and (protocol == "tcp" or address not in self.relays):
            return False  # flows of datagrams may keep what they have
        return not special or bool(self.permits(protocol, address, port, ()))

    def relay_moved(self, places: list[str]) -> None:
        """Note that the name of a target has other addresses from now on."""
        for address, until in self.relays.items():
            self.relays[address] = min(until, self.net.now + RECENT)
        self.relays.update(dict.fromkeys(places, _FOR_EVER))

    def _is_redirected(self, protocol: str, address: str, port: int) -> bool:
        """Report whether a guest has tried something that a rule leads to this target."""
        for each in self.tries:
            if each.protocol != protocol:
                continue
            where, names = self.meant(each.address), frozenset(self.asked[each.guest])
            if where is None:
                if any(self._leads(rule, protocol, each.port, address, port) for rule in self.rules):
                    return True
                continue
            for name in (None, *names):
                rule = self.first(protocol, where, each.port, name)
                if self._leads(rule, protocol, each.port, address, port):
                    return True
        return False

    def meant(self, text: str) -> str | None:
        """An address of a guest as the host knows it; None: whichever, as it stands for another host."""
        address: Address = parse(text)
        if isinstance(address, IPv4Address):
            if self.pool and address in ip_network(DNS46):
                return None
        elif self.prefix is not None and address in ip_network(self.prefix):
            address = IPv4Address(int(address) & 0xFFFFFFFF)
        if str(address) in ("10.0.2.2", "10.0.2.255", "255.255.255.255"):
            return "127.0.0.1"
        return "::1" if str(address) in ("fec0::2", "fe80::2") else str(address)

    # ------------------------------------------------------------------------------------- proxies

    def proxied(self, proxy: str, destination: str | bytes, port: int) -> Opened:
        """Judge what a proxy was asked for."""
        self.flows += 1
        now, guest = self.net.now, self.guest
        ours = next(url for url in PROXIES if proxy in url)
        if isinstance(destination, bytes):
            address = str(ip_address(destination))
            allowed = self.permits("tcp", address, port, self.live(address, now, guest))
            if not any(self._through(rule, ours) for rule in allowed.values()):
                self.fault(f"{proxy} was asked for {address}:{port}")
            names = self.live(address, now, guest) | self._pinned(address)
            return self._kept(Opened(now, guest, names, address))
        places = {each for said in self.said if said.name == destination for each in said.addresses}
        rules = [rule for place in places for rule in self.permits("tcp", place, port, (destination,)).values()]
        whole = not any(rule.about_addresses for rule in self.rules)
        if not any((rule.by_name or whole) and self._through(rule, ours) for rule in rules):
            self.fault(f"{proxy} was asked for {destination}:{port}")
        return self._kept(Opened(now, guest, frozenset(self._asked(guest))))

    def _kept(self, opened: Opened) -> Opened:
        self.lasting.append(opened)
        return opened

    def _through(self, rule: Line, proxy: str, own: bool = False) -> bool:
        """Report whether a rule leads through a proxy; empty: directly."""
        if own and rule.proxy is None:
            return True
        return (self.proxy or "" if rule.proxy is None else rule.proxy) == proxy

    def replace(self, rules: list[Line]) -> None:
        """Begin to judge by other rules. Open connections may stay under names that their addresses have now."""
        self.rules, self.changed = rules, self.net.now
        for opened in self.lasting:
            asked = frozenset(self._asked(opened.guest))
            opened.names |= self.live(opened.address, self.changed, opened.guest) if opened.address else asked

    def _asked(self, guest: int | None) -> set[str]:
        return self.asked[0] | self.asked[1] if guest is None else self.asked[guest]

    # ---------------------------------------------------------------------------------- first bytes

    def heard(self, place: tuple[str, int], data: bytes, opened: Opened, switched: bool) -> None:
        """Judge what a server has heard since its connection began."""
        address, port = place
        proxy, _, far = address.rpartition(" ")
        by_name = far.endswith((".example", ".test"))  # a proxy resolves it
        places: set[tuple[str | None, str]] = {(None, far)}
        if by_name:  # at any address
            mine = [said for said in self.said if said.name in opened.names]
            places = {(said.name, where) for said in mine for where in said.addresses}
        lasts = opened.time < self.changed  # nobody is asked about it again
        url = next((url for url in PROXIES if proxy in url), "") if proxy else ""
        own = not by_name and (parse(far).is_loopback or far in OWN)
        allowed = {
            (name, rule)
            for only, where in places
            for name, rule in self.permits("tcp", where, port, (only,) if only else opened.names, True).items()
            if (self._through(rule, url, own) or (lasts and rule.verb == "ask" and rule.proxy is None))
            and (rule.verb != "ask" or lasts or self._granted("tcp", where, port, name, True))
        }
        text = f"{proxy} {far}:{port} heard {data[:60]!r}".strip()
        if not allowed:
            self.fault(f"{text} after the rules had changed")
        elif not by_name and opened.guest is not None and any(not rule.by_name for _, rule in allowed):
            self._denied(text, hear(data, switched), port, far, opened)
        else:
            self._said(text, allowed, hear(data, switched), port)

    def _said(self, text: str, allowed: Iterable[tuple[str | None, Line]], heard: Heard, port: int) -> None:
        """Judge names where rules by name have allowed a flow."""
        allowed = [*allowed]
        if any(not rule.by_name for _, rule in allowed):
            return
        modes, names = {rule.tls for _, rule in allowed}, {name for name, _ in allowed}
        if "off" in modes:
            return
        strange = [name for name in heard.names if name not in names]
        if strange:
            self.fault(f"{text}, which has {strange}")
        if heard.ech and "ech" not in modes:
            self.fault(f"{text}, which may hide a name")
        if "sni-optional" not in modes:
            if heard.unnamed:
                self.fault(f"{text}, which has no name")
            if heard.kind == "other" and port in _WEB:
                self.fault(f"{text}, which is nothing of the Web")

    def _denied(self, text: str, heard: Heard, port: int, address: str, opened: Opened) -> None:
        """Judge names that rules deny, where the address is allowed."""
        assert opened.guest is not None
        for name in heard.names:
            rule = self.first("tcp", address, port, name)
            known = self.known[opened.guest].get((name, address))
            lately = known is not None and known <= opened.time < known + 3000 * SECOND
            if lately and rule is not None and rule.by_name and rule.refuses:
                self.fault(f"{text}, which has {name}, a name that is denied")

    # -------------------------------------------------------------------------------------- queries

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
            self.fault("a message to the resolver that is no query")
            return
        if odd:
            self.fault(f"an odd query for {name}")
        if any(rule.by_name for rule in self.rules) and not self._may_ask(name):
            self.fault(f"a query for {name}")

    def _may_ask(self, name: str) -> bool:
        """Report whether any flow to a name may be allowed."""
        for rule in self.rules:
            if rule.by_name and rule.names(name):
                if not rule.refuses:
                    return True
                if not rule.port and not rule.protocol:
                    return False
            if rule.what == "any" and rule.refuses and not rule.port and not rule.protocol:
                return False
            if rule.what in ("any", "internet", DEFAULT) and not rule.refuses:
                return True
        return False

    def answered(self, message: bytes) -> None:
        """Judge an answer that a guest got: keys of ECH would hide names."""
        if any(rule.by_name for rule in self.rules) and b"ECHKEYS!" in message:
            self.fault("an answer had keys of ECH")
