"""The DHCP server (RFC 2131), which also answers BOOTP (RFC 951, RFC 1534).

It is the one authority of its network, so it answers where a server among several would stay silent: a client
that asks for an address which this server knows nothing of gets it if it is free, and a NAK if it is not.
Only for another server's offer it does nothing. Relay agents are left out: every guest is on the link.
"""

from __future__ import annotations

import re

import dpkt

from slirpy.config import Config
from slirpy.errors import ConfigError, StateError
from slirpy.interfaces import Datagram, ServiceNetwork
from slirpy.services.dhcp_options import MESSAGE_MIN, read_message, search_list, write_message
from slirpy.services.leases import LEASE_SECONDS, Client, Lease, LeaseState, LeaseTable

__all__ = ["DhcpService", "Lease", "LeaseState"]

SERVER_PORT = 67
CLIENT_PORT = 68

BOOTREQUEST, BOOTREPLY = 1, 2
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = 1, 2, 3, 4, 5, 6, 7, 8

SUBNET_MASK, ROUTER, DNS_SERVER, HOSTNAME, DOMAIN, MTU, BROADCAST = 1, 3, 6, 12, 15, 26, 28
REQUESTED_ADDRESS, LEASE_TIME, MESSAGE_TYPE, SERVER_ID, REQUEST_LIST = 50, 51, 53, 54, 55
MESSAGE_TEXT, MAX_SIZE, RENEWAL, REBINDING, VENDOR_CLASS, CLIENT_ID = 56, 57, 58, 59, 60, 61
DOMAIN_SEARCH = 119

BROADCAST_FLAG = 0x8000
NOWHERE = bytes(4)
EVERYWHERE = b"\xff" * 4
EVERY_MAC = b"\xff" * 6
IP_UDP_HEADERS = 28
SIZE_MIN = 576
"""What every client takes, with IP and UDP header (RFC 2131 section 2)."""
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,255}")


class _Request:
    """One message of a client, read."""

    __slots__ = ("client", "datagram", "header", "options")

    def __init__(self, header: dpkt.dhcp.DHCP, options: dict[int, bytes], datagram: Datagram) -> None:
        self.header = header
        self.options = options
        self.datagram = datagram
        mac = header.chaddr[:6]
        identifier: bytes | None = options.get(CLIENT_ID)
        if identifier is not None and (len(identifier) < 2 or identifier == b"\1" + mac):
            identifier = (
                None  # too short to be one (RFC 2132 section 9.14), or says no more than the MAC address
            )
        name = options.get(HOSTNAME, b"").rstrip(b"\0")
        self.client = Client(
            mac,
            identifier,
            name.decode("ascii") if _NAME.fullmatch(name) else None,
            options.get(VENDOR_CLASS, b"").startswith((b"PXEClient", b"HTTPClient")),
        )

    @property
    def ciaddr(self) -> bytes:
        """The address that the client has already; zero if none."""
        ciaddr: int = self.header.ciaddr
        return ciaddr.to_bytes(4, "big")

    def address(self, option: int) -> bytes | None:
        """The value of an option that is an IPv4 address; None if it is absent, zero or something else."""
        value = self.options.get(option)
        return value if value is not None and len(value) == 4 and value != NOWHERE else None


class DhcpService:
    """A :class:`~slirpy.interfaces.Service` for port 67 of the gateway and of the broadcast addresses."""

    def __init__(self, config: Config, network: ServiceNetwork) -> None:
        """Set up the server; it gives the addresses from ``config.dhcpstart`` on.

        Raises:
            ConfigError: a host name, domain or search list that DHCP cannot carry.
        """
        self._config = config
        self._network = network
        self._table = LeaseTable(config)
        self._parameters = _parameters(config)

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
        lease = self._table.bind(Client(mac), None, self._network.now, forever=True)
        if lease is None:
            raise StateError(f"no free address in {self._config.net} for {mac.hex(':')}; use a larger network")
        return lease.address

    def first_lease(self) -> bytes | None:
        """The address that has been leased for the longest time, four bytes; None if none is."""
        return self._table.first(self._network.now)

    # ---------------------------------------------------------------------------------------- messages

    def datagram(self, datagram: Datagram) -> None:
        """Take a message of a client, and answer it."""
        stats = self._network.stats
        message = read_message(bytes(datagram.payload))
        if message is None or not _sane(*message):
            stats.drop_dhcp_malformed += 1
            return
        request = _Request(*message, datagram)
        if request.header.giaddr:
            stats.drop_dhcp_ignored += 1  # through a relay agent, which cannot be: every guest is on the link
            return
        kind = request.options.get(MESSAGE_TYPE)
        if kind is None:
            self._bootp(request)
        elif kind == bytes((DISCOVER,)):
            stats.dhcp_discover += 1
            self._discover(request)
        elif kind == bytes((REQUEST,)):
            stats.dhcp_request += 1
            self._request(request)
        elif kind == bytes((INFORM,)):
            stats.dhcp_inform += 1
            self._inform(request)
        elif kind in (bytes((RELEASE,)), bytes((DECLINE,))):
            self._give_back(request, declined=kind == bytes((DECLINE,)))
        else:
            stats.drop_dhcp_ignored += 1

    def _discover(self, request: _Request) -> None:
        """RFC 2131 section 4.3.1."""
        lease = self._table.offer(request.client, request.address(REQUESTED_ADDRESS), self._network.now)
        if lease is None:
            self._network.stats.drop_dhcp_pool_empty += 1
            return
        self._network.stats.dhcp_offer += 1
        self._reply(request, OFFER, lease.address)

    def _request(self, request: _Request) -> None:
        """RFC 2131 section 4.3.2. In all states of a client the question is: may it have this address?"""
        stats, now = self._network.stats, self._network.now
        if self._for_another_server(request):  # SELECTING, and another one was selected
            self._table.withdraw(request.client, now)
            stats.drop_dhcp_ignored += 1
            return
        address = request.address(REQUESTED_ADDRESS)  # SELECTING, INIT-REBOOT
        if address is None:
            address = request.ciaddr  # RENEWING, REBINDING
        if address == NOWHERE:
            stats.drop_dhcp_ignored += 1
            return
        if not self._table.available(address, request.client, now):
            stats.dhcp_nak += 1
            self._reply(request, NAK, NOWHERE)
        elif self._table.bind(request.client, address, now) is None:
            stats.drop_dhcp_pool_empty += 1
        else:
            stats.dhcp_ack += 1
            self._reply(request, ACK, address)

    def _inform(self, request: _Request) -> None:
        """RFC 2131 section 4.3.5: parameters for a client that has its address from elsewhere."""
        if request.ciaddr == NOWHERE and self._table.owns(request.datagram.source):
            # Some clients say their address in the IP header only.
            request.header.ciaddr = int.from_bytes(request.datagram.source, "big")
        self._network.stats.dhcp_ack += 1
        self._reply(request, ACK, NOWHERE)

    def _give_back(self, request: _Request, declined: bool) -> None:
        """RFC 2131 sections 4.3.3 and 4.3.4. Neither has a reply."""
        stats, now = self._network.stats, self._network.now
        done = False
        if not self._for_another_server(request):
            if declined:
                address = request.address(REQUESTED_ADDRESS)
                done = address is not None and self._table.decline(request.client, address, now)
            else:
                done = self._table.release(request.client, request.ciaddr, now)
        if not done:
            stats.drop_dhcp_ignored += 1
        elif declined:
            stats.dhcp_decline += 1
        else:
            stats.dhcp_release += 1

    def _bootp(self, request: _Request) -> None:
        """RFC 1534 section 2. The client never renews: its address stays while there are others to give."""
        stats, now = self._network.stats, self._network.now
        has = request.ciaddr
        wanted = has if has != NOWHERE and self._table.available(has, request.client, now) else None
        lease = self._table.bind(request.client, wanted, now)
        if lease is None:
            stats.drop_dhcp_pool_empty += 1
            return
        stats.dhcp_bootp += 1
        self._reply(request, None, lease.address)

    def _for_another_server(self, request: _Request) -> bool:
        return request.options.get(SERVER_ID, self._config.gateway_address) != self._config.gateway_address

    # ----------------------------------------------------------------------------------------- replies

    def _reply(self, request: _Request, kind: int | None, address: bytes) -> None:
        """Send a reply of RFC 2131 table 3; None as kind is that of BOOTP."""
        asked = request.header
        gateway = int.from_bytes(self._config.gateway_address, "big")
        header = dpkt.dhcp.DHCP(
            op=BOOTREPLY,
            xid=asked.xid,
            flags=asked.flags,
            ciaddr=asked.ciaddr if kind in (ACK, None) else 0,
            yiaddr=int.from_bytes(address, "big"),
            siaddr=0 if kind == NAK else gateway,
            chaddr=asked.chaddr,
            opts=(),
        )
        if kind is None:
            limit = MESSAGE_MIN
            options = list(self._parameters)
        else:
            limit = self._size_limit(request)
            options = self._options(request, kind)
        payload = write_message(header, options, limit)
        destination, mac = self._whereto(request, kind, address)
        self._network.send_datagram(
            self._config.gateway_address,
            SERVER_PORT,
            destination,
            CLIENT_PORT,
            payload,
            mac=mac,
            sink=request.datagram.sink,
        )

    def _options(self, request: _Request, kind: int) -> list[tuple[int, bytes]]:
        """The options of a reply, the most important first: what does not fit is left out at the end."""
        options = [(MESSAGE_TYPE, bytes((kind,))), (SERVER_ID, self._config.gateway_address)]
        if CLIENT_ID in request.options:
            options.append((CLIENT_ID, request.options[CLIENT_ID]))  # RFC 6842
        if kind == NAK:
            options.append((MESSAGE_TEXT, b"this address is not free on this network"))
            return options
        if request.options[MESSAGE_TYPE] != bytes((INFORM,)):
            for code, seconds in (
                (LEASE_TIME, LEASE_SECONDS),
                (RENEWAL, LEASE_SECONDS // 2),
                (REBINDING, LEASE_SECONDS * 7 // 8),
            ):
                options.append((code, seconds.to_bytes(4, "big")))
        # What the client asked for comes first, in its order; the rest may follow (RFC 2131 section 4.3.1), for
        # the sake of clients that take the MTU without asking for it.
        order = {
            code: index for index, code in reversed(list(enumerate(request.options.get(REQUEST_LIST, b""))))
        }
        options += sorted(self._parameters, key=lambda option: order.get(option[0], 256))
        return options

    def _size_limit(self, request: _Request) -> int:
        """Largest payload that the client takes: option 57 counts IP and UDP header too."""
        asked = int.from_bytes(request.options.get(MAX_SIZE, b""), "big")
        return min(max(asked, SIZE_MIN), max(self._config.mtu, SIZE_MIN)) - IP_UDP_HEADERS

    def _whereto(self, request: _Request, kind: int | None, address: bytes) -> tuple[bytes, bytes]:
        """Destination of a reply, IP and MAC address, as RFC 2131 section 4.1 says."""
        if kind == NAK:
            return EVERYWHERE, EVERY_MAC
        if self._table.owns(request.ciaddr):
            return request.ciaddr, request.client.mac
        if address == NOWHERE or request.header.flags & BROADCAST_FLAG:
            return EVERYWHERE, EVERY_MAC
        return address, request.client.mac


def _sane(header: dpkt.dhcp.DHCP, options: dict[int, bytes]) -> bool:
    """Whether it is a request of an Ethernet client."""
    mac = header.chaddr[:6]
    return (
        header.op == BOOTREQUEST
        and header.hrd == 1
        and header.hln == 6
        and not mac[0] & 1
        and mac != bytes(6)
        and len(options.get(CLIENT_ID, b"")) <= 255
    )


def _parameters(config: Config) -> tuple[tuple[int, bytes], ...]:
    """The options that are the same for all clients, the most important first."""
    options = [
        (SUBNET_MASK, config.netmask),
        (ROUTER, config.gateway_address),
        (DNS_SERVER, config.dns_address),
        (BROADCAST, config.broadcast_address),
        (MTU, config.mtu.to_bytes(2, "big")),
    ]
    for code, what, text in (
        (HOSTNAME, "hostname", config.hostname),
        (DOMAIN, "domainname", config.domainname),
    ):
        if text:
            if not text.isascii() or len(text) > 255:
                raise ConfigError(f'{what} "{text}": DHCP carries at most 255 ASCII characters')
            options.append((code, text.encode("ascii")))
    if config.dnssearch:
        try:
            options.append((DOMAIN_SEARCH, search_list(config.dnssearch)))
        except ValueError as error:
            raise ConfigError(
                f"dnssearch {error}: a domain name has ASCII labels of 1 to 63 bytes, and 255 in all"
            ) from None
    return tuple(options)
