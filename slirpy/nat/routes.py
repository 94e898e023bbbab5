"""Mapping of addresses that guests use to addresses of the host.

The gateway stands for the host's loopback, under each of its addresses. The loopback of the guest's own family comes
first, 127.0.0.1 or ::1; if nobody listens there, the other one is tried: many programs listen at one of the two only.
Any other address of the virtual network that no guest has leads nowhere. All other addresses are outside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final

from slirpy.config import Config
from slirpy.config.policy import checked_verdict
from slirpy.config.special import is_pinnable
from slirpy.core.network import ROUTER, gateway_for
from slirpy.core.pins import Pin
from slirpy.core.translation import UNASSIGNED, Translation
from slirpy.fair import TokenBuckets
from slirpy.interfaces import Action, Decision, FlowRequest, Policy, Verdict
from slirpy.nat.answers import as_asked, step, with_names
from slirpy.nat.namesource import NameSource
from slirpy.nat.outcomes import HOLD_TIME, Pending, Refusal, Route
from slirpy.nat.ownports import OwnPorts
from slirpy.nat.targets import NamedTargets
from slirpy.wire.ip import family_of
from slirpy.wire.scope import is_link_local, is_loopback, with_interface

if TYPE_CHECKING:
    from slirpy.core.network import Network

__all__ = ["LOOPBACK", "LOOPBACK6", "NO_LOG", "Refusal", "Route", "Router", "onward_ttl"]

LOOPBACK: Final = b"\x7f\0\0\x01"
LOOPBACK6: Final = bytes(15) + b"\x01"
_LIMITED_BROADCAST: Final = b"\xff\xff\xff\xff"
_RESTRICTED: Final = Verdict(Action.REJECT, reason="restrict")
NO_LOG: Final = Verdict(Action.REJECT, reason="no audit log")
_SHUT: Final = Verdict(Action.REJECT, reason="no host loopback")
_UNDECIDED: Final = Verdict(Action.REJECT, reason="nobody decided in time")
_NOBODY: Final = Verdict(Action.REJECT, reason="nobody to ask")
_ALLOWED: Final = Verdict(Action.ALLOW)
_UNRESOLVED: Final = "{} does not resolve to an address that may be used"


def onward_ttl(ttl: int, address: bytes) -> int:
    """The time to live with which to relay a packet to ``address``; 0: it ends here (RFC 1812, section 5.3.1).

    The host's loopback is the gateway itself, so no hop is counted.
    """
    return max(ttl - 1, 1) if is_loopback(address) else ttl - 1


class Router:
    """Decides where a new flow goes, or why it is refused.

    Args:
        config: the network.
        servers: the addresses of virtual hosts, which may grow; None: those of ``config``.
        translation: addresses that stand for hosts of the other family; None: as ``config`` says.
        network: times how long a flow is held; None: for ever.

    Attributes:
        policy: the policy in force; None: everything is allowed.
        names: knows which names addresses stand for; None: no name stands for any.
        targets: finds the addresses of names that are targets of redirects; None: they have none.
        is_own: reports whether an address is one of the host's own.
        lease_of: the host name in the lease of a guest's address; empty: none.
        asker: decides where a policy says :attr:`~slirpy.interfaces.Action.ASK`; None: such flows are refused.
        awaiter: runs a coroutine of the policy, and decides with its result.
    """

    def __init__(
        self,
        config: Config,
        servers: AbstractSet[bytes] | None = None,
        translation: Translation | None = None,
        network: Network | None = None,
    ) -> None:
        self._config = config
        self._translation = Translation(config) if translation is None else translation
        self._servers = config.server_addresses if servers is None else servers
        self.own_ports = OwnPorts()
        self.openings: TokenBuckets[object] | None = None
        """Limits new flows by link; None: they are unlimited."""
        self._gateways = frozenset((config.gateway_address, config.gateway_address6, ROUTER))
        self._broadcasts = frozenset((config.broadcast_address, _LIMITED_BROADCAST))
        self._network = network
        self._shuts_own = not (config.host_loopback or config.loopback_only)
        self.policy: Policy | None = config.policy
        self.names: NameSource | None = None
        self.targets: NamedTargets | None = None
        self.is_own: Callable[[bytes], bool] = _is_never
        self.lease_of: Callable[[bytes], str] = _no_lease
        self.asker: Callable[[FlowRequest, Verdict], Verdict | Decision | Awaitable[Verdict]] | None = None
        self.awaiter: Callable[[Awaitable[Verdict]], Decision] = step

    @property
    def restricts(self) -> bool:
        """True if a rule says that there are places which guests may not reach."""
        config = self._config
        return self.policy is not None or config.restrict or not config.host_loopback

    @property
    def admits(self) -> bool:
        """True if new flows may start: nobody listens to events, or whoever does can record them."""
        network = self._network
        return network is None or network.events is None or network.events.ready

    def may_open(self, link: object, now: int) -> bool:
        """Report whether a guest behind ``link`` may open a flow now, in nanoseconds."""
        return self.openings is None or self.openings.take(link, now)

    def route(self, request: FlowRequest) -> Route | Refusal | Pending:
        """Find the host address and port for a flow that is not for a virtual service."""
        config = self._config
        host = self._translation.host(request.destination_bytes)
        if host is not None:
            if host == UNASSIGNED:
                return Refusal.HOST_UNREACHABLE
            if host in self._broadcasts:
                return Refusal.MARTIAN  # IPv6 has no broadcast to translate
            # From here on it is a flow to the host itself, also for the policy.
            request = request._changed(destination_bytes=host)
        refusal, address = self._lookup(request.destination_bytes)
        if refusal is Refusal.MARTIAN:
            return refusal  # unassigned, so no error is sent
        if not self.admits:
            return self.refuse(request, NO_LOG)
        if config.restrict:
            return self.refuse(request, _RESTRICTED)
        if refusal is not None:
            return self._shut(request) if refusal is Refusal.NET_UNREACHABLE else refusal
        if self._is_shut(request, address):
            return self._shut(request)
        if is_link_local(request.source_bytes) and not is_loopback(address):
            return Refusal.BEYOND_SCOPE  # no router forwards its packets (RFC 4291, section 2.5.6)
        if self._leads_back(request, address):
            return Refusal.PORT_UNREACHABLE
        if self.policy is None:
            otherwise = self._other_loopback(request, request.destination_bytes)
            return Route(address, request.destination_port, otherwise)
        request = self._known(request, address)
        found = self._judged(request, address, self.policy(request))
        if isinstance(found, Pending) and self._network is not None:
            self._bound(found, request, self._network)
        return found

    # ---------------------------------------------------------------------------------- the policy

    def _known(self, request: FlowRequest, address: bytes) -> FlowRequest:
        """The flow with all that is known about it."""
        target, host = request.destination_bytes, request.host
        if address is LOOPBACK or address is LOOPBACK6:
            # Under one name, so that rules about the gateway also hold for broadcasts.
            target = self._config.gateway_address if address is LOOPBACK else self._config.gateway_address6
            host = True
        known, lease_of, source, is_own = self.names, self.lease_of, request.source_bytes, self.is_own
        new = request._to(target, host, lambda: lease_of(source), lambda: is_own(target))
        if known is not None:
            new._name(known.names(new), known.unpinned)
        return new

    def _with_names(self, request: FlowRequest, said: tuple[str, ...]) -> FlowRequest:
        """The flow under the names that its client has said. Not all may open its destination."""
        if self.names is None or self.names.may_open(request.destination_bytes):
            return request._changed(names=said)
        names = tuple(name for name in said if name in request.names)
        return request._changed(names=names, _unpinned=tuple(name for name in said if name not in names))

    def allows(self, request: FlowRequest, said: tuple[str, ...] = ()) -> Verdict | Decision | None:
        """The policy's present verdict about a flow that it has allowed before; None: there is no policy.

        Args:
            said: the names that its client has said; empty: those of its destination count.
        """
        if self.policy is None:
            return None
        host = self._translation.host(request.destination_bytes)
        if host is not None and host != UNASSIGNED:
            request = request._changed(destination_bytes=host)
        address = self._lookup(request.destination_bytes)[1]
        if self._is_shut(request, address):
            return _SHUT
        request = self._known(request, address)
        answer = self.policy(self._with_names(request, said) if said else request)
        if isinstance(answer, Verdict | Decision):
            return answer
        return self.awaiter(answer) if isinstance(answer, Awaitable) else checked_verdict(answer)

    def leads_to(self, destination: bytes) -> bytes:
        """Return the address at the host to which a guest's destination leads, whatever the policy says."""
        return self._lookup(self._translation.host(destination) or destination)[1]

    def proxy_of(self, verdict: Verdict) -> str | None:
        """The proxy of a verdict; empty: none; None: that of the network, or none as ``no_proxy`` says."""
        return "" if verdict.proxy is None and self._config.proxy is None else verdict.proxy

    def _judged(
        self,
        request: FlowRequest,
        address: bytes,
        answer: Verdict | Decision | Awaitable[Verdict],
        asked: Verdict | None = None,
    ) -> Route | Refusal | Pending:
        """The consequence of an answer, which may be yet to come.

        Args:
            asked: the policy's verdict, if this is the answer of somebody who was asked because of it.
        """
        if not isinstance(answer, Verdict) and isinstance(answer, Awaitable):
            answer = self.awaiter(answer)
        if not isinstance(answer, Decision):
            return self._settled(request, address, checked_verdict(answer), asked)
        pending = Pending()
        decision = answer

        def given(verdict: Verdict) -> None:
            pending.follow(self._settled(request, address, verdict, asked))

        pending.on_cancel.append(lambda: decision.forget(given))
        decision.then(given)
        return pending.outcome or pending

    def _settled(
        self, request: FlowRequest, address: bytes, verdict: Verdict, asked: Verdict | None
    ) -> Route | Refusal | Pending:
        """The consequence of a verdict."""
        if verdict.action is Action.ASK:
            if self.asker is None or asked is not None:
                return self.refuse(request, _NOBODY)
            return self._judged(request, address, self.asker(request, verdict), verdict)
        if asked is not None and verdict.action is Action.ALLOW:
            verdict = as_asked(asked, verdict)
        if verdict.action is not Action.ALLOW:
            return self.refuse(request, verdict)
        if verdict.redirect is not None:
            target, port = verdict.redirect
            if isinstance(target, str):
                return self._to_name(request, verdict, target, port)
            try:
                return Route(with_interface(target), port, None, verdict, request)
            except OSError:
                return Refusal.NET_UNREACHABLE  # its interface is gone
        if verdict.names and self.names is not None:
            first = verdict.names[0]
            if first in request.names or first not in request.unpinned:
                return self._by_name(request, verdict, self.names, asked)
        otherwise = self._other_loopback(request, request.destination_bytes)
        says_more = verdict.rule or verdict.names or verdict.proxy is not None
        more = (verdict, request) if says_more else (None, None)
        return Route(address, request.destination_port, otherwise, *more)

    def _by_name(
        self, request: FlowRequest, verdict: Verdict, names: NameSource, asked: Verdict | None
    ) -> Route | Refusal | Pending:
        """Route to an address that the name of a verdict has now, once it is known."""
        name = verdict.names[0]
        addresses = names.current(request, name)
        if addresses:
            return self._to_one_of(addresses, request, verdict, names, asked)
        pending = Pending()

        def resolved(addresses: list[bytes]) -> None:
            pending.follow(self._to_one_of(addresses, request, verdict, names, asked))

        give_up = names.resolve(request, name, resolved)
        if give_up is not None:
            pending.on_cancel.append(give_up)
        return pending.outcome or pending

    def _to_one_of(
        self,
        addresses: list[bytes],
        request: FlowRequest,
        verdict: Verdict,
        names: NameSource,
        asked: Verdict | None,
    ) -> Route | Refusal:
        """Route to one of the addresses of the name of a verdict: the guest's choice if that is one of them."""
        wanted = request.destination_bytes
        if wanted not in addresses:
            others = (each for each in addresses if self.may_stand_in(request, verdict, each, asked))
            wanted = next(others, b"")
            # Other names of the address that the guest sent need not be names of this one.
            here = names.names(request._changed(destination_bytes=wanted)) if wanted else ()
            used = [verdict.names[0], *(name for name in verdict.names[1:] if name in here)]
            verdict = with_names(verdict, used)
        refusal, address = self._lookup(wanted) if wanted else (Refusal.HOST_UNREACHABLE, wanted)
        if refusal is None and self._is_shut(request._changed(destination_bytes=wanted), address):
            refusal = Refusal.NET_UNREACHABLE
        if refusal is None and self._leads_back(request, address):
            refusal = Refusal.PORT_UNREACHABLE
        if refusal is not None:
            return self._unresolved(request, verdict, verdict.names[0])
        otherwise = self._other_loopback(request, wanted)
        return Route(address, request.destination_port, otherwise, verdict, request)

    def may_stand_in(
        self, request: FlowRequest, verdict: Verdict, address: bytes, asked: Verdict | None = None
    ) -> bool:
        """Report whether rules about addresses allow another address of the name too, and by the same proxy.

        Args:
            asked: the verdict because of which somebody was asked, and has allowed the flow, or would be asked.
        """
        if self.policy is None:
            return True
        host = address in self._gateways
        is_own = self.is_own
        other = request._changed(
            destination_bytes=address,
            host=host,
            names=verdict.names,
            _own=lambda: is_own(address),
            _unpinned=(),
        )
        answer = self._verdict_now(other)
        if answer is None:
            return False
        if asked is not None and answer.action is Action.ASK:
            return answer.rule == asked.rule
        return (
            answer.action is Action.ALLOW
            and answer.redirect is None
            and self.proxy_of(answer) == self.proxy_of(verdict)
        )

    def _verdict_now(self, request: FlowRequest) -> Verdict | None:
        """The policy's verdict about a flow; None: it is not clear at once, or there is no policy."""
        answer = None if self.policy is None else self.policy(request)
        if isinstance(answer, Verdict):
            return answer
        if isinstance(answer, Awaitable) and not isinstance(answer, Decision):
            getattr(answer, "close", _nothing)()
        return None

    def _to_name(
        self, request: FlowRequest, verdict: Verdict, name: str, port: int
    ) -> Route | Refusal | Pending:
        """Route a redirected flow to an address of its target's name, of the same family if there is one."""
        pending = Pending()

        def found(addresses: Sequence[bytes]) -> None:
            usable = [each for each in addresses if self.may_lead_to(request, each, port)]
            usable.sort(key=lambda each: len(each) != len(request.destination_bytes))
            if usable:
                pending.follow(Route(usable[0], port, None, verdict, request))
            else:
                pending.follow(self._unresolved(request, verdict, name))

        if self.targets is None:
            found(())
        else:
            pending.on_cancel.append(self.targets.find(name, found))
        return pending.outcome or pending

    def may_lead_to(self, request: FlowRequest, address: bytes, port: int) -> bool:
        """Report whether the name of a target may lead to an address: no special one, or one that is allowed."""
        is_own, loopback = self.is_own, is_loopback(address)
        own = loopback or is_own(address)
        destination = gateway_for(self._config, address) if loopback else address
        other = request._changed(
            destination_bytes=destination,
            destination_port=port,
            host=loopback,
            names=(),
            _own=lambda: is_own(address),
            _unpinned=(),
        )
        if (loopback and self._shuts_own) or self._is_shut(other, address) or self._leads_back(other, address):
            return False
        if is_pinnable(address) and not own:
            return True
        answer = self._verdict_now(other)
        return answer is not None and answer.action is Action.ALLOW and answer.redirect is None

    def _unresolved(self, request: FlowRequest, verdict: Verdict, name: str) -> Refusal:
        """Report a flow whose name has no address that may be used."""
        self.refuse(request, Verdict(Action.REJECT, reason=_UNRESOLVED.format(name), rule=verdict.rule))
        return Refusal.HOST_UNREACHABLE

    def may_say_name(self, verdict: Verdict | None) -> bool:
        """Report whether a proxy may resolve the name of an allowed flow by itself.

        It may if the policy has allowed the name. If it has allowed the address, the name could lead elsewhere.
        """
        if self.policy is None:
            return True
        verdict = verdict or _ALLOWED
        may_say_name = getattr(self.policy, "may_say_name", None)
        return bool(verdict.names if may_say_name is None else may_say_name(verdict))

    def names_of(self, request: FlowRequest) -> tuple[str, ...]:
        """Return the names that a destination stands for."""
        return request.names or (() if self.names is None else self.names.names(request))

    def use(self, request: FlowRequest, name: str) -> Pin | None:
        """Keep the pin of a name for a flow, until :meth:`release`."""
        return None if self.names is None else self.names.use(request, name)

    def release(self, pin: Pin) -> None:
        """End the use of a pin by one flow."""
        if self.names is not None:
            self.names.release(pin)

    def _bound(self, pending: Pending, request: FlowRequest, network: Network) -> None:
        """Refuse a flow that has been held for too long."""

        def too_late() -> None:
            pending.follow(self.refuse(request, _UNDECIDED))

        timer = network.call_at(network.now + HOLD_TIME, too_late)
        pending.on_cancel.append(timer.cancel)
        network.stats.flows_held += 1

    def _is_shut(self, request: FlowRequest, address: bytes) -> bool:
        """Report whether an address is one of this host's that the network leaves out, and no rule names."""
        if not self._shuts_own or not self.is_own(address):
            return False
        opens_address = getattr(self.policy, "opens_address", None)
        return opens_address is None or not opens_address(self._known(request, address))

    def _shut(self, request: FlowRequest) -> Refusal:
        """Report a flow to this host, which the network leaves out."""
        self.refuse(request, _SHUT)
        return Refusal.NET_UNREACHABLE

    def refuse(self, request: FlowRequest, verdict: Verdict) -> Refusal:
        """Report that a flow is refused: by the policy, or because of its client's first bytes."""
        if self._config.on_refused is not None:
            self._config.on_refused(request, verdict)
        if self._network is not None and self._network.events is not None:
            self._network.events.flow_refused(request, verdict)
        return Refusal.DROP if verdict.action is Action.DROP else Refusal.PROHIBITED

    def _lookup(self, destination: bytes) -> tuple[Refusal | None, bytes]:
        config = self._config
        if destination in self._gateways or destination in self._broadcasts:
            loopback = LOOPBACK if len(destination) == 4 else LOOPBACK6
            if config.host_loopback:
                return None, loopback
            if not config.transparent or destination in self._broadcasts or is_link_local(destination):
                return Refusal.NET_UNREACHABLE, loopback
            return None, destination  # the gateway itself, as the host reaches it
        if destination in self._servers:
            return Refusal.PORT_UNREACHABLE, destination
        if config.contains(destination) and (not config.transparent or is_link_local(destination)):
            return Refusal.HOST_UNREACHABLE, destination
        if family_of(destination).is_martian(destination):
            return Refusal.MARTIAN, destination
        return None, destination

    def _leads_back(self, request: FlowRequest, address: bytes) -> bool:
        """Report whether a flow to an address of the host would end at a listener of this network."""
        return self.own_ports.leads_to(request.protocol, address, request.destination_port, self.is_own)

    def _other_loopback(self, request: FlowRequest, destination: bytes) -> bytes | None:
        """The loopback of the other family, for the gateway's addresses. A network without IPv6 knows one only."""
        if destination not in self._gateways or not self._config.host_loopback:
            return None
        other = LOOPBACK if len(destination) == 16 else LOOPBACK6
        if (other is LOOPBACK6 and not self._config.ipv6) or self._leads_back(request, other):
            return None
        return other

    def translated(self, address: bytes) -> bytes | None:
        """Return the address of the other IP family by which guests know a host; None if there is none."""
        return self._translation.seen(address)

    def source_seen(self, address: bytes, guest: bytes) -> bytes:
        """Return the address by which a guest knows a host's.

        It is the same for most. The gateway stands for the host's loopback, for link-local addresses, which mean
        nothing on the guest's link, for hosts of the other family that have no address for guests, and for the host
        itself where its address is the guest's too. To a guest with a link-local address, it stands for everyone,
        since such a guest can answer nobody beyond the link. This method is called for each datagram.
        """
        if is_link_local(guest):
            return ROUTER
        if len(address) != len(guest):
            seen = None if is_loopback(address) else self._translation.seen(address)
            return seen or gateway_for(self._config, guest)
        if len(guest) == 4:
            return self._config.gateway_address if address[0] == 127 or address == guest else address
        if address in (LOOPBACK6, guest) or is_link_local(address):
            return gateway_for(self._config, guest)
        return address


def _is_never(address: bytes) -> bool:
    return False


def _no_lease(address: bytes) -> str:
    return ""


def _nothing() -> None: ...
