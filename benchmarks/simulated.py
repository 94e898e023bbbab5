"""Speed of programs on simulated hosts: connections, networks, data and sleeps per second of processor time.

Machines differ, so connections and networks are compared with what asyncio does over the real loopback interface,
just before and after, with both ends in one process: the kernel's part is included there. The simulators simloop and
simloom, whose networks carry byte streams, take part if they are installed (Python 3.12 or later). Each figure is the
median of some rounds::

    python benchmarks/simulated.py
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from report import Bar, Report, count, main, show

from slirpy.links.faultypath import Faults
from slirpy.testing import Network
from slirpy.units import MS

__all__ = ["connections", "data", "frames", "loopback", "serve", "sleeps", "visit", "world", "worlds"]

BAD_PATH = Faults(loss=0.05, delay=50 * MS, jitter=10 * MS)
HOSTS = 200
REAL = "connections of asyncio over the real loopback interface"
BARS = {"connections": 0.54, "networks": 0.18}
"""Minima, in connections over the real loopback interface: 3,000 and 1,000 on a machine that makes 5,600 of these."""


async def _once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(65536))
    writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while received := await reader.read(65536):
        writer.write(received)
        await writer.drain()
    writer.close()


async def serve() -> None:
    """Serve echoes: at port 7 until the end of the stream, at port 80 once."""
    await asyncio.start_server(_echo, "server", 7)
    await (await asyncio.start_server(_once, "server", 80)).serve_forever()


async def visit(count: int, family: socket.AddressFamily = socket.AF_INET) -> None:
    """Make connections with an echo and a close, one after the other."""
    for _ in range(count):
        await _exchange(*await asyncio.open_connection("server", 80, family=family))


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    await reader.readexactly(5)
    writer.close()
    await writer.wait_closed()


async def _transfer(size: int) -> None:
    reader, writer = await asyncio.open_connection("server", 7)
    writer.write(bytes(size))
    writer.write_eof()
    while await reader.read(65536):
        pass
    writer.close()


def connections() -> float:
    """Return connections with an echo and a close, one after the other, per second."""
    with Network() as net:
        net.host("server").run(serve)
        return _rate(1000, lambda: net.run(visit(1000), on="client"))


def world(family: socket.AddressFamily = socket.AF_INET) -> None:
    """Make a network of two hosts, with one connection, and close it."""
    with Network() as net:
        net.host("server").run(serve)
        net.run(visit(1, family), on="client")


def worlds() -> float:
    """Return such networks per second."""

    def all_of_them() -> None:
        for _ in range(200):
            world()

    return _rate(200, all_of_them)


def loopback() -> float:
    """Return connections with an echo and a close over the real loopback interface, per second."""

    async def main() -> None:
        server = await asyncio.start_server(_once, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for _ in range(1000):
            await _exchange(*await asyncio.open_connection("127.0.0.1", port))
        server.close()

    return _rate(1000, lambda: asyncio.run(main()))


def _others() -> list[tuple[str, Callable[[int, int], None]]]:
    """Return the other simulators that are installed: a name, and a function that makes connections with a seed."""
    found: list[tuple[str, Callable[[int, int], None]]] = []
    for name, run in (("simloop", _run_simloop), ("simloom", _run_simloom)):
        try:
            found.append((name, partial(run, importlib.import_module(name))))
        except ImportError:
            continue
    return found


def _run_simloop(simloop: Any, seed: int, count: int) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()  # the network's own, which has more than asyncio's
        net = loop.net
        net.host("server").create_task(_serve_once())
        await asyncio.sleep(1)
        await net.host("client").create_task(visit(count, socket.AF_UNSPEC))

    failed = simloop.explore(main, [seed])
    assert failed is None, failed


def _run_simloom(simloom: Any, seed: int, count: int) -> None:
    async def main(world: Any) -> None:
        world.host("server").spawn(_serve_once)
        await asyncio.sleep(1)
        await world.host("client").spawn(lambda: visit(count, socket.AF_UNSPEC))

    simloom.run(main, seed=seed)


def _seeds(run: Callable[[int, int], None]) -> None:
    for seed in range(200):
        run(seed, 1)


async def _serve_once() -> None:
    await (await asyncio.start_server(_once, "server", 80)).serve_forever()


def data() -> float:
    """Return MiB of an echo over a path with losses, per second, counted once."""
    with Network(path=BAD_PATH) as net:
        net.host("server").run(serve)
        return _rate(1, lambda: net.run(_transfer(1 << 20), on="client"))


def frames() -> float:
    """Return frames between many hosts that all visit one server, per second."""
    with Network() as net:
        net.host("server").run(serve)
        for number in range(HOSTS):
            net.host(f"client{number}").run(visit(5))
        before = time.process_time()
        net.run_for(60)
        return len(net.trace.records) / (time.process_time() - before)


def sleeps() -> float:
    """Return simulated seconds of a program that sleeps a second at a time, per second."""

    async def main() -> None:
        for _ in range(20_000):
            await asyncio.sleep(1)

    with Network() as net:
        return _rate(20_000, lambda: net.run(main, on="client", limit=30_000))


def _rate(count: int, work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return count / (time.process_time() - before)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=count, default=5, help="rounds of which the median counts")


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements."""
    report = Report(
        "Simulated hosts",
        f"For each second of processor time, in one process; medians of {arguments.rounds} rounds.",
        ["what", "a second", "in that of loopback"],
    )
    compared: list[tuple[str, Callable[[], float]]] = [("connections", connections), ("networks", worlds)]
    for name, run in _others():
        compared.append((f"connections, {name}", partial(_rate, 1000, partial(run, 0, 1000))))
        compared.append((f"networks, {name}", partial(_rate, 200, partial(_seeds, run))))
    for _ in range(arguments.rounds):
        for name, work in compared:
            before, rate, after = loopback(), work(), loopback()
            report.sample(REAL, (before + after) / 2)
            report.sample(name, rate)
            report.sample(f"{name}, in that of loopback", 2 * rate / (before + after))
    report.rows.append((REAL, show(report.median(REAL), 1), ""))
    for name, _ in compared:
        ratio = report.median(f"{name}, in that of loopback")
        report.rows.append((name, show(report.median(name), 1), show(ratio, 2)))
        if name in BARS and ratio is not None:
            report.bars.append(Bar(f"{name}, in connections over loopback", ratio, BARS[name], at_least=True))
    rows = [
        ("MiB, echoed at 5 % loss", data),
        (f"frames with {HOSTS} hosts", frames),
        ("simulated seconds of sleep", sleeps),
    ]
    for name, work in rows:
        for _ in range(arguments.rounds):
            report.sample(name, work())
        report.rows.append((name, show(report.median(name), 1), ""))
    return report


if __name__ == "__main__":
    main(__doc__, options, measure)
