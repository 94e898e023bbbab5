"""Clients and servers on asyncio that know nothing of a simulator: the same code runs in virtual time and on Linux.

Each scenario has a coroutine for the server and one for the client. They report facts, which must be the same
everywhere, and points of time.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any, TypeAlias

__all__ = ["PROGRAMS", "SERVER", "Log", "Pair"]

SERVER = "198.18.0.1"
PORT = 7000
KIB = 1 << 10


class Log:
    """The facts and times that a program reports.

    Args:
        ready: called by the server once clients can come.
    """

    def __init__(self, ready: Callable[[], object]) -> None:
        self.ready = ready
        self.facts: dict[str, Any] = {}
        self.times: dict[str, float] = {}

    def mark(self, label: str) -> None:
        """Note that something happens now."""
        self.times[label] = asyncio.get_running_loop().time()

    def received(self, data: bytes) -> None:
        """Note what was received."""
        self.facts["received"] = len(data), hashlib.sha256(data).hexdigest()[:16]


Program: TypeAlias = Callable[[Log], Coroutine[Any, Any, None]]
Pair: TypeAlias = tuple[Program, Program]
Handler: TypeAlias = Callable[[Log, asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
SocketHandler: TypeAlias = Callable[[Log, socket.socket], Coroutine[Any, Any, None]]


def payload(size: int) -> bytes:
    return Random(size).randbytes(size)


async def noting(log: Log, work: Coroutine[Any, Any, None]) -> None:
    """Note the error that ends the work, if one does."""
    try:
        await work
    except OSError as error:
        log.facts["error"] = errno.errorcode.get(error.errno or 0, type(error).__name__)
    log.mark("end")


async def finish(writer: asyncio.StreamWriter) -> None:
    """Close a stream, and wait until its data have left the program: ``drain`` returns before that."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def server(handle: Handler, connections: int = 1) -> Program:
    """A server that ends after so many connections."""

    async def run(log: Log) -> None:
        left = connections
        done = asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal left
            log.mark("accepted")
            await noting(log, handle(log, reader, writer))
            await finish(writer)
            left -= 1
            if not left:
                done.set()

        listening = await asyncio.start_server(accept, SERVER, PORT)
        log.ready()
        await done.wait()
        listening.close()

    return run


def client(talk: Handler, **options: int) -> Program:
    """A client with one connection; ``options`` are those of level IPPROTO_TCP, or SO_KEEPALIVE."""

    async def connected(log: Log) -> None:
        reader, writer = await asyncio.open_connection(SERVER, PORT)
        log.mark("connected")
        sock = writer.get_extra_info("socket")
        for name, value in options.items():
            level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
            sock.setsockopt(level, getattr(socket, name), value)
        try:
            await talk(log, reader, writer)
        finally:
            await finish(writer)

    async def run(log: Log) -> None:
        log.mark("start")
        await noting(log, connected(log))

    return run


def socket_server(handle: SocketHandler) -> Program:
    """A server of one connection that reads when it wants: without streams, which read ahead."""

    async def run(log: Log) -> None:
        loop = asyncio.get_running_loop()
        listener = socket.socket()
        listener.setblocking(False)
        listener.bind((SERVER, PORT))
        listener.listen()
        log.ready()
        sock, _ = await loop.sock_accept(listener)
        log.mark("accepted")
        sock.setblocking(False)
        await noting(log, handle(log, sock))
        sock.close()
        listener.close()

    return run


# ------------------------------------------------------------------------------------- what they do


async def collect(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read until the end, and answer."""
    data = bytearray()
    try:
        while part := await reader.read(256 * KIB):
            data += part
    finally:
        log.received(bytes(data))
    log.mark("received")
    writer.write(b"ok\n")
    await writer.drain()


def upload(size: int) -> Handler:
    """Send so many bytes and the end, and wait for the answer."""

    async def talk(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(payload(size))
        await writer.drain()
        writer.write_eof()
        log.facts["answer"] = (await reader.read()).decode()

    return talk


def provide(size: int) -> Handler:
    async def handle(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(payload(size))
        await writer.drain()

    return handle


async def download(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    log.received(await reader.read())


def both(size: int) -> Handler:
    """Send and receive at once."""

    async def talk(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(payload(size))
        writer.write_eof()
        log.received(await reader.read())
        await writer.drain()

    return talk


async def shout(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line in capitals, until the end."""
    lines = log.facts.setdefault("lines", 0)
    while line := await reader.readline():
        lines = log.facts["lines"] = log.facts["lines"] + 1
        writer.write(line.upper())
        await writer.drain()
    log.facts["lines"] = lines
    log.mark("ended")


def ask(count: int, size: int = 5, pause: float = 0.0) -> Handler:
    """Send lines one after the other, each after the answer to the one before it."""

    async def talk(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = 0
        for number in range(count):
            writer.write(b"x" * size + b"\n")
            answers += await reader.readline() == b"X" * size + b"\n"
            log.facts["answers"] = answers
            if pause and number < count - 1:
                await asyncio.sleep(pause)
        log.mark("answered")

    return talk


def stream_lines(count: int, pause: float) -> Handler:
    """Send lines at fixed times, and the end."""

    async def talk(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(count):
            writer.write(b"line %d\n" % number)
            await asyncio.sleep(pause)
        writer.write_eof()
        log.facts["answer"] = (await reader.read()).decode()

    return talk


def many(count: int) -> Program:
    """Return a program that opens ``count`` connections at once."""

    async def one(number: int) -> bool:
        reader, writer = await asyncio.open_connection(SERVER, PORT)
        line = b"%d\n" % number * 100
        writer.write(line)
        writer.write_eof()
        answer = await reader.read()
        await finish(writer)
        return answer == line

    async def all_of_them(log: Log) -> None:
        log.facts["right"] = sum(await asyncio.gather(*map(one, range(count))))

    async def run(log: Log) -> None:
        log.mark("start")
        await noting(log, all_of_them(log))

    return run


async def echo(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    await writer.drain()


async def wait_in_vain(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read for four seconds."""
    data = bytearray()
    try:
        async with asyncio.timeout(4):
            while part := await reader.read(KIB):
                data += part
    finally:
        log.received(bytes(data))


async def silent(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send nothing, and wait for something."""
    log.received(await reader.read())


async def send_into_the_cut(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send once before and once after the path is cut, and wait for an answer."""
    writer.write(b"before")
    await asyncio.sleep(0.5)
    writer.write(b"after")
    log.received(await reader.read())


def reading(pause: float, size: int, between: float = 0.0) -> SocketHandler:
    """Pause, and then read until the end, ``size`` bytes at a time with pauses between."""

    async def handle(log: Log, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(pause)
        data = bytearray()
        while part := await loop.sock_recv(sock, size):
            data += part
            if between:
                await asyncio.sleep(between)
        log.received(bytes(data))
        await loop.sock_sendall(sock, b"ok\n")

    return handle


async def leave_unread(log: Log, sock: socket.socket) -> None:
    """Close with data unread."""
    await asyncio.sleep(0.2)


async def answer_after_the_end(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read until the end of the far side, and send slowly for a while."""
    log.received(await reader.read())
    for number in range(5):
        writer.write(payload(20_000 + number))
        await asyncio.sleep(0.1)


async def end_at_once(log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a request and the end, and read until the far side's end."""
    writer.write(b"all of it, please\n")
    writer.write_eof()
    data = await reader.read()
    log.received(data)


async def refused_server(log: Log) -> None:
    log.ready()


# ---------------------------------------------------------------------------------------------- UDP


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self.error: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.arrived.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        if not self.error.done():
            self.error.set_result(exc)


def receive_burst(asleep: float = 0.0) -> Program:
    """Receive until nothing has come for half a second, perhaps after a sleep."""

    async def run(log: Log) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((SERVER, PORT))
        log.ready()
        numbers = [int((await loop.sock_recv(sock, 2048))[:5])]
        await asyncio.sleep(asleep)
        try:
            while True:
                async with asyncio.timeout(0.5):
                    numbers.append(int((await loop.sock_recv(sock, 2048))[:5]))
                log.mark("last")
        except TimeoutError:
            pass
        log.facts["in order"] = numbers == sorted(set(numbers))
        log.facts["first lost"] = next((n for n, number in enumerate(numbers) if n != number), len(numbers))
        log.facts["arrived"] = len(numbers)
        sock.close()

    return run


def send_burst(count: int, size: int) -> Program:
    """Send datagrams without a pause."""

    async def run(log: Log) -> None:
        log.mark("start")
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=(SERVER, PORT))
        for number in range(count):
            transport.sendto((b"%05d" % number).ljust(size, b"."))
        await asyncio.sleep(0.1)
        transport.close()

    return run


async def udp_to_closed_port(log: Log) -> None:
    """Send to a closed port, and wait for the error."""
    log.mark("start")
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=(SERVER, PORT))
    transport.sendto(b"hello")
    async with asyncio.timeout(2):
        error = await protocol.error
    log.facts["error"] = errno.errorcode[error.errno or 0] if isinstance(error, OSError) else repr(error)
    log.mark("end")
    transport.close()


EXCHANGE: Pair = server(shout), client(ask(1))
UPLOAD: Pair = server(collect), client(upload(512 * KIB))
PROGRAMS: dict[str, Pair] = {
    "bulk up": (server(collect), client(upload(1024 * KIB))),
    "bulk down": (server(provide(1024 * KIB)), client(download)),
    "both ways at once": (server(both(512 * KIB)), client(both(512 * KIB))),
    "request and response": (server(shout), client(ask(30, 200))),
    "many connections": (server(echo, 50), many(50)),
    "lost SYN": EXCHANGE,
    "lost SYN-ACK": EXCHANGE,
    "two lost SYNs": EXCHANGE,
    "lost request": EXCHANGE,
    "lost FIN": EXCHANGE,
    "lost last ACK": EXCHANGE,
    "zero window": (socket_server(reading(2.0, 256 * KIB)), client(upload(400 * KIB))),
    "lost window update": (socket_server(reading(1.0, 256 * KIB)), client(upload(400 * KIB))),
    "partition that heals": (server(collect), client(stream_lines(10, 0.1))),
    "partition without end": (
        server(wait_in_vain), client(send_into_the_cut, TCP_USER_TIMEOUT=2000)
    ),
    "keep-alive": (
        server(wait_in_vain), client(silent, TCP_KEEPIDLE=1, TCP_KEEPINTVL=1, TCP_KEEPCNT=2, SO_KEEPALIVE=1)
    ),
    "idle connection": (server(shout), client(ask(3, 10_000, pause=1.0))),
    "slow reader": (socket_server(reading(0.0, 16 * KIB, 0.02)), client(upload(512 * KIB))),
    "reset in the middle": UPLOAD,
    "close with unread data": (socket_server(leave_unread), client(ask(1))),
    "refused port": (refused_server, client(ask(1))),
    "half close": (server(answer_after_the_end), client(end_at_once)),
    "path MTU": (server(collect), client(upload(256 * KIB))),
    "UDP burst beyond a queue": (receive_burst(), send_burst(200, 1000)),
    "UDP burst beyond a socket": (receive_burst(0.5), send_burst(400, 1000)),
    "UDP to a closed port": (refused_server, udp_to_closed_port),
    "slow path with a full queue": UPLOAD,
    "loss of 1 %": UPLOAD,
    "duplicates and reordering": UPLOAD,
}  # fmt: skip
"""The server and the client of each scenario."""
