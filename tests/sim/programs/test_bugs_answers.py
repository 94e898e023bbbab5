"""Programs that take a wrong answer, half an answer, or no answer for one; docs/bugs.md tells more."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import io
import shutil
import socket
import socketserver
import struct
import time
import urllib.request
from typing import Any

import pytest

from slirpy.testing import DeadlockError, Flow, Lose, Network
from tests.sim.programs.bugs import expect_bug
from tests.sim.programs.failing import Failing
from tests.sim.programs.packages import Packages

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def net(clear_net: Network) -> Network:
    """Hosts that are 50 ms apart, and a clear path."""
    return clear_net


def test_umodbus_takes_a_late_answer_for_the_next(net: Network, package: Packages) -> None:
    client, server = package("umodbus.client.tcp"), package("umodbus.server.tcp")

    def serve() -> None:
        def read(slave_id: int, function_code: int, address: int) -> int:
            return address * 100

        registers = server.get_server(socketserver.TCPServer, ("", 502), server.RequestHandler)
        registers.route(slave_ids=[1], function_codes=[3], addresses=[1, 2])(read)
        registers.serve_forever()

    def ask() -> Any:
        connection = socket.create_connection(("server", 502), timeout=0.3)
        with pytest.raises(TimeoutError):
            client.send_message(client.read_holding_registers(1, 1, 1), connection)
        time.sleep(1)
        return client.send_message(client.read_holding_registers(1, 2, 1), connection)

    net.host("server").run(serve)
    net.inject(Lose(Flow("client", "server", back=True), 1))
    expect_bug("uModbus", net.run(ask, on="client"), wrong=[100], right=[200])


def test_dnslib_fails_if_an_answer_begins_with_one_byte(net: Network, package: Packages) -> None:
    dnslib = package("dnslib")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        packet = dnslib.DNSRecord.parse(await reader.readexactly(length)).reply().pack()
        writer.write(bytes([len(packet) >> 8]))
        await asyncio.sleep(0.1)
        writer.write(bytes([len(packet) & 0xFF]) + packet)

    async def serve() -> None:
        await (await asyncio.start_server(answer, port=53)).serve_forever()

    def ask() -> str:
        question = dnslib.DNSRecord.question("example.org")
        try:
            return str(dnslib.DNSRecord.parse(question.send("server", tcp=True, timeout=5)).q.qname)
        except struct.error as error:
            return str(error)

    net.host("server").run(serve)
    outcome = net.run(ask, on="client")
    expect_bug("dnslib", outcome, wrong="unpack requires a buffer of 2 bytes", right="example.org.")


def test_dnslib_spins_if_an_answer_ends_early(net: Network, package: Packages) -> None:
    dnslib = package("dnslib")

    async def half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(bytes([1, 0]) + bytes(100))
        writer.close()

    async def serve() -> None:
        await (await asyncio.start_server(half_an_answer, port=53)).serve_forever()

    def ask() -> str:
        try:
            dnslib.DNSRecord.question("example.org").send("server", tcp=True, timeout=5)
        except DeadlockError:
            return "spins"
        except Exception:
            return "ends"
        return "answers"

    net.host("server").run(serve)
    expect_bug("dnslib", net.run(ask, on="client"), wrong="spins", right="ends")


def test_urllib_takes_half_a_file_for_the_whole(net: Network) -> None:
    def download() -> int | str:
        copy = io.BytesIO()
        with urllib.request.urlopen("http://server/") as answer:
            try:
                shutil.copyfileobj(answer, copy)
            except http.client.IncompleteRead as error:
                return type(error).__name__
        return len(copy.getvalue())

    net.host("server").run(lambda: http.server.HTTPServer(("", 80), Failing).serve_forever())
    expect_bug("python", net.run(download, on="client"), wrong=50_000, right="IncompleteRead")


def test_aiomcache_spins_when_the_server_is_restarted(
    net: Network, package: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    aiomcache = package("aiomcache")
    readline, ends = asyncio.StreamReader.readline, []

    class SpinningError(Exception):
        """A program has read the same end of a stream a thousand times."""

    async def watched(self: asyncio.StreamReader) -> bytes:
        line = await readline(self)
        if not line:
            ends.append(self)
            if len(ends) == 1000:  # nothing else would run any more
                raise SpinningError
        return line

    async def restarted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async def serve() -> None:
        await (await asyncio.start_server(restarted, port=11211)).serve_forever()

    async def delete() -> str:
        try:
            await aiomcache.Client("server").delete(b"key")
        except SpinningError:
            return "spins"
        except Exception:
            return "ends"
        return "deletes"

    monkeypatch.setattr(asyncio.StreamReader, "readline", watched)
    net.host("server").run(serve)
    expect_bug("aiomcache", net.run(delete, on="client"), wrong="spins", right="ends")
