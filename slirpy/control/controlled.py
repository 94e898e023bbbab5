"""The part of a network that lets itself be controlled. Nothing that HTTP needs is imported before it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slirpy.drive.loopbacks import Loopbacks
from slirpy.errors import ConfigError

if TYPE_CHECKING:
    from slirpy.control.server import ControlServer
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
        self._controls: list[ControlServer] = []
        self._taps: Taps | None = None

    def serve_control(self, at: str, *, token: str | None = None) -> ControlServer:
        """Let programs and people look at this network, and change it, by HTTP: ``slirpy ctl``, curl, a browser.

        Requests are done while the network is driven. Needs ``pip install 'slirpy[control]'``.

        Args:
            at: ``unix:PATH``, for this user only, or ``tcp:ADDRESS:PORT``; port 0 picks a free one.
            token: that clients must show, at least 16 characters. The default is a new one for TCP, which the result
                has as ``token``, and none for a Unix socket.

        Returns:
            A handle with the ``address``, whose ``close`` stops it; it ends with the network.

        Raises:
            ConfigError: an argument that cannot be, or the packages are not installed.
            LinkError: the place is in use, or not available.
        """
        self._check_open()
        from slirpy.control.place import parse_place

        server_class = need_control()
        from slirpy.control.taps import Taps

        place = parse_place(at)
        taps = self._taps = self._taps or Taps(self._stack, self._poller)
        server = self._call(
            lambda: server_class(place, self._stack, self._poller, taps, token=token, dial=self.dial)
        )
        self._controls = [server, *(other for other in self._controls if not other.closed)]
        return server

    def _end_control(self) -> None:
        if self._taps is not None:
            self._taps.close()  # first, so that streams end well
        for control in self._controls:
            control.close()
        self._controls.clear()
