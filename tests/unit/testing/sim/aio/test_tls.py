"""TLS between hosts in virtual time, by asyncio's own protocol."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from slirpy.links.faultypath import Faults
from slirpy.testing.sim.network import Network
from slirpy.units import MS
from tests.support.certificate import client_context, server_context
from tests.unit.testing.sim.aio.servers import echo


@pytest.fixture
def tls(net: Network) -> Network:
    """A network whose server has an echo server over TLS at port 443, with faults between the hosts."""

    async def serve() -> None:
        await (await asyncio.start_server(echo, None, 443, ssl=server_context())).serve_forever()

    net.host("server").run(serve)
    for one, other in (("client", "server"), ("server", "client")):
        net.path(one, other).faults = Faults(loss=0.05, delay=10 * MS, jitter=5 * MS)
    return net


@pytest.mark.parametrize("order", ["fifo", "random"])
def test_an_echo(order: Any) -> None:
    data = bytes(range(256)) * 800

    async def serve() -> None:
        await (await asyncio.start_server(echo, "server", 443, ssl=server_context())).serve_forever()

    async def main() -> tuple[bytes, Any]:
        reader, writer = await asyncio.open_connection("server", 443, ssl=client_context())
        writer.write(data)
        received = await reader.readexactly(len(data))
        writer.close()
        await writer.wait_closed()
        return received, writer.get_extra_info("cipher")

    with Network(2, order=order, path=Faults(loss=0.05, delay=10 * MS)) as net:
        net.host("server").run(serve)
        received, cipher = net.run(main, on="client")
    assert received == data
    assert cipher is not None


def test_a_certificate_of_another_name(tls: Network) -> None:
    tls.alias("bank", "server")

    async def main() -> None:
        await asyncio.open_connection("bank", 443, ssl=client_context())

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        tls.run(main, on="client")


def test_a_handshake_that_is_never_answered(tls: Network) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(900)
        writer.close()

    async def silent() -> None:
        await (await asyncio.start_server(wait, None, 444)).serve_forever()

    async def main() -> None:
        await asyncio.open_connection("server", 444, ssl=client_context(), ssl_handshake_timeout=20)

    tls.host("server").run(silent)
    with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer than 20"):
        tls.run(main, on="client")


@pytest.mark.parametrize("order", ["fifo", "random"])
def test_an_upgrade_of_a_connection(order: Any) -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"OK\n")
        await writer.start_tls(server_context())
        writer.write(await reader.readline())
        writer.close()

    async def serve() -> None:
        await (await asyncio.start_server(upgrade, "server", 25)).serve_forever()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 25)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"OK\n"
        await writer.start_tls(client_context(), server_hostname="server")
        writer.write(b"secret\n")
        line = await reader.readline()
        writer.close()
        return line

    with Network(5, order=order) as net:
        net.host("server").run(serve)
        assert net.run(main, on="client") == b"secret\n"
        assert not any(b"secret" in getattr(record, "frame", b"") for record in net.trace.records)
