"""Bugs of other people's programs, each by one fault of the network; docs/bugs.md tells their stories."""

from __future__ import annotations

import asyncio
import ftplib
import gc
import logging
import logging.handlers
import pickle
import socketserver
import time
import warnings
import xmlrpc.client
import xmlrpc.server
from pathlib import Path
from typing import Any

import pytest

from slirpy.testing import Flow, Lose, Network, Reset
from tests.sim.programs.bugs import expect_bug
from tests.sim.programs.packages import Packages
from tests.sim.programs.redisserver import serve_redis

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
ANSWERS = Flow("client", "server", back=True)


@pytest.fixture
def net(clear_net: Network) -> Network:
    """Hosts that are 50 ms apart, and a clear path."""
    return clear_net


def test_tftpy_gives_up_after_one_lost_block(net: Network, package: Packages, tmp_path: Path) -> None:
    tftpy = package("tftpy")
    logging.getLogger("tftpy").setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files open
    (tmp_path / "file").write_bytes(bytes(2000))

    def download() -> str:
        try:
            tftpy.TftpClient("server", 69).download("file", str(tmp_path / "copy"), timeout=2)
        except tftpy.TftpTimeout as error:
            return str(error)
        return "complete"

    net.host("server").run(lambda: tftpy.TftpServer(str(tmp_path)).listen("0.0.0.0", 69))
    net.inject(Lose(Flow("server", "client", protocol="udp"), 1))
    outcome = net.run(download, on="client")
    net.close()
    gc.collect()
    expect_bug("tftpy", outcome, wrong="Timed-out waiting for traffic", right="complete")


class QuietServer(xmlrpc.server.SimpleXMLRPCServer):
    """Prints nothing when a connection is reset."""

    def handle_error(self, request: Any, client_address: Any) -> None: ...


def test_xmlrpc_calls_twice_after_a_reset(net: Network) -> None:
    calls: list[int] = []

    def order(number: Any) -> Any:
        calls.append(number)
        return number

    def serve() -> None:
        server = QuietServer(("", 80), logRequests=False)
        server.register_function(order)
        server.serve_forever()

    def buy() -> None:
        with xmlrpc.client.ServerProxy("http://server:80/") as shop:
            try:
                shop.order(1)
            except (ConnectionError, xmlrpc.client.Fault):
                pass

    net.host("server").run(serve)
    net.inject(Reset(Flow("client", "server"), after_bytes=200))  # the request has arrived
    net.run(buy, on="client")
    expect_bug("python", calls, wrong=[1, 1], right=[1])


def test_redis_counts_twice_when_an_answer_is_lost(net: Network, package: Packages) -> None:
    redis = package("redis")

    def count() -> int:
        with redis.Redis(host="server", protocol=2, socket_timeout=0.2) as client:
            try:
                client.incr("visitors")
            except redis.exceptions.RedisError:
                pass
            return int(client.get("visitors"))

    net.host("server").run(serve_redis)
    net.inject(Lose(ANSWERS, 3))  # after two answers to CLIENT SETINFO
    expect_bug("redis", net.run(count, on="client"), wrong=2, right=1)


def test_aiomcache_misses_for_ever_after_a_cancelled_get(net: Network, package: Packages) -> None:
    aiomcache = package("aiomcache")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"VALUE %b 0 3\r\nyes\r\nEND\r\n" % line.split()[1])

    async def serve() -> None:
        await (await asyncio.start_server(answer, "0.0.0.0", 11211)).serve_forever()

    async def ask() -> list[bytes | None]:
        client = aiomcache.Client("server", 11211, pool_size=1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.get(b"zero"), 0.2)
        await asyncio.sleep(1)
        return [await client.get(key) for key in (b"one", b"two", b"three")]

    net.host("server").run(serve)
    net.inject(Lose(ANSWERS, 1))
    expect_bug("aiomcache", net.run(ask, on="client"), wrong=[None, None, None], right=[b"yes"] * 3)


def test_aiosmtplib_takes_one_answer_for_the_next_after_a_cancelled_command(
    net: Network, package: Packages
) -> None:
    smtp, aiosmtplib = package("aiosmtpd.smtp"), package("aiosmtplib")

    class Mailbox:
        async def handle_RCPT(self, *args: Any) -> str:  # noqa: N802
            address, envelope = args[3], args[2]
            if address.startswith("nobody"):
                return "550 unknown"
            envelope.rcpt_tos.append(address)
            return f"250 {address}"

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        await (await loop.create_server(lambda: smtp.SMTP(Mailbox()), port=25)).serve_forever()

    async def send() -> str:
        client = aiosmtplib.SMTP(hostname="server", port=25)
        await client.connect()
        await client.mail("me@client")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.rcpt("first@server"), 0.2)
        try:
            return str((await client.rcpt("nobody@server")).message)
        except aiosmtplib.SMTPException:
            return "refused"

    net.host("server").run(serve)
    net.inject(Lose(ANSWERS, 7))  # after the greeting, four lines about EHLO, and the answer to MAIL
    expect_bug("aiosmtplib", net.run(send, on="client"), wrong="first@server", right="refused")


def test_ftplib_takes_one_answer_for_the_next_after_a_failed_transfer(
    net: Network, package: Packages, tmp_path: Path
) -> None:
    servers, handlers = package("pyftpdlib.servers"), package("pyftpdlib.handlers")
    logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL + 1)
    (tmp_path / "file").write_bytes(bytes(300_000))

    def serve() -> None:
        users = package("pyftpdlib.authorizers").DummyAuthorizer()
        users.add_user("me", "secret", str(tmp_path), perm="elradfmw")
        handler = type("Handler", (handlers.FTPHandler,), {"authorizer": users})
        servers.FTPServer(("0.0.0.0", 21), handler).serve_forever()

    def delete() -> str:
        client = ftplib.FTP("server", "me", "secret")
        with pytest.raises(ConnectionResetError):
            client.retrbinary("RETR file", len)
        with pytest.raises(ftplib.error_temp):
            client.voidcmd("NOOP")  # 426: the end of the transfer
        try:
            return client.delete("no-such-file")
        except ftplib.error_perm as error:
            return str(error)
        finally:
            client.close()

    net.host("server").run(serve)
    net.inject(Reset(Flow("client", "server", connection=1, back=True), after_bytes=100_000))
    outcome = net.run(delete, on="client")
    expect_bug("python", outcome[:3], wrong="200", right="550")


def test_aioftp_takes_one_answer_for_the_next_after_a_failed_transfer(
    net: Network, package: Packages, tmp_path: Path
) -> None:
    aioftp = package("aioftp")
    (tmp_path / "file").write_bytes(bytes(300_000))

    async def serve() -> None:
        await aioftp.Server([aioftp.User(base_path=tmp_path, home_path="/")]).run("0.0.0.0", 21)

    async def delete() -> str:
        client = aioftp.Client()
        await client.connect("server")
        await client.login()
        with pytest.raises(ConnectionResetError):
            await client.download("file", tmp_path / "copy", write_into=True)
        with pytest.raises(aioftp.StatusCodeError):
            await client.get_current_directory()  # 226: the end of the transfer
        try:
            await client.remove_file("no-such-file")
        except aioftp.StatusCodeError:
            return "refused"
        return "removed"

    net.host("server").run(serve)
    net.inject(Reset(Flow("client", "server", connection=1, back=True), after_bytes=100_000))
    expect_bug("aioftp", net.run(delete, on="client"), wrong="removed", right="refused")


def test_logging_loses_two_records_after_a_restart_of_the_server(net: Network) -> None:
    received: list[str] = []

    class KeepOne(socketserver.StreamRequestHandler):
        """Takes a record, and then closes the connection, as a server that is restarted."""

        def handle(self) -> None:
            length = int.from_bytes(self.rfile.read(4), "big")
            received.append(pickle.loads(self.rfile.read(length))["msg"])

    def serve() -> None:
        socketserver.TCPServer(("", 9020), KeepOne).serve_forever()

    def log() -> None:
        logger = logging.Logger("shop")
        logger.addHandler(logging.handlers.SocketHandler("server", 9020))
        for number in range(4):
            logger.info(f"record {number}")
            time.sleep(60)

    net.host("server").run(serve)
    net.run(log, on="client")
    everything = [f"record {number}" for number in range(4)]
    expect_bug("python", received, wrong=["record 0", "record 3"], right=everything)
