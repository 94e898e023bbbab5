"""Walls around a process that carries guests' traffic (Linux).

:func:`confine` confines a process for good, once everything is set up: no capabilities, Landlock for its files,
seccomp for its system calls. :class:`Spawner` is a process that is forked before, and starts programs for it. Both
are used by the commands of slirpy (``--sandbox``); a program that embeds slirpy can call them itself::

    spawner = Spawner()
    use(spawner)              # before the network, if it has programs behind guestfwd
    net = Slirp(config)
    ...
    spawner.seal()
    missing = confine(read=["/srv/tftp"])

The names below are imported on first use (PEP 562).
"""

from __future__ import annotations

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.sandbox.confinement import ConfinementError, confine
    from slirpy.sandbox.root import PrivateRoot
    from slirpy.sandbox.spawner import Spawner, use

__all__ = ["ConfinementError", "PrivateRoot", "Spawner", "confine", "use"]

_MODULES = {"confinement": "ConfinementError confine", "root": "PrivateRoot", "spawner": "Spawner use"}

__getattr__, __dir__ = exports(__name__, _MODULES)
