"""The DHCP server (RFC 2131), which also answers BOOTP (RFC 951, RFC 1534).

It is the one authority of its network, so it answers where a server among several would stay silent: a client
that asks for an address which this server knows nothing of gets it if it is free, and a NAK if it is not.
Only for another server's offer it does nothing. A relay agent is answered if it is on the guests' network itself.

An address is judged before it is offered or acknowledged (``dhcp_occupancy.py``), which may take a moment: so what is
to be done with it is a function that is called then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from typing import Literal, NamedTuple

from slirpy.config import Config
from slirpy.errors import ConfigError, StateError
from slirpy.interfaces import Datagram, ServiceNetwork
from slirpy.rules.dhcp import DhcpAnswer, DhcpRequest
from slirpy.services import dhcp_message as m
from slirpy.services.dhcp_message import (
    ACK,
    CLIENT_PORT,
    NAK,
    NOWHERE,
    OFFER,
    SERVER_PORT,
    Message,
    read_request,
)
from slirpy.services.dhcp_occupancy import Neighborhood, Occupancy, Verdict
from slirpy.services.dhcp_parameters import Parameters
from slirpy.services.dhcp_reply import build_nak, build_reply
from slirpy.services.lease_keeper import LeaseKeeper, LeaseStore
from slirpy.services.leases import Client, Lease, LeaseState, LeaseTable

__all__ = ["DhcpService", "Lease", "LeaseState"]

SEARCH_MAX = 256
"""Addresses that are looked at for one message."""
EVERYWHERE = b"\xff" * 4
EVERY_MAC = b"\xff" * 6
_AS_EVER = DhcpAnswer()
_REFUSED = b"refused by the lease policy"
_NOT_FREE = b"this address is not free on this network"


class _Case(NamedTuple):
    """A request, and what was decided about it."""

    message: Message
    request: DhcpRequest
    answer: DhcpAnswer
    client: Client
    by_rule: bool
    """The client has a static lease, and the policy has not said another address."""


class _Search:
    """An address is looked for, for a client that has none or asks for any."""

    __slots__ = ("avoid", "case", "client", "found", "left", "wanted")

    def __init__(self, case: _Case, wanted: bytes | None, found: Callable[[_Case, Lease], None]) -> None:
        self.case = case
        self.client = case.client
        self.wanted = wanted
        self.found = found
        self.avoid: set[bytes] = set()
        self.left = SEARCH_MAX


class DhcpService:
    """A :class:`~slirpy.interfaces.Service` for port 67 of the gateway and of the broadcast addresses."""

    def __init__(
        self,
        config: Config,
        network: ServiceNetwork,
        store: LeaseStore | None = None,
        links: Callable[[], int] = lambda: 1,
        neighborhood: Neighborhood | None = None,
    ) -> None:
        """Set up the server; it gives the addresses from ``config.dhcpstart`` on.

        Args:
            store: where leases are kept; what it has is taken over.
            links: how many guests' links there are: several share the pool.
            neighborhood: who uses which address; None: nobody but those who have a lease.

        Raises:
            ConfigError: a host name, domain or search list that DHCP cannot carry; the store cannot be used.
        """
        self._config = config
        self._network = network
        self._table = LeaseTable(config, links=links)
        self._occupancy = Occupancy(network, self._table, links, neighborhood)
        self._searches: dict[tuple[bytes, bytes | None], _Search] = {}
        """By MAC address and identifier; those that wait for an answer."""
        self._parameters = Parameters(config)
        self._keeper = None if store is None else LeaseKeeper(self._table, network, store)

    # -------------------------------------------------------------------------------------- for others

    def leases(self) -> list[Lease]:
        """Copies of the leases that hold an address now: offered, bound or set aside."""
        return self._table.current(self._network.now)

    def reserve(self, mac: bytes) -> bytes:
        """The address of the guest with this MAC address, four bytes; it gets one if it has none.

        The lease is bound and does not expire: it is for an interface that does not run DHCP itself.

        Raises:
            StateError: all addresses are leased.
        """
        now = self._network.now
        rule = self._table.static(mac, None, now)
        client = Client(mac) if rule is None else Client(mac, hostname=rule.hostname, fixed=rule.address.packed)
        lease = self._unused(client) if rule is None else self._table.choose(client, None, now)
        if lease is None or self._table.bind(client, lease.address, now, reserve=True) is None:
            raise StateError(f"no free address in {self._config.net} for {mac.hex(':')}; use a larger network")
        self._keep()
        return lease.address

    def _unused(self, client: Client) -> Lease | None:
        """An address that nobody was heard to use."""
        avoid: set[bytes] = set()
        for _ in range(SEARCH_MAX):
            lease = self._table.choose(client, None, self._network.now, avoid)
            if lease is None:
                return None
            verdict = self._occupancy.seen(lease.address, client)
            if not verdict.taken:
                return lease
            self._pass_over(lease.address, verdict)
            avoid.add(lease.address)
        return None

    def first_lease(self) -> bytes | None:
        """The address that has been leased for the longest time, four bytes; None if none is."""
        return self._table.first(self._network.now)

    def names(self) -> list[tuple[str, bytes]]:
        """Host name and address, four bytes, of each guest that has both now. No name is there twice, in any case."""
        return self._table.names(self._network.now)

    def exclude(self, address: bytes) -> None:
        """No guest gets this address from now on; four bytes.

        Raises:
            ConfigError: a guest has it, or a static lease.
        """
        if not self._table.exclude(address, self._network.now):
            raise ConfigError(f"{IPv4Address(address)} is leased to a guest; choose another address")

    def close(self) -> None:
        """Save what is to be kept."""
        if self._keeper is not None:
            self._keeper.close()

    def _keep(self) -> None:
        if self._keeper is not None:
            self._keeper.check()

    # ---------------------------------------------------------------------------------------- messages

    def datagram(self, datagram: Datagram) -> None:
        """Take a message of a client, and answer it."""
        stats = self._network.stats
        message = read_request(datagram)
        if message is None:
            stats.drop_dhcp_malformed += 1
            return
        if message.relay is not None and not self._table.owns(message.relay):
            stats.drop_dhcp_ignored += 1  # for another network, whose addresses we do not have
            return
        kind = message.kind
        if kind is None:
            self._bootp(message)
        elif kind == m.DISCOVER:
            stats.dhcp_discover += 1
            self._discover(message)
        elif kind == m.REQUEST:
            stats.dhcp_request += 1
            self._request(message)
        elif kind == m.INFORM:
            stats.dhcp_inform += 1
            self._inform(message)
        elif kind in (m.RELEASE, m.DECLINE):
            self._give_back(message, declined=kind == m.DECLINE)
        else:
            stats.drop_dhcp_ignored += 1
        self._keep()

    def _decide(self, message: Message, kind: Literal["discover", "request", "inform", "bootp"]) -> _Case:
        """Ask the rules and the policy; the policy has the last word.

        Raises:
            ConfigError: the policy gave something else than it should.
        """
        options = message.options
        requested = message.address(m.REQUESTED_ADDRESS) or message.ciaddr
        architecture = options.get(m.ARCHITECTURE, b"")[:2]
        request = DhcpRequest(
            kind,
            message.mac,
            message.client_id,
            message.hostname,
            options.get(m.VENDOR_CLASS, b""),
            options.get(m.USER_CLASS, b""),
            int.from_bytes(architecture, "big") if len(architecture) == 2 else None,
            IPv4Address(requested) if requested != NOWHERE else None,
            options,
        )
        policy = self._config.lease_policy
        answer = (None if policy is None else policy(request)) or _AS_EVER
        if not isinstance(answer, DhcpAnswer):
            raise ConfigError(f"lease_policy gave {answer!r}; it must give a DhcpAnswer or None")
        rule = self._table.static(message.mac, message.client_id, self._network.now)
        by_rule = rule is not None and answer.address is None
        if rule is not None:
            answer = replace(
                answer, address=answer.address or rule.address, hostname=answer.hostname or rule.hostname
            )
        return _Case(
            message,
            request,
            answer,
            Client(
                message.mac,
                message.client_id,
                answer.hostname or message.hostname,
                message.firmware,
                None if answer.address is None else answer.address.packed,
                message.datagram.sink,
                message.datagram.mac if message.relay is None else b"",
            ),
            by_rule,
        )

    def _discover(self, message: Message) -> None:
        """RFC 2131 section 4.3.1."""
        stats = self._network.stats
        case = self._decide(message, "discover")
        if case.answer.refuse:
            stats.drop_dhcp_refused += 1
            return
        self._search(_Search(case, message.address(m.REQUESTED_ADDRESS), self._offer))

    def _offer(self, case: _Case, lease: Lease) -> None:
        self._network.stats.dhcp_offer += 1
        self._reply(case, OFFER, lease.address)

    def _request(self, message: Message) -> None:
        """RFC 2131 section 4.3.2. In all states of a client the question is: may it have this address?"""
        stats, now = self._network.stats, self._network.now
        if self._for_another_server(message):  # SELECTING, and another one was selected
            self._table.withdraw(_plain(message), now)
            stats.drop_dhcp_ignored += 1
            return
        address = message.address(m.REQUESTED_ADDRESS)  # SELECTING, INIT-REBOOT
        if address is None:
            address = message.ciaddr  # RENEWING, REBINDING
        if address == NOWHERE:
            lease = self._table.find(_plain(message), now)
            if lease is None:
                stats.drop_dhcp_ignored += 1
                return
            address = lease.address  # an option 50 that cannot be read: what it has been offered
        case = self._decide(message, "request")
        if case.answer.refuse:
            self._nak(case, _REFUSED)
        else:
            self._confirm(case, address, self._acknowledge)

    def _confirm(self, case: _Case, address: bytes, then: Callable[[_Case, bytes], None]) -> None:
        """Call ``then`` if the client may have an address, and refuse it if not."""
        if not self._table.available(address, case.client, self._network.now):
            self._nak(case, _NOT_FREE)
            return

        def judged(verdict: Verdict) -> None:
            if verdict.taken:
                self._pass_over(address, verdict)
            if verdict.taken or not self._table.available(address, case.client, self._network.now):
                self._nak(case, _NOT_FREE)
            else:
                then(case, address)
            self._keep()

        self._occupancy.judge(address, case.client, judged, new=False)

    def _acknowledge(self, case: _Case, address: bytes) -> None:
        if self._table.bind(case.client, address, self._network.now, case.answer.lease_time) is None:
            self._network.stats.drop_dhcp_pool_empty += 1
            return
        self._network.stats.dhcp_ack += 1
        self._reply(case, ACK, address)

    def _nak(self, case: _Case, why: bytes) -> None:
        """Say no. BOOTP knows no word for it."""
        if case.message.kind is None:
            self._network.stats.drop_dhcp_pool_empty += 1
            return
        self._network.stats.dhcp_nak += 1
        payload = build_nak(case.message, self._config.gateway_address, why)
        self._send(case.message, NAK, NOWHERE, payload)

    def _inform(self, message: Message) -> None:
        """RFC 2131 section 4.3.5: parameters for a client that has its address from elsewhere."""
        source = message.datagram.source
        if message.ciaddr == NOWHERE and self._table.owns(source):
            message.header.ciaddr = int.from_bytes(
                source, "big"
            )  # some say their address in the IP header only
        case = self._decide(message, "inform")
        if case.answer.refuse:
            self._network.stats.drop_dhcp_refused += 1
            return
        self._network.stats.dhcp_ack += 1
        self._reply(case, ACK, NOWHERE)

    def _give_back(self, message: Message, declined: bool) -> None:
        """RFC 2131 sections 4.3.3 and 4.3.4. Neither has a reply."""
        stats, now = self._network.stats, self._network.now
        done = False
        if not self._for_another_server(message):
            if declined:
                address = message.address(m.REQUESTED_ADDRESS)
                done = address is not None and self._table.decline(_plain(message), address, now)
            else:
                done = self._table.release(_plain(message), message.ciaddr, now)
                if done:
                    self._occupancy.released(message.ciaddr)
        if not done:
            stats.drop_dhcp_ignored += 1
        elif declined:
            stats.dhcp_decline += 1
        else:
            stats.dhcp_release += 1

    def _bootp(self, message: Message) -> None:
        """RFC 1534 section 2. The client never renews: its address stays while there are others to give."""
        case = self._decide(message, "bootp")
        if case.answer.refuse:
            self._network.stats.drop_dhcp_refused += 1
            return
        has = message.ciaddr
        if has != NOWHERE and self._table.available(has, case.client, self._network.now):
            self._confirm(case, has, self._boot)
        else:
            self._search(_Search(case, None, lambda case, lease: self._boot(case, lease.address)))

    def _boot(self, case: _Case, address: bytes) -> None:
        """Bind and answer a client of BOOTP."""
        if self._table.bind(case.client, address, self._network.now, case.answer.lease_time) is None:
            self._network.stats.drop_dhcp_pool_empty += 1
            return
        self._network.stats.dhcp_bootp += 1
        self._reply(case, None, address)

    # ---------------------------------------------------------------------------------- free addresses

    def _search(self, search: _Search) -> None:
        """Look for an address; a client that repeats itself meanwhile is answered by its last word."""
        key = search.client.mac, search.client.client_id
        waiting = self._searches.get(key)
        if waiting is not None:
            waiting.case, waiting.found = search.case, search.found
            return
        self._searches[key] = search
        self._next(search)

    def _next(self, search: _Search) -> None:
        """Take the next address that might do, and have it judged."""
        now = self._network.now
        lease = None
        if search.left:
            search.left -= 1
            lease = self._table.choose(search.client, search.wanted, now, search.avoid)
        if lease is None:
            self._network.stats.drop_dhcp_pool_empty += 1
            self._forget(search)
            return
        new = lease.heard is None or lease.mac != search.client.mac
        if not lease.is_held_by_another(search.client, now):
            self._table.hold(lease, search.client, now)
        self._occupancy.judge(lease.address, search.client, partial(self._judged, search, lease), new=new)

    def _judged(self, search: _Search, lease: Lease, verdict: Verdict) -> None:
        address, now = lease.address, self._network.now
        if verdict.taken or not self._table.available(address, search.client, now):
            self._pass_over(address, verdict)
            search.avoid.add(address)
            if search.client.fixed == address and search.case.by_rule:
                search.client = replace(search.client, fixed=None)  # as when it had declined it
            self._next(search)
            return
        self._forget(search)
        self._table.hold(lease, search.client, now)
        search.found(search.case, lease)
        self._keep()

    def _forget(self, search: _Search) -> None:
        del self._searches[search.client.mac, search.client.client_id]

    def _pass_over(self, address: bytes, verdict: Verdict) -> None:
        """Do not give an address away that is in use."""
        self._network.stats.dhcp_in_use += 1
        user = verdict.user
        if user is not None:
            self._table.set_aside(address, Client(user.mac, link=user.port), self._network.now)

    def _for_another_server(self, message: Message) -> bool:
        server = message.address(m.SERVER_ID)
        return server is not None and server != self._config.gateway_address

    # ----------------------------------------------------------------------------------------- replies

    def _reply(self, case: _Case, kind: int | None, address: bytes) -> None:
        """Send what a client is told; None as ``kind`` is a reply of BOOTP."""
        config, message = self._config, case.message
        leased = kind is not None and address != NOWHERE
        told = self._parameters.told(case.request, case.answer)
        seconds = (case.answer.lease_time or config.lease_time) if leased else None
        payload = build_reply(message, kind, config.gateway_address, address, told, seconds, config.mtu)
        self._send(message, kind, address, payload)

    def _send(self, message: Message, kind: int | None, address: bytes, payload: bytes) -> None:
        relay = message.relay
        destination, mac = (
            self._whereto(message, kind, address) if relay is None else (relay, message.datagram.mac)
        )
        self._network.send_datagram(
            self._config.gateway_address,
            SERVER_PORT,
            destination,
            CLIENT_PORT if relay is None else SERVER_PORT,
            payload,
            mac=mac,
            sink=message.datagram.sink,
        )

    def _whereto(self, message: Message, kind: int | None, address: bytes) -> tuple[bytes, bytes]:
        """Destination of a reply, IP and MAC address, as RFC 2131 section 4.1 says."""
        if kind == NAK:
            return EVERYWHERE, EVERY_MAC
        if self._table.owns(message.ciaddr):
            return message.ciaddr, message.mac
        if address == NOWHERE or message.header.flags & m.BROADCAST_FLAG:
            return EVERYWHERE, EVERY_MAC
        return address, message.mac


def _plain(message: Message) -> Client:
    """The client of a message about which nothing is to be decided."""
    return Client(
        message.mac, message.client_id, message.hostname, message.firmware, link=message.datagram.sink
    )
