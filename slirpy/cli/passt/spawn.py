"""The command of pasta, in new namespaces.

Two processes begin here. The *founder* makes the namespaces, and waits for its child, which is process 1 of the new
PID namespace and becomes the command. Both end with slirpy-pasta. They stay in its process group, so that keys of the
terminal reach the command, and the command in turn may be a shell that handles jobs by itself.

The conversation, over a :class:`~slirpy.cli.channel.Channel`:

====================  ======================
from the founder      to it
====================  ======================
``unshared``          ``mapped``
``exec`` (errno, 0)   ``start``
``exit`` (status)
``error`` (text)
====================  ======================
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from typing import NoReturn

from slirpy.cli import linux
from slirpy.cli.channel import Channel, GoneError, Message, answer, expect, whole
from slirpy.cli.init import explain_namespaces
from slirpy.errors import LinkError

__all__ = ["Spawned", "become"]


class Spawned:
    """A command that has its namespaces, and waits for :meth:`start`. Use it as a context manager.

    Args:
        command: the command and its arguments.
        user: user and group to become before anything else; None: stay.
        netns_only: make no user namespace.
    """

    def __init__(self, command: Sequence[str], user: tuple[int, int] | None, *, netns_only: bool) -> None:
        self._channel, inner = Channel.pair()
        self.pid = os.fork()
        """The founder, which is in the new network and user namespaces."""
        if self.pid == 0:
            self._channel.close()
            _found(inner, command, user, netns_only)
        inner.close()
        self._ended = False
        try:
            self._expect("unshared")
            if not netns_only:
                _map_ids(self.pid, user or (os.geteuid(), os.getegid()))
            self._channel.send({"mapped": True})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Spawned:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> int:
        """Start the command. Returns 0, or the ``errno`` value that says why that failed."""
        self._channel.send({"start": True})
        return whole(self._expect("exec"), "exec", 4095)

    def fileno(self) -> int:
        """A descriptor that is readable when :meth:`read` has something to read."""
        return self._channel.fileno()

    def read(self) -> int:
        """Return the status of the command, which has ended: 128 + n when signal n killed it."""
        received = self._channel.receive()
        return 128 + signal.SIGKILL if received is None else whole(received[0], "exit", 255)

    def close(self) -> None:
        """Kill what is left. Harmless when repeated."""
        self._channel.close()
        if not self._ended:
            self._ended = True
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass

    def _expect(self, what: str) -> Message:
        return answer(self._channel, what, "the first process of the namespaces")[0]


def become(user: tuple[int, int]) -> None:
    """Become another user and group, for good.

    Raises:
        OSError: this process may not.
    """
    os.setgroups([])
    os.setresgid(user[1], user[1], user[1])
    os.setresuid(user[0], user[0], user[0])


def _map_ids(pid: int, user: tuple[int, int]) -> None:
    """Let the user be root in the new namespace."""
    try:
        with open(f"/proc/{pid}/setgroups", "w") as file:
            file.write("deny")
        for kind, number in zip(("uid", "gid"), user, strict=True):
            with open(f"/proc/{pid}/{kind}_map", "w") as file:
                file.write(f"0 {number} 1")
    except OSError as error:
        raise LinkError(explain_namespaces(error)) from None


def _found(
    channel: Channel, command: Sequence[str], user: tuple[int, int] | None, netns_only: bool
) -> NoReturn:
    """Act as the founder, newly forked."""
    try:
        if user is not None and not netns_only:
            become(user)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # after that, which would reset it
        flags = (
            linux.CLONE_NEWNET
            | linux.CLONE_NEWNS
            | linux.CLONE_NEWPID
            | linux.CLONE_NEWIPC
            | linux.CLONE_NEWUTS
        )
        try:
            linux.unshare(flags if netns_only else flags | linux.CLONE_NEWUSER)
        except OSError as error:
            raise LinkError(explain_namespaces(error)) from None
        linux.prctl(_PR_SET_DUMPABLE, 1)  # so that the outside may write our maps
        channel.send({"unshared": True})
        expect(channel, "mapped")
        _supervise(channel, command)
    except GoneError:
        pass
    except Exception as error:
        # Report every exception to the other side: nothing would catch it here, in a copy of the program.
        channel.send({"error": str(error) or type(error).__name__})
    finally:
        os._exit(1)


_PR_SET_DUMPABLE = 4


def _supervise(channel: Channel, command: Sequence[str]) -> None:
    from slirpy.cli import namespace

    namespace.set_kernel_parameters()
    ours, inner = Channel.pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _become_command(inner, command)
    inner.close()
    expect(channel, "start")
    ours.send({"start": True})
    received = ours.receive()  # None: the descriptor was closed by the exec
    channel.send({"exec": 0} if received is None else received[0])
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # those keys are the command's business
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    channel.send({"exit": code if code >= 0 else 128 - code})


def _become_command(channel: Channel, command: Sequence[str]) -> NoReturn:
    try:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SLAVE)
        try:
            linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        except OSError:
            pass  # inside a container that hides parts of /proc
        expect(channel, "start")
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # Python changed them, and children would inherit that
        linux.close_on_exec(())
        os.execvp(command[0], list(command))
    except OSError as error:
        channel.send({"exec": error.errno})
    except ValueError:  # an empty name
        channel.send({"exec": errno.ENOENT})
    except GoneError:
        pass
    finally:
        os._exit(127)
