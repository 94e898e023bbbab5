"""The seam of policies, which decide about new flows."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any, TypeAlias

from slirpy.addresses import AnyAddress, IPAddress, address_bytes, port_number, redirect_target
from slirpy.addresses import mac_bytes as _mac_bytes
from slirpy.checks import is_whole, switch
from slirpy.errors import ConfigError
from slirpy.interfaces.basics import Buffer

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass, field
else:
    from dataclasses import dataclass, field

__all__ = [
    "TLS_MODES",
    "Action",
    "Asker",
    "Decision",
    "FlowRequest",
    "IPProtocol",
    "Policy",
    "RefusedHook",
    "Verdict",
]

CO_COROUTINE = 0x80
"""Of :mod:`inspect`, whose import takes 4 ms."""
TLS_MODES = ("strict", "ech", "sni-optional", "off")
"""Demands on the first bytes of a flow that a name allowed; see :attr:`Verdict.tls`."""


class IPProtocol(enum.IntEnum):
    """IP protocol numbers of flows."""

    ICMP = 1
    TCP = 6
    UDP = 17


@dataclass(frozen=True, slots=True, init=False, repr=False)
class FlowRequest:
    """A flow that a guest wants to start.

    Its addresses are :mod:`ipaddress` objects. They are equal to other such objects, never to text: write
    ``request.destination == ip_address("192.0.2.7")``, ``request.destination in ip_network("203.0.113.0/24")``, or
    ``str(request.destination) == "192.0.2.7"``.

    Args:
        source: text, an :mod:`ipaddress` object, or four or sixteen bytes, as ``destination``.
        mac: six bytes, or text.
        names: domain names in any case, with or without a full stop at the end, as ``unpinned``.
        lease: text, or a function that finds out when it is needed.
        own: True or False, or such a function.

    Raises:
        ConfigError: an invalid value.
    """

    protocol: int
    """IP protocol number: 6 for TCP, 17 for UDP, 1 for ICMP echo."""
    source_bytes: bytes
    """Source in network order: four or sixteen bytes."""
    source_port: int
    """Source port; for ICMP the identifier of the echo requests, whose destination port is 0."""
    destination_bytes: bytes
    """Destination in network order: four or sixteen bytes."""
    destination_port: int
    host: bool
    """True if the flow leads to the host's loopback."""
    link: object = field(compare=False)
    """The link that the guest is behind; None if unknown. Compare it by identity."""
    mac_bytes: bytes = field(compare=False)
    """The guest's MAC address; empty if unknown."""
    names: tuple[str, ...]
    """Names that stand for the destination, for this guest and now: it asked our DNS server for them, and this
    address was in the answer. In lower case, without a full stop at the end, the latest first."""
    _lease: str | Callable[[], str] = field(compare=False)
    _own: bool | Callable[[], bool] = field(compare=False)
    _unpinned: tuple[str, ...] | Callable[[FlowRequest], tuple[str, ...]] = field(compare=False)

    def __init__(
        self,
        protocol: int,
        source: AnyAddress,
        source_port: int,
        destination: AnyAddress,
        destination_port: int,
        host: bool = False,
        *,
        link: object = None,
        mac: Buffer | str | None = None,
        lease: str | Callable[[], str] = "",
        names: Sequence[str] = (),
        own: bool | Callable[[], bool] = False,
        unpinned: Sequence[str] = (),
    ) -> None:
        put = object.__setattr__
        put(self, "protocol", _protocol(protocol))
        put(self, "source_bytes", address_bytes("source", source))
        put(self, "source_port", port_number("source_port", source_port))
        put(self, "destination_bytes", address_bytes("destination", destination))
        put(self, "destination_port", port_number("destination_port", destination_port))
        put(self, "host", switch("host", host))
        put(self, "link", link)
        put(
            self,
            "mac_bytes",
            b"" if mac is None else mac if type(mac) is bytes and len(mac) == 6 else _mac_bytes("mac", mac),
        )
        if not isinstance(lease, str) and not callable(lease):
            raise ConfigError(f"lease is the host name of a lease, text; given was {lease!r}")
        put(self, "_lease", lease)
        put(self, "names", _names("names", names))
        put(self, "_own", _plain_function(own) if callable(own) else switch("own", own))
        put(self, "_unpinned", _names("unpinned", unpinned))

    @property
    def mac(self) -> str:
        """The guest's MAC address, such as ``"52:54:00:12:34:56"``; empty if unknown."""
        return self.mac_bytes.hex(":")

    @property
    def lease(self) -> str:
        """Host name in the guest's DHCP lease; empty if it has none."""
        return self._lease() if callable(self._lease) else self._lease

    @property
    def own(self) -> bool:
        """True if the destination is an address of this host, whatever interface it belongs to, or leads to it."""
        own = self._own
        return self.host or (own() if callable(own) else own)

    @property
    def unpinned(self) -> tuple[str, ...]:
        """Names for which this guest got the destination from our DNS server, though no answer from outside may open
        it: it is private, link-local or this host's, for example. Rules that refuse a name heed them. Never allow a
        flow because of them.
        """
        unpinned = self._unpinned
        return unpinned(self) if callable(unpinned) else unpinned

    @property
    def source(self) -> IPAddress:
        """The guest's address."""
        return ip_address(self.source_bytes)

    @property
    def destination(self) -> IPAddress:
        """Destination as the guest names it. The gateway's address stands for the host's loopback, also for
        broadcasts, which lead there too.
        """
        return ip_address(self.destination_bytes)

    @staticmethod
    def _of_packet(
        protocol: int,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        link: object,
        mac: bytes,
    ) -> FlowRequest:
        """Return the request of a packet, whose parts need no check. This takes a twentieth of the time."""
        new: Any = object.__new__(_Draft)
        new.protocol = protocol
        new.source_bytes = source
        new.source_port = source_port
        new.destination_bytes = destination
        new.destination_port = destination_port
        new.host = False
        new.link = link
        new.mac_bytes = mac
        new.names = new._unpinned = ()
        new._lease = ""
        new._own = False
        return _finished(new)

    def _changed(self, **parts: object) -> FlowRequest:
        """Return a copy with other parts, which are not checked."""
        put, new = object.__setattr__, object.__new__(FlowRequest)
        for name in FlowRequest.__slots__:
            put(new, name, parts[name] if name in parts else getattr(self, name))
        return new

    def _to(
        self, destination: bytes, host: bool, lease: Callable[[], str], own: Callable[[], bool]
    ) -> FlowRequest:
        """Return a copy to another destination, without names. This takes a quarter of the time of ``_changed``."""
        new: Any = object.__new__(_Draft)
        new.protocol = self.protocol
        new.source_bytes = self.source_bytes
        new.source_port = self.source_port
        new.destination_bytes = destination
        new.destination_port = self.destination_port
        new.host = host
        new.link = self.link
        new.mac_bytes = self.mac_bytes
        new.names = new._unpinned = ()
        new._lease = lease
        new._own = own
        return _finished(new)

    def _name(self, names: tuple[str, ...], unpinned: Callable[[FlowRequest], tuple[str, ...]]) -> None:
        """Set the names of a copy that nobody else has yet, and the function that finds those that may not open it.

        A function that has the copy itself would be a reference cycle, which only the garbage collector ends.
        """
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "_unpinned", unpinned)

    def __repr__(self) -> str:
        names = {protocol.value: protocol.name.lower() for protocol in IPProtocol}
        source, destination = (
            f"{f'[{address}]' if address.version == 6 else address}:{port}"
            for address, port in (
                (self.source, self.source_port),
                (self.destination, self.destination_port),
            )
        )
        host = ", the host's loopback" if self.host else ""
        return f"<FlowRequest {names.get(self.protocol, self.protocol)} {source} -> {destination}{host}>"


_Draft = type("_Draft", (), {"__slots__": FlowRequest.__slots__})
"""Class of a request that can still be changed: a plain assignment takes a third of the time of
``object.__setattr__``. It has the same slots, so that such an object becomes a request by a change of its class."""


def _finished(draft: Any) -> FlowRequest:
    """Turn a draft into a request, which cannot be changed any more."""
    draft.__class__ = FlowRequest
    request: FlowRequest = draft
    return request


def _protocol(value: int) -> int:
    if not is_whole(value) or not 0 <= value <= 255:
        raise ConfigError(f"protocol {value!r} is not the number of an IP protocol, such as IPProtocol.TCP")
    return value


class Action(enum.Enum):
    """The possible decisions about a flow."""

    ALLOW = "allow"
    REJECT = "reject"
    """Refuse it visibly: RST for TCP, ICMP "administratively prohibited" for UDP."""
    DROP = "drop"
    """Discard it silently."""
    ASK = "ask"
    """Hold it until somebody decides; without anybody to ask it is refused."""


@dataclass(frozen=True, slots=True, init=False)
class Verdict:
    """A policy's decision.

    Raises:
        ConfigError: an invalid value.
    """

    action: Action
    redirect: tuple[IPAddress | str, int] | None
    """With ``Action.ALLOW``: the host address and port to use in place of the destination. The address may be given
    as text, an :mod:`ipaddress` object, or bytes. A name with a dot (``"proxy.example"``, ``"server."``) is looked up
    by the host's resolver library for each flow. It leads to addresses of the Internet; to private, loopback and
    other special ones only if the policy allows a flow to the address itself."""
    reason: str
    """Short reason for a refusal, for people who read the logs."""
    rule: str = field(compare=False)
    """Text of the rule that decided; empty if there is none."""
    names: tuple[str, ...]
    """With ``Action.ALLOW``: the names that allow the flow. It then goes to an address to which the first of them
    resolves now, and the client has to say one of them; see ``tls``."""
    tls: str
    """With ``names``: ``"strict"`` refuses a client that says no name where its protocol has one, or another name, or
    that may hide the name (ECH); ``"ech"`` is as strict, but allows ECH if the name in the clear is right;
    ``"sni-optional"`` refuses only a client that says another name, or that may hide it; with ``"off"`` nothing is
    read."""
    proxy: str | None
    """Proxy through which to connect, as the option ``proxy`` takes it; ``""``: none, whatever that option says;
    None: as that option says."""
    proxy_header: bool
    """With ``redirect``: whether a TCP connection begins with a header of the PROXY protocol, version 2. It contains
    the guest's address, the destination and its name."""

    def __init__(
        self,
        action: Action,
        redirect: tuple[AnyAddress, int] | None = None,
        reason: str = "",
        *,
        rule: str = "",
        names: Sequence[str] = (),
        tls: str = "strict",
        proxy: str | None = None,
        proxy_header: bool = False,
    ) -> None:
        if not isinstance(action, Action):
            raise ConfigError(f"a verdict's action is one of slirpy.Action; given was {action!r}")
        if redirect is not None and action is not Action.ALLOW:
            raise ConfigError(f"a verdict that redirects has Action.ALLOW; given was {action}")
        if not isinstance(reason, str):
            raise ConfigError(f"a verdict's reason is text; given was {reason!r}")
        put = object.__setattr__
        put(self, "action", action)
        put(self, "redirect", None if redirect is None else redirect_target("a verdict's redirect", redirect))
        put(self, "reason", reason)
        if not isinstance(rule, str):
            raise ConfigError(f"a verdict's rule is text; given was {rule!r}")
        put(self, "rule", rule)
        put(self, "names", _names("a verdict's names", names))
        if tls not in TLS_MODES:
            raise ConfigError(f"a verdict's tls is one of {', '.join(TLS_MODES)}; given was {tls!r}")
        put(self, "tls", tls)
        if not isinstance(proxy, str | None):
            raise ConfigError(f"a verdict's proxy is text, or None; given was {proxy!r}")
        put(self, "proxy", proxy)
        put(self, "proxy_header", switch("a verdict's proxy_header", proxy_header))

    @staticmethod
    def _of_rule(
        action: Action,
        redirect: tuple[IPAddress | str, int] | None,
        rule: str,
        names: tuple[str, ...],
        tls: str,
        proxy: str | None,
        proxy_header: bool,
    ) -> Verdict:
        """Return the verdict of a rule, whose parts need no check. This takes a fifth of the time."""
        put, new = object.__setattr__, object.__new__(Verdict)
        put(new, "action", action)
        put(new, "redirect", redirect)
        put(new, "reason", "")
        put(new, "rule", rule)
        put(new, "names", names)
        put(new, "tls", tls)
        put(new, "proxy", proxy)
        put(new, "proxy_header", proxy_header)
        return new


def _check_done(done: object) -> None:
    code = getattr(done, "__code__", None)
    if not callable(done) or (code is not None and code.co_flags & CO_COROUTINE):
        raise ConfigError(f"done is an ordinary function that takes a Verdict; given was {done!r}")


class Decision:
    """A verdict that is yet to come. A policy may return one; the flow is held until :meth:`give`, up to 30 seconds.

    All calls must come from the thread that drives the network.
    """

    __slots__ = ("_verdict", "_waiting")

    def __init__(self) -> None:
        self._verdict: Verdict | None = None
        self._waiting: list[Callable[[Verdict], object]] = []

    def __repr__(self) -> str:
        verdict: Verdict | None = getattr(self, "_verdict", None)
        return f"<Decision: {'not given yet' if verdict is None else verdict.action.value}>"

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, once it is there."""
        return self._verdict

    def give(self, verdict: Verdict) -> None:
        """Decide. Only the first call counts.

        Raises:
            ConfigError: not a Verdict.
        """
        if not isinstance(verdict, Verdict):
            raise ConfigError(
                f"a decision is a slirpy.Verdict, such as Verdict(Action.ALLOW); given was {verdict!r}"
            )
        if self._verdict is not None:
            return
        self._verdict = verdict
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(verdict)

    def then(self, done: Callable[[Verdict], object]) -> None:
        """Call ``done`` with the verdict, now or when it comes.

        Raises:
            ConfigError: not a function, or a coroutine function, which nobody would await.
        """
        _check_done(done)
        if self._verdict is not None:
            done(self._verdict)
        else:
            self._waiting.append(done)

    def forget(self, done: Callable[[Verdict], object]) -> None:
        """Drop a function that :meth:`then` took. Harmless when repeated.

        Raises:
            ConfigError: not a function.
        """
        _check_done(done)
        if done in self._waiting:
            self._waiting.remove(done)

    @property
    def awaited(self) -> bool:
        """True while a flow waits for the verdict."""
        return bool(self._waiting)


def _plain_function(own: Callable[[], bool]) -> Callable[[], bool]:
    code = getattr(own, "__code__", None)
    if code is not None and code.co_flags & CO_COROUTINE:
        raise ConfigError(f"own is True, False or an ordinary function, which nobody awaits; given was {own!r}")
    return own


def _names(parameter: str, names: object) -> tuple[str, ...]:
    if names == ():
        return ()
    if (
        isinstance(names, str | bytes)
        or not isinstance(names, Sequence)
        or not all(isinstance(each, str) for each in names)
    ):
        raise ConfigError(f"{parameter} is a list of domain names; given was {names!r}")
    return tuple(name.lower().removesuffix(".") for name in names)


Policy: TypeAlias = Callable[[FlowRequest], "Verdict | Decision | Awaitable[Verdict]"]
"""Asked once for each new flow to the host or beyond it. It may be a coroutine function, or return a
:class:`Decision`."""

Asker: TypeAlias = Callable[[FlowRequest, Verdict], "Verdict | Decision | Awaitable[Verdict]"]
"""Asked about each flow for which a policy says :attr:`Action.ASK`; the flow is held until it has decided."""

RefusedHook: TypeAlias = Callable[[FlowRequest, Verdict], object]
"""Called with each flow that a policy, ``restrict`` or ``host_loopback`` refused; for UDP, with each datagram."""
