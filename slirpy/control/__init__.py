"""Control of a network from outside, over HTTP: ``--control``, and :meth:`slirpy.Slirp.serve_control`.

It needs ``pip install 'slirpy[control]'``. HTTP has a separate thread, which starts with the first client. Requests
are done by the thread that drives the network (:mod:`slirpy.control.desk`), so the network needs no locks, and the
data path does not know that it is controlled.

The names below are imported on first use (PEP 562).
"""

from __future__ import annotations

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.control.client import ControlClient, ControlError
    from slirpy.control.server import ControlServer

__all__ = ["ControlClient", "ControlError", "ControlServer"]

_MODULES = {"client": "ControlClient ControlError", "server": "ControlServer"}

__getattr__, __dir__ = exports(__name__, _MODULES)
