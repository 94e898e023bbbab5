"""Services on demand: their modules wait for a guest's first datagram, those of DNS also for a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slirpy.config import Config
from slirpy.core.translation import Translation
from slirpy.interfaces import (
    Datagram,
    Events,
    HostNetwork,
    Policy,
    Service,
    ServiceNetwork,
    StreamOwner,
    StreamPeer,
)

if TYPE_CHECKING:
    from slirpy.services.dns.local import GuestNames
    from slirpy.services.dns.pinning import PinnedNames
    from slirpy.services.dns.server import DnsService

__all__ = ["DnsOnDemand", "OnDemand"]


class OnDemand:
    """Makes a service when it is first used, and is one towards guests.

    Args:
        make: imports the service's modules, and returns it.
        now: whether to do so at once, because it may fail.
    """

    def __init__(self, make: Callable[[], Service], *, now: bool = False) -> None:
        self._make = make
        self._made = make() if now else None

    def datagram(self, datagram: Datagram) -> None:
        """See :meth:`slirpy.interfaces.Service.datagram`."""
        if self._made is None:
            self._made = self._make()
        self._made.datagram(datagram)


class DnsOnDemand:
    """Makes a :class:`~slirpy.services.dns.server.DnsService` when it is first used, and is one towards guests.

    Args:
        config: the options of DNS.
        network: where the guests are.
        host: where the resolvers are.
        guests: knows the names of guests.
        translation: addresses that stand for hosts of the other family.
        is_own: reports whether an address is one of the host's own.
        policy: returns the policy in force.
        events: returns the sink of events, if there is one.
        made: called with the names of destinations, which are known from then on.
    """

    def __init__(
        self,
        config: Config,
        network: ServiceNetwork,
        host: HostNetwork,
        guests: GuestNames,
        translation: Translation,
        is_own: Callable[[bytes], bool],
        policy: Callable[[], Policy | None],
        events: Callable[[], Events | None],
        made: Callable[[PinnedNames], object],
    ) -> None:
        self._config = config
        self._network = network
        self._host = host
        self._guests = guests
        self._translation = translation
        self._is_own = is_own
        self._policy = policy
        self._events = events
        self._tell_made = made
        self._made: DnsService | None = None

    def load(self) -> DnsService:
        """Return the server."""
        if self._made is None:
            from slirpy.core.pins import Pins
            from slirpy.services.dns.pinning import PinnedNames
            from slirpy.services.dns.server import DnsService

            pins = Pins(self._config.dns_grace, self._is_own)
            names = PinnedNames(pins, self._network, self._translation)
            self._made = DnsService(
                self._config,
                self._network,
                self._host,
                guests=self._guests,
                translation=self._translation,
                names=names,
                policy=self._policy,
                events=self._events,
            )
            names.ask_of(self._made.ask_for, self._made.give_up)
            self._tell_made(names)
        return self._made

    def datagram(self, datagram: Datagram) -> None:
        """Take a query from a guest, and answer it now or later."""
        (self._made or self.load()).datagram(datagram)

    def stream(self, owner: StreamOwner, guest: bytes, link: object, mac: bytes) -> StreamPeer:
        """The far end of a guest's connection to port 53. ``owner`` is connected before this returns."""
        return self.load().stream(owner, guest, link, mac)

    def close(self) -> None:
        """Give up all lookups and release their sockets."""
        if self._made is not None:
            self._made.close()
