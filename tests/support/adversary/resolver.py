"""The resolver outside, which the adversary controls."""

from __future__ import annotations

from random import Random

from dnslib import CNAME, PTR, QTYPE, RD, RR, A, DNSRecord

from tests.support.adversary.judge import Judge, Said
from tests.support.adversary.places import NAMES, PUBLIC, PUBLIC6, SPECIAL, SPECIAL6, forms

HTTPS, SVCB = 65, 64
_ECH = b"\0\5\0\x08ECHKEYS!"
TTLS = (0, 1, 60, 86400)


class Resolver:
    """Answers as it likes, and tells the judge.

    Args:
        random: decides.
        judge: hears each answer.
    """

    def __init__(self, random: Random, judge: Judge) -> None:
        from dnslib import AAAA

        self._aaaa = AAAA
        self.random = random
        self.judge = judge
        self.zone = {name: random.choices(PUBLIC, k=2) for name in NAMES}
        self.zone6 = {name: random.choices(PUBLIC6, k=random.choice((0, 1, 2))) for name in NAMES}
        self.aliases: dict[str, str] = {}
        self.extra: list[tuple[str, str]] = []
        self.ttl = 60

    def change(self) -> None:
        """Answer something else from now on."""
        random = self.random
        self.ttl = random.choice(TTLS)
        bad = random.random() < 0.35
        self.zone[random.choice(NAMES)] = random.choices(SPECIAL if bad else PUBLIC, k=random.randrange(4))
        led = forms(random.choice((*SPECIAL, *PUBLIC)))
        self.zone6[random.choice(NAMES)] = random.choices(
            (*SPECIAL6, *led, *led) if bad else PUBLIC6, k=random.randrange(4)
        )
        self.aliases = {} if random.random() < 0.6 else {random.choice(NAMES): random.choice(NAMES)}
        self.extra = [] if random.random() < 0.7 else [(random.choice(NAMES), random.choice(PUBLIC))]

    def places(self) -> list[str]:
        """All addresses that names have."""
        return [text for zone in (self.zone, self.zone6) for addresses in zone.values() for text in addresses]

    def __call__(self, payload: bytes, address: object, port: int) -> bytes | None:
        """Answer a query."""
        try:
            query = DNSRecord.parse(payload)
        except Exception:  # the judge speaks about it
            return None
        asked = name = str(query.q.qname).rstrip(".").lower()
        reply = query.reply()
        kind = query.q.qtype
        if kind == 12:
            reply.add_answer(RR(asked, kind, ttl=self.ttl, rdata=PTR(self.random.choice(NAMES))))
            return bytes(reply.pack())
        chain = {name}
        for _ in range(5):
            if name not in self.aliases:
                break
            reply.add_answer(RR(name, QTYPE.CNAME, ttl=self.ttl, rdata=CNAME(self.aliases[name])))
            name = self.aliases[name]
            chain.add(name)
        addresses: list[str] = []
        if kind == 1:
            addresses = self.zone.get(name, [])
        elif kind == 28:
            addresses = self.zone6.get(name, [])
        elif kind in (HTTPS, SVCB):
            hint = bytes(map(int, self.random.choice(PUBLIC).split(".")))
            reply.add_answer(RR(name, kind, ttl=self.ttl, rdata=RD(b"\0\1\0\0\4\0\4" + hint + _ECH)))
        make = A if kind == 1 else self._aaaa
        for text in addresses:
            reply.add_answer(RR(name, kind, ttl=self.ttl, rdata=make(text)))
        for owner, text in self.extra:  # lies about names that nobody asked for
            reply.add_answer(RR(owner, QTYPE.A, ttl=86400, rdata=A(text)))
        self._tell(asked, frozenset(addresses), self.ttl)
        if kind == 1:
            self._tell(asked, frozenset(text for owner, text in self.extra if owner in chain), 86400)
        return bytes(reply.pack())

    def _tell(self, asked: str, addresses: frozenset[str], ttl: int) -> None:
        from ipaddress import ip_address

        texts = frozenset(str(ip_address(text)) for text in addresses)
        self.judge.said.append(Said(asked, texts | self._translated(texts), self.judge.net.now, ttl))

    def _translated(self, texts: frozenset[str]) -> frozenset[str]:
        """The IPv4 hosts for which addresses of NAT64 stand."""
        from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

        prefix = self.judge.prefix
        found = (ip_address(text) for text in texts)
        return frozenset(
            str(IPv4Address(int(each) & 0xFFFFFFFF))
            for each in found
            if prefix is not None and isinstance(each, IPv6Address) and each in ip_network(prefix)
        )
