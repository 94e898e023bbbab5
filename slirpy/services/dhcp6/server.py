"""The DHCPv6 server (RFC 8415): addresses from a pool, and parameters for those who have their address otherwise.

It shares the leases, the search for addresses and the lease policy with DHCPv4, and like that server it is the only
authority on its network. So the preference in its advertisements is the highest, which tells clients not to wait for
another one, and a client that renews an address without a lease gets a lease if the address is free.

An address is judged before it is advertised or assigned (see :mod:`slirpy.services.dhcp.occupancy`). That may take a
moment, so the associations of a message are worked through one after the other, and the answer goes out after the
last. One association has one address. The static address of a client goes to one of its interfaces only.

Temporary addresses (IA_TA), prefixes (IA_PD), authentication and reconfiguration are not offered.
"""

from __future__ import annotations

from typing import Literal

from slirpy.config import Config
from slirpy.core.network import ROUTER
from slirpy.interfaces import Datagram, ServiceNetwork
from slirpy.services.dhcp.book import LeaseBook
from slirpy.services.dhcp.lease import Client
from slirpy.services.dhcp6.leasing import ASSOCIATIONS, HINTS, Leasing
from slirpy.services.dhcp6.replies import Parameters
from slirpy.services.dhcp6.request import Decision, Exchange, decide, read_exchange
from slirpy.wire import dhcp6, ethernet
from slirpy.wire.dhcp6 import Association, pack_option
from slirpy.wire.ipv6 import is_multicast
from slirpy.wire.scope import is_link_local

__all__ = ["Dhcp6Service"]

_HIGHEST_PREFERENCE = b"\xff"
_LEASING = frozenset((dhcp6.SOLICIT, dhcp6.REQUEST, dhcp6.RENEW, dhcp6.REBIND))
_LEAVING = frozenset((dhcp6.RELEASE, dhcp6.DECLINE))
_FOR_ONE_SERVER = frozenset((dhcp6.REQUEST, dhcp6.RENEW)) | _LEAVING
_FOR_ANY_SERVER = frozenset((dhcp6.SOLICIT, dhcp6.CONFIRM, dhcp6.REBIND))


class Dhcp6Service:
    """A :class:`~slirpy.interfaces.Service` for port 547 of ff02::1:2, ff05::1:3 and the gateway's addresses."""

    def __init__(self, config: Config, network: ServiceNetwork, book: LeaseBook) -> None:
        """Set up a server of the leases in ``book``.

        Raises:
            ConfigError: DHCP cannot carry the search list.
        """
        self._config = config
        self._network = network
        self._book = book
        self._leases = book.v6
        self._table = book.v6.table
        self._parameters = Parameters(config)
        self._server_id = dhcp6.duid_of_mac(ethernet.virtual_mac(config.gateway_address6))

    # ---------------------------------------------------------------------------------------- messages

    def datagram(self, datagram: Datagram) -> None:
        """Answer a client's message."""
        stats = self._network.stats
        exchange = read_exchange(datagram)
        if exchange is None:
            stats.drop_dhcp6_malformed += 1
            return
        if not self._is_for_us(exchange):
            stats.drop_dhcp6_ignored += 1
        elif exchange.message.kind in _FOR_ONE_SERVER and self._is_unicast(exchange):
            self._reply(exchange, [dhcp6.pack_status(dhcp6.USE_MULTICAST)])
        elif exchange.message.kind in _LEASING:
            self._lease(exchange)
        elif exchange.message.kind in _LEAVING:
            self._leave(exchange)
        elif exchange.message.kind == dhcp6.CONFIRM:
            self._confirm(exchange)
        else:
            self._inform(exchange)
        self._book.save_changes()

    def _is_for_us(self, exchange: Exchange) -> bool:
        """Report whether to answer a message at all (RFC 8415 section 16); a client's choice of another server
        is noted.
        """
        message = exchange.message
        kind, server = message.kind, message.server_id
        if any(any(relay.link) and not self._config.contains(relay.link) for relay in exchange.relays):
            return False  # from another network, whose addresses are not ours
        if kind == dhcp6.INFORMATION_REQUEST:
            return (
                server in (None, self._server_id)
                and not message.associations
                and not self._is_unicast(exchange)
            )
        if kind in _FOR_ANY_SERVER:
            return (
                bool(exchange.duid)
                and dhcp6.SERVER_ID not in message.options
                and not self._is_unicast(exchange)
            )
        if kind not in _FOR_ONE_SERVER or not exchange.duid:
            return False
        if server != self._server_id:
            if kind == dhcp6.REQUEST:
                for association in exchange.associations[:ASSOCIATIONS]:
                    self._table.withdraw(self._client(exchange, association), self._network.now)
            return False
        return True

    @staticmethod
    def _is_unicast(exchange: Exchange) -> bool:
        """Report whether a client sent a message to our own address, which it had no permission to do (RFC 8415
        section 18.4).
        """
        return not exchange.relays and not is_multicast(exchange.datagram.destination)

    def _decide(self, exchange: Exchange, kind: Literal["discover", "request", "inform"]) -> Decision:
        return decide(self._config, self._table, exchange, kind, self._network.now)

    @staticmethod
    def _client(exchange: Exchange, association: Association) -> Client:
        """The client that asks for an association, for messages that need no decision."""
        return exchange.client(association, exchange.hostname, None)

    def _inform(self, exchange: Exchange) -> None:
        """RFC 8415 section 18.3.6: parameters for a client that has its address by other means."""
        stats = self._network.stats
        stats.dhcp6_inform += 1
        decision = self._decide(exchange, "inform")
        if decision.ruling.answer.refuse:
            stats.drop_dhcp6_refused += 1
        else:
            self._reply(exchange, self._parameters.options(exchange, decision))

    def _confirm(self, exchange: Exchange) -> None:
        """RFC 8415 section 18.3.3: whether a client that has moved is still on the link of its addresses."""
        stats = self._network.stats
        stats.dhcp6_confirm += 1
        hints = [hint.address for each in exchange.message.associations for hint in each.addresses]
        if not hints:
            stats.drop_dhcp6_ignored += 1
            return
        known = all(address in self._table.pool for address in hints)
        self._reply(exchange, [dhcp6.pack_status(dhcp6.SUCCESS if known else dhcp6.NOT_ON_LINK)])

    def _leave(self, exchange: Exchange) -> None:
        """RFC 8415 sections 18.3.7 and 18.3.8: addresses that a client gives back, or found in use."""
        stats, now = self._network.stats, self._network.now
        declined = exchange.message.kind == dhcp6.DECLINE
        options = [dhcp6.pack_status(dhcp6.SUCCESS)]
        for association in exchange.associations:
            client, done = self._client(exchange, association), False
            for address in [hint.address for hint in association.addresses[:HINTS]]:
                if declined:
                    done |= self._table.decline(client, address, now)
                elif self._table.release(client, address, now):
                    self._leases.occupancy.released(address)
                    done = True
            if not done:
                options.append(dhcp6.ia_status(association, dhcp6.NO_BINDING))
            elif declined:
                stats.dhcp6_decline += 1
            else:
                stats.dhcp6_release += 1
        options += [dhcp6.ia_status(association, dhcp6.NO_BINDING) for association in exchange.others]
        self._reply(exchange, options)

    # ------------------------------------------------------------------------------------------ leases

    def _lease(self, exchange: Exchange) -> None:
        """RFC 8415 sections 18.3.1, 18.3.2, 18.3.4 and 18.3.5."""
        stats, kind = self._network.stats, exchange.message.kind
        if kind == dhcp6.SOLICIT:
            stats.dhcp6_solicit += 1
        elif kind == dhcp6.REQUEST:
            stats.dhcp6_request += 1
        else:
            stats.dhcp6_renew += 1
        decision = self._decide(exchange, "discover" if kind == dhcp6.SOLICIT else "request")
        if kind == dhcp6.SOLICIT and decision.ruling.answer.refuse:
            stats.drop_dhcp6_refused += 1
            return
        rapid = kind == dhcp6.SOLICIT and dhcp6.RAPID_COMMIT in exchange.message.options

        def done(associations: list[bytes]) -> None:
            options = associations + self._parameters.options(exchange, decision)
            if rapid:
                options.append(pack_option(dhcp6.RAPID_COMMIT, b""))
            self._reply(exchange, options, dhcp6.REPLY if commit else dhcp6.ADVERTISE)
            self._book.save_changes()

        commit = kind != dhcp6.SOLICIT or rapid
        Leasing(self._leases, self._network, exchange, decision.ruling, done, commit=commit).proceed()

    # ----------------------------------------------------------------------------------------- replies

    def _reply(self, exchange: Exchange, options: list[bytes], kind: int = dhcp6.REPLY) -> None:
        """Send an answer to a client, by the relay agents through which its message came."""
        stats, message, config = self._network.stats, exchange.message, self._config
        leading = [pack_option(dhcp6.SERVER_ID, self._server_id)]
        if exchange.duid:
            leading.insert(0, pack_option(dhcp6.CLIENT_ID, exchange.duid))
        if kind == dhcp6.ADVERTISE:
            stats.dhcp6_advertise += 1
            leading.append(pack_option(dhcp6.PREFERENCE, _HIGHEST_PREFERENCE))
        else:
            stats.dhcp6_reply += 1
        answer = dhcp6.write_message(kind, message.transaction, leading + options)
        datagram = exchange.datagram
        self._network.send_datagram(
            ROUTER if is_link_local(datagram.source) else config.gateway_address6,
            dhcp6.SERVER_PORT,
            datagram.source,
            dhcp6.SERVER_PORT if exchange.relays else dhcp6.CLIENT_PORT,
            dhcp6.pack_relayed(exchange.relays, answer),
            mac=datagram.mac,
            link=datagram.link,
        )
