"""Python's modules while a network runs."""

from __future__ import annotations

import multiprocessing  # noqa: F401 - for calls in text
import os
import random
import secrets
import select
import selectors
import signal  # noqa: F401
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
from datetime import UTC, datetime
from typing import Any

import pytest

from slirpy.errors import ConfigError
from slirpy.testing.sim.errors import EscapeError
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.patch import patched
from slirpy.testing.sim.socketapi import SimSocket
from slirpy.units import SECOND


def state() -> list[Any]:
    """Return everything that is replaced while a network runs."""
    names: dict[Any, str] = {
        time: "time sleep monotonic",
        random: "random",
        os: "urandom read system",
        socket: "getaddrinfo",
        select: "select",
        threading: "Lock local current_thread",
        random.Random: "seed",
        socket.socket: "__new__",
        selectors.PollSelector: "_selector_cls",
        ssl.SSLContext: "wrap_socket",
        threading.Thread: "start",
        subprocess.Popen: "__init__",
    }
    return [getattr(owner, name) for owner, text in names.items() for name in text.split()]


def test_everything_is_restored_when_the_run_pauses(net: Network) -> None:
    before = state()
    during: list[list[Any]] = []
    net.run(lambda: during.append(state()), on="client")
    assert state() == before
    assert all(one is not other for one, other in zip(before, during[0], strict=True))


def test_everything_is_restored_after_an_exception(net: Network) -> None:
    before = state()
    with pytest.raises(ZeroDivisionError):
        net.run(lambda: 1 // 0, on="client")
    assert state() == before


def test_contexts_may_be_nested() -> None:
    before = state()
    with patched():
        inner = state()
        with patched():
            assert state() == inner
        assert state() == inner
    assert state() == before


def test_names_that_modules_have_imported_are_replaced_too(
    net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("imports_sleep")
    exec("from time import sleep, time", vars(module))
    monkeypatch.setitem(sys.modules, "imports_sleep", module)
    real = vars(module)["sleep"]

    def program() -> float:
        vars(module)["sleep"](100)
        return float(vars(module)["time"]())

    assert net.run(program, on="client") == net.epoch.timestamp() + 100
    assert vars(module)["sleep"] is real


def test_modules_imported_by_a_program_are_restored(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("imported_late")

    def program() -> None:
        exec("from time import sleep", vars(module))
        monkeypatch.setitem(sys.modules, "imported_late", module)

    net.run(program, on="client")
    assert vars(module)["sleep"] is time.sleep


def test_a_module_that_comes_when_another_one_goes(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = types.ModuleType("first_of_two"), types.ModuleType("second_of_two")
    for module in (first, second):
        exec("from time import sleep", vars(module))
    sys.modules["first_of_two"] = first
    net.run(lambda: vars(first)["sleep"](1), on="client")
    del sys.modules["first_of_two"]
    monkeypatch.setitem(sys.modules, "second_of_two", second)
    net.run(lambda: vars(second)["sleep"](1), on="client")
    assert net.now == 2 * SECOND


@pytest.mark.parametrize("late", [False, True])
def test_hypothesis_measures_real_time(net: Network, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    """Callbacks of the garbage collector run in any program, and must not count as calls of that program."""
    module = types.ModuleType("hypothesis.part")

    def load() -> None:
        exec("from time import perf_counter", vars(module))
        monkeypatch.setitem(sys.modules, "hypothesis.part", module)

    if late:
        net.run(load, on="client")
    else:
        load()
    assert net.run(lambda: vars(module)["perf_counter"], on="client") is time.perf_counter


def test_code_outside_of_programs_keeps_the_real_ones(net: Network) -> None:
    seen: list[Any] = []

    def outside() -> None:
        with socket.socket() as made:
            seen.append(type(made))
        seen.append(time.time() > net.epoch.timestamp())
        lock = threading.Lock()
        with lock:
            seen.append(os.urandom(4))

    def program() -> None:
        net.scheduler.soon(None, outside)  # a call of the network itself, in its context
        time.sleep(1)

    net.host("client").run(program)
    net.run_for(2)
    net.scheduler.soon(None, outside)
    net.run_for(1)
    assert seen[-3] is socket.socket


def test_a_real_thread_keeps_real_time_while_a_network_runs(net: Network) -> None:
    times: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        for _ in range(2000):
            time.sleep(1)

    def watch() -> None:
        while not stop.is_set():
            times.append(time.time())
            stop.wait(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        net.run(tick, on="client", limit=3000)
    finally:
        stop.set()
        thread.join()
    assert max(times) - min(times) < 100
    assert abs(times[0] - datetime.now(UTC).timestamp()) < 100


def test_random_numbers_repeat_with_the_seed() -> None:
    def draw() -> list[Any]:
        return [random.random(), random.choice("abc"), random.Random().random(), random.Random(5).random()]

    def run(seed: int) -> list[Any]:
        with Network(seed) as net:
            found: list[Any] = net.run(draw, on="client")
            return found

    assert run(1) == run(1) != run(2)
    assert run(1)[3] == random.Random(5).random()


def test_entropy_is_replaced_on_request() -> None:
    def draw() -> bytes:
        return secrets.token_bytes(8)

    with Network(1, patch=("entropy",)) as one, Network(1, patch=("entropy",)) as other:
        assert one.run(draw, on="client") == other.run(draw, on="client")
    with Network(1) as one, Network(1) as other:
        assert one.run(draw, on="client") != other.run(draw, on="client")


def test_only_the_chosen_parts_are_replaced() -> None:
    kinds: list[type] = []

    def program() -> None:
        with socket.socket() as made:
            kinds.append(type(made))

    with Network(patch=("time",)) as net:
        assert net.run(lambda: time.time() + 0, on="client") == net.epoch.timestamp()
        net.run(program, on="client")
        assert kinds == [socket.socket]
    with pytest.raises(ConfigError, match="entropy, random, socket, time"):
        Network(patch=("clock",))
    with pytest.raises(ConfigError, match="collection"):
        Network(patch="time")


def test_the_time_of_day_follows_the_epoch() -> None:
    with Network(epoch=datetime(2030, 5, 6, 7, 8, 9, tzinfo=UTC)) as net:
        shown = net.run(
            lambda: (time.strftime("%Y", time.gmtime()), time.gmtime()[:6], time.time_ns()), on="client"
        )
    assert shown == ("2030", (2030, 5, 6, 7, 8, 9), 1_904_281_689 * SECOND)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("os.fork()", r"os\.fork\(\)"),
        ("os.system('true')", r"os\.system\(\)"),
        ("subprocess.run(['true'])", r"subprocess\.Popen\(\)"),
        ("multiprocessing.get_context('fork').Process(target=print).start()", r"os\.fork\(\)"),
        ("multiprocessing.get_context('spawn').Process(target=print).start()", r"fork_exec\(\)"),
        ("multiprocessing.get_context('forkserver').Process(target=print).start()", r"fork_exec\(\)"),
        ("signal.pause()", r"signal\.pause\(\)"),
        ("signal.alarm(1)", r"signal\.alarm\(\)"),
        ("socket.if_nameindex()", r"socket\.if_nameindex\(\)"),
        ("select.select([0], [], [])", "descriptor 0 is a real one"),
        ("select.epoll().fileno()", r"epoll\.fileno\(\)"),
        ("type('Own', (socket.socket,), {})()", "subclass of socket.socket"),
    ],
)
def test_calls_that_leave_the_network_are_refused_by_name(net: Network, call: str, name: str) -> None:
    with pytest.raises(EscapeError, match=name):
        net.run(lambda: eval(call), on="client")


def test_the_refusal_names_the_place(net: Network) -> None:
    def program() -> None:
        os.system("true")

    with pytest.raises(EscapeError, match=f"{__file__}:"):
        net.run(program, on="client")


def test_waits_in_an_asyncio_program_are_refused(net: Network) -> None:
    async def sleep() -> None:
        time.sleep(0)
        time.sleep(1)

    with pytest.raises(EscapeError, match=r"time\.sleep\(\) .* use asyncio\.sleep\(\)"):
        net.run(sleep, on="client")


def test_sockets_of_programs_are_sockets(net: Network) -> None:
    def program() -> None:
        with socket.socket() as made:
            assert isinstance(made, SimSocket)
            assert isinstance(made, socket.socket)
            assert made.fileno() > 1 << 20
            assert "laddr=('0.0.0.0', 0)" in repr(made)
        with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
            assert server.getsockname()[1] >= 32768

    net.run(program, on="client")


def test_names_are_those_of_the_network(net: Network) -> None:
    server = net.host("server")
    net.alias("www.example", server)

    def program() -> None:
        assert socket.gethostbyname("www.example") == server.address
        assert socket.gethostbyname_ex("server") == ("server", [], [server.address])
        assert socket.gethostbyaddr(server.address)[0] == "server"
        assert socket.getnameinfo((server.address, 80), 0) == ("server", "http")
        assert socket.gethostname() == "client"
        assert socket.getaddrinfo("server", 80, type=socket.SOCK_STREAM)[0] == (
            socket.AF_INET, socket.SOCK_STREAM, 6, "", (server.address, 80),
        )  # fmt: skip
        with pytest.raises(socket.gaierror):
            socket.create_connection(("nowhere", 80))

    net.run(program, on="client")


def test_a_function_that_a_program_puts_in_its_place_stays(
    net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("imports_sleep")
    exec("from time import sleep", vars(module))
    monkeypatch.setitem(sys.modules, "imports_sleep_too", module)
    net.run(lambda: setattr(module, "sleep", print), on="client")
    assert vars(module)["sleep"] is print


def test_a_name_that_a_program_has_set_itself_stays(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("sets_sleep")
    exec("from time import sleep, monotonic", vars(module))
    monkeypatch.setitem(sys.modules, "sets_sleep", module)

    def program() -> None:
        vars(module)["sleep"] = net

    net.run(program, on="client")
    assert vars(module)["sleep"] is net
    assert vars(module)["monotonic"] is time.monotonic
