"""The way into a namespace: a short-lived child process enters it, makes a TAP interface, and hands it out.

The interface is opened in a spare network namespace of the child's, and then moved into the target. The kernel ties a
TAP descriptor to the namespace in which it was opened, and keeps that alive: opened in the target, our descriptor
would keep the target alive after the end of its last process. This way the interface disappears with the namespace,
which the link reports.

The conversation, over a :class:`~slirpy.cli.channel.Channel`:

===================  ============================================================
from the child       to the child
===================  ============================================================
``tap`` (its name)   ``settings``, or ``done``: there is nothing to configure
+ descriptor,
``moved``
``ready``
``error`` (text)     (at any moment, in place of the others)
===================  ============================================================
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import NoReturn

from slirpy.cli import linux
from slirpy.cli.attach.target import Namespaces
from slirpy.cli.channel import Channel, GoneError, answer, expect, line
from slirpy.errors import LinkError

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.cli.namespace import Settings

__all__ = ["Entry"]


class Entry:
    """A TAP interface in the making, in namespaces of others. Use it as a context manager.

    The child starts at once, and works while this process goes on, with imports for example. At the end of the
    context the child has ended and is reaped; the interface stays.

    Args:
        namespaces: the namespaces to enter.
        tap: name of the interface. One that exists there is opened, if it is a TAP interface that nobody uses.
    """

    def __init__(self, namespaces: Namespaces, tap: str) -> None:
        self._channel, inner = Channel.pair()
        self._child: int | None = os.fork()
        self.name = tap
        """Name of the interface."""
        self.pinned = False
        """True if our descriptor keeps the namespace alive, so that its end cannot be noticed."""
        if self._child == 0:
            self._channel.close()
            _enter(inner, namespaces, tap)
        inner.close()

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> int:
        """Wait for the interface. Returns its descriptor, which belongs to the caller.

        Raises:
            LinkError: it cannot be made; the text says why.
        """
        message, descriptor = answer(self._channel, "tap")
        if descriptor is None:
            raise LinkError("the TAP device was opened but did not arrive: out of descriptors? see `ulimit -n`")
        self.name = line(message, "tap")
        self.pinned = not message.get("moved")
        return descriptor

    def configure(self, settings: Settings) -> None:
        """Set up interfaces, addresses and routes in the namespace, after :meth:`open`.

        Raises:
            LinkError: the system refused.
        """
        self._channel.send({"settings": settings})
        answer(self._channel, "ready")

    def close(self) -> None:
        """Wait until the child has ended. Harmless when repeated."""
        if self._child is not None:
            child, self._child = self._child, None
            # Not by closing alone: a process that was forked in the meantime has the channel too.
            self._channel.send({"done": True})
            self._channel.close()
            try:
                os.waitpid(child, 0)
            except ChildProcessError:
                pass  # the program ignores SIGCHLD


def _enter(channel: Channel, namespaces: Namespaces, tap: str) -> NoReturn:
    """Act as the child, in a newly forked process."""
    try:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        _make_tap(channel, namespaces, tap)
        _configure(channel)
    except GoneError:
        pass
    except Exception as error:
        # Report every exception to the other side: nothing would catch it here, in a copy of the program.
        channel.send({"error": str(error) or type(error).__name__})
    finally:
        os._exit(0)


def _make_tap(channel: Channel, namespaces: Namespaces, tap: str) -> None:
    from slirpy.links.tuntap import open_tap

    if namespaces.user is not None:
        _set(namespaces.user, linux.CLONE_NEWUSER, "user")
    _set(namespaces.net, linux.CLONE_NEWNET, "network")
    exists = _exists(tap)
    moved = not exists and _enter_spare()
    descriptor, name = open_tap(tap, existing=exists)
    if moved:
        _move(name, namespaces.net)
        _set(namespaces.net, linux.CLONE_NEWNET, "network")
    channel.send({"tap": name, "moved": moved}, descriptor)
    os.close(descriptor)


def _configure(channel: Channel) -> None:
    from slirpy.cli import namespace

    settings = namespace.Settings(*expect(channel, "settings")["settings"])
    if any(":" in each[0] for each in settings.addresses):  # otherwise it is the namespace's own business
        namespace.set_ipv6_parameters(settings.tap, ipv6=True)
    try:
        namespace.configure_interfaces(settings)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        advice = "; it has a default route already: see --no-configure" if error.errno == errno.EEXIST else ""
        raise LinkError(f"cannot configure {settings.tap} in the namespace: {why}{advice}") from None
    channel.send({"ready": True})


def _set(descriptor: int, flag: int, kind: str) -> None:
    """Enter a namespace.

    Raises:
        LinkError: this process may not.
    """
    try:
        linux.setns(descriptor, flag)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise LinkError(
            f"cannot enter the {kind} namespace: {why}; it takes the user who made it, or root"
        ) from None


def _exists(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _enter_spare() -> bool:
    """Enter a new network namespace. Returns False if the system allows no more of them."""
    try:
        linux.unshare(linux.CLONE_NEWNET)
    except OSError:
        return False
    return True


def _move(name: str, namespace: int) -> None:
    """Move the interface into the target.

    Raises:
        LinkError: another one has taken the name, or the system refused.
    """
    from slirpy.cli.rtnetlink import Interfaces

    try:
        with Interfaces() as interfaces:
            interfaces.move(name, namespace)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise LinkError(f'cannot put the TAP interface "{name}" into the namespace: {why}') from None
