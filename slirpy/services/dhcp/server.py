"""The DHCP server (RFC 2131), which also answers BOOTP (RFC 951, RFC 1534).

It is the only authority on its network, so it answers where one server among several would stay silent: a client
that requests an address without a lease gets it if it is free, and a NAK if not. It ignores only the messages that
accept another server's offer. It answers a relay agent if that is on the guests' network itself.

An address is judged before it is offered or acknowledged (see ``occupancy.py``). That may take a moment, so the
rest of the work is a function that is called with the result.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Literal

from slirpy.config import Config
from slirpy.config.dhcp import DhcpAnswer, DhcpRequest
from slirpy.interfaces import Datagram, ServiceNetwork
from slirpy.records import NamedTuple
from slirpy.services.dhcp.book import LeaseBook
from slirpy.services.dhcp.lease import Client, Lease
from slirpy.services.dhcp.occupancy import Verdict
from slirpy.services.dhcp.replies import Parameters, build_nak, build_reply
from slirpy.services.dhcp.rules import rule_on
from slirpy.wire import dhcp, ethernet
from slirpy.wire.dhcp import UNSPECIFIED, Message, read_request

__all__ = ["DhcpService"]

_LIMITED_BROADCAST = b"\xff" * 4
_REFUSED = b"refused by the lease policy"
_NOT_FREE = b"this address is not free on this network"


class Decision(NamedTuple):
    """A client's request, and what the static leases and the lease policy decided about it."""

    message: Message
    request: DhcpRequest
    answer: DhcpAnswer
    client: Client
    by_rule: bool
    """True if the client's address is that of its static lease, and not one from the lease policy."""


class DhcpService:
    """A :class:`~slirpy.interfaces.Service` for port 67 of the gateway and of the broadcast addresses."""

    def __init__(self, config: Config, network: ServiceNetwork, book: LeaseBook) -> None:
        """Set up a server of the leases in ``book``.

        Raises:
            ConfigError: DHCP cannot carry the host name, domain or search list.
        """
        self._config = config
        self._network = network
        self._book = book
        self._table = book.v4.table
        self._occupancy = book.v4.occupancy
        self._search = book.v4.search
        self._parameters = Parameters(config)

    # ---------------------------------------------------------------------------------------- messages

    def datagram(self, datagram: Datagram) -> None:
        """Answer a client's message."""
        stats = self._network.stats
        message = read_request(datagram)
        if message is None:
            stats.drop_dhcp_malformed += 1
            return
        if message.relay is not None and not self._table.owns(message.relay):
            stats.drop_dhcp_ignored += 1  # from another network, whose addresses are not ours
            return
        kind = message.kind
        if kind is None:
            self._bootp(message)
        elif kind == dhcp.DISCOVER:
            stats.dhcp_discover += 1
            self._discover(message)
        elif kind == dhcp.REQUEST:
            stats.dhcp_request += 1
            self._request(message)
        elif kind == dhcp.INFORM:
            stats.dhcp_inform += 1
            self._inform(message)
        elif kind in (dhcp.RELEASE, dhcp.DECLINE):
            self._release(message, declined=kind == dhcp.DECLINE)
        else:
            stats.drop_dhcp_ignored += 1
        self._book.save_changes()

    def _decide(self, message: Message, kind: Literal["discover", "request", "inform", "bootp"]) -> Decision:
        """Apply the static leases and the lease policy; the policy takes precedence.

        Raises:
            ConfigError: the policy returned something other than a DhcpAnswer or None.
        """
        options = message.options
        requested = message.address(dhcp.REQUESTED_ADDRESS) or message.ciaddr
        architecture = options.get(dhcp.ARCHITECTURE, b"")[:2]
        request = DhcpRequest(
            kind,
            message.mac.hex(":"),
            message.client_id,
            message.hostname,
            options.get(dhcp.VENDOR_CLASS, b""),
            options.get(dhcp.USER_CLASS, b""),
            int.from_bytes(architecture, "big") if len(architecture) == 2 else None,
            IPv4Address(requested) if requested != UNSPECIFIED else None,
            options,
        )
        answer, fixed, by_rule = rule_on(
            self._config, self._table, request, Client(message.mac, message.client_id), self._network.now
        )
        return Decision(
            message,
            request,
            answer,
            Client(
                message.mac,
                message.client_id,
                answer.hostname or message.hostname,
                message.firmware,
                fixed,
                message.datagram.link,
                message.datagram.mac if message.relay is None else b"",
            ),
            by_rule,
        )

    def _discover(self, message: Message) -> None:
        """RFC 2131 section 4.3.1."""
        decision = self._decide(message, "discover")
        if decision.answer.refuse:
            self._network.stats.drop_dhcp_refused += 1
            return
        self._find(decision, message.address(dhcp.REQUESTED_ADDRESS), self._offer)

    def _offer(self, decision: Decision, address: bytes) -> None:
        self._network.stats.dhcp_offer += 1
        self._reply(decision, dhcp.OFFER, address)

    def _request(self, message: Message) -> None:
        """RFC 2131 section 4.3.2. In every state of the client the question is whether it may have this address."""
        stats, now = self._network.stats, self._network.now
        if self._for_another_server(message):  # SELECTING, and another server was selected
            self._table.withdraw(_client_of(message), now)
            stats.drop_dhcp_ignored += 1
            return
        address = message.address(dhcp.REQUESTED_ADDRESS)  # SELECTING, INIT-REBOOT
        if address is None:
            address = message.ciaddr  # RENEWING, REBINDING
        if address == UNSPECIFIED:
            # Option 50 is absent or unreadable: the client means the address that it was offered.
            lease = self._table.find(_client_of(message), now)
            if lease is None:
                stats.drop_dhcp_ignored += 1
                return
            address = lease.address
        decision = self._decide(message, "request")
        if decision.answer.refuse:
            self._nak(decision, _REFUSED)
        else:
            self._confirm(decision, address, self._acknowledge)

    def _acknowledge(self, decision: Decision, address: bytes) -> None:
        if self._bind(decision, address):
            self._network.stats.dhcp_ack += 1
            self._reply(decision, dhcp.ACK, address)

    def _inform(self, message: Message) -> None:
        """RFC 2131 section 4.3.5: parameters for a client that was given its address by other means."""
        source = message.datagram.source
        if message.ciaddr == UNSPECIFIED and self._table.owns(source):
            # Some clients give their address in the IP header only.
            message.header.ciaddr = int.from_bytes(source, "big")
        decision = self._decide(message, "inform")
        if decision.answer.refuse:
            self._network.stats.drop_dhcp_refused += 1
            return
        self._network.stats.dhcp_ack += 1
        self._reply(decision, dhcp.ACK, UNSPECIFIED)

    def _release(self, message: Message, declined: bool) -> None:
        """RFC 2131 sections 4.3.3 and 4.3.4. Neither DECLINE nor RELEASE has a reply."""
        stats, now = self._network.stats, self._network.now
        done = False
        if not self._for_another_server(message):
            if declined:
                address = message.address(dhcp.REQUESTED_ADDRESS)
                done = address is not None and self._table.decline(_client_of(message), address, now)
            else:
                done = self._table.release(_client_of(message), message.ciaddr, now)
                if done:
                    self._occupancy.released(message.ciaddr)
        if not done:
            stats.drop_dhcp_ignored += 1
        elif declined:
            stats.dhcp_decline += 1
        else:
            stats.dhcp_release += 1

    def _bootp(self, message: Message) -> None:
        """RFC 1534 section 2. A BOOTP client never renews, so it keeps its address while there are others left."""
        decision = self._decide(message, "bootp")
        if decision.answer.refuse:
            self._network.stats.drop_dhcp_refused += 1
            return
        current = message.ciaddr
        if current != UNSPECIFIED and self._table.available(current, decision.client, self._network.now):
            self._confirm(decision, current, self._boot)
        else:
            self._find(decision, None, self._boot)

    def _boot(self, decision: Decision, address: bytes) -> None:
        if self._bind(decision, address):
            self._network.stats.dhcp_bootp += 1
            self._reply(decision, None, address)

    # --------------------------------------------------------------------------------------- addresses

    def _find(self, decision: Decision, wanted: bytes | None, then: Callable[[Decision, bytes], None]) -> None:
        """Call ``then`` with an address for the client, when one is found."""

        def found(lease: Lease | None) -> None:
            if lease is not None:
                then(decision, lease.address)
            self._book.save_changes()

        self._search.start(decision.client, wanted, found, by_rule=decision.by_rule)

    def _confirm(self, decision: Decision, address: bytes, then: Callable[[Decision, bytes], None]) -> None:
        """Call ``then`` if the client may have an address, and refuse it if not."""
        if not self._table.available(address, decision.client, self._network.now):
            self._nak(decision, _NOT_FREE)
            return

        def judged(verdict: Verdict) -> None:
            if verdict.taken:
                self._search.pass_over(address, verdict)
            if verdict.taken or not self._table.available(address, decision.client, self._network.now):
                self._nak(decision, _NOT_FREE)
            else:
                then(decision, address)
            self._book.save_changes()

        self._occupancy.judge(address, decision.client, judged, new=False)

    def _bind(self, decision: Decision, address: bytes) -> bool:
        """Bind the client's address; False, and counted, if the table has no room."""
        lease_time = decision.answer.lease_time
        if self._table.bind(decision.client, address, self._network.now, lease_time) is None:
            self._network.stats.drop_dhcp_pool_empty += 1
            return False
        return True

    def _for_another_server(self, message: Message) -> bool:
        server = message.address(dhcp.SERVER_ID)
        return server is not None and server != self._config.gateway_address

    # ----------------------------------------------------------------------------------------- replies

    def _reply(self, decision: Decision, kind: int | None, address: bytes) -> None:
        """Send an OFFER or ACK with the client's parameters, or with None as ``kind`` a BOOTP reply."""
        config, message = self._config, decision.message
        leased = kind is not None and address != UNSPECIFIED
        fields = self._parameters.reply_fields(decision.request, decision.answer)
        seconds = (decision.answer.lease_time or config.lease_time) if leased else None
        payload = build_reply(message, kind, config.gateway_address, address, fields, seconds, config.mtu)
        self._send(message, kind, address, payload)

    def _nak(self, decision: Decision, reason: bytes) -> None:
        """Refuse an address. BOOTP has no message for this, so its client gets no reply."""
        if decision.message.kind is None:
            self._network.stats.drop_dhcp_pool_empty += 1
            return
        self._network.stats.dhcp_nak += 1
        payload = build_nak(decision.message, self._config.gateway_address, reason)
        self._send(decision.message, dhcp.NAK, UNSPECIFIED, payload)

    def _send(self, message: Message, kind: int | None, address: bytes, payload: bytes) -> None:
        relay = message.relay
        if relay is None:
            port = dhcp.CLIENT_PORT
            destination, mac = self._destination(message, kind, address)
        else:
            port = dhcp.SERVER_PORT
            destination, mac = relay, message.datagram.mac
        self._network.send_datagram(
            self._config.gateway_address,
            dhcp.SERVER_PORT,
            destination,
            port,
            payload,
            mac=mac,
            link=message.datagram.link,
        )

    def _destination(self, message: Message, kind: int | None, address: bytes) -> tuple[bytes, bytes]:
        """The IP and MAC address that a reply goes to (RFC 2131 section 4.1)."""
        if kind == dhcp.NAK:
            return _LIMITED_BROADCAST, ethernet.BROADCAST
        if self._table.owns(message.ciaddr):
            return message.ciaddr, message.mac
        if address == UNSPECIFIED or message.header.flags & dhcp.BROADCAST_FLAG:
            return _LIMITED_BROADCAST, ethernet.BROADCAST
        return address, message.mac


def _client_of(message: Message) -> Client:
    """The client that sent a message, for messages that need no decision."""
    return Client(
        message.mac, message.client_id, message.hostname, message.firmware, link=message.datagram.link
    )
