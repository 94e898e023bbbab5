"""A network with rules by name, a resolver whose answers a test chooses, and servers."""

from __future__ import annotations

from collections.abc import Callable

from dnslib import AAAA, CNAME, QTYPE, RR, A, DNSRecord

from slirpy import Config, RulePolicy
from slirpy.tcp import State
from slirpy.testing import Echo, VirtualNetwork

MS, SECOND = 1_000_000, 1_000_000_000

ESTABLISHED, SYN_SENT = State.ESTABLISHED, State.SYN_SENT

RESOLVER = "192.0.2.53"

GOOD, OTHER, EVIL = "203.0.113.7", "203.0.113.8", "203.0.113.66"


class Zone:
    """A resolver whose answers the test chooses: ``zone["example.org"] = ["203.0.113.7"]``."""

    def __init__(self, net: VirtualNetwork) -> None:
        self.names: dict[str, list[str]] = {}
        self.aliases: dict[str, str] = {}
        self.ttl = 60
        self.asked: list[str] = []
        self.special: Callable[[bytes], bytes] | None = None
        net.host.serve_udp(RESOLVER, 53, self._answer)

    def __setitem__(self, name: str, addresses: list[str]) -> None:
        self.names[name] = addresses

    def _answer(self, payload: bytes, address: object, port: int) -> bytes:
        if self.special is not None:
            return self.special(payload)
        query = DNSRecord.parse(payload)
        name = str(query.q.qname).rstrip(".").lower()
        self.asked.append(name)
        reply = query.reply()
        while name in self.aliases:
            reply.add_answer(RR(name, QTYPE.CNAME, ttl=self.ttl, rdata=CNAME(self.aliases[name])))
            name = self.aliases[name]
        for text in self.names.get(name, ()):
            kind, data = (AAAA, QTYPE.AAAA) if ":" in text else (A, QTYPE.A)
            if data == query.q.qtype:
                reply.add_answer(RR(name, data, ttl=self.ttl, rdata=kind(text)))
        return bytes(reply.pack())


class World:
    """A network with a policy, a resolver, and servers at three addresses that count their connections."""

    def __init__(self, *rules: str, policy: object = None, **options: object) -> None:
        chosen = policy if policy is not None else RulePolicy(rules)
        self.net = VirtualNetwork(Config(resolvers=[RESOLVER], policy=chosen, **options))  # type: ignore[arg-type] # of whatever kind
        self.zone = Zone(self.net)
        self.servers = {
            address: self.net.host.serve_tcp(address, None, Echo) for address in (GOOD, OTHER, EVIL)
        }
        self.net.boot()

    def resolve(self, name: str, kind: str = "A") -> list[str]:
        """Ask as the guest, and wait."""
        lookup = self.net.guest.resolve(name, kind)
        self.net.run_until(lambda: lookup.done)
        return lookup.answers

    def reached(self, address: str, port: int = 22, say: bytes = b"") -> bool:
        """Connect as the guest; whether the connection was established, and what was said came back."""
        stream = self.net.guest.connect(address, port)
        if say:
            stream.write(say)
        self.net.run_until(
            lambda: stream.closed or (stream.received == say if say else stream.state is ESTABLISHED)
        )
        good = not stream.error
        stream.abort()
        self.net.run(100 * MS)
        return good

    def connections(self) -> dict[str, int]:
        """Connections that each server has had."""
        return {
            address: len(server.connections) for address, server in self.servers.items() if server.connections
        }
