"""A router between hosts and the rest of a network: slirpy's real stack, with NAT, DHCP, DNS, rules and forwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from slirpy.config import Config
from slirpy.core.port import LinkPort
from slirpy.errors import ConfigError
from slirpy.interfaces import Frame, LinkFeatures, LinkSink, Poller
from slirpy.reprs import counted, never_raises
from slirpy.stack import Stack
from slirpy.stats import Stats
from slirpy.testing.cable import NoPoller
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.path import Deliver

__all__ = ["Router"]


class _Cable:
    """The link of the stack to one host."""

    def __init__(self, mtu: int, carry: Callable[[bytes], None]) -> None:
        self.features = LinkFeatures(mtu=mtu)
        self._carry = carry

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Do nothing: the network delivers frames."""

    def send(self, frames: Sequence[Frame]) -> int:
        """Accept all frames."""
        for frame in frames:
            self._carry(b"".join(frame.parts))
        return len(frames)

    def close(self) -> None:
        """Do nothing: the link holds no resources."""


class Router:
    """A router: a host of the network outside, a stack inside.

    Hosts behind it obtain their addresses by DHCP, or from its router advertisements, and reach the others through
    NAT. Names of hosts are resolved by its DNS, unless its configuration says otherwise.

    Args:
        outside: the host whose address the others see.
        config: its configuration.

    Raises:
        ConfigError: it would ask the DNS servers of the real machine.
        ForwardError: a rule in ``hostfwd`` or ``guestfwd`` cannot be set up.

    A crash of the host outside is one of the router. When that restarts, it has forgotten leases, flows, and forwards
    that were added at run time; the hosts behind it keep their addresses.

    Attributes:
        stack: the stack, for counters, flows and forwards at run time; another one after a restart.
        config: its configuration.
        outside: the host outside.
        inside: the hosts behind it.
    """

    def __init__(self, outside: Host, config: Config) -> None:
        if config.dns_mode != "system" and config.resolvers is None:
            raise ConfigError(
                'a simulated router has no DNS servers: give its Config dns_mode="system", for the names of hosts, or'
                " resolvers=[...] with addresses of hosts"
            )
        net = outside.net
        self.config = config
        self.outside = outside
        self.inside: list[Host] = []
        self._scheduler = net.scheduler
        self._due = False
        self._wake_at: int | None = None
        self._seed = f"{net.seed} router {outside.name}"
        self._cables: dict[Host, _Cable] = {}
        self._ports: dict[Host, LinkPort] = {}
        self.stack = self._boot()
        outside.boots.append(self._reboot)

    @never_raises
    def __repr__(self) -> str:
        return f"<Router {self.outside.name}: {counted(len(self.inside), 'host')} behind it>"

    @property
    def stats(self) -> Stats:
        """Counters of the stack."""
        return self.stack.stats

    def plug_in(self, host: Host, mtu: int, carry: Callable[[bytes], None]) -> Deliver:
        """Connect a host; ``carry`` takes frames for it. Returns a function that takes its frames."""
        cable = self._cables[host] = _Cable(mtu, carry)
        self._ports[host] = self.stack.attach(cable, NoPoller())
        self.inside.append(host)

        def take(frame: bytes, sound: bool) -> None:
            if not self.outside.crashed:
                self.stack.tick(self._scheduler.now)
                self.stack.input(self._ports[host], frame)
                self._activity()

        return take

    def _boot(self) -> Stack:
        """Return a new stack on the sockets of the host outside."""
        outside = self.outside
        random = Random(f"{self._seed} {outside.epoch}" if outside.epoch else self._seed)
        stack = Stack(self.config, outside.socket_layer, random=random, now=self._scheduler.now)
        outside.stack.watch(self._activity)
        return stack

    def _reboot(self) -> None:
        """Begin anew, because the host outside has."""
        self.stack = self._boot()
        self._ports = {host: self.stack.attach(cable, NoPoller()) for host, cable in self._cables.items()}
        self._activity()

    def _activity(self) -> None:
        """Let the stack work as soon as what happens now is over."""
        if not self._due:
            self._due = True
            self.outside.soon(self._work)

    def _work(self) -> None:
        self._due = False
        if self.outside.crashed:
            return
        now = self._scheduler.now
        self.stack.tick(now)
        self.stack.flush(now)
        following = self.stack.deadline()
        if following is not None and (self._wake_at is None or following < self._wake_at):
            self._wake_at = following
            self._scheduler.at(following, self._wake, following)

    def _wake(self, when: int) -> None:
        if when == self._wake_at:
            self._wake_at = None
            self._activity()
