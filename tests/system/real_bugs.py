"""Print what the bugs of docs/bugs.md lead to on real sockets, with a relay on the loopback as the bad network."""

from __future__ import annotations

import asyncio
import ftplib
import json
import logging
import logging.handlers
import os
import pickle
import socket
import socketserver
import struct
import sys
import threading
import time
import xmlrpc.client
import xmlrpc.server
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.sim.programs.redisserver import serve_redis

RESET = struct.pack("ii", 1, 0)


def background(function: Callable[[], object]) -> None:
    threading.Thread(target=function, daemon=True).start()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def on_loop(server: Callable[[], Coroutine[Any, Any, None]], port: int) -> None:
    """Run an asyncio server in another thread until it listens."""
    background(lambda: asyncio.run(server()))
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)


def relay(port: int, answer: Callable[[int, bytes], float | None]) -> int:
    """Carry connections to a port, and return the port of the relay.

    Args:
        port: of the server, on the loopback.
        answer: called with each answer's number, from 1, and its bytes. It returns the seconds by which the answer is
            delayed; None: the connection is reset in its place.
    """

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        async def forward() -> None:
            while data := await reader.read(65536):
                far_writer.write(data)
            far_writer.write_eof()

        forwarding = asyncio.create_task(forward())
        number = 0
        while data := await far_reader.read(65536):
            number += 1
            delay = answer(number, data)
            if delay is None:
                far_writer.transport.abort()  # the server sees it first
                await asyncio.sleep(0.5)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
                break
            await asyncio.sleep(delay)
            writer.write(data)
        forwarding.cancel()
        writer.close()

    chosen = free_port()

    async def serve() -> None:
        await (await asyncio.start_server(one, "127.0.0.1", chosen)).serve_forever()

    background(lambda: asyncio.run(serve()))
    time.sleep(0.2)
    return chosen


def xmlrpc_client(folder: Path) -> Any:
    calls: list[int] = []

    def order(number: Any) -> Any:
        calls.append(number)
        return number

    server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
    server.register_function(order)
    background(server.serve_forever)
    resets = iter([None])
    port = relay(server.server_address[1], lambda number, data: next(resets, 0.0))
    xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/").order(1)
    server.shutdown()
    return calls


def redis_py(folder: Path) -> Any:
    redis = import_module("redis")
    on_loop(serve_redis, 6379)
    delays = iter([0.0, 0.0, 2.5])
    port = relay(6379, lambda number, data: next(delays, 0.0))
    client = redis.Redis("127.0.0.1", port, protocol=2, socket_timeout=1.0)
    client.incr("visitors")
    return int(client.get("visitors"))


def aiomcache_client(folder: Path) -> Any:
    aiomcache, server_port = import_module("aiomcache"), free_port()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"VALUE %b 0 3\r\nyes\r\nEND\r\n" % line.split()[1])

    async def serve() -> None:
        await (await asyncio.start_server(answer, "127.0.0.1", server_port)).serve_forever()

    on_loop(serve, server_port)
    port = relay(server_port, lambda number, data: 0.5 if number == 1 else 0.0)

    async def ask() -> list[str | None]:
        client = aiomcache.Client("127.0.0.1", port, pool_size=1)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(client.get(b"zero"), 0.2)
        await asyncio.sleep(1)
        values = [await client.get(key) for key in (b"one", b"two")]
        return [None if each is None else each.decode() for each in values]

    return asyncio.run(ask())


def aiosmtplib_client(folder: Path) -> Any:
    smtp, aiosmtplib, server_port = import_module("aiosmtpd.smtp"), import_module("aiosmtplib"), free_port()

    class Mailbox:
        async def handle_RCPT(self, *args: Any) -> str:  # noqa: N802
            return "550 unknown" if args[3].startswith("nobody") else f"250 {args[3]}"

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: smtp.SMTP(Mailbox()), "127.0.0.1", server_port)
        await server.serve_forever()

    on_loop(serve, server_port)
    port = relay(server_port, lambda number, data: 0.5 if b"first" in data else 0.0)

    async def send() -> str:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port)
        await client.connect()
        await client.mail("me@client")
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(client.rcpt("first@server"), 0.2)
        try:
            return str((await client.rcpt("nobody@server")).message)
        except aiosmtplib.SMTPException:
            return "refused"

    return asyncio.run(send())


def ftplib_client(folder: Path) -> Any:
    servers, handlers = import_module("pyftpdlib.servers"), import_module("pyftpdlib.handlers")
    logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL + 1)
    (folder / "file").write_bytes(bytes(30_000_000))
    users = import_module("pyftpdlib.authorizers").DummyAuthorizer()
    users.add_user("me", "secret", str(folder), perm="elradfmw")
    handler = type("Handler", (handlers.FTPHandler,), {"authorizer": users})
    server = servers.FTPServer(("127.0.0.1", 0), handler)
    background(server.serve_forever)

    class Client(ftplib.FTP):
        def makepasv(self) -> tuple[str, int]:
            return "127.0.0.1", relay(super().makepasv()[1], lambda number, data: None)

    client = Client()
    client.connect("127.0.0.1", server.address[1], timeout=10)
    client.login("me", "secret")
    with suppress(ConnectionResetError):
        client.retrbinary("RETR file", len)
    with suppress(ftplib.error_temp):
        client.voidcmd("NOOP")
    try:
        outcome = client.delete("no-such-file")
    except ftplib.error_perm as error:
        outcome = str(error)
    return outcome[:3]


def socket_handler(folder: Path) -> Any:
    received: list[str] = []

    class KeepOne(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = int.from_bytes(self.rfile.read(4), "big")
            received.append(pickle.loads(self.rfile.read(length))["msg"])

    server = socketserver.TCPServer(("127.0.0.1", 0), KeepOne)
    background(server.serve_forever)
    logger = logging.Logger("shop")
    logger.addHandler(logging.handlers.SocketHandler(*server.server_address))
    for number in range(4):
        logger.info(f"record {number}")
        time.sleep(1.5)  # longer than the handler waits between attempts
    server.shutdown()
    return received


def tftpy_client(folder: Path) -> Any:
    tftpy, port = import_module("tftpy"), free_port()
    logging.getLogger("tftpy").setLevel(logging.CRITICAL + 1)
    (folder / "file").write_bytes(bytes(2000))
    second_block = b"\0\3\0\2"
    lost: list[bytes] = []

    class Lossy(socket.socket):
        def sendto(self, data: Any, *args: Any) -> int:
            if data[:4] == second_block and not lost:
                lost.append(data)
                return len(data)
            return super().sendto(data, *args)

    socket.socket = Lossy  # type: ignore[misc] # a class stands for another
    background(lambda: tftpy.TftpServer(str(folder)).listen("127.0.0.1", port))
    time.sleep(0.3)
    try:
        tftpy.TftpClient("127.0.0.1", port).download("file", str(folder / "copy"), timeout=2)
        outcome = "complete"
    except tftpy.TftpTimeout as error:
        outcome = str(error)
    return outcome


if __name__ == "__main__":
    checks = (
        xmlrpc_client,
        redis_py,
        aiomcache_client,
        aiosmtplib_client,
        ftplib_client,
        socket_handler,
        tftpy_client,
    )
    print(json.dumps({check.__name__: check(Path(sys.argv[1])) for check in checks}), flush=True)
    os._exit(0)  # without waiting for the threads
