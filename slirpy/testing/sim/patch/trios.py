"""trio in programs: its sockets accept those of a network."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.switches import ALWAYS, Replacements, Switch
from slirpy.testing.sim.socketapi.simsocket import SimSocket

__all__ = ["replace_trio"]

_PART = "socket"


def replace_trio(all_of_it: Replacements) -> None:
    """Let trio wrap simulated sockets, once a program has imported it."""
    all_of_it.late("trio._socket", _sockets)
    all_of_it.late("trio._core._thread_cache", _worker_threads)


def _sockets(all_of_it: Replacements, module: ModuleType) -> None:
    kind: Any = module._SocketType
    real = kind.__init__

    def init(host: Host, self: Any, sock: Any) -> None:
        """Wrap a socket; trio's own check wants the exact class of the standard library."""
        if not isinstance(sock, SimSocket):
            real(self, sock)
            return
        self._sock = sock
        sock.setblocking(False)
        self._did_shutdown_SHUT_WR = False

    helper = kind._nonblocking_helper

    def nonblocking(host: Host, self: Any, wait: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method, which trio has taken from the standard library's class: of the simulated class instead."""
        if isinstance(self._sock, SimSocket):
            function = getattr(SimSocket, function.__name__)
        return helper(self, wait, function, *args, **kwargs)

    all_of_it.method(_PART, kind, "__init__", init)
    all_of_it.method(_PART, kind, "_nonblocking_helper", nonblocking)


def _worker_threads(all_of_it: Replacements, module: ModuleType) -> None:
    set_name = module.set_os_thread_name
    if set_name is not None:
        # The system knows nothing of a thread of a network: asked to name it, it would crash.
        all_of_it.attribute(module, "set_os_thread_name", Switch(ALWAYS, set_name, _leave_unnamed))
    start = module.ThreadCache.start_thread_soon

    def start_thread_soon(host: Host, self: Any, *args: Any, **kwargs: Any) -> None:
        """Start another thread: idle ones may be of another host, or of a network that is closed."""
        start(type(self)(), *args, **kwargs)

    all_of_it.method(ALWAYS, module.ThreadCache, "start_thread_soon", start_thread_soon)


def _leave_unnamed(host: Host, ident: int | None, name: str) -> None:
    """Do nothing."""
