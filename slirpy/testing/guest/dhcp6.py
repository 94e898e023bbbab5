"""The DHCPv6 client of a :class:`~slirpy.testing.guest.Guest` (RFC 8415): an address, or other information only.

The first server that advertises an address is chosen, without waiting for better ones. DHCPv6 knows neither routes
nor networks; :meth:`~slirpy.testing.guest.Guest.autoconfigure` obtains them from the routers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address

from slirpy.checks import switch
from slirpy.core.timers import Alarm
from slirpy.records import NamedTuple
from slirpy.reprs import never_raises
from slirpy.testing.guest.ip import IpHost
from slirpy.testing.guest.udp import Message as Datagram
from slirpy.testing.guest.udp import UdpHost
from slirpy.testing.recent import Recent
from slirpy.units import MS, SECOND
from slirpy.wire import dhcp6
from slirpy.wire.dhcp6 import Association, IaAddress, Message, pack_option

__all__ = ["Dhcp6Client", "Dhcp6Lease"]

REFRESH = 86_400
"""Seconds after which information is asked for again, if the server does not say (IRT_DEFAULT)."""
_WANTED = (dhcp6.DNS_SERVERS, dhcp6.DOMAIN_LIST, dhcp6.BOOTFILE_URL, dhcp6.SOL_MAX_RT)
_WANTED_ALONE = (*_WANTED[:-1], dhcp6.INFORMATION_REFRESH_TIME, dhcp6.INF_MAX_RT)
_SENT = {
    "SOLICITING": (dhcp6.SOLICIT, SECOND, 3600 * SECOND),
    "REQUESTING": (dhcp6.REQUEST, SECOND, 30 * SECOND),
    "RENEWING": (dhcp6.RENEW, 10 * SECOND, 600 * SECOND),
    "REBINDING": (dhcp6.REBIND, 10 * SECOND, 600 * SECOND),
    "RELEASING": (dhcp6.RELEASE, SECOND, 3600 * SECOND),
    "INFORMING": (dhcp6.INFORMATION_REQUEST, SECOND, 3600 * SECOND),
}
"""Message of each state, with the time to the first retransmission and the longest (RFC 8415, section 7.6)."""
_TRIES = {"REQUESTING": 10, "RELEASING": 4}
"""Number of times that it is sent; others are sent until there is an answer (REQ_MAX_RC, REL_MAX_RC)."""


class Dhcp6Lease(NamedTuple):
    """The address granted by a REPLY, and what came with it."""

    address: IPv6Address
    preferred: int
    """Seconds for which it is preferred."""
    valid: int
    """Seconds for which it is valid."""
    t1: int
    """Seconds until it is renewed."""
    t2: int
    """Seconds until any server is asked."""
    server: bytes
    """DUID of the server."""
    dns: tuple[IPv6Address, ...]
    search: tuple[str, ...]
    granted_at: int
    """Nanoseconds."""
    options: Mapping[int, Sequence[bytes]]
    """All options, as received."""


class Dhcp6Client:
    """Obtains an address, renews it in time, and releases it; or obtains information without an address.

    Attributes:
        state: ``INIT``, ``SOLICITING``, ``REQUESTING``, ``BOUND``, ``RENEWING``, ``REBINDING``, ``RELEASING``,
            ``INFORMING`` or ``INFORMED``.
        lease: the last granted lease that is still valid.
        duid: the client's identifier, made of the MAC address.
        iaid: the four bytes that name the association, the last ones of the MAC address.
        received: the newest 10,000 messages from a server to this client, in order. May be cleared.
    """

    def __init__(self, guest: IpHost, udp: UdpHost) -> None:
        self._guest = guest
        self._socket = udp.open(dhcp6.CLIENT_PORT)
        self._socket.on_message = self._input
        self._alarm = Alarm(guest.timers, self._due)
        self._xid = b""
        self._retry = 0
        self._tries = 0
        self._began = 0
        self._rapid = False
        self._wanted: Association | None = None
        self._server = b""
        self._dns: list[bytes] = []
        self._last: Message | None = None
        self.duid = dhcp6.duid_of_mac(guest.mac)
        self.iaid = guest.mac[2:]
        self.state = "INIT"
        self.lease: Dhcp6Lease | None = None
        self.received: Recent[Message] = Recent()

    @never_raises
    def __repr__(self) -> str:
        return f"<Dhcp6Client {self.state}: {'no lease' if self.lease is None else self.lease.address}>"

    # ------------------------------------------------------------------------------------- for the user

    @property
    def bound(self) -> bool:
        """True if the guest has an address from this client."""
        return self.lease is not None

    @property
    def informed(self) -> bool:
        """True if a server has sent information: :attr:`dns`, :attr:`search` and :attr:`options`."""
        return self._last is not None

    @property
    def options(self) -> Mapping[int, Sequence[bytes]]:
        """Options of the last REPLY, by code."""
        return {} if self._last is None else self._last.options

    @property
    def dns(self) -> list[IPv6Address]:
        """DNS servers according to the last REPLY."""
        return [] if self._last is None else list(map(IPv6Address, self._last.dns_servers))

    @property
    def search(self) -> list[str]:
        """Domains in which to look for short names, according to the last REPLY."""
        return [] if self._last is None else list(self._last.domains)

    def start(self, *, rapid_commit: bool = False) -> None:
        """Send SOLICIT, unless there is a lease or an attempt in progress.

        Args:
            rapid_commit: whether the server may assign the address at once (section 18.2.1).

        Raises:
            ConfigError: ``rapid_commit`` is neither True nor False.
        """
        switch("rapid_commit", rapid_commit)
        if self.state in ("INIT", "INFORMED"):
            self._rapid = rapid_commit
            self._begin("SOLICITING")

    def inform(self) -> None:
        """Ask for information without an address (section 18.2.6), unless something is in progress."""
        if self.state in ("INIT", "INFORMED"):
            self._begin("INFORMING")

    def renew(self) -> None:
        """Renew the lease now; ``lease.granted_at`` shows when it was granted. Does nothing without a lease."""
        if self.lease is not None:
            self._begin("RENEWING")
            self._guest.flush()

    def release(self) -> None:
        """Release the address, until the server confirms it (section 18.2.7). Harmless without one."""
        if self.lease is not None:
            self._forget()
            self._begin("RELEASING")
            self._guest.flush()

    # ------------------------------------------------------------------------------------------ sending

    def _begin(self, state: str) -> None:
        self.state = state
        self._xid = self._guest.random.randbytes(3)
        self._retry = self._tries = 0
        self._began = self._guest.now
        self._ask()

    def _ask(self) -> None:
        """Send the message of the current state, and set the time of the next one (section 15)."""
        guest = self._guest
        kind, first, longest = _SENT[self.state]
        if self._tries == _TRIES.get(self.state, -1):
            self._give_up()
            return
        self._tries += 1
        self._send(kind)
        spread = guest.random.randrange(1 if kind == dhcp6.SOLICIT and not self._retry else -100, 101)
        base, unit = (2 * self._retry, self._retry) if self._retry else (first, first)
        if base > longest:
            base = unit = longest
        self._retry = base + unit * spread // 1000
        again = guest.now + self._retry
        if self.lease is not None:
            end = self.lease.t2 if self.state == "RENEWING" else self.lease.valid
            again = min(again, self.lease.granted_at + end * SECOND)
        self._alarm.set(again)

    def _send(self, kind: int) -> None:
        guest = self._guest
        alone = kind == dhcp6.INFORMATION_REQUEST
        elapsed = min((guest.now - self._began) // (10 * MS), 0xFFFF)
        options = [pack_option(dhcp6.CLIENT_ID, self.duid)]
        if kind in (dhcp6.REQUEST, dhcp6.RENEW, dhcp6.RELEASE):
            options.append(pack_option(dhcp6.SERVER_ID, self._server))
        if not alone:
            wanted = self._wanted.addresses if self._wanted is not None and kind != dhcp6.SOLICIT else ()
            addresses = [dhcp6.ia_address(each.address, 0, 0) for each in wanted]
            options.append(dhcp6.ia_na(self.iaid, 0, 0, *addresses))
        if kind != dhcp6.RELEASE:
            codes = _WANTED_ALONE if alone else _WANTED
            options.append(pack_option(dhcp6.ORO, b"".join(code.to_bytes(2, "big") for code in codes)))
            if guest.hostname and not alone:
                options.append(dhcp6.pack_fqdn((guest.hostname,)))
        options.append(pack_option(dhcp6.ELAPSED_TIME, elapsed.to_bytes(2, "big")))
        if kind == dhcp6.SOLICIT and self._rapid:
            options.append(pack_option(dhcp6.RAPID_COMMIT, b""))
        message = dhcp6.write_message(kind, self._xid, options)
        self._socket.send(message, IPv6Address(dhcp6.ALL_SERVERS), dhcp6.SERVER_PORT)

    def _due(self) -> None:
        """Handle a retransmission, or a deadline of the lease."""
        lease = self.lease
        if lease is None:
            if self.state == "INFORMED":
                self._begin("INFORMING")
            else:
                self._ask()
            return
        age = self._guest.now - lease.granted_at
        if age >= lease.valid * SECOND:
            self._forget()
            self._begin("SOLICITING")
        elif self.state == "BOUND":
            self._begin("RENEWING")
        elif self.state == "RENEWING" and age >= lease.t2 * SECOND:
            self._begin("REBINDING")
        else:
            self._ask()

    def _give_up(self) -> None:
        if self.state == "REQUESTING":
            self._begin("SOLICITING")
        else:
            self._idle()

    def _idle(self) -> None:
        self.state = "INIT"
        self._alarm.set(None)

    def _forget(self) -> None:
        """Give up the address."""
        own = self._guest.ipv6.addresses
        if self.lease is not None and self.lease.address.packed in own:
            own.remove(self.lease.address.packed)
        self.lease = None
        self._use_dns(())

    # ---------------------------------------------------------------------------------------- receiving

    def _input(self, datagram: Datagram) -> None:
        message = dhcp6.read_message(datagram.payload)
        if message is None or message.transaction != self._xid or message.client_id != self.duid:
            self._guest.counters.malformed += 1
            return
        self.received.append(message)
        server = message.server_id
        if server is None:
            self._guest.counters.malformed += 1
        elif message.kind == dhcp6.ADVERTISE and self.state == "SOLICITING":
            association = self._association(message)
            if association is not None and association.addresses:
                self._wanted, self._server = association, server
                self._begin("REQUESTING")
        elif message.kind == dhcp6.REPLY:
            self._reply(message, server)

    def _association(self, message: Message) -> Association | None:
        """The guest's association in a message; None if it is missing, or the server cannot serve it."""
        for each in message.associations:
            if (each.code, each.iaid) == (dhcp6.IA_NA, self.iaid):
                return each
        return None

    def _reply(self, message: Message, server: bytes) -> None:
        if self.state == "INFORMING":
            self._last = message
            self.state = "INFORMED"
            self._use_dns(message.dns_servers)
            refresh = message.first(dhcp6.INFORMATION_REFRESH_TIME)
            seconds = int.from_bytes(refresh, "big") if refresh is not None and len(refresh) == 4 else REFRESH
            self._alarm.set(None if seconds == dhcp6.FOREVER else self._guest.now + seconds * SECOND)
        elif self.state == "RELEASING":
            self._idle()
        elif self.state in ("REQUESTING", "RENEWING", "REBINDING") or (
            self.state == "SOLICITING" and self._rapid and message.first(dhcp6.RAPID_COMMIT) is not None
        ):
            association = self._association(message)
            usable = () if association is None else [each for each in association.addresses if each.valid]
            if association is not None and usable:
                self._bind(message, server, association, usable[0])
            elif association is not None and association.status is not None:
                self._refused(association.status.code)

    def _refused(self, code: int) -> None:
        """Handle a status: a server that knows nothing of the lease is asked for it (section 18.2.10.1)."""
        if code == dhcp6.NO_BINDING and self.lease is not None:
            self._begin("REQUESTING")
        else:
            self._forget()
            self._begin("SOLICITING")

    def _bind(self, message: Message, server: bytes, association: Association, granted: IaAddress) -> None:
        guest = self._guest
        self._forget()
        self._last = message
        self._server = server
        self._wanted = association._replace(addresses=(granted,))
        self.lease = Dhcp6Lease(
            address=IPv6Address(granted.address),
            preferred=granted.preferred,
            valid=granted.valid,
            t1=association.t1 or granted.preferred // 2,
            t2=association.t2 or granted.preferred * 4 // 5,
            server=server,
            dns=tuple(self.dns),
            search=message.domains,
            granted_at=guest.now,
            options=message.options,
        )
        if granted.address not in guest.ipv6.addresses:
            guest.ipv6.addresses.append(granted.address)
        self._use_dns(message.dns_servers)
        self.state = "BOUND"
        forever = self.lease.t1 == dhcp6.FOREVER
        self._alarm.set(None if forever else guest.now + self.lease.t1 * SECOND)

    def _use_dns(self, servers: Sequence[bytes]) -> None:
        """Replace the DNS servers that came from here earlier; those of routers stay."""
        known = self._guest.ipv6.dns
        for server in self._dns:
            if server in known:
                known.remove(server)
        self._dns = [server for server in servers if server not in known]
        known += self._dns
