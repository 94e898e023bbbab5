"""Plain functions as programs of hosts."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from slirpy.errors import ConfigError, StateError
from slirpy.links.faultypath import Faults
from slirpy.testing.errors import UnmetError
from slirpy.testing.sim.blocking import BlockingProgram
from slirpy.testing.sim.clock import Clock
from slirpy.testing.sim.errors import DeadlockError, ProgramError
from slirpy.testing.sim.network import Network
from slirpy.units import MS, SECOND


def echo() -> None:
    """Echo one connection after another."""
    with socket.create_server(("", 7)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(4096):
                    connection.sendall(data)


def ask(text: bytes = b"hello") -> bytes:
    with socket.create_connection(("server", 7)) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_client_and_server_talk_in_virtual_time(net: Network) -> None:
    net.host("server").run(echo)
    assert net.run(ask, on="client") == b"hello"
    assert 4 * MS <= net.now < 10 * MS


def test_a_transfer_survives_losses() -> None:
    with Network(1, path=Faults(loss=0.05, delay=50 * MS, jitter=10 * MS)) as net:
        net.host("server").run(echo)
        data = bytes(range(256)) * 200
        assert net.run(lambda: ask(data), on="client") == data


def test_two_runs_have_the_same_trace() -> None:
    digests = set()
    for _ in range(2):
        with Network(7, path=Faults(loss=0.2, delay=5 * MS), order="random") as net:
            net.host("server").run(echo)
            net.host("other").run(ask)
            net.run(ask, on="client")
            digests.add(net.trace.digest())
    assert len(digests) == 1


def test_sleeping_takes_virtual_time_on_the_clock_of_the_host(net: Network) -> None:
    net.host("fast", clock=Clock(offset=5 * SECOND, drift=100_000))
    real = time.monotonic()

    def sleep() -> tuple[float, float]:
        before, day = time.monotonic(), time.time()
        assert day == net.epoch.timestamp() + 5
        time.sleep(110)
        return time.monotonic() - before, time.time() - day

    assert net.run(sleep, on="fast") == pytest.approx((110, 110))
    assert net.now == 100 * SECOND
    assert time.monotonic() - real < 60


def test_a_receive_times_out_after_virtual_seconds(net: Network) -> None:
    net.host("server").run(echo)

    def wait() -> float:
        with socket.create_connection(("server", 7), timeout=1.5) as connection:
            before = time.monotonic()
            with pytest.raises(TimeoutError, match="timed out"):
                connection.recv(1)
            return time.monotonic() - before

    assert net.run(wait, on="client") == pytest.approx(1.5)


def test_an_exception_of_the_main_program_is_raised(net: Network) -> None:
    with pytest.raises(ConnectionRefusedError):
        net.host("server") and net.run(ask, on="client")


def test_an_exception_of_another_program_ends_the_run(net: Network) -> None:
    def fail() -> None:
        time.sleep(1)
        raise ValueError("planted")

    net.host("server").run(fail)
    with pytest.raises(
        ProgramError, match=r"fail on server failed at 1\.000000 s: ValueError\('planted'\)"
    ) as caught:
        net.run_for(2)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_program_that_waits_for_ever_is_found_with_its_place(net: Network) -> None:
    def stuck() -> None:
        with socket.create_server(("", 7)) as server:
            server.accept()

    with pytest.raises(
        DeadlockError, match=rf"stuck on client .* waits in socket.accept\(\) by stuck\(\) at {__file__}:"
    ):
        net.run(stuck, on="client")


def test_the_place_has_the_line_of_the_library_and_that_of_the_program(net: Network) -> None:
    def stuck() -> None:
        with socket.create_server(("", 7)) as one, socket.create_connection(("client", 7)) as other:
            accepted = one.accept()[0]
            http.client.HTTPResponse(other).begin()
            accepted.close()

    with pytest.raises(DeadlockError, match=r"recv_into\(\) by .*\(\) at .*, called by stuck\(\) at"):
        net.run(stuck, on="client")


def test_a_program_that_takes_too_long_is_found_with_its_place(net: Network) -> None:
    with pytest.raises(UnmetError, match=rf"<lambda>.*within 5 s.*{__file__}:"):
        net.run(lambda: time.sleep(10), on="client", limit=5)


def test_a_crash_ends_programs_and_a_restart_begins_them_again(net: Network) -> None:
    starts: list[float] = []
    cleaned: list[str] = []

    def serve() -> None:
        starts.append(time.monotonic())
        try:
            echo()
        finally:
            cleaned.append("closed")

    server = net.host("server")
    program = server.run(serve)
    assert net.run(ask, on="client") == b"hello"
    server.crash()
    assert program.killed
    assert cleaned == ["closed"]
    server.restart()
    assert net.run(ask, on="client") == b"hello"
    assert len(starts) == 2
    assert not any(record.time > net.now for record in net.trace.records)


def test_a_program_may_crash_its_own_host(net: Network) -> None:
    host = net.host("server")
    after: list[str] = []

    def fall() -> None:
        host.crash()
        time.sleep(1)
        after.append("still running")

    program = host.run(fall)
    net.run_for(2)
    assert program.killed
    assert not after


def test_a_program_that_catches_everything_dies_all_the_same(net: Network) -> None:
    def stubborn() -> None:
        while True:
            try:
                time.sleep(1)
            except BaseException:
                pass

    program = net.host("server").run(stubborn)
    net.run_for(2)
    net.close()
    assert program.killed


def test_a_paused_host_does_not_run(net: Network) -> None:
    ticks: list[float] = []

    def tick() -> None:
        while True:
            time.sleep(1)
            ticks.append(net.now / SECOND)

    host = net.host("server")
    host.run(tick)
    net.run_for(1.5)
    host.pause(3)
    net.run_for(4)
    assert ticks == [1.0, 4.5, 5.5]


def test_blocking_programs_of_two_hosts_share_one_network(net: Network) -> None:
    names: dict[str, str] = {}
    for name in ("a", "b"):
        net.host(name).run(lambda: names.setdefault(socket.gethostname(), socket.getfqdn()))
    net.run_for(1)
    assert names == {"a": "a", "b": "b"}


def test_programs_without_greenlet_say_how_to_get_it(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(ConfigError, match=rf"^{__file__}:\d+: .*pip install slirpy\[blocking\]"):
        net.host("server").run(echo)

    async def with_a_thread() -> None:
        threading.Thread(target=print).start()

    with pytest.raises(ConfigError, match=rf"^{__file__}:\d+: .* a thread .*pip install slirpy\[blocking\]"):
        net.run(with_a_thread, on="client")


@pytest.mark.parametrize("program", [echo, ask, lambda: None])
def test_a_program_that_was_never_run_can_be_killed(net: Network, program: Callable[[], Any]) -> None:
    started = net.host("server").run(program)
    assert isinstance(started, BlockingProgram)
    started.kill()
    assert started.done
    assert "has ended" in started.where()


def test_leaving_a_program_is_its_error_and_an_interrupt_reaches_the_test(net: Network) -> None:
    with pytest.raises(SystemExit):
        net.run(lambda: sys.exit(3), on="client")

    def interrupted() -> None:
        time.sleep(1)
        raise KeyboardInterrupt

    net.host("server").run(interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.run_for(2)


def test_a_program_cannot_run_its_own_network(net: Network) -> None:
    with pytest.raises(StateError, match="running already"):
        net.run(lambda: net.run_for(1), on="client")
