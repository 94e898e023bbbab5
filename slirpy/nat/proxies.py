"""Upstream proxies: which flows go through one, and how."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from slirpy.config import Config
from slirpy.config.proxy import Proxy, goes_direct, parse_proxy, read_credentials
from slirpy.core.network import Network
from slirpy.interfaces import HostNetwork, NameAnswer, StreamOwner, StreamPeer, Verdict
from slirpy.logs import warn
from slirpy.nat.introduced import IntroducedStream
from slirpy.nat.outcomes import Route
from slirpy.nat.upstream import Header, HttpConnect, Socks5Connect
from slirpy.units import SECOND
from slirpy.wire import proxyheader
from slirpy.wire.ip import split_key
from slirpy.wire.scope import is_loopback

__all__ = ["Proxies"]

LOOKUP_TIME = 60 * SECOND
"""Time for which the addresses of a proxy are remembered."""
WARN_AGAIN = 60 * SECOND
"""Least time between two warnings about a proxy."""
_LOCALHOST = (b"\x7f\0\0\x01", bytes(15) + b"\x01")


class Proxies:
    """Opens TCP connections through the proxies of one network.

    Args:
        config: the options ``proxy``, ``proxy_auth_file`` and ``no_proxy``.
        network: gives the time.
        host: opens the connections to proxies.

    Raises:
        ConfigError: the file of the user and password cannot be read.
    """

    def __init__(self, config: Config, network: Network, host: HostNetwork) -> None:
        self._default = config.proxy
        self._no_proxy = config.no_proxy
        self._network = network
        self._host = host
        file = config.proxy_auth_file
        self._credentials = None if file is None else read_credentials(file)
        self._found: dict[str, tuple[int, tuple[bytes, ...]]] = {}
        self._waiting: dict[str, list[tuple[IntroducedStream, int]]] = {}
        self._warned: int | None = None

    def choose(self, verdict: Verdict | None, names: Sequence[str], address: bytes) -> Proxy | None:
        """Return the proxy for a flow; None: it goes direct, as redirected ones do.

        Args:
            verdict: the policy's, which may name another proxy, or none.
            names: names of the destination.
            address: the destination as the host sees it. The host's loopback is never behind the proxy of all.
        """
        if verdict is not None and verdict.proxy is not None:
            return parse_proxy(verdict.proxy) if verdict.proxy else None
        if verdict is not None and verdict.redirect is not None:
            return None
        if self._default is None or is_loopback(address):
            return None
        return None if goes_direct(self._no_proxy, names, address) else self._default

    def open(
        self,
        owner: StreamOwner,
        key: bytes,
        target: Route,
        names: Sequence[str],
        ttl: int,
        *,
        by_name: bool = True,
    ) -> StreamPeer:
        """Connect a flow along its route: through its proxy, with a header before its data, or directly.

        Args:
            key: the flow's, from which a header of the PROXY protocol is made.
            names: names of the destination.
            ttl: time to live of a direct connection.
            by_name: whether a proxy gets the name rather than the address.
        """
        verdict, address, port = target.verdict, target.address, target.port
        if verdict is not None and verdict.redirect is not None and verdict.proxy_header:
            source, source_port, wanted, wanted_port = split_key(key)
            name = names[0] if names else ""
            header = Header(proxyheader.build((source, source_port), (wanted, wanted_port), name))
            stream = IntroducedStream(self._network, self._host, owner, header)
            stream.open([(address, port)], ttl)
            return stream
        proxy = self.choose(verdict, names, address)
        if proxy is None:
            return self._host.connect_tcp(address, port, owner, ttl)
        return self.connect(proxy, names[0] if names and by_name else address, port, owner)

    def connect(self, proxy: Proxy, destination: str | bytes, port: int, owner: StreamOwner) -> StreamPeer:
        """Connect through a proxy to a name, or to an address of four or sixteen bytes."""
        make = HttpConnect if proxy.scheme == "http" else Socks5Connect
        prologue = make(destination, port, self._credentials)

        def refused(reason: str) -> None:
            place = destination if isinstance(destination, str) else str(ip_address(destination))
            self._warn(proxy, f"{place}:{port}", reason)

        stream = IntroducedStream(self._network, self._host, owner, prologue, refused)
        self._lead(stream, proxy)
        return stream

    def _lead(self, stream: IntroducedStream, proxy: Proxy) -> None:
        """Connect a stream to the proxy, once its address is known."""
        host, port = proxy.host, proxy.port
        try:
            stream.open([(ip_address(host).packed, port)])
            return
        except ValueError:
            pass
        now = self._network.now
        until, addresses = self._found.get(host, (0, ()))
        if host == "localhost":
            until, addresses = now + 1, _LOCALHOST
        if now < until:
            stream.open([(address, port) for address in addresses])
            return
        waiting = self._waiting.setdefault(host, [])
        waiting.append((stream, port))
        if len(waiting) == 1 and not self._host.lookup(host, lambda answer: self._looked_up(host, answer)):
            self._looked_up(host, NameAnswer((), None))

    def _looked_up(self, host: str, answer: NameAnswer) -> None:
        if answer.addresses:
            self._found[host] = self._network.now + LOOKUP_TIME, answer.addresses
        else:
            warn('slirpy: the proxy "%s" has no address', host)
        for stream, port in self._waiting.pop(host):
            stream.open([(address, port) for address in answer.addresses])

    def _warn(self, proxy: Proxy, place: str, reason: str) -> None:
        """Count a refusal, and report one a minute."""
        self._network.stats.tcp_flows_proxy_refused += 1
        now = self._network.now
        if self._warned is None or now - self._warned >= WARN_AGAIN:
            self._warned = now
            warn("slirpy: the proxy %s refuses %s: %s", proxy, place, reason)
