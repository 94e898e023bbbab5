"""Speed of programs on simulated hosts: connections, networks, data and sleeps per second of processor time.

Each figure is the median of some rounds::

    python benchmarks/simulated.py
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import time
from collections.abc import Callable

from report import Report, count, main, show

from slirpy.links.faultypath import Faults
from slirpy.testing import Network
from slirpy.units import MS

__all__ = ["connections", "data", "frames", "serve", "sleeps", "visit", "world", "worlds"]

BAD_PATH = Faults(loss=0.05, delay=50 * MS, jitter=10 * MS)
HOSTS = 200


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
        reader, writer = await asyncio.open_connection("server", 80, family=family)
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
        ["what", "a second"],
    )
    rows = [
        ("connections", connections),
        ("networks", worlds),
        ("MiB, echoed at 5 % loss", data),
        (f"frames with {HOSTS} hosts", frames),
        ("simulated seconds of sleep", sleeps),
    ]
    for name, work in rows:
        for _ in range(arguments.rounds):
            report.sample(name, work())
        report.rows.append((name, show(report.median(name), 1)))
    return report


if __name__ == "__main__":
    main(__doc__, options, measure)
