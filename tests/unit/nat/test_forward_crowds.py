"""A forward under attack from outside, with real sockets: crowds that nobody answers, that leave, that are slow."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from slirpy import Config, Slirp
from slirpy.nat.tcp import MAX_OPENING
from slirpy.tcp import window
from slirpy.units import SECOND
from tests.support.driven import Driven

pytestmark = pytest.mark.needs("linux", detail="counts in /proc")
CROWD = 5000
MIB = 1 << 20


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * CROWD + 1000:
        pytest.skip(f"this user may have {hard} descriptors at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def turns(driven: Driven, number: int = 1) -> None:
    """Go on for a little."""
    left = iter(range(number))
    driven.until(lambda: next(left, None) is None)


def call(port: int) -> socket.socket:
    caller = socket.socket()
    caller.setblocking(False)
    assert caller.connect_ex(("127.0.0.1", port)) in (0, errno.EINPROGRESS)
    return caller


def reset(caller: socket.socket) -> None:
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()


def error_of(caller: socket.socket) -> int:
    try:
        caller.recv(1)
    except BlockingIOError:
        return 0
    except OSError as error:
        return error.errno or 0
    return -1


@pytest.mark.long
@pytest.mark.usefixtures("many_descriptors")
def test_five_thousand_unanswered_connections() -> None:
    with ExitStack() as stack, Slirp(Config(hostfwd=["tcp::0-10.0.2.99:80", "tcp::0-:7"], resolvers=[])) as net:
        driven = Driven(net)
        silent, works = (rule.host_port for rule in net.hostfwds())
        listener = driven.guest.listen(7)
        before, had = memory(), descriptors()
        callers: list[socket.socket] = []
        for n in range(CROWD):
            callers.append(stack.enter_context(call(silent)))
            if n % 32 == 0:
                turns(driven)
        driven.until(lambda: net.stats.tcp_flows == CROWD)
        assert net.stats.tcp_flows_evicted == CROWD - MAX_OPENING
        assert [error_of(each) for each in callers].count(errno.ECONNRESET) == CROWD - MAX_OPENING
        assert memory() - before < 16_384 * CROWD
        assert descriptors() - had <= CROWD + MAX_OPENING
        caller = stack.enter_context(call(works))  # one of the crowd goes for it
        driven.until(lambda: listener.accepted)
        listener.accepted[0].write(b"here")
        driven.until(lambda: error_of(caller) == -1)
        for each in callers:
            reset(each)
        driven.until(lambda: len(net.flows()) == 1)
        driven.until(lambda: descriptors() - had < 10)


@pytest.mark.needs("resets")
def test_reset_connections_are_forgotten_at_once() -> None:
    with Slirp(Config(hostfwd=["tcp::0-10.0.2.99:80"], resolvers=[])) as net:
        driven = Driven(net)
        (rule,) = net.hostfwds()
        had = descriptors()
        for n in range(1, 501):
            with call(rule.host_port) as caller:
                driven.until(lambda n=n: net.stats.tcp_flows == n)  # type: ignore[misc] # a lambda with a default
                reset(caller)
        driven.until(lambda: not net.flows())
        assert descriptors() == had


@pytest.mark.long
def test_clients_that_do_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data of the guest for them stays with the guest, but for a bounded part; others are served."""
    # On a busy machine, round trips are as long as on a long path, which would enlarge the window.
    monkeypatch.setattr(window, "SHORT", SECOND)
    with ExitStack() as stack, Slirp(Config(hostfwd=["tcp::0-:7"], resolvers=[])) as net:
        driven = Driven(net)
        (rule,) = net.hostfwds()
        listener = driven.guest.listen(7)
        lazy = [stack.enter_context(call(rule.host_port)) for _ in range(10)]
        driven.until(lambda: len(listener.accepted) == 10)
        before = memory()
        data = bytes(8 * MIB)
        for stream in listener.accepted:
            stream.write(data)
        driven.until(lambda: sum(flow.bytes_in for flow in net.flows()) > 10 * MIB)
        driven.until(lambda: sum(flow.queued_in > 0 for flow in net.flows()) == 10)
        turns(driven, 50)
        assert max(flow.queued_in for flow in net.flows()) <= MIB
        assert memory() - before < 10 * (len(data) + 3 * MIB)  # the guest is in this process too
        caller = stack.enter_context(call(rule.host_port))
        driven.until(lambda: len(listener.accepted) == 11)
        listener.accepted[10].write(b"here")
        driven.until(lambda: error_of(caller) == -1)
        assert not [each for each in lazy if error_of(each) > 0]
