"""Opener of guestfwd targets on this machine: commands, Unix sockets, functions of this process, and Samba.

Each kind of target is imported when it is first used.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from slirpy import forks
from slirpy.config.guestfwd import Command, HostTarget, StreamFactory, TcpTarget, UnixTarget
from slirpy.errors import ForwardError
from slirpy.host.opensockets import OpenSockets
from slirpy.interfaces import FlowRequest, ServiceNetwork, StreamOwner, StreamPeer, StreamService
from slirpy.paths import PATH_MAX, is_unix_path
from slirpy.sandbox import spawner

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from slirpy.targets.localstream import Worker, WorkerPool
    from slirpy.targets.smb import SmbServer
    from slirpy.targets.tasks import BackgroundLoop

__all__ = ["LocalTargetOpener"]


class LocalTargetOpener:
    """Opener of commands, Unix sockets and functions; a :class:`~slirpy.services.guestfwd.TargetOpener`.

    Args:
        sockets: the open sockets of the network.

    Attributes:
        loop: the event loop that drives the network; None: coroutine functions run in a background loop.
    """

    def __init__(self, sockets: OpenSockets) -> None:
        self._sockets = sockets
        self._made_at = forks.count
        self._pools: dict[type[Any], WorkerPool] = {}
        self._background: BackgroundLoop | None = None
        self._smb: SmbServer | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def opener(self, target: Any, network: ServiceNetwork, what: str) -> StreamService:
        """Make the function that opens connections to a target: ``opener(owner, flow)`` returns the stream.

        Args:
            target: as :attr:`slirpy.config.guestfwd.GuestForward.target`, of a kind that needs this class.
            network: provides the timer for checking programs and threads.
            what: beginning of the text of an error.

        Raises:
            ForwardError: the target certainly cannot work.
        """
        if isinstance(target, Command):
            from slirpy.targets.commands import PROCESSES, ProcessWorker, find_program

            path = find_program(target.argv[0], what)
            if spawner.active is not None:
                spawner.active.register(path, target.argv, target.quiet)
            pool = self._pool(ProcessWorker, network, PROCESSES)
            return self._starter(pool, lambda flow: ProcessWorker(target, path, flow))
        if isinstance(target, UnixTarget):
            self._check_unix(target.path, what)
            return lambda owner, flow: self._unix(target.path, owner, network)
        assert callable(target)
        assert not isinstance(target, TcpTarget | HostTarget | StreamFactory)
        from slirpy.targets.tasks import TASKS, TaskWorker, is_coroutine_function

        if is_coroutine_function(target):
            pool = self._pool(TaskWorker, network, TASKS)
            return self._starter(pool, lambda flow: TaskWorker(self.event_loop(), target, flow))
        from slirpy.targets.threads import THREADS, ThreadWorker

        pool = self._pool(ThreadWorker, network, THREADS)
        return self._starter(pool, lambda flow: ThreadWorker(target, flow))

    def _starter(self, pool: WorkerPool, make: Callable[[FlowRequest], Worker]) -> StreamService:
        from slirpy.targets.localstream import LocalStream

        sockets = self._sockets
        return lambda owner, flow: LocalStream(sockets, owner, pool, make(flow), flow.source_bytes)

    def smb(self, share: Path) -> Command:
        """Start to serve a folder; returns the opener of connections to the SMB server.

        Raises:
            ConfigError: the folder cannot be used, there is no ``smbd``, or it does not answer.
        """
        from slirpy.targets.smb import SmbServer

        self._smb = SmbServer(share)
        return self._smb.command

    def _pool(self, kind: type[Any], network: ServiceNetwork, limit: int) -> WorkerPool:
        if kind not in self._pools:
            from slirpy.targets.localstream import WorkerPool

            self._pools[kind] = WorkerPool(network, limit)
        return self._pools[kind]

    def event_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop in which coroutines run."""
        if self.loop is not None:
            return self.loop
        if self._background is None:
            from slirpy.targets.tasks import BackgroundLoop

            self._background = BackgroundLoop()
        return self._background.loop

    @staticmethod
    def _check_unix(path: str, what: str) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise ForwardError(f"{what}: this system has no Unix sockets; use tcp:host:port")
        if not is_unix_path(path):
            raise ForwardError(
                f'{what}: the path "{path}" is longer than the {PATH_MAX} bytes that a Unix socket may have'
            )
        if not os.path.isabs(path):
            raise ForwardError(f'{what}: the path "{path}" is not absolute; write unix:{os.path.abspath(path)}')

    def _unix(self, path: str, owner: StreamOwner, network: ServiceNetwork) -> StreamPeer:
        from slirpy.host.socketstream import SocketStream
        from slirpy.targets.unix import UnixStream

        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            owner.failed(error.errno or errno.EIO)
            return SocketStream(self._sockets, None, None)
        stream = UnixStream(self._sockets, sock, owner, network)
        stream.start(path)
        return stream

    def close(self) -> None:
        """End all programs and tasks. Harmless when repeated; in a forked child they belong to the parent and
        continue.
        """
        if forks.is_fork(self._made_at):
            for pool in self._pools.values():
                pool.abandon()
            self._pools.clear()
            self._background = None
            if self._smb is not None:
                self._smb.abandon()
                self._smb = None
            return
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        if self._background is not None:
            self._background.close()
            self._background = None
        if self._smb is not None:
            self._smb.close()
            self._smb = None
