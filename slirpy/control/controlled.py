"""The part of a network that lets itself be controlled. Nothing that HTTP needs is imported before it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from slirpy.checks import instance
from slirpy.drive.loopbacks import Loopbacks
from slirpy.errors import ConfigError

if TYPE_CHECKING:
    from slirpy.control.server import ControlServer
    from slirpy.control.subject import Subject
    from slirpy.control.taps import Taps

__all__ = ["Controlled", "need_control"]


def need_control() -> type[ControlServer]:
    """Return the class of control servers.

    Raises:
        ConfigError: the packages that it needs are not installed.
    """
    try:
        from slirpy.control.server import ControlServer
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "slirpy":
            raise
        raise ConfigError(f"control needs the package {error.name}: pip install 'slirpy[control]'") from None
    return ControlServer


class Controlled(Loopbacks):
    """The part of :class:`slirpy.Slirp` that is controlled from outside."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(clock)
        self._controls: list[ControlServer | Subject] = []
        self._taps: Taps | None = None

    def serve_control(
        self,
        at: str,
        *,
        token: str | None = None,
        name: str = "net0",
        others: Mapping[str, Controlled] | None = None,
    ) -> ControlServer:
        """Let programs and people look at this network, and change it, by HTTP: ``slirpy ctl``, curl, a browser.

        Requests are done while the network is driven. Needs ``pip install 'slirpy[control]'``.

        Args:
            at: ``unix:PATH``, for this user only, or ``tcp:ADDRESS:PORT``; port 0 picks a free one.
            token: that clients must show, at least 16 characters. The default is a new one for TCP, which the result
                has as ``token``, and none for a Unix socket.
            name: name of this network for those who ask: its paths are also below ``/networks/NAME``.
            others: further networks by name, controlled by the same server, below ``/networks/NAME`` only. Each may
                be driven by another thread; one that has ended answers with an error.

        Returns:
            A handle with the ``address``, whose ``close`` stops it; it ends with the network.

        Raises:
            ConfigError: an argument that cannot be, or the packages are not installed.
            LinkError: the place is in use, or not available.
        """
        self._check_open()
        from slirpy.control.place import parse_place

        server_class = need_control()
        from slirpy.control.networks import check_name

        place = parse_place(at)
        check_name(name)
        networks: dict[str, Controlled] = {name: self}
        if others is not None:
            instance("others", others, Mapping, "a mapping of names to networks")
            for other, network in others.items():
                check_name(other)
                instance(f'others "{other}"', network, Controlled, "a network, a slirpy.Slirp")
                if other in networks or network in networks.values():
                    raise ConfigError(f'others "{other}": names differ, and no network has two')
                network._check_open()
                networks[other] = network
        with ExitStack() as failed:
            subjects = {}
            for each, network in networks.items():
                subjects[each] = network._call(network._subject)
                failed.callback(subjects[each].close)
            server = self._call(lambda: server_class(place, subjects, self._poller, token=token))
            failed.pop_all()
        for each, network in networks.items():
            network._add_control(server if network is self else subjects[each])
        return server

    def _subject(self) -> Subject:
        from slirpy.control.subject import Subject
        from slirpy.control.taps import Taps

        taps = self._taps = self._taps or Taps(self._stack, self._poller)
        return Subject(self._stack, self._poller, taps, self.dial)

    def _add_control(self, control: ControlServer | Subject) -> None:
        self._controls = [control, *(other for other in self._controls if not other.closed)]

    def _end_control(self) -> None:
        if self._taps is not None:
            self._taps.close()  # first, so that streams end well
        for control in self._controls:
            control.close()
        self._controls.clear()
