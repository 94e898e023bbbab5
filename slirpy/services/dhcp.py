"""The DHCP server (RFC 2131), which also answers BOOTP (RFC 951, RFC 1534).

It is the one authority of its network, so it answers where a server among several would stay silent: a client
that asks for an address which this server knows nothing of gets it if it is free, and a NAK if it is not.
Only for another server's offer it does nothing. Relay agents are left out: every guest is on the link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Literal, NamedTuple

from slirpy.config import Config
from slirpy.errors import ConfigError, StateError
from slirpy.interfaces import Datagram, ServiceNetwork
from slirpy.rules.dhcp import DhcpAnswer, DhcpRequest
from slirpy.services import dhcp_message as m
from slirpy.services.dhcp_message import ACK, NAK, NOWHERE, OFFER, Message, read_request
from slirpy.services.dhcp_parameters import Parameters
from slirpy.services.dhcp_reply import build_nak, build_reply
from slirpy.services.lease_keeper import LeaseKeeper, LeaseStore
from slirpy.services.leases import Client, Lease, LeaseState, LeaseTable

__all__ = ["DhcpService", "Lease", "LeaseState"]

SERVER_PORT = 67
CLIENT_PORT = 68
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


class DhcpService:
    """A :class:`~slirpy.interfaces.Service` for port 67 of the gateway and of the broadcast addresses."""

    def __init__(
        self,
        config: Config,
        network: ServiceNetwork,
        store: LeaseStore | None = None,
        links: Callable[[], int] = lambda: 1,
    ) -> None:
        """Set up the server; it gives the addresses from ``config.dhcpstart`` on.

        Args:
            store: where leases are kept; what it has is taken over.
            links: how many guests' links there are: several share the pool.

        Raises:
            ConfigError: a host name, domain or search list that DHCP cannot carry; the store cannot be used.
        """
        self._config = config
        self._network = network
        self._table = LeaseTable(config, links=links)
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
        lease = self._table.bind(client, None, now, reserve=True)
        if lease is None:
            raise StateError(f"no free address in {self._config.net} for {mac.hex(':')}; use a larger network")
        self._keep()
        return lease.address

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
        if message.header.giaddr:
            stats.drop_dhcp_ignored += 1  # through a relay agent, which cannot be: every guest is on the link
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
            ),
        )

    def _discover(self, message: Message) -> None:
        """RFC 2131 section 4.3.1."""
        stats = self._network.stats
        case = self._decide(message, "discover")
        if case.answer.refuse:
            stats.drop_dhcp_refused += 1
            return
        lease = self._table.offer(case.client, message.address(m.REQUESTED_ADDRESS), self._network.now)
        if lease is None:
            stats.drop_dhcp_pool_empty += 1
            return
        stats.dhcp_offer += 1
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
            stats.drop_dhcp_ignored += 1
            return
        case = self._decide(message, "request")
        if case.answer.refuse or not self._table.available(address, case.client, now):
            stats.dhcp_nak += 1
            why = _REFUSED if case.answer.refuse else _NOT_FREE
            self._send(message, NAK, NOWHERE, build_nak(message, self._config.gateway_address, why))
        elif self._table.bind(case.client, address, now, case.answer.lease_time) is None:
            stats.drop_dhcp_pool_empty += 1
        else:
            stats.dhcp_ack += 1
            self._reply(case, ACK, address)

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
        if not done:
            stats.drop_dhcp_ignored += 1
        elif declined:
            stats.dhcp_decline += 1
        else:
            stats.dhcp_release += 1

    def _bootp(self, message: Message) -> None:
        """RFC 1534 section 2. The client never renews: its address stays while there are others to give."""
        stats, now = self._network.stats, self._network.now
        case = self._decide(message, "bootp")
        if case.answer.refuse:
            stats.drop_dhcp_refused += 1
            return
        has = message.ciaddr
        wanted = has if has != NOWHERE and self._table.available(has, case.client, now) else None
        lease = self._table.bind(case.client, wanted, now, case.answer.lease_time)
        if lease is None:
            stats.drop_dhcp_pool_empty += 1
            return
        stats.dhcp_bootp += 1
        self._reply(case, None, lease.address)

    def _for_another_server(self, message: Message) -> bool:
        return message.options.get(m.SERVER_ID, self._config.gateway_address) != self._config.gateway_address

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
        destination, mac = self._whereto(message, kind, address)
        self._network.send_datagram(
            self._config.gateway_address,
            SERVER_PORT,
            destination,
            CLIENT_PORT,
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
